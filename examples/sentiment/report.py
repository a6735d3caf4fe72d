#!/usr/bin/env python3
"""What the demo prints: the label of every sentence from two compiled models,
their size, latency and error.

    report.py model.onnx sentences.txt DIR

DIR holds in.npz (the inputs) and, for fp32 and int8 each, .so (the artefact),
.npz (its output) and .json (llmopt-run --bench --json). Errors are against
ONNX Runtime running model.onnx, relative to its largest logit.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime

KINDS = ("fp32", "int8")
LABELS = ("negative", "positive")


def probabilities(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def artifact_bytes(path):
    """The library and the weights beside it, if they are apart."""
    weights = path.with_suffix(".weights")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    model, text, folder = map(pathlib.Path, sys.argv[1:])
    sentences = text.read_text(encoding="utf-8").splitlines()
    with np.load(folder / "in.npz") as archive:
        inputs = {name: archive[name] for name in archive.files}
    session = onnxruntime.InferenceSession(str(model),
                                           providers=["CPUExecutionProvider"])
    expected, = session.run(["logits"], inputs)
    logits = {kind: np.load(folder / f"{kind}.npz")["logits"] for kind in KINDS}

    print(f"{'fp32':>14}  {'int8':>14}  sentence")
    for row, sentence in enumerate(sentences):
        cells = []
        for kind in KINDS:
            p = probabilities(logits[kind][row])
            cells.append(f"{LABELS[p.argmax()]} {100 * p.max():4.0f}%")
        print(f"{cells[0]:>14}  {cells[1]:>14}  {sentence}")

    rows, length = inputs["input_ids"].shape
    print(f"\n{'':6}{'size':>10}{'latency':>12}{'error':>10}  top-1"
          f"    ({rows} sentences, padded to {length} tokens)")
    scale = max(1e-6, np.abs(expected).max())
    for kind in KINDS:
        bench = json.loads((folder / f"{kind}.json").read_text())
        error = np.abs(logits[kind] - expected).max() / scale
        same = int((logits[kind].argmax(-1) == expected.argmax(-1)).sum())
        size = artifact_bytes(folder / f"{kind}.so") / 1e6
        print(f"{kind:6}{size:7.2f} MB{bench['median_ms']:9.2f} ms"
              f"{error:10.1e}  {same}/{rows}")
    print(f"{'ONNX':6}{model.stat().st_size / 1e6:7.2f} MB")


if __name__ == "__main__":
    main()
