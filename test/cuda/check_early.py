#!/usr/bin/env python3
"""Kernels start before the one in front is done, and wait before they read what it writes.

    check_early.py LLMOPT LLMOPT_RUN STANDIN

The stand-in driver starts kernels as early as a driver may: until they wait, their first
blocks see poison in all memory that kernels write. A model's kernels pass; with the wait
left out, or put behind what needs it, in any of several places, the run must fail. Where
overlap is turned off, or the device or driver has none, all of them pass.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

import standin

MODEL = pathlib.Path(__file__).resolve().parents[1] / "models/bert-tiny.torchscript.onnx"
WAIT = "  llmopt::grid_dependency_wait();\n"


def without_wait(text, kernel):
    """model.cu without the wait of the kernel whose name begins so."""
    start = re.search(rf"__launch_bounds__\([\d, ]+\) {kernel}\w*\(", text).start()
    at = text.index(WAIT, start)
    return text[:at] + text[at + len(WAIT):]


def with_late_wait(text, kernel):
    """The same with the wait at the end of the kernel."""
    start = re.search(rf"__launch_bounds__\([\d, ]+\) {kernel}\w*\(", text).start()
    at, end = text.index(WAIT, start), text.index("\n}\n", start) + 1
    return text[:at] + text[at + len(WAIT):end] + WAIT + text[end:]


def first_loops(text):
    return re.search(r"__launch_bounds__\(256\) (\w+)\(", text)[1]


# What is done to model.cu, and what the driver says then. Loops read through plain pointers,
# so what they get is poison, and what they write is not what they should leave alone.
DEFECTS = {
    "no wait in a product": (lambda t: without_wait(t, "gemm_32_96"), "grid_dependency_wait"),
    "no wait in a norm": (lambda t: without_wait(t, "layer_norm"), "grid_dependency_wait"),
    "a late wait in attention": (lambda t: with_late_wait(t, "attention"), "grid_dependency_wait comes later"),
    "a late wait in loops": (lambda t: with_late_wait(t, first_loops(t)), "wrote memory before it waited"),
}


def main():
    llmopt, runner, driver = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    checks = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        project = folder / "project"
        generator = np.random.default_rng(5)
        np.savez(folder / "in.npz", input_ids=generator.integers(1, 90, (2, 6)), token_type_ids=np.zeros((2, 6), np.int64),
                 attention_mask=np.ones((2, 6), np.int64))
        model, _ = standin.compile_model(llmopt, MODEL, folder)
        subprocess.run([llmopt, MODEL, "-emit=cuda", "-o", project], check=True)
        text = (project / "model.cu").read_text()

        def build(what, changed):
            (project / "model.cu").write_text(changed)
            kernels = folder / f"{what.replace(' ', '-')}.so"
            subprocess.run(["clang++-22", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-ffp-contract=on",
                            "-DLLMOPT_EMULATE", f"-I{project}", project / "model_emulation.cpp", "-o", kernels], check=True)
            return kernels

        def run(kernels, *options, **settings):
            log, target = folder / "log", folder / "out.npz"
            log.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            done = subprocess.run([runner, model, "--input", folder / "in.npz", "--output", target, *options],
                                  capture_output=True, text=True, env=standin.environment(driver, kernels, log=log, **settings))
            counts = dict(part.split("=") for part in log.read_text().split())
            outputs = None
            if not done.returncode:
                with np.load(target) as arrays:
                    outputs = dict(arrays)
            return outputs, done.stderr, int(counts.get("early", 0)), int(counts.get("launch", 0))

        def expect(condition, what):
            nonlocal checks
            checks += 1
            if not condition:
                sys.exit(f"FAILED: {what}")

        right = build("as written", text)
        expected, message, early, launches = run(right)
        expect(expected and not message and early == launches > 0, f"all launches may start early, but {early} of {launches} "
               f"do: {message}")
        for options, settings in ((["--no-overlap"], {}), ([], {"fail": "arch:89"}), ([], {"fail": "version:12020"})):
            outputs, message, early, _ = run(right, *options, **settings)
            expect(outputs and not message and early == 0, f"no launch starts early with {options} {settings}: {message}")
            expect(all(np.array_equal(outputs[o], expected[o]) for o in expected), f"equal outputs with {options} {settings}")
        for what, (change, words) in DEFECTS.items():
            kernels = build(what, change(text))
            outputs, message, _, _ = run(kernels)
            expect(outputs is None and words in message, f"{what}: expected '{words}', but got '{message}'")
            outputs, message, _, _ = run(kernels, "--no-overlap")
            expect(outputs and all(np.array_equal(outputs[o], expected[o]) for o in expected),
                   f"{what}: is right where kernels run one after the other: {message}")
    print(f"{checks} passed, 0 failed")


main()
