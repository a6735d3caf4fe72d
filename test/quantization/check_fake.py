#!/usr/bin/env python3
"""Training with rounding, from a float model to integers, as a user goes.

    check_fake.py LLMOPT LLMOPT_RUN FOLDER

FOLDER has bert2.onnx, a classifier, and bert2-step.npz: a batch with labels, and all
weights. A step through lm.fake_quantize must move weights as one in floats does, but
for the rounding, and steps must lower the loss. With fixed ranges the model goes
through a file that ONNX Runtime runs as well, trains on, and ends on integers.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

LLMOPT, RUN, FOLDER = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
WORK = pathlib.Path(tempfile.mkdtemp())
os.environ["XDG_CACHE_HOME"] = str(WORK / "cache")  # not the user's
MODEL = FOLDER / "bert2.onnx"
GOLDEN = dict(np.load(FOLDER / "bert2-step.npz"))
BATCH = {name: GOLDEN[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
STATIC = "-quantize-int8=inputs:static,embeddings:float"
FAKE = "-quantize-int8=mode:fake,inputs:static"
failures = []


def expect(good, text):
    print(("ok      " if good else "FAILED  ") + text, flush=True)
    if not good:
        failures.append(text)


def compile(model, *options, output):
    subprocess.run([LLMOPT, model, *options, "-o", WORK / output], check=True, cwd=WORK)
    return WORK / output


def run(artefact, arrays, *options):
    np.savez(WORK / "in.npz", **arrays)
    subprocess.run([RUN, artefact, *options, "--input", WORK / "in.npz", "--output", WORK / "out.npz"], check=True,
                   stdout=subprocess.DEVNULL)
    return dict(np.load(WORK / "out.npz"))


def move(step, weights):
    """The mean loss, and the weights after a step of gradient descent."""
    out = run(step, BATCH | {"labels": GOLDEN["labels"], "label_smoothing": np.float32(0)} | weights, "--entry", "gradients")
    count = out.pop("loss_weight")
    return float(out.pop("loss") / count), {name: weights[name] - 0.1 * out[name] / count for name in out}


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check_dynamic():
    old = {name[4:]: value for name, value in GOLDEN.items() if name.startswith("old.")}
    floats = compile(MODEL, "-train", output="float.so")
    fake = compile(MODEL, "-train", "-quantize-int8=mode:fake", output="fake.so")
    loss, new = move(floats, old)
    fake_loss, fake_new = move(fake, old)
    expect(0 < abs(fake_loss - loss) < 0.05 * loss, f"loss {fake_loss:.5f} with rounding, {loss:.5f} without")
    a = np.concatenate([(fake_new[name] - old[name]).ravel() for name in old])
    b = np.concatenate([(new[name] - old[name]).ravel() for name in old])
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    expect(0.98 < cosine < 1 - 1e-9, f"cosine of the two updates: {cosine:.5f}")
    weights, losses = fake_new, [fake_loss]
    for _ in range(8):
        loss, weights = move(fake, weights)
        losses.append(loss)
    expect(losses[-1] < 0.8 * losses[0], f"nine steps: loss {losses[0]:.4f} to {losses[-1]:.4f}")


def check_static():
    np.savez(WORK / "calib.npz", **BATCH)
    calib = "-calib=calib.npz"
    qat = compile(MODEL, FAKE, calib, "-emit=onnx", output="qat.onnx")
    fake = run(compile(MODEL, FAKE, calib, output="fake-static.so"), BATCH)["logits"]
    integers = run(compile(MODEL, STATIC, "-allow-slower", calib, output="int8.so"), BATCH)["logits"]
    original = run(compile(MODEL, output="f32.so"), BATCH)["logits"]
    session = onnxruntime.InferenceSession(qat, providers=["CPUExecutionProvider"])
    theirs = session.run(["logits"], {i.name: BATCH[i.name] for i in session.get_inputs()})[0]
    # Near ties two engines may round to other integers.
    expect(distance(fake, original) > 1e-4, f"rounding changes the logits by {distance(fake, original):.1e}")
    expect(distance(fake, integers) < 0.02, f"integers give what rounding gives: {distance(fake, integers):.1e}")
    expect(distance(theirs, fake) < 0.02, f"and so does ONNX Runtime: {distance(theirs, fake):.1e}")

    graph = onnx.load(qat)
    kinds = [node.op_type for node in graph.graph.node]
    initializers = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    expect(kinds.count("QuantizeLinear") > 4 and kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear"),
           f"{kinds.count('QuantizeLinear')} pairs in the file")
    expect(not any(v.dtype == np.int8 and v.ndim == 2 for v in initializers.values()), "its weights are floats")

    step = compile(qat, "-train", "-quantize-int8=mode:fake", output="step.so")
    floats = {name: value for name, value in initializers.items() if value.dtype == np.float32}
    loss, new = move(step, floats)
    later, _ = move(step, floats | new)
    expect(later < loss, f"the file trains: loss {loss:.4f}, then {later:.4f}")

    count = {}
    for name, model, options in (("file", qat, []), ("model", MODEL, [STATIC, "-allow-slower", calib])):
        text = compile(model, *options, "-emit=kernels", output="k.mlir").read_text()
        count[name] = text.count("kernel.gemm_s8")
    expect(count["file"] == count["model"] > 4, f"integer products: {count}")
    last = run(compile(qat, output="last.so"), BATCH)["logits"]
    expect(distance(last, fake) < 0.02, f"the file on integers: {distance(last, fake):.1e}")


check_dynamic()
check_static()
sys.exit(1 if failures else 0)
