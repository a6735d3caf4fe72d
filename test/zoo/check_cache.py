#!/usr/bin/env python3
"""Decode with every decoder of the zoo that has a past, in the session's cache.

    check_cache.py LLMOPT LLMOPT_RUN [MODEL...]

Each file *-past.onnx and *-static.onnx (or MODEL) is compiled with -kv-cache and
generates greedily; ONNX Runtime does the same with the past as inputs and outputs,
one token at a time behind the prompt. A past of fixed size is a buffer that the
model writes new tokens into. All ids must be equal, and the logits of every step within 1e-4 of the
largest. Where the two best logits are closer than twice that, ids may part, and
only what came before is compared.

One file of each architecture is compiled with -kv-cache=type:int8 as well: until ids
part its logits must differ, but by at most INT8_FACTOR times what rounding its past to
int8, one scale per token and head, moves those of ONNX Runtime. (That rounds what a
step itself adds only behind the step, a cache before it.)
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

import scatter_models

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = [5, 6, 7, 40, 11]
COUNT, TOLERANCE = 11, 1e-4  # no more than fits 16 tokens
INT8_FACTOR = 3


def rounded(past):
    """Keys or values [.., D] as int8 with one scale for every D of them would hold them."""
    scale = np.abs(past).max(-1, keepdims=True) / 127
    return (np.rint(past / np.where(scale > 0, scale, 1)) * scale).astype(past.dtype)


def reference(path, forced=None):
    """The logits [COUNT, vocabulary] of greedy steps, the ids, and what an encoder
    would give: random, since any will do. `forced`: ids to take instead of the
    likeliest; the past is rounded then."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # TensorScatter warns of its copies
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    past, ids, rows, encoder = {}, list(PROMPT), [], {}
    random = np.random.default_rng(1)
    for name in session.get_inputs():
        if "encoder" in name.name.replace("decoder", ""):
            shape = [1 if i == 0 else d if isinstance(d, int) else 9 for i, d in enumerate(name.shape)]
            values = random.standard_normal(shape).astype(np.float32)
            encoder[name.name] = np.ones(shape, np.int64) if name.type == "tensor(int64)" else values
        elif "past" in name.name or "_cache." in name.name:
            shape = [d if isinstance(d, int) else 1 if "batch" in d else 0 for d in name.shape]
            past[name.name] = np.zeros(shape, np.float32)
    outs = [o.name for o in session.get_outputs() if o.name != "logits"]
    present = dict(zip(past, outs[:len(past)]))
    new = np.array([PROMPT])
    while len(rows) < COUNT:
        seen = len(ids) - new.shape[1]
        feed = past | encoder
        for i in session.get_inputs():
            kind = np.int32 if i.type == "tensor(int32)" else np.int64
            value = {"input_ids": new, "attention_mask": np.ones((1, len(ids))), "cache_position": np.arange(seen, len(ids)),
                     "position_ids": np.arange(seen, len(ids))[None], "write_indices": np.array([seen]),
                     "nonpad_kv_seqlen": np.array([len(ids)])}.get(i.name)
            if value is not None:
                feed[i.name] = value.astype(kind)
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed)))
        rows.append(outputs["logits"][0, -1])
        ids.append(forced[len(ids)] if forced else int(rows[-1].argmax()))
        keep = rounded if forced else lambda value: value
        past = {name: keep(outputs[present[name]]) for name in past}
        new = np.array([ids[-1:]])
    return np.stack(rows), ids, encoder


def generate(llmopt, run, folder, model, option, encoder):
    subprocess.run([llmopt, model, option, "-o", folder / "m.so"], check=True)
    subprocess.run([run, folder / "m.so", "--generate", str(COUNT), "--prompt", ",".join(map(str, PROMPT)),
                    "--output", folder / "out.npz", *(["--input", folder / "in.npz"] if encoder else [])], check=True, capture_output=True)
    return np.load(folder / "out.npz")


def check_int8(name, got, logits, ids, moved):
    """Whether what a cache of int8 gives is near, as far as it saw the same tokens."""
    steps = 1
    while steps < COUNT and got["ids"][len(PROMPT) + steps - 1] == ids[len(PROMPT) + steps - 1]:
        steps += 1
    error = np.abs(got["logits"][:steps] - logits[:steps]).max() / np.abs(logits).max()
    scale = np.abs(moved[:steps] - logits[:steps]).max() / np.abs(logits).max()
    good = TOLERANCE / 10 < error <= INT8_FACTOR * scale
    print(f"{name}, int8: {steps} steps, logits error {error:.1e}, of a rounded past {scale:.1e}: {'ok' if good else 'FAILED'}")
    return good


def check_refusals(llmopt, run, folder):
    """How many of two wrong uses are not refused with what is wrong."""
    scatter_models.write(folder / "ring.onnx", True, mode="circular")
    ring = subprocess.run([llmopt, folder / "ring.onnx", "-kv-cache", "-o", folder / "m.so"], capture_output=True, text=True)
    wanted = "cannot keep it in a cache: expected the new tokens of every sequence right behind its past ones"
    failed = ring.returncode != 1 or wanted not in ring.stderr
    subprocess.run([llmopt, folder / "tensor-scatter-rows.onnx", "-kv-cache", "-o", folder / "m.so"], check=True,
                   capture_output=True)
    more = subprocess.run([run, folder / "m.so", "--generate", "30", "--prompt", "5,6"], capture_output=True, text=True)
    full = more.returncode != 1 or f"<= {scatter_models.ROOM}" not in more.stderr
    print(f"circular buffer: {'FAILED ' + ring.stderr if failed else 'refused'}")
    print(f"more tokens than room: {'FAILED ' + more.stderr if full else 'refused'}")
    return failed + full


def main():
    llmopt, run, *models = sys.argv[1:]
    whole = not models
    models = list(map(pathlib.Path, models)) or sorted([*HERE.glob("*-past.onnx"), *HERE.glob("*-static.onnx")])
    failed = checked = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if whole:
            for by_head in (True, False):
                models.append(folder / f"tensor-scatter-{'heads' if by_head else 'rows'}.onnx")
                scatter_models.write(models[-1], by_head)
        for model in models:
            logits, ids, encoder = reference(model)
            np.savez(folder / "in.npz", **encoder)
            got = generate(llmopt, run, folder, model, "-kv-cache", encoder)
            top = np.sort(logits, axis=1)
            clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE * np.abs(logits).max()
            steps = COUNT if clear.all() else int(clear.argmin()) + 1
            error = np.abs(got["logits"][:steps] - logits[:steps]).max() / np.abs(logits).max()
            same = list(got["ids"][:len(PROMPT) + steps - 1]) == ids[:len(PROMPT) + steps - 1]
            good = same and error <= TOLERANCE and steps > 1
            failed += not good
            checked += 1
            print(f"{model.name}: {steps} steps, ids {'equal' if same else 'DIFFER'}, logits error {error:.1e}: "
                  f"{'ok' if good else 'FAILED'}")
            if not whole or "optimum-past" in model.name or "genai" in model.name:
                got = generate(llmopt, run, folder, model, "-kv-cache=type:int8", encoder)
                failed += not check_int8(model.name, got, logits, ids, reference(model, ids)[0])
                checked += 1
        if whole:
            failed += check_refusals(llmopt, run, folder)
            checked += 2
    print(f"{checked - failed} passed, {failed} failed")
    sys.exit(1 if failed or not checked else 0)


main()
