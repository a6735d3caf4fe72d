#!/usr/bin/env python3
"""What is kept between runs: statistics of calibration and times of layers.

    check_kept.py LLMOPT MODEL

MODEL is a small BERT of width 32. A second run must say that it took what was kept and
write the same bytes; whatever statistics depend on must miss; what is damaged is one
line, is made again and changes nothing. Times must decide what becomes of a layer.
"""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

LLMOPT, MODEL = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp())
CACHE = FOLDER / "cache"
os.environ["XDG_CACHE_HOME"] = str(FOLDER / "xdg")
IDS = np.random.default_rng(1).integers(0, 97, (12, 8))
DATA = dict(input_ids=IDS, attention_mask=np.ones_like(IDS), token_type_ids=np.zeros_like(IDS))
GPTQ = ["-quantize-int4=method:gptq", "-calib=calib.npz"]
HIT = "calibrate: statistics from the cache"
failures = []


def expect(good, text):
    print(("ok      " if good else "FAILED  ") + text, flush=True)
    if not good:
        failures.append(text)


def run(*options, model=MODEL, code=0, cache=CACHE):
    """(lines of standard error, bytes that were written)"""
    for file in FOLDER.glob("m.*"):
        file.unlink()
    kept = [f"-calib-cache={cache}"] if cache else []
    result = subprocess.run([LLMOPT, model, *options, *kept, "-o", "m.so"], cwd=FOLDER, capture_output=True, text=True)
    if result.returncode != code:
        sys.exit(f"{options}: exit {result.returncode}, not {code}:\n{result.stderr}")
    written = b"".join(f.read_bytes() for f in sorted(FOLDER.glob("m.*")) if f.suffix in (".so", ".weights"))
    return result.stderr.strip().splitlines(), written


def entries():
    return sorted(CACHE.glob("*"))


def check_statistics():
    lines, first = run(*GPTQ)
    expect(not lines and len(entries()) == 1, f"a first run keeps one entry and says nothing: {lines}")
    lines, second = run(*GPTQ)
    expect(len(lines) == 1 and HIT in lines[0] and second == first, f"a second run takes it, same bytes: {lines}")
    lines, without = run(*GPTQ, cache="off")
    expect(not lines and without == first, "without a cache: the same bytes")
    expect(not (FOLDER / "xdg").exists(), "nothing elsewhere")
    lines, _ = run(*GPTQ, cache=None)
    expect(not lines and len(list((FOLDER / "xdg" / "llmopt").glob("*.cache"))) == 1, "by default: the user's cache folder")

    shutil.copy(MODEL, FOLDER / "moved.onnx")
    lines, moved = run(*GPTQ, model="moved.onnx")
    expect(len(lines) == 1 and moved == first, "a model elsewhere is the same model")
    graph = onnx.load(MODEL)
    weight = next(i for i in graph.graph.initializer if len(i.dims) == 2 and i.dims[0] == 32)
    array = numpy_helper.to_array(weight).copy()
    array[0, 0] += 1
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(graph, FOLDER / "other.onnx")
    np.savez(FOLDER / "other.npz", **{**DATA, "input_ids": IDS[::-1]})
    for what, options, model in (("one weight", GPTQ, "other.onnx"),
                                 ("the data", [GPTQ[0], "-calib=other.npz"], MODEL),
                                 ("how much of it", [GPTQ[0], "-calib=calib.npz,samples:4"], MODEL),
                                 ("the mask", [GPTQ[0], "-calib=calib.npz,mask:token_type_ids_"], MODEL),
                                 ("which statistics", ["-quantize-int8=inputs:static", GPTQ[1]], MODEL),
                                 ("the CPU", [*GPTQ, "-mcpu=x86-64-v2"], MODEL)):
        if what == "the CPU" and platform.machine() != "x86_64":
            continue
        before = len(entries())
        lines, _ = run(*options, model=model)
        expect(not any(HIT in line for line in lines) and len(entries()) == before + 1, f"{what} is another entry")


def check_damage():
    shutil.rmtree(CACHE)
    _, first = run(*GPTQ)
    entry = entries()[0]
    good = entry.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    for what, damaged in (("cut off", good[:len(good) // 2]), ("empty", b""), ("one bit", bytes(flipped)),
                          ("longer", good + b"x"), ("no header", b"x" * len(good))):
        entry.write_bytes(damaged)
        lines, again = run(*GPTQ)
        expect(len(lines) == 1 and "warning" in lines[0] and "damaged" in lines[0] and again == first and
               entry.read_bytes() == good, f"{what}: one line, made again, same bytes: {lines}")
    expect(entries() == [entry], "no temporary files")
    entry.write_bytes(good)

    shutil.rmtree(CACHE)
    np.savez(FOLDER / "padding.npz", **{**DATA, "attention_mask": IDS * 0})
    run(GPTQ[0], "-calib=padding.npz", code=1)
    expect(not CACHE.exists() or not entries(), "calibration that fails keeps nothing")
    CACHE.write_text("a file where a folder should be")
    lines, again = run(*GPTQ)
    expect(len(lines) == 1 and "warning" in lines[0] and again == first, f"a folder that cannot be: one line: {lines}")
    CACHE.unlink()


def layers(*options):
    lines, _ = run("-quantize-int8", "-report-file=r.json", *options)
    report = json.loads((FOLDER / "r.json").read_text())["quantization"]["layers"]
    return lines, [entry for entry in report if entry["scheme"] != "int8-rows"]


def check_times():
    lines, entries_ = layers()
    expect(not lines and {e["time_is"] for e in entries_} == {"estimated"}, "without -tune times are estimated")
    lines, first = layers("-tune=batch:2,sequence:4+8")
    good = all(e["time_is"] == "measured" and e["microseconds"] > 0 and
               e["rows"] == ([2] if "pooler" in e["layer"] else [8, 16]) for e in first)
    expect(not lines and good, f"-tune measures every layer, for 8 and 16 rows: {lines}")
    lines, second = layers("-tune=batch:2,sequence:4+8")
    same = np.allclose([e["microseconds"] for e in first], [e["microseconds"] for e in second], rtol=1e-9, atol=0)
    expect(len(lines) == 1 and "all times from the cache" in lines[0] and same, f"and takes them again: {lines}")
    lines, _ = layers("-tune", "-tune-file=tune.json")
    times = json.loads((FOLDER / "tune.json").read_text())
    expect(not lines and {p["scheme"] for p in times["products"]} == {"float", "int8"} and
           {p["rows"] for p in times["products"]} == {128}, "-tune-file keeps them as data")
    lines, read = layers("-tune-file=tune.json")
    expect(not lines and all(e["time_is"] == "measured" for e in read), "which is read without -tune, too")
    for factor, scheme, word in ((100.0, "float", "measured"), (0.01, "int8", "")):
        for product in times["products"]:
            product["microseconds"] = 10 * (factor if product["scheme"] == "int8" else 1)
        (FOLDER / "edited.json").write_text(json.dumps(times))
        _, read = layers("-tune-file=edited.json")
        good = all(e["scheme"] == scheme and word in e.get("reason", "") for e in read)
        expect(good, f"int8 that takes {factor} times as long: {scheme}")

    (FOLDER / "old.json").write_text(json.dumps({**times, "machine": "another"}))
    (FOLDER / "bad.json").write_text(json.dumps({**times, "products": [{"scheme": "int8"}]}))
    (FOLDER / "cut.json").write_text(json.dumps(times)[:40])
    for name, words in (("old", "'another'"), ("bad", "positive microseconds"), ("cut", "cut.json"), ("none", "none.json")):
        lines, _ = run("-quantize-int8", f"-tune-file={name}.json", code=4 if name == "none" else 1)
        expect(len(lines) == 1 and words in lines[0], f"{name}: {lines}")
    lines, _ = run("-quantize-int8", "-tune=time:1", code=1)
    expect(len(lines) == 1 and "batch, sequence" in lines[0], f"a size that no input has: {lines}")
    foreign = (["-target=x86_64-linux-gnu", "-mcpu=x86-64-v3"] if platform.machine() == "aarch64" else
               ["-target=aarch64-linux-gnu", "-mcpu=neoverse-n1"])
    lines, _ = run("-quantize-int8", "-tune", *foreign, code=2)
    expect(len(lines) == 1 and "cannot measure for another CPU" in lines[0], f"another CPU: {lines}")
    lines, _ = run("-tune", code=2)
    expect(len(lines) == 1 and "-quantize-int8" in lines[0], f"nothing to choose: {lines}")


def main():
    np.savez(FOLDER / "calib.npz", **DATA)
    check_statistics()
    check_damage()
    check_times()
    shutil.rmtree(FOLDER)
    sys.exit(1 if failures else 0)


main()
