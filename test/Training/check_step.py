#!/usr/bin/env python3
"""Compare the gradients of a model with one SGD step by PyTorch (bert2-step.npz).

    check_step.py LLMOPT LLMOPT_RUN

Tolerance: 2e-5 of the largest new value of each parameter, and of the loss.
Both sides compute in f32 with different orders of summation; gradients of this
model are sums of at most 27 tokens, so differences stay within some tens of
ulps. The update itself moves parameters by far more: a step that does nothing
fails.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

TOLERANCE = 2e-5
RATE = 0.1  # of make_golden.py
HERE = pathlib.Path(__file__).resolve().parent


def main():
    llmopt, run = sys.argv[1:3]
    golden = dict(np.load(HERE / "bert2-step.npz"))
    inputs = {name: golden[name] for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}
    old = {name[4:]: value for name, value in golden.items() if name.startswith("old.")}
    inputs |= old | {"label_smoothing": np.float32(0)}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "in.npz", **inputs)
        subprocess.run([llmopt, HERE / "bert2.onnx", "-train", "-o", folder / "step.so"],
                       check=True)
        subprocess.run([run, folder / "step.so", "--entry", "gradients", "--input", folder / "in.npz", "--output", folder / "out.npz"],
                       check=True)
        actual = dict(np.load(folder / "out.npz"))
    weight = actual.pop("loss_weight")
    actual = {name: value / weight if name == "loss" else old[name] - RATE * value / weight
              for name, value in actual.items()}
    failures = 0
    expected = {"loss": golden["loss"]} | {n[4:]: v for n, v in golden.items() if n.startswith("new.")}
    moved = 0.0
    for name, want in expected.items():
        got = actual.get(name)
        if got is None or got.shape != want.shape:
            print(f"{name}: expected {want.shape}, but got {None if got is None else got.shape}")
            failures += 1
            continue
        error = np.max(np.abs(got - want)) / max(1e-6, np.max(np.abs(want)))
        if name != "loss":
            old = golden["old." + name]
            moved = max(moved, float(np.max(np.abs(want - old)) / max(1e-6, np.max(np.abs(want)))))
        if not error <= TOLERANCE:
            print(f"{name}: error {error:.2e} exceeds {TOLERANCE}")
            failures += 1
    if moved < 100 * TOLERANCE:
        sys.exit("the golden step moves nothing: it proves nothing")
    print(f"{len(expected) - failures} passed, {failures} failed")
    sys.exit(1 if failures else 0)


main()
