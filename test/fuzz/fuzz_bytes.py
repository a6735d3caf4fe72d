#!/usr/bin/env python3
"""Broken models: bytes, fields and structure changed at random.

    fuzz_bytes.py --fuzz-import build/bin/llmopt-fuzz-import --llmopt build/bin/llmopt
                  [--seed N] [--count N | --minutes M] [--cases DIR] [--save DIR]

What is changed are random graphs (fuzz_graph.py) and the models of test/models and
test/zoo. Importer, passes and plan must give a module that verifies, or at least
one message of one line each; never a signal, nor take long (llmopt-fuzz-import,
many files per process); of some files the same through `llmopt -info`: exit code 0,
1 or 2. --cases checks saved cases first. Every file follows from its seed alone.
Exit code 0: nothing found, 1: something.
"""
import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import onnx

import fuzz_graph

HERE = pathlib.Path(__file__).resolve().parent
BATCH = 200
LARGEST = 400_000  # bytes of a model that is changed
NUMBERS = [0, 1, -1, 2, 3, 7, 64, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), 1 << 31, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1,
           -(1 << 63)]
FLOATS = [0.0, -1.0, 1e-38, 3e38, float("nan"), float("inf"), float("-inf"), 0.5]
TEXTS = ["", "x", "x_1", "axis", "perm", "Softmax", "Loop", "If", "Constant", "ai.onnx", "com.microsoft", "a\nb", "\x1b[2J",
         "*/", "\u00e9\u2603", "../../etc/passwd", "%s%n", "y" * 300]


def messages(message):
    """All messages inside, this one first."""
    yield message
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for inner in (value if is_repeated(field) else [value]):
            yield from messages(inner)


def is_repeated(field):
    return field.is_repeated if isinstance(getattr(field, "is_repeated", None), bool) else field.label == field.LABEL_REPEATED


def scalar(rng, field, texts):
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        text = rng.choice(texts if rng.random() < 0.7 else TEXTS)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if kind == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    number = rng.choice(NUMBERS) if rng.random() < 0.5 else rng.randint(-2, 26)
    if kind in (field.CPPTYPE_INT32,):
        return max(-(1 << 31), min((1 << 31) - 1, number))
    return max(0, number) if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else number


def change(rng, model, texts):
    """One change of one field, or of the list that it is in."""
    message = rng.choice(list(messages(model)))
    fields = message.ListFields()
    if not fields or rng.random() < 0.15:  # a field that is not there
        field = rng.choice(message.DESCRIPTOR.fields)
        if field.type == field.TYPE_MESSAGE:
            target = getattr(message, field.name)
            target.add() if is_repeated(field) else target.SetInParent()
            return
        if is_repeated(field):
            getattr(message, field.name).append(scalar(rng, field, texts))
            return
        setattr(message, field.name, scalar(rng, field, texts))
        return
    field, value = rng.choice(fields)
    if not is_repeated(field):
        if field.type == field.TYPE_MESSAGE or rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, scalar(rng, field, texts))
        return
    at, way = rng.randrange(len(value)), rng.random()
    if way < 0.25:
        del value[at]
    elif way < 0.4:
        copy = value[at]
        value.add().CopyFrom(copy) if field.type == field.TYPE_MESSAGE else value.append(copy)
    elif way < 0.6 and len(value) > 1:
        other = rng.randrange(len(value))
        if field.type == field.TYPE_MESSAGE:
            kept = type(value[at])()
            kept.CopyFrom(value[at])
            value[at].CopyFrom(value[other])
            value[other].CopyFrom(kept)
        else:
            value[at], value[other] = value[other], value[at]
    elif field.type != field.TYPE_MESSAGE:
        value[at] = scalar(rng, field, texts)


def corrupt(rng, data):
    data = bytearray(data)
    way = rng.random()
    if way < 0.2:
        return bytes(data[:rng.randrange(len(data) + 1)])
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(data))
        if way < 0.7:
            data[at] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
        elif way < 0.85:
            data[at:at + rng.randrange(1, 9)] = b""
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        if not data:
            return b""
    return bytes(data)


def make(seed, originals):
    rng = random.Random(seed)
    if rng.random() < 0.75 or not originals:
        graph, outputs, with_shapes = fuzz_graph.grow(seed // 10)  # ten changes of each
        model = graph.finish(outputs, with_shapes)
    else:
        model = onnx.load(rng.choice(originals), load_external_data=False)
    if rng.random() < 0.7:
        texts = [n for node in model.graph.node for n in (*node.input, *node.output, node.op_type)] or TEXTS
        for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
            try:
                change(rng, model, texts)
            except (TypeError, ValueError):
                pass  # a value that the field cannot hold
        return model.SerializeToString()
    return corrupt(rng, model.SerializeToString())


def run_folder(options, folder):
    done = subprocess.run([options.fuzz_import, f"--jobs={options.jobs}", folder], capture_output=True, text=True,
                          errors="replace")
    if "fuzz-import:" not in done.stdout:
        raise SystemExit(f"{options.fuzz_import} ended early: {done.stdout[-300:]} {done.stderr[-300:]}")
    planned = int(done.stdout.split(" planned")[0].split()[-1])
    return planned, [line[6:] for line in done.stdout.splitlines() if line.startswith("WRONG ")]


def run_tool(options, path):
    try:
        done = subprocess.run([options.llmopt, path, "-info"], capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return "takes too long"
    if done.returncode not in (0, 1, 2):
        return f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
    lines = done.stderr.splitlines()
    if done.returncode and (not lines or not all(line.strip() for line in lines)):
        return f"expected one line per problem, but got '{done.stderr[:200]}'"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuzz-import", type=pathlib.Path, required=True)
    parser.add_argument("--llmopt", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=int(time.time()) * 10000)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--minutes", type=float, help="until then instead of --count")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cases", type=pathlib.Path)
    parser.add_argument("--save", type=pathlib.Path)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    originals = sorted(p for folder in ("models", "zoo") for p in (HERE.parent / folder).glob("*.onnx")
                       if p.stat().st_size < LARGEST)
    started, total, planned, failures = time.time(), 0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        if options.cases:
            _, wrong = run_folder(options, options.cases)
            failures += len(wrong)
            for line in wrong:
                print(f"FAIL case {line}", flush=True)
        while (time.time() - started < 60 * options.minutes if options.minutes else total < options.count):
            folder = pathlib.Path(temporary, str(total))
            folder.mkdir()
            count = BATCH if options.minutes else min(BATCH, options.count - total)
            for seed in range(options.seed + total, options.seed + total + count):
                (folder / f"{seed}.onnx").write_bytes(make(seed, originals))
            total += count
            passed, wrong = run_folder(options, folder)
            planned += passed
            for path in sorted(folder.iterdir())[::40]:
                if problem := run_tool(options, path):
                    wrong.append(f"{path.name}: llmopt -info: {problem}")
            for line in wrong:
                failures += 1
                print(f"FAIL {line}", flush=True)
                if options.save:
                    options.save.mkdir(parents=True, exist_ok=True)
                    shutil.copy(folder / line.split(":")[0], options.save)
            shutil.rmtree(folder)
    print(f"{total} files, {planned} of them compile, {failures} failures, {time.time() - started:.0f} s")
    return 1 if failures or not total else 0


if __name__ == "__main__":
    sys.exit(main())
