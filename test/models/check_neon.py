#!/usr/bin/env python3
"""Run whole models compiled for NEON, under qemu-user.

    check_neon.py LLMOPT CC

The runtime and examples/c/classify.c are built for aarch64 and, with the
compiler CC, for this machine. In fp32 the logits of the small classifiers must
agree with ONNX Runtime, with -quantize-int8 with this machine's artefact: its
integers are the same, only float rounding differs. classify prints six digits,
which bounds what can be compared.
"""

import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET, CPU = "aarch64-linux-gnu", "neoverse-n1"
TOLERANCE = 2e-5  # six printed digits, and float32 summed in another order
IDS = [3, 17, 96, 5, 44, 8, 61, 2, 30, 12, 7]


def build(folder, compilers, name):
    """classify and the runtime, by the C++ and the C compiler given."""
    flags = ["-O2", f"-I{ROOT}/include", f"-I{ROOT}/runtime/include", f"-I{ROOT}/runtime/src"]
    objects = []
    sources = [source for folder in ("runtime/src", "runtime/cuda/src") for source in sorted((ROOT / folder).glob("*.cc"))]
    for source in [*sources, ROOT / "examples/c/classify.c"]:
        out = folder / f"{name}-{source.stem}.o"
        extra = [] if source.suffix == ".c" else ["-std=c++17", "-fno-exceptions", "-fno-rtti",
                                                  "-fno-threadsafe-statics", "-D_GNU_SOURCE", '-DLLMOPT_VERSION="test"']
        subprocess.run([compilers[source.suffix == ".c"], *flags, *extra, "-c", source, "-o", out], check=True)
        objects.append(out)
    subprocess.run([compilers[1], *objects, "-o", folder / name, "-pthread", "-ldl"], check=True)
    return folder / name


def logits(command, artifact):
    result = subprocess.run([*command, artifact, *map(str, IDS)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{artifact.name}: exit code {result.returncode}: {result.stderr}")
    return np.array([float(line.split(":")[1]) for line in result.stdout.splitlines()])


def reference(model):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {i.name: np.array([IDS]) if i.name == "input_ids" else np.ones((1, len(IDS)), np.int64)
            for i in session.get_inputs()}
    return session.run(None, feed)[0].ravel()


def main():
    llmopt, cc = sys.argv[1:]
    machine = platform.machine()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cross = build(folder, [f"{TARGET}-g++", f"{TARGET}-gcc"], "cross")
        native = build(folder, [cc, cc], "native")
        for stem in ("distilbert-tiny.dynamo", "roberta-tiny.torchscript14"):
            model = HERE / f"{stem}.onnx"
            for options in ([], ["-quantize-int8=embeddings:float", "-allow-slower"]):
                there, here = folder / "there.so", folder / "here.so"
                subprocess.run([llmopt, model, *options, f"-target={TARGET}", f"-mcpu={CPU}", "-o", there], check=True)
                got = logits(["qemu-aarch64", "-L", f"/usr/{TARGET}", cross], there)
                if options:
                    subprocess.run([llmopt, model, *options, "-o", here], check=True)
                    expected, oracle = logits([native], here), machine
                else:
                    expected, oracle = reference(model), "onnxruntime"
                error = np.abs(got - expected).max() / np.abs(expected).max()
                good = got.shape == expected.shape and error <= TOLERANCE
                failed |= not good
                print(f"{stem} {' '.join(options) or 'fp32'}: error {error:.1e} to {oracle}: {'ok' if good else 'FAILED'}")
    sys.exit(1 if failed else 0)


main()
