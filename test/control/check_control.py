#!/usr/bin/env python3
"""Branches, loops and recurrent layers compiled, against ONNX Runtime.

    check_control.py --llmopt build/bin/llmopt --run build/bin/llmopt-run [--filter TEXT]
    check_control.py --write DIR      the same as cases for llmopt-conformance

Outputs are compared as in check_model.py, their shapes included. Exit code 0: all
agree, 1: not.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import cases

TOLERANCE = 1e-5


def reference(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [o.name for o in session.get_outputs()], [session.run(None, feed) for feed in feeds]


def difference(actual, expected):
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"expected {expected.dtype}{list(expected.shape)}, but got {actual.dtype}{list(actual.shape)}"
    if expected.dtype.kind != "f":
        return "" if np.array_equal(actual, expected) else "values differ"
    error = np.abs(actual - expected).max(initial=0) / max(1e-6, np.abs(expected).max(initial=0))
    return "" if error <= TOLERANCE else f"error {error:.2e}"


def check(name, model, feeds, options, folder):
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    library = folder / f"{name}.so"
    done = subprocess.run([options.llmopt, path, "-o", library], capture_output=True, text=True)
    if done.returncode:
        return [f"compiling: {done.stderr.strip()[-400:]}"]
    names, wanted = reference(model, feeds)
    problems = []
    for i, (feed, expected) in enumerate(zip(feeds, wanted)):
        given, got = folder / "in.npz", folder / "out.npz"
        np.savez(given, **feed)
        done = subprocess.run([options.run, library, "--input", given, "--output", got], capture_output=True, text=True)
        if done.returncode:
            problems.append(f"inputs {i}: {done.stderr.strip()[-300:]}")
            continue
        with np.load(got) as actual:
            for output, value in zip(names, expected):
                if text := difference(actual[output], value):
                    problems.append(f"inputs {i}, output '{output}': {text}")
    return problems


def silero_feeds():
    """Both sampling rates, which are the two branches; a state that was in use."""
    random = np.random.default_rng(5)
    feeds = []
    for rate, samples in ((16000, 576), (8000, 288)):
        for batch in (1, 3):
            feeds.append({"input": random.standard_normal((batch, samples)).astype(np.float32) * 0.1,
                          "sr": np.array(rate, np.int64),
                          "state": random.standard_normal((2, batch, 128)).astype(np.float32) * 0.3})
    return feeds


def write(folder):
    for name, model, feeds in cases.all_cases():
        case = pathlib.Path(folder) / name
        case.mkdir(parents=True, exist_ok=True)
        onnx.save(model, case / "model.onnx")
        _, wanted = reference(model, feeds)
        for i, (feed, expected) in enumerate(zip(feeds, wanted)):
            data = case / f"test_data_set_{i}"
            data.mkdir(exist_ok=True)
            order = [v.name for v in model.graph.input]
            for kind, values in (("input", [feed[n] for n in order]), ("output", expected)):
                for j, value in enumerate(values):
                    (data / f"{kind}_{j}.pb").write_bytes(numpy_helper.from_array(np.asarray(value)).SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmopt")
    parser.add_argument("--run")
    parser.add_argument("--filter", default="")
    parser.add_argument("--write")
    parser.add_argument("--silero", type=pathlib.Path, help="the model, if it is there")
    options = parser.parse_args()
    if options.write:
        write(options.write)
        return 0
    if not options.llmopt or not options.run:
        parser.error("expected --llmopt and --run, or --write")
    failed = total = 0
    with tempfile.TemporaryDirectory() as folder:
        every = list(cases.all_cases())
        if options.silero and options.silero.exists():
            every.append(("silero_vad", onnx.load(options.silero), silero_feeds()))
        for name, model, feeds in every:
            if options.filter not in name:
                continue
            total += 1
            problems = check(name, model, feeds, options, pathlib.Path(folder))
            failed += bool(problems)
            print(("FAIL " if problems else "ok   ") + name)
            for problem in problems:
                print("       " + problem)
    print(f"{total - failed} of {total} agree")
    return 1 if failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
