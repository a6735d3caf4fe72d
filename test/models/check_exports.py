#!/usr/bin/env python3
"""Compile every export of a folder, and compare it with ONNX Runtime.

    check_exports.py LLMOPT LLMOPT_RUN [--emulate] [--models DIR] [--only GLOB]

Every attention, norm and GELU must have been raised (-require-fusion), and
outputs must agree on ragged, masked inputs of several shapes (check_model.py).
With --emulate the CUDA code is run on the CPU, on small shapes. The folder is
that of the small models here, unless --models names one that
bench/models/make.py wrote.
"""

import argparse
import fnmatch
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# Model: layers, and the sides of an image. Each layer has one attention, two
# norms and one GELU; each model has one norm more.
MODELS = {
    "bert-tiny": (2, None), "distilbert-tiny": (2, None), "roberta-tiny": (2, None), "vit-tiny": (2, 32),
    "bert-base": (12, None), "distilbert": (6, None), "roberta": (12, None), "vit-b16": (12, 224),
    "minilm-l6": (6, None), "minilm-l6-v2": (6, None),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt")
    parser.add_argument("run")
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("--models", type=pathlib.Path, default=HERE)
    parser.add_argument("--only", default="*")
    arguments = parser.parse_args()
    options = ["-emit=cuda", "-emulate"] if arguments.emulate else []
    shapes = ["--batch", "3", "--length", "5"] if arguments.emulate else []
    passed = failed = 0
    models = [m for m in sorted(arguments.models.glob("*.onnx")) if fnmatch.fnmatch(m.stem, arguments.only)]
    if not models:
        sys.exit(f"no models in {arguments.models}")
    for model in models:
        name, exporter = model.stem.split(".")
        layers, side = MODELS[name]
        fused = f"attention:{layers},norm:{2 * layers + 1},gelu:{layers}"
        image = []
        if side and exporter == "optimum":  # which leaves all dimensions open
            image = [f"--dim={dim}" for dim in ("num_channels=3", f"height={side}", f"width={side}")]
        with tempfile.TemporaryDirectory() as folder:
            artifact = pathlib.Path(folder) / (model.stem + ".so")
            steps = [[arguments.llmopt, model, *options, f"-require-fusion={fused}", "-o", artifact],
                     [sys.executable, HERE.parent / "check_model.py", model, artifact, "--run", arguments.run, *shapes,
                      *image]]
            for step in steps:
                result = subprocess.run(step, capture_output=True, text=True)
                if result.returncode:
                    print(f"{model.name}: FAILED\n{result.stdout}{result.stderr}", flush=True)
                    failed += 1
                    break
            else:
                print(f"{model.name}: {result.stdout.strip().splitlines()[-1]}", flush=True)
                passed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
