#!/usr/bin/env python3
"""Bad input of every kind: one clear line, the right exit code, never a signal.

    check_bad_input.py LLMOPT LLMOPT_RUN MODEL

MODEL is a small BERT. Every case runs in a folder of its own, and must leave no
file behind where it fails.
"""

import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper

LLMOPT, RUN, MODEL = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
passed = failed = 0


def check(name, command, codes, cwd, words=(), lines=1, keep=None, limit=None):
    """Runs `command`; `lines` is how many lines standard error may have (None: any)."""
    global passed, failed
    before = set(os.listdir(cwd))
    setup = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    try:
        result = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, timeout=120, preexec_fn=setup)
        code, text = result.returncode, result.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired:
        code, text = "timeout", ""
    problems = []
    if code not in codes:
        problems.append(f"expected exit code {codes}, but got {code}")
    if code != 0:
        count = len(text.strip().splitlines())
        if lines is not None and count != lines:
            problems.append(f"expected {lines} line, but got {count}")
        if set(os.listdir(cwd)) - before - set(keep or ()):
            problems.append(f"left {set(os.listdir(cwd)) - before}")
    for word in words:
        if word not in text:
            problems.append(f"expected '{word}' in the message")
    if problems:
        failed += 1
        print(f"{name}: {'; '.join(problems)}\n    {text.strip()[:600]}")
    else:
        passed += 1


def save(path, nodes, inputs, outputs, initializers=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def usage(folder):
    for name, arguments, words in [
        ("no model", [], ["expected a model"]),
        ("unknown option", [MODEL, "-quantise-int8"], ["-quantize-int8"]),
        ("phases inverted", [MODEL, "-quantize-int8", "-prune=heads:2"], ["order"]),
        ("emit before quantize", [MODEL, "-emit=cuda", "-quantize-int8"], ["order"]),
        ("unknown emit", [MODEL, "-emit=elf"], ["kernels"]),
        ("two models", [MODEL, "b.onnx"], ["b.onnx"]),
        ("bad count", [MODEL, "-prune=heads:none"], ["heads"]),
        ("bad shape", [MODEL, "-shape=input_ids:1xA"], ["shape"]),
        ("unknown cpu", [MODEL, "-mcpu=no-such-cpu"], ["no-such-cpu"]),
        ("unknown cache", [MODEL, "-kv-cache=type:int4"], ["type:float|int8", "int4"]),
        ("fp8 on a CPU", [MODEL, "-fp8"], ["-emit=cuda", "e4m3", "-quantize-int8"]),
        ("fp8 on an old GPU", [MODEL, "-fp8", "-emit=cuda", "-cuda-arch=sm_80+sm_90"], ["sm_89", "sm_80"]),
        ("fp8 and int8", [MODEL, "-fp8", "-quantize-int8", "-emit=cuda"], ["-quantize-int8", "-fp8"]),
        ("int8 cache on a GPU", [MODEL, "-kv-cache=type:int8", "-emit=cuda"], ["type:float", "GPU"]),
        ("tune for a GPU", [MODEL, "-quantize-int8", "-tune", "-emit=cuda"], ["-tune"]),
        ("bad tune", [MODEL, "-quantize-int8", "-tune=batch:none"], ["batch:1,sequence:16+128", "batch:none"]),
        ("no cache folder", [MODEL, "-quantize-int8", "-calib-cache="], ["-calib-cache=<folder>|off"]),
        ("expect without verify", [MODEL, "-expect=a.npz"], ["-verify"]),
    ]:
        check(name, [LLMOPT, *arguments], [2], folder, words)
    check("gate", [LLMOPT, MODEL, "-require-fusion=attention:7", "-o", "m.so"], [3], folder, ["attention"], lines=None)
    check("output folder missing", [LLMOPT, MODEL, "-o", "none/m.so"], [4], folder)
    check("too many heads", [LLMOPT, MODEL, "-prune=heads:99", "-o", "m.so"], [1], folder, ["heads"])


def files(folder):
    data = MODEL.read_bytes()
    path = folder / "bad.onnx"

    def attempt(name, codes=(1,), words=(), lines=1):
        check(name, [LLMOPT, path, "-o", "m.so"], list(codes), folder, words, lines,
              keep=["m.so", "m.weights"] if 0 in codes else None)
        for left in ("m.so", "m.weights"):
            (folder / left).unlink(missing_ok=True)

    check("missing file", [LLMOPT, "none.onnx"], [1], folder, ["none.onnx"])
    check("a folder", [LLMOPT, folder], [1], folder)
    path.write_bytes(b"")
    attempt("empty file")
    for seed in range(8):
        path.write_bytes(random.Random(seed).randbytes(1000 * (seed + 1)))
        attempt(f"random bytes {seed}")
    for part in range(1, 20):
        path.write_bytes(data[:len(data) * part // 20])
        attempt(f"truncated to {part}/20")
    for seed in range(40):
        rng, mutated = random.Random(seed), bytearray(data)
        for _ in range(rng.randint(1, 6)):
            mutated[rng.randrange(40000)] = rng.randrange(256)
        path.write_bytes(mutated)
        attempt(f"mutated {seed}", (0, 1), lines=None)
    path.unlink()


def graphs(folder):
    path = folder / "bad.onnx"

    def attempt(name, words=(), lines=1):
        check(name, [LLMOPT, path, "-o", "m.so"], [1], folder, words, lines)

    x, y = value("x", ["n"]), value("y", None)
    save(path, [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["x", "a"], ["b"])], [x],
         [value("b", None)])
    attempt("cycle")
    save(path, [helper.make_node("Add", ["x", "nowhere"], ["y"])], [x], [y])
    attempt("undefined input", ["nowhere"])
    save(path, [helper.make_node("Strange", ["x"], ["a"], name="first"), helper.make_node("Odd", ["a"], ["y"])], [x], [y])
    attempt("unsupported operators", ["Strange", "Odd"], lines=None)
    save(path, [helper.make_node("Relu", ["x"], ["y"])], [value("x", [1 << 40, 1 << 40])], [y])
    attempt("absurd shape")
    save(path, [helper.make_node("Relu", ["x"], ["y"])], [value("x", [-5])], [y])
    attempt("negative dimension")
    huge = helper.make_tensor("shape", TensorProto.INT64, [3], [1 << 20, 1 << 20, 1 << 20])
    save(path, [helper.make_node("ConstantOfShape", ["shape"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])], [x],
         [y], [huge])
    # Nothing is folded, so this compiles; running it would need 2^62 bytes.
    check("folding bomb", [LLMOPT, path, "-o", "bomb.so"], [0], folder)
    (folder / "x.npy").unlink(missing_ok=True)
    np.save(folder / "x.npy", np.zeros(1, np.float32))
    check("running the bomb", [RUN, "bomb.so", "--input", "x=x.npy"], [1, 4], folder)
    for left in ("bomb.so", "bomb.weights", "x.npy"):
        (folder / left).unlink(missing_ok=True)
    # A dimension of 0 beside one of 1: what would come out is not the larger.
    save(path, [helper.make_node("Add", ["x", "z"], ["y"])], [value("x", ["n"]), value("z", ["m"])], [y])
    check("two open sizes", [LLMOPT, path, "-o", "open.so"], [0], folder)
    np.savez(folder / "in.npz", x=np.zeros(0, np.float32), z=np.zeros(1, np.float32))
    check("empty beside one", [RUN, "open.so", "--input", "in.npz"], [1], folder, ["broadcast of n and m"])
    for left in ("open.so", "open.weights", "in.npz"):
        (folder / left).unlink(missing_ok=True)
    for name, location in [("data missing", "weights.bin"), ("data outside", "../weights.bin"),
                           ("data absolute", "/etc/passwd")]:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, text in (("location", location), ("offset", "0"), ("length", "16")):
            tensor.external_data.add(key=key, value=text)
        save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [value("x", [4])], [y], [tensor])
        attempt(name, [location])
    path.unlink()


def disk(folder):
    os.mkfifo(folder / "pipe")
    check("output that is no regular file", [LLMOPT, MODEL, "-o", "pipe"], [4], folder, ["pipe: cannot write: expected a regular file"])
    if not (folder / "pipe").is_fifo():
        sys.exit("the pipe was replaced")
    check("file size limit", [LLMOPT, MODEL, "-o", "m.so"], [4], folder, limit=20000)
    # A file system of the test's own, filled by the artefact, then by its weights.
    # What is left on it is listed before it goes.
    for size, options in (("32k", ["-o", "m.so"]), ("192k", ["-o", "m.so"]), ("192k", ["-embed-weights", "-o", "m.so"]),
                          ("64k", ["-emit=cuda", "-o", "cuda"])):
        script = f"""mount -t tmpfs -o size={size} full . && cd "$PWD" || exit 99
                     "$@"; code=$?; ls -A >&2; exit $code"""
        namespace = ["unshare", "--user", "--map-root-user", "--mount"]
        if subprocess.run([*namespace, "true"], capture_output=True).returncode:
            print("full file system: skipped, no user namespaces here")
            return
        check(f"full file system of {size}, {' '.join(options)}",
              [*namespace, "sh", "-c", script, "sh", LLMOPT, MODEL, *options], [4], folder,
              ["llmopt: " + options[-1].split('.')[0], ": cannot write: No space left on device"])


def running(folder):
    artifact = folder / "m.so"
    subprocess.run([LLMOPT, MODEL, "-o", artifact], check=True)
    ids = np.ones((1, 4), np.int64)
    good = dict(input_ids=ids, attention_mask=ids, token_type_ids=ids * 0)

    def attempt(name, arrays, words):
        with tempfile.TemporaryDirectory() as other:
            np.savez(pathlib.Path(other) / "in.npz", **arrays)
            check(name, [RUN, artifact, "--input", "in.npz", "--output", "out.npz"], [1], other, words)

    attempt("wrong dtype", good | dict(input_ids=ids.astype(np.float32)), ["input_ids", "i64"])
    attempt("token outside the vocabulary", good | dict(input_ids=ids * 97), ["input_ids", "[-97, 97)", "97"])
    attempt("token far outside", good | dict(token_type_ids=-3 * ids), ["token_type_ids", "-3"])
    attempt("wrong rank", good | dict(attention_mask=ids[0]), ["attention_mask"])
    attempt("disagreeing shapes", good | dict(attention_mask=np.ones((1, 5), np.int64)), ["sequence"])
    attempt("missing input", {k: v for k, v in good.items() if k != "attention_mask"}, ["attention_mask"])
    long = np.ones((1, 1000), np.int64)
    attempt("longer than the position table", {k: long for k in good}, ["sequence"])
    weights = (folder / "m.weights").read_bytes()
    for name, content in [("truncated weights", weights[:len(weights) // 2]), ("no weights", None),
                          ("weights of another build", weights[:20] + bytes([weights[20] ^ 1]) + weights[21:])]:
        with tempfile.TemporaryDirectory() as other:
            shutil.copy(artifact, other)
            if content is not None:
                (pathlib.Path(other) / "m.weights").write_bytes(content)
            check(name, [RUN, "m.so", "--bench"], [1], other)
    with tempfile.TemporaryDirectory() as other:
        (pathlib.Path(other) / "m.so").write_bytes(artifact.read_bytes()[:3000])
        shutil.copy(folder / "m.weights", other)
        check("truncated artefact", [RUN, "m.so", "--bench"], [1], other)


def main():
    for part in (usage, files, graphs, disk, running):
        with tempfile.TemporaryDirectory() as folder:
            part(pathlib.Path(folder))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
