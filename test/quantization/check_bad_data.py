#!/usr/bin/env python3
"""Data and options of quantization that do not fit: one clear line, the right code.

    check_bad_data.py LLMOPT MODEL

MODEL is a small BERT of width 32. Nothing may be written where it fails, but for a
budget that cannot be met: then the best that was found is.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

LLMOPT, MODEL = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp())
failures = []

IDS = np.random.default_rng(1).integers(0, 97, (12, 8))
GOOD = dict(input_ids=IDS, attention_mask=np.ones_like(IDS), token_type_ids=np.zeros_like(IDS))


def run(*options):
    return subprocess.run([LLMOPT, MODEL, "-calib-cache=off", *options], cwd=FOLDER, capture_output=True, text=True,
                          timeout=300)


def check(name, code, words, *options, writes=False):
    for file in FOLDER.glob("m.*"):
        file.unlink()
    result = run(*options, "-o", "m.so")
    text = result.stderr.strip()
    problems = [f"no '{word}'" for word in words if word not in text]
    if result.returncode != code:
        problems.append(f"exit {result.returncode}, not {code}")
    if len(text.splitlines()) != 1:
        problems.append(f"{len(text.splitlines())} lines")
    if (FOLDER / "m.so").exists() != writes:
        problems.append("m.so is there" if not writes else "no m.so")
    if problems:
        failures.append(name)
        print(f"{name}: {', '.join(problems)}\n    {text[:400]}")


def data(name, **changes):
    arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(FOLDER / name, **arrays)
    return f"-calib={name}"


def main():
    static = "-quantize-int8=inputs:static"
    check("missing file", 1, ["none.npz"], static, "-calib=none.npz")
    check("missing array", 1, ["attention_mask", "input_ids"], static, data("a.npz", attention_mask=None))
    check("floats for ids", 1, ["input_ids", "i64", "f32"], static, data("b.npz", input_ids=IDS.astype(np.float32)))
    check("wrong rank", 1, ["input_ids", "[12]"], static, data("c.npz", input_ids=IDS[:, 0]))
    check("counts differ", 1, ["12", "11", "attention_mask"], static, data("d.npz", attention_mask=IDS[:11]))
    check("no samples", 1, ["at least 1", "0"], static, data("e.npz", **{k: v[:0] for k, v in GOOD.items()}))
    check("all padding", 1, ["attention_mask", "no token"], static, data("f.npz", attention_mask=IDS * 0))
    check("lengths differ", 1, ["sequence"], static, data("g.npz", attention_mask=np.ones((12, 9), np.int64)))
    check("ids outside of the table", 1, ["input_ids", "97"], static, data("h.npz", input_ids=IDS + 97))
    (FOLDER / "bad.jsonl").write_text('{"input_ids": [1, 2]}\n{"input_ids": [1, "two"]}\n')
    check("not a number", 1, ["bad.jsonl:2", "input_ids"], static, "-calib=bad.jsonl")
    (FOLDER / "broken.jsonl").write_text('{"input_ids": [1, 2]\n')
    check("not JSON", 1, ["broken.jsonl:1"], static, "-calib=broken.jsonl")
    good = data("good.npz")
    check("no labels", 1, ["labels"], "-quantize-int8", "-eval=good.npz", "-metric=accuracy")
    np.savez(FOLDER / "labels.npz", **GOOD, labels=np.zeros(12, np.int64))
    check("a label per sample for a model of tokens", 1, ["96 labels", "12"], "-quantize-int8", "-eval=labels.npz",
          "-metric=accuracy")
    np.savez(FOLDER / "labels.npz", **GOOD, labels=np.full((12, 8), 99))
    check("label outside", 1, ["[0, 32)", "99"], "-quantize-int8", "-eval=labels.npz", "-metric=accuracy")

    check("static without data", 2, ["-calib"], static)
    check("gptq without data", 2, ["-calib"], "-quantize-int4=method:gptq")
    check("data for nothing", 2, ["-quantize-int8"], good)
    check("budget without data", 2, ["-eval"], "-quantize-int8", "-accuracy-budget=1pt")
    check("budget for nothing", 2, ["-quantize-int8"], "-max-size=1MB")
    check("malformed budget", 2, ["0.5pt"[-2:], "much"], "-quantize-int8", "-eval=good.npz", "-accuracy-budget=much")
    check("malformed size", 2, ["-max-size", "big"], "-quantize-int8", "-max-size=big")
    check("group of 48", 2, ["32|64|128", "48"], "-quantize-int4=group:48")
    check("unknown metric", 2, ["accuracy, f1", "bleu"], "-quantize-int8", "-metric=bleu")
    check("fake gptq", 2, ["method:nearest"], "-quantize-int4=mode:fake,method:gptq", good)
    check("fake budget", 2, ["mode:fake"], "-quantize-int8=mode:fake", "-max-size=1MB")
    check("fake smooth", 2, ["smooth"], "-quantize-int8=mode:fake,smooth:0.5", good)
    check("fake times", 2, ["-tune"], "-quantize-int8=mode:fake", "-tune")
    check("unknown mode", 2, ["mode:integer|fake", "mode:real"], "-quantize-int8=mode:real")
    check("no such layer", 1, ["*nose*", "encoder.layer.0"], "-quantize-int8", "-quantize-exclude=*nose*")
    check("budget that cannot be met", 3, ["budget", "int4"], "-quantize-int4", "-max-size=1KB", writes=True)

    # Groups of 32 divide 32 but not 48: that layer stays, and the ledger says why.
    result = run("-quantize-int4", "-report=quant", "-o", "m.so")
    if result.returncode or "groups of 32 do not divide 48" not in result.stderr:
        failures.append("groups that do not divide")
        print(result.stderr)
    # The same data in other forms.
    for kind in ("jsonl", "folder"):
        if kind == "jsonl":
            lines = [{k: v[i].tolist() for k, v in GOOD.items()} for i in range(12)]
            (FOLDER / "good.jsonl").write_text("".join(str(line).replace("'", '"') + "\n" for line in lines))
            source = "good.jsonl"
        else:
            (FOLDER / "arrays").mkdir()
            for key, value in GOOD.items():
                np.save(FOLDER / "arrays" / f"{key}.npy", value.astype(np.int32))
            source = "arrays"
        outputs = []
        for calib in (source, "good.npz"):
            result = run(static, f"-calib={calib}", "-emit=lm", "-o", "m.mlir")
            outputs.append((result.returncode, (FOLDER / "m.mlir").read_text()))
        if outputs[0] != outputs[1] or outputs[0][0]:
            failures.append(f"{kind} differs from npz")
            print(f"{kind} differs from npz: {result.stderr[:300]}")
    print(f"{len(failures)} failed" if failures else "all passed")
    sys.exit(1 if failures else 0)


main()
