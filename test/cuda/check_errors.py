#!/usr/bin/env python3
"""What CUDA artefacts say where something is missing or fails: one clear line.

    check_errors.py LLMOPT LLMOPT_RUN STANDIN

Drivers that are missing, too old or fail at any call; devices that are missing, too
old or too small; nvcc missing or failing; names in the model that no compiler should
see. Exit code, the words of the message, and that nothing is left behind (the
stand-in driver counts what is alive).
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper

import standin

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "models/bert-tiny.torchscript.onnx"
SHAPE = ["--shape", "batch=1,sequence=4"]


class Checker:
    def __init__(self):
        self.passed = self.failed = 0

    def expect(self, name, done, code, words, lines=1):
        text = done.stderr.strip()
        problems = []
        if done.returncode != code:
            problems.append(f"expected exit code {code}, but got {done.returncode}")
        problems += [f"expected '{word}'" for word in words if word not in text]
        # The stand-in driver speaks for itself, too; the tools say one line.
        own = [line for line in text.splitlines() if not line.startswith("cuda-standin: ")]
        if len(own) != lines or re.search(r"[\x00-\x08\x0b-\x1f]", text):
            problems.append(f"expected {lines} line(s) of printable text")
        self.passed += not problems
        self.failed += bool(problems)
        if problems:
            print(f"{name}: FAILED: {'; '.join(problems)}: {text}", flush=True)

    def true(self, name, condition):
        self.passed += bool(condition)
        self.failed += not condition
        if not condition:
            print(f"{name}: FAILED", flush=True)


def call(command, **environment):
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **environment), timeout=300)


def check_runtime(check, llmopt, run, driver, folder):
    model, kernels = standin.compile_model(llmopt, MODEL, folder, "-cuda-arch=sm_90")

    def on_standin(name, code, words, command=(), **settings):
        done = subprocess.run([run, model, *SHAPE, *command], capture_output=True, text=True, timeout=300,
                              env=standin.environment(driver, kernels, **settings))
        check.expect(name, done, code, words, lines=1 if code else 0)

    missing = folder / "no-driver.so"
    check.expect("no driver", call([run, model, *SHAPE], LLMOPT_CUDA_DRIVER=str(missing)), 4,
                 ["no CUDA driver", "no-driver.so"])
    other = next(pathlib.Path("/").glob("lib*/x86_64-linux-gnu/libm.so.6"), None) or kernels
    check.expect("another library", call([run, model, *SHAPE], LLMOPT_CUDA_DRIVER=str(other)), 4,
                 ["is no CUDA driver", "is missing"])
    on_standin("works", 0, [])
    on_standin("no device", 4, ["no CUDA device"], fail="no-device")
    on_standin("init", 4, ["no usable device", "no CUDA-capable device is detected"], fail="init")
    on_standin("old driver", 4, ["CUDA 12.0 or later", "11.8"], fail="version:11080")
    on_standin("old device", 4, ["sm_80", "sm_90,compute_90", "-cuda-arch=sm_80"], fail="arch:80")
    on_standin("later device", 0, [], fail="arch:100")
    info = call([run, model, "--info"]).stdout
    weights = int(re.search(r"tensors, (\d+) bytes", info)[1])
    constants = 5000  # ids of positions, about
    on_standin("no room for weights", 4, ["out of memory", str(weights), "weights", f"of {constants + 1000}"],
               fail=f"memory:{constants + 1000}")
    on_standin("no room for values", 4, ["out of memory", "intermediate values", "expected"],
               fail=f"memory:{weights + constants}")
    for call_ in range(1, 8):
        on_standin(f"copy {call_}", 4, ["cop", "CUDA error"], fail=f"copy:{call_}")
    for call_ in (1, 9, 17):
        on_standin(f"launch {call_}", 4, ["cannot be launched", "step '/"], fail=f"launch:{call_}")
    on_standin("wait", 4, ["illegal memory access"], fail="sync:1")
    bench = ["--bench", "--runs", "4", "--seconds", "0", "--warmup", "0"]
    on_standin("a copy of a graph", 4, ["CUDA error"], bench, fail="copy:10")
    on_standin("a launch of a graph", 4, ["cannot be launched"], bench, fail="launch:20")

    # An id outside of the table is found before anything runs.
    feed = {name: np.full((1, 3), value, np.int64)
            for name, value in (("input_ids", 999), ("attention_mask", 1), ("token_type_ids", 0))}
    np.savez(folder / "bad.npz", **feed)
    done = subprocess.run([run, model, "--input", folder / "bad.npz"], capture_output=True, text=True,
                          env=standin.environment(driver, kernels))
    check.expect("bad id", done, 1, ["input 'input_ids', element 0", "999"])
    check.expect("--info needs no device", call([run, model, "--info"], LLMOPT_CUDA_DRIVER=str(missing)), 0, [], lines=0)


def check_compiler(check, llmopt, folder):
    """nvcc that is missing, or fails; options that do not fit."""
    model, output = MODEL, folder / "out.so"

    def nvcc(text):
        path = folder / "path"
        path.mkdir(exist_ok=True)
        (path / "nvcc").write_text(text)
        (path / "nvcc").chmod(0o755)
        return f"{path}:/usr/bin:/bin"

    failing = nvcc("#!/bin/sh\necho 'model.cu(7): error: expected a \\033[31mthing' >&2\nexit 2\n")
    done = call([llmopt, model, "-emit=cuda", "-o", output], PATH=failing)
    check.expect("nvcc fails", done, 4, ["nvcc failed", "model.cu(7): error: expected a", "the source is"])
    kept = re.search(r"the source is (\S+/model\.cu)", done.stderr)
    check.true("nvcc fails: the source is kept", kept and pathlib.Path(kept[1]).exists())
    check.true("nvcc fails: no output", not output.exists() and not output.with_suffix(".weights").exists())
    if kept:
        subprocess.run(["rm", "-r", pathlib.Path(kept[1]).parent], check=True)
    if not pathlib.Path("/usr/local/cuda/bin/nvcc").exists():
        done = call([llmopt, model, "-emit=cuda", "-o", output], PATH="/usr/bin:/bin", CUDA_HOME="", CUDA_PATH="")
        check.expect("no nvcc", done, 4, ["nvcc is missing"])
    else:
        # /usr/local/cuda/bin is the last resort: an nvcc before it that cannot run.
        done = call([llmopt, model, "-emit=cuda", "-o", output], PATH=nvcc("not a program"))
        check.expect("nvcc is no program", done, 4, ["nvcc cannot run", "the source is"])
        for match in re.finditer(r"the source is (\S+)/model\.cu", done.stderr):
            subprocess.run(["rm", "-r", match[1]], check=True)
    for name, options, words in (
            ("no architecture", ["-cuda-arch=hopper"], ["sm_<number>", "hopper"]),
            ("old architecture", ["-cuda-arch=sm_60"], ["sm_75", "sm_60"]),
            ("odd architecture", ["-cuda-arch=sm_90x+sm_80"], ["sm_90x"]),
            ("embedded weights of a project", ["-embed-weights"], ["-o <m.so>"])):
        check.expect(name, call([llmopt, model, "-emit=cuda", *options, "-o", folder / "p"]), 2, words)
    check.expect("cubin of two", call([llmopt, model, "-emit=cubin", "-cuda-arch=sm_80+sm_90", "-o", folder / "c"]), 2,
                 ["one architecture"])


def hostile_model():
    """A model whose names try to end comments, strings, lines and terminals."""
    evil = 'a"b\\c*/d\ne\x1b[31mf??/g#h%s${x}`i`'
    given = 'x"\\*/ ${x}`i`??/'  # zip files take no control characters
    weight = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    nodes = [helper.make_node("MatMul", [given, evil + "w"], [evil + "y"], name=evil + "*/ int main() { /*"),
             helper.make_node("Exp", [evil + "y"], [evil + "z"], name="\\"),
             helper.make_node("Softmax", [evil + "z"], ["*/"], name="\x7f\n#error")]
    graph = helper.make_graph(
        nodes, evil, [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["n*/\n", 3])],
        [helper.make_tensor_value_info("*/", TensorProto.FLOAT, ["n*/\n", 4])],
        [onnx.numpy_helper.from_array(weight, evil + "w")])
    return given, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check_names(check, llmopt, run, driver, folder):
    evil, model = hostile_model()
    path = folder / "evil.onnx"
    onnx.save(model, path)
    project = folder / "evil"
    check.expect("hostile names", call([llmopt, path, "-emit=cuda", "-o", project]), 0, [], lines=0)
    for file in ("model.cu", "model_tables.cpp", "model_emulation.cpp", "model.h", "README.md", "CMakeLists.txt"):
        text = (project / file).read_bytes()
        check.true(f"hostile names: {file} is printable", not re.search(rb"[^\n\x20-\x7e]", text))
        check.true(f"hostile names: {file} holds no directive", b"\n#error\"" not in text and b"??/" not in text)
    artefact, kernels = standin.compile_model(llmopt, path, folder)
    np.savez(folder / "in.npz", **{evil: np.ones((2, 3), np.float32)})
    done = subprocess.run([run, artefact, "--input", folder / "in.npz", "--output", folder / "out.npz"],
                          capture_output=True, text=True, env=standin.environment(driver, kernels))
    check.expect("hostile names run", done, 0, [], lines=0)


def main():
    llmopt, run, driver = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    check = Checker()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_runtime(check, llmopt, run, driver, folder)
        check_compiler(check, llmopt, folder)
        check_names(check, llmopt, run, driver, folder)
    print(f"{check.passed} passed, {check.failed} failed")
    sys.exit(1 if check.failed else 0)


main()
