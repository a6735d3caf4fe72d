#!/usr/bin/env python3
"""nvcc builds every sample model, with every option that changes kernels, for every architecture.

    check_all_models.py LLMOPT [--only GLOB] [--architectures sm_75+sm_80+sm_90a]

For scripts/check-all, since it takes about two hours. Kernels must compile; what llmopt refuses with a message
of its own (an architecture without the instructions, a model without linear layers) is
counted as refused and listed.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TESTS = pathlib.Path(__file__).resolve().parents[1]
OPTIONS = ([], ["-fp16"], ["-bf16"], ["-quantize-int8", "-allow-slower"], ["-quantize-int8", "-allow-slower", "-fp16"],
           ["-quantize-int4"], ["-kv-cache"], ["-kv-cache", "-fp16"])


def build(llmopt, model, options, architecture):
    """"" where it compiles, else llmopt's message."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([llmopt, model, *options, "-emit=cubin", f"-cuda-arch={architecture}", "-o",
                               pathlib.Path(folder) / "m.cubin"], capture_output=True, text=True)
    return done.returncode, (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt", type=pathlib.Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--architectures", default="sm_75+sm_80+sm_90a")
    arguments = parser.parse_args()
    models = sorted([*TESTS.glob("models/*.onnx"), *TESTS.glob("zoo/*.onnx")])
    items = [(model, options, architecture) for model in models for options in OPTIONS
             if fnmatch.fnmatch(model.stem, arguments.only) and ("-kv-cache" not in options or "past" in model.stem)
             for architecture in arguments.architectures.split("+")]
    refused, passed, failed = collections.Counter(), 0, 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda item: build(arguments.llmopt.resolve(), *item), items)
        for (model, options, architecture), (code, message) in zip(items, results):
            name = f"{model.stem} {' '.join([*options, architecture])}"
            if not code:
                passed += 1
            elif code in (1, 2) and "bug in llmopt" not in message:
                # Names of nodes and tensors aside, refusals of one kind.
                refused[re.sub(r"'[^']*'|\S*/\S*|\b[\w.]+\.onnx|kernel \w+", "..", message)] += 1
            else:
                failed += 1
                print(f"{name}: FAILED: {message}", flush=True)
    for message, count in refused.most_common():
        print(f"refused {count} times: {message}")
    print(f"{passed} passed, {sum(refused.values())} refused, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
