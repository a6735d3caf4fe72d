#!/usr/bin/env python3
"""Every way of quantizing the bundled sentiment classifier, on sentences with labels.

    check_classifier.py LLMOPT LLMOPT_RUN EXAMPLE TEXT

EXAMPLE is examples/sentiment, TEXT the folder of rt-polarity. 256 sentences of its
training split calibrate, 1,066 of its test split count. Each way must keep the
accuracy within half a point (the 95 % interval of such a change is at most 0.5 for
these models), the ledger must add up to the bytes that are written, and what
-emit=onnx writes must give ONNX Runtime the same answers.

Then outliers are planted: single channels of the values of attention times 60, the
rows that read them divided by 60. In f32 nothing changes; one scale per tensor (ONNX
Runtime's default) and one scale per token lose accuracy or certainty, and SmoothQuant
must get it back.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

LLMOPT, RUN, EXAMPLE, TEXT = (pathlib.Path(p).resolve() for p in sys.argv[1:5])
sys.path.insert(0, str(EXAMPLE))
import tokenize_text  # noqa: E402

SEED = 20  # of the splits that the classifier was trained with
WORK = pathlib.Path(tempfile.mkdtemp())
os.environ["XDG_CACHE_HOME"] = str(WORK / "cache")  # not the user's
failed = []


def expect(good, text):
    print(("ok      " if good else "FAILED  ") + text, flush=True)
    if not good:
        failed.append(text)


def make_data():
    rows = []
    for label, name in enumerate(["rt-polarity.neg", "rt-polarity.pos"]):
        text = (TEXT / name).read_text(encoding="utf-8")
        rows += [(line.strip(), label) for line in text.splitlines()]
    random.Random(SEED).shuffle(rows)
    tenth = len(rows) // 10
    splits = dict(test=rows[:tenth], dev=rows[tenth:tenth + 300], calib=rows[2 * tenth:2 * tenth + 256])
    vocab = tokenize_text.load_vocab()
    data = {}
    for name, part in splits.items():
        arrays = dict(tokenize_text.encode([text for text, _ in part], vocab, 64))
        arrays["labels"] = np.array([label for _, label in part], np.int64)
        np.savez(WORK / f"{name}.npz", **arrays)
        data[name] = arrays
    return data


def quantize(model, options, name="m"):
    """(ledger, path of the artefact)"""
    output, report = WORK / f"{name}.so", WORK / f"{name}.json"
    subprocess.run([LLMOPT, model, *options, f"-report-file={report}", "-o", output], check=True, cwd=WORK)
    return json.loads(report.read_text())["quantization"], output


def answers(artifact, arrays):
    feed = {k: v for k, v in arrays.items() if k != "labels"}
    np.savez(WORK / "in.npz", **feed)
    subprocess.run([RUN, artifact, "--input", WORK / "in.npz", "--output", WORK / "out.npz"], check=True,
                   stdout=subprocess.DEVNULL)
    return np.load(WORK / "out.npz")["logits"]


def ort(model, arrays):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {i.name: arrays[i.name] for i in session.get_inputs()})[0]


def accuracy(logits, arrays):
    return float((logits.argmax(1) == arrays["labels"]).mean())


def plant_outliers(model, path, factor=60):
    """Two channels of each layer's values, times `factor`; exactly undone behind."""
    graph = onnx.load(model)
    weights = {i.name: i for i in graph.graph.initializer}
    by_node = {n.name: n for n in graph.graph.node}
    for layer in range(4):
        prefix = f"/bert/encoder/layer.{layer}/attention"
        value = by_node[f"{prefix}/self/value/MatMul"].input[1]
        output = by_node[f"{prefix}/output/dense/MatMul"].input[1]
        bias = f"bert.encoder.layer.{layer}.attention.self.value.bias"
        for name, axis, scale in ((value, 1, factor), (bias, 0, factor), (output, 0, 1 / factor)):
            array = numpy_helper.to_array(weights[name]).copy()
            for channel in (17, 90):
                array[(slice(None),) * axis + (channel,)] *= scale
            weights[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(graph, path)


def check_modes(model, data):
    test = data["test"]
    before = accuracy(ort(model, test), test)
    calib = f"-calib={WORK / 'calib.npz'}"
    modes = {
        "int8": ["-quantize-int8"],
        "int8-static": ["-quantize-int8=inputs:static", calib + ",range:mse"],
        "int8-smooth": ["-quantize-int8=smooth:0.5,bias:corrected", calib],
        "int4": ["-quantize-int4"],
        "int4-gptq": ["-quantize-int4=method:gptq", calib],
        "int4-awq": ["-quantize-int4=method:awq,group:64", calib],
        "int4-weights": ["-quantize-int4=inputs:float,zero:asymmetric", calib],
    }
    reference = ort(model, test)
    errors = {}
    for name, options in modes.items():
        ledger, artifact = quantize(model, options, name)
        logits = answers(artifact, test)
        change = accuracy(logits, test) - before
        flips = int((logits.argmax(1) != reference.argmax(1)).sum())
        errors[name] = float(((logits - reference) ** 2).mean())
        expect(abs(change) <= 0.005, f"{name}: accuracy {before + change:.4f}, was {before:.4f}; {flips} of "
                                     f"{len(test['labels'])} answers changed")
        total = sum(entry["bytes"] for entry in ledger["layers"] if entry["scheme"] != "int8-rows")
        written = artifact.with_suffix(".weights").stat().st_size
        difference = written - total - ledger["other_bytes"]
        # Header, alignment to 256 bytes, columns padded to a panel, what VNNI stores beside.
        expect(abs(difference) < 0.08 * written, f"{name}: the ledger's {total + ledger['other_bytes']} bytes are "
                                                 f"{written} in the file")
        path = WORK / f"{name}.onnx"
        subprocess.run([LLMOPT, model, *options, "-emit=onnx", "-o", path], check=True)
        exported = ort(path, data["dev"])
        margin = np.abs(np.diff(exported, axis=1))[:, 0]
        same = (exported.argmax(1) == answers(artifact, data["dev"]).argmax(1)) | (margin < 0.05)
        expect(bool(same.all()), f"{name}: ONNX Runtime's answers to the exported model are the same")
    expect(errors["int4-gptq"] < errors["int4"], f"gptq's error {errors['int4-gptq']:.2e} is below rounding's "
                                                 f"{errors['int4']:.2e}")


def check_outliers(model, data):
    planted, test = WORK / "planted.onnx", data["test"]
    plant_outliers(model, planted)
    reference = ort(model, test)
    moved = np.abs(ort(planted, test) - reference).max()
    expect(moved < 1e-5 * np.abs(reference).max() * 10, f"planted outliers change f32 by {moved:.1e}")
    quantize_dynamic(planted, WORK / "naive.onnx", weight_type=QuantType.QInt8)
    error = {}
    error["naive"] = float(((ort(WORK / "naive.onnx", test) - reference) ** 2).mean())
    calib = f"-calib={WORK / 'calib.npz'}"
    for name, options in {"int8": ["-quantize-int8"], "smooth": ["-quantize-int8=smooth:0.5", calib]}.items():
        _, artifact = quantize(planted, options, f"planted-{name}")
        logits = answers(artifact, test)
        error[name] = float(((logits - reference) ** 2).mean())
        if name == "smooth":
            change = accuracy(logits, test) - accuracy(reference, test)
            expect(abs(change) <= 0.005, f"planted outliers, smooth: accuracy changes by {change:+.4f}")
    expect(error["smooth"] < error["int8"] and error["smooth"] < 0.2 * error["naive"],
           f"planted outliers: squared error {error['smooth']:.1e} with smooth, {error['int8']:.1e} per token, "
           f"{error['naive']:.1e} per tensor (ONNX Runtime)")
    # With a budget the ledger says which layers are hurt.
    ledger, _ = quantize(planted, ["-quantize-int8", f"-eval={WORK / 'dev.npz'}", "-metric=kl",
                                   "-accuracy-budget=0.0004pt"], "planted-search")
    layers = [entry for entry in ledger["layers"] if entry["scheme"] != "int8-rows"]
    damaged = [entry["layer"] for entry in layers if "attention.output" in entry["layer"] and
               entry["scheme"] == "float"]
    expect(bool(damaged), f"planted outliers: left in float by the budget: {', '.join(damaged)}")


def main():
    data = make_data()
    model = EXAMPLE / "model.onnx"
    check_modes(model, data)
    check_outliers(model, data)
    sys.exit(1 if failed else 0)


main()
