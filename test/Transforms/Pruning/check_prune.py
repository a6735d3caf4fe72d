#!/usr/bin/env python3
"""Compare a pruned model with ONNX Runtime on the same model with heads masked.

    check_prune.py LLMOPT LLMOPT_RUN

Removing a head is the same as zeroing its columns of the output projection
(stored [out, in] here). Heads are ranked here by numpy, independently.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HEADS = 4
TOLERANCE = 1e-5  # f32, two layers
MODEL = pathlib.Path(__file__).resolve().parents[2] / "Training" / "bert2.onnx"


def mask_heads(model, keep):
    """Zeroes all but the `keep` heads with the largest output projections."""
    masked = 0
    for tensor in model.graph.initializer:
        if not tensor.name.endswith("attention.output.dense.weight"):
            continue
        weight = numpy_helper.to_array(tensor).copy()
        width = weight.shape[1] // HEADS
        norms = [np.linalg.norm(weight[:, h * width:(h + 1) * width]) for h in range(HEADS)]
        for head in np.argsort(norms)[:HEADS - keep]:
            weight[:, head * width:(head + 1) * width] = 0
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        masked += 1
    assert masked == 2, masked
    return model


def main():
    llmopt, run = sys.argv[1:3]
    rng = np.random.default_rng(3)
    mask = (np.arange(9)[None] < np.array([[9], [4], [1]])).astype(np.int64)
    inputs = dict(input_ids=rng.integers(0, 61, (3, 9)), attention_mask=mask, token_type_ids=np.zeros((3, 9), np.int64))
    failed = 0
    reference = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "in.npz", **inputs)
        for keep in (1, 2, HEADS):
            model = mask_heads(onnx.load(MODEL), keep)
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            want = reference[keep] = session.run(["logits"], inputs)[0]
            subprocess.run([llmopt, MODEL, f"-prune=heads:{keep}", "-o", folder / "m.so"], check=True)
            subprocess.run([run, folder / "m.so", "--input", folder / "in.npz", "--output", folder / "out.npz"], check=True)
            error = np.abs(np.load(folder / "out.npz")["logits"] - want).max() / max(1e-6, np.abs(want).max())
            print(f"heads:{keep} error {error:.1e}")
            failed += not error <= TOLERANCE
    if np.abs(reference[1] - reference[HEADS]).max() < 100 * TOLERANCE:
        sys.exit("masking heads changes nothing: this proves nothing")
    print(f"{3 - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
