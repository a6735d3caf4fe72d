#!/usr/bin/env python3
"""Compile every export in this folder, and compare it with ONNX Runtime.

    check_exports.py LLMOPT LLMOPT_RUN [--emulate]

Every attention, norm and GELU must have been raised (-require-fusion), and
outputs must agree on ragged, masked inputs of several shapes (check_model.py).
With --emulate the CUDA code is run on the CPU, on small shapes.
"""

import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FUSED = "attention:2,norm:5,gelu:2"  # two layers each, and one norm more


def main():
    llmopt, run = sys.argv[1:3]
    emulate = "--emulate" in sys.argv[3:]
    options = ["-emit=cuda", "-emulate"] if emulate else []
    shapes = ["--batch", "3", "--length", "5"] if emulate else []
    image = [f"--dim={name}" for name in ("num_channels=3", "height=32", "width=32")]
    passed = failed = 0
    models = sorted(HERE.glob("*.onnx"))
    if not models:
        sys.exit(f"no models in {HERE}")
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            artifact = pathlib.Path(folder) / (model.stem + ".so")
            steps = [[llmopt, model, *options, f"-require-fusion={FUSED}", "-o", artifact],
                     [sys.executable, HERE.parent / "check_model.py", model, artifact, "--run", run, *shapes,
                      *(image if model.name == "vit-tiny.optimum.onnx" else [])]]
            for step in steps:
                result = subprocess.run(step, capture_output=True, text=True)
                if result.returncode:
                    print(f"{model.name}: FAILED\n{result.stdout}{result.stderr}")
                    failed += 1
                    break
            else:
                print(f"{model.name}: {result.stdout.strip().splitlines()[-1]}")
                passed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
