#!/usr/bin/env python3
"""Fine-tuning as a user goes: llmopt -train, llmopt-run --train and what surrounds them.

    check_training.py LLMOPT LLMOPT_RUN SUITE        SUITE: curves, resume, weights, errors

curves: 100 AdamW steps of a BERT and a Llama of two layers give PyTorch's losses (golden
    files of make_curves.py): the first 20 within 1e-5, all within 1e-3, the distance that
    f32 sums of another order grow to. Recomputation and the number of threads change no
    bit; every gradient agrees with differences of the loss.
resume: training that is killed at random moments goes on with the same bits.
weights: tuned weights come out under the names of modules, go in again, and make the bytes
    that a fresh compile makes.
errors: each a line and an exit code, nothing replaced.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

LLMOPT, RUN = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
SUITE = sys.argv[3]
HERE = pathlib.Path(__file__).resolve().parent
WORK = pathlib.Path(tempfile.mkdtemp())
os.chdir(WORK)
failures = []
MODELS = {"bert2": ([], "2e-3"), "llama2": (["-loss=causal"], "5e-4")}


def expect(good, text):
    print(("ok      " if good else "FAILED  ") + text, flush=True)
    if not good:
        failures.append(text)


def compile(model, *options, output):
    subprocess.run([LLMOPT, HERE / f"{model}.onnx", *options, "-o", output], check=True)
    return output


def run(*arguments, code=0):
    done = subprocess.run([RUN, *arguments], capture_output=True, text=True)
    if done.returncode != code:
        expect(False, f"exit code {code} of {' '.join(map(str, arguments))}, but got {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def train(artefact, model, *arguments):
    """Losses of all steps, and the tuned weights as bytes."""
    log, saved = WORK / "log.jsonl", WORK / "tuned.safetensors"
    log.unlink(missing_ok=True)
    run(artefact, "--train", HERE / f"{model}-curve.npz", "--order", "file", "--batch", "8", "--lr", MODELS[model][1],
        "--log", log, "--save", saved, *arguments)
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    return np.array([step["loss"] for step in steps if step["kind"] == "train"]), saved.read_bytes()


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    types = {"F32": np.float32, "I64": np.int64}
    return {name: np.frombuffer(data[8 + size:][slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}


def check_curves():
    for model, (options, rate) in MODELS.items():
        golden = np.load(HERE / f"{model}-curve.npz")["losses"]
        artefact = compile(model, "-train", *options, output=f"{model}.so")
        losses, weights = train(artefact, model, "--steps", "100")
        first, whole = np.abs(losses - golden)[:20].max(), np.abs(losses - golden).max()
        expect(len(losses) == 100 and first < 1e-5, f"{model}: 20 steps differ from PyTorch by {first:.1e}")
        expect(whole < 1e-3, f"{model}: 100 steps differ by {whole:.1e}; loss {losses[0]:.4f} to {losses[-1]:.4f}")
        expect(golden[:10].mean() - golden[-10:].mean() > 0.1, f"{model}: PyTorch's loss falls")
        expect(train(artefact, model, "--steps", "100", "--threads", "1")[1] == weights,
               f"{model}: one thread and two give the same bits")
        other = compile(model, "-train", "-recompute=none", *options, output=f"{model}-none.so")
        theirs, bits = train(other, model, "--steps", "100")
        expect(np.array_equal(theirs, losses) and bits == weights, f"{model}: -recompute=none has the same bits")
        # Steps are fused otherwise: the last bit of a norm may differ.
        other = compile(model, "-train", "-recompute=layers", *options, output=f"{model}-layers.so")
        distance = np.abs(train(other, model, "--steps", "100")[0] - losses)[:20].max()
        expect(distance < 1e-5, f"{model}: -recompute=layers differs by {distance:.1e} in 20 steps")
        text = run(artefact, "--train", HERE / f"{model}-curve.npz", "--batch", "8", "--gradcheck")
        expect("WRONG" not in text and " agree with" in text, f"{model}: {text.strip().splitlines()[-1]}")
        # Two batches of four are one of eight: sums, divided once.
        halves = np.abs(train(artefact, model, "--steps", "100", "--batch", "4", "--accumulate", "2")[0] - losses)[:20].max()
        expect(halves < 1e-5, f"{model}: two batches make a step: {halves:.1e}")
    frozen = compile("bert2", "-train", "-trainable=*layer.1.*+classifier*", output="part.so")
    _, bits = train(frozen, "bert2", "--steps", "10")
    (WORK / "part-tuned.safetensors").write_bytes(bits)
    old, new = read_safetensors("part.safetensors"), read_safetensors("part-tuned.safetensors")
    moved = {name for name in old if not np.array_equal(old[name], new[name])}
    wanted = {name for name in old if "layer.1." in name or name.startswith("classifier")}
    silent = {name for name in wanted if name.endswith("key.bias")}  # softmax takes no notice of it, but decay does not apply
    expect(moved <= wanted and wanted - silent <= moved, f"only what is trainable moves: {len(moved)} of {len(old)} weights")


def check_resume():
    artefact = compile("bert2", "-train", output="bert2.so")
    examples = dict(np.load(HERE / "bert2-curve.npz"))
    examples.pop("losses")
    # Larger, so that there are moments to be killed at.
    np.savez("train.npz", **{name: np.tile(value, (40,) + (1,) * (value.ndim - 1)) for name, value in examples.items()})
    np.savez("dev.npz", **examples)
    options = ["--train", "train.npz", "--eval", "dev.npz", "--epochs", "3", "--batch", "4", "--lr", "1e-3", "--seed", "3",
               "--eval-every", "160", "--checkpoint-every", "20", "--save", "tuned.safetensors"]
    began = time.monotonic()
    run(artefact, *options, "--checkpoint", "whole")
    seconds = time.monotonic() - began
    whole = pathlib.Path("tuned.safetensors").read_bytes()
    draw, kills, unequal = random.Random(1), 0, 0
    for attempt in range(20):
        folder = f"killed{attempt}"
        pathlib.Path("tuned.safetensors").unlink(missing_ok=True)
        process = subprocess.Popen([RUN, artefact, *options, "--checkpoint", folder], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0.05, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        if not pathlib.Path("tuned.safetensors").exists():
            run(artefact, *options, "--checkpoint", folder, "--resume")
        unequal += pathlib.Path("tuned.safetensors").read_bytes() != whole
    expect(kills >= 10, f"{kills} of 20 runs were killed")
    expect(unequal == 0, f"{20 - unequal} of 20 end with the same bits")

    steps = sorted(pathlib.Path("whole").glob("step-*.ckpt"))
    expect(len(steps) == 2, f"two checkpoints are kept: {[s.name for s in steps]}")
    last = steps[-1].read_bytes()
    for name, damaged in (("truncated", last[:-100]), ("flipped", last[:5000] + bytes([last[5000] ^ 4]) + last[5001:]),
                          ("header", last[:20] + bytes([last[20] ^ 1]) + last[21:]), ("empty", b"")):
        steps[-1].write_bytes(damaged)
        text = run(artefact, *options, "--checkpoint", "whole", "--resume")
        expect("damaged checkpoint" in text and "the one before is tried" in text and
               pathlib.Path("tuned.safetensors").read_bytes() == whole, f"{name}: the one before serves")
        steps = sorted(pathlib.Path("whole").glob("step-*.ckpt"))
    for step in steps:
        step.write_bytes(last[:-1])
    text = run(artefact, *options, "--checkpoint", "whole", "--resume", code=1)
    expect("damaged checkpoint" in text, "with none left it says so")
    other = compile("bert2", "-train", "-trainable=classifier*", output="other.so")
    steps[-1].write_bytes(last)
    text = run(other, *options, "--checkpoint", "whole", "--resume", code=1)
    expect("of another model" in text, "a checkpoint of another model is refused")
    text = run(artefact, *options[:-2], "--lr", "0.5", "--checkpoint", "whole", "--resume", code=2)
    expect("other data or options" in text, "other options are refused")
    text = run(artefact, *options, "--checkpoint", "whole", code=2)
    expect("--resume goes on" in text, "checkpoints are not overwritten")


def check_weights():
    for model, (options, _) in MODELS.items():
        artefact = compile(model, "-train", *options, output=f"{model}.so")
        _, bits = train(artefact, model, "--steps", "10")
        pathlib.Path(f"{model}-tuned.safetensors").write_bytes(bits)
        names = set(read_safetensors(f"{model}-tuned.safetensors"))
        expect(not any("::" in name or "." not in name for name in names), f"{model}: {len(names)} weights have their modules' names")
        examples = dict(np.load(HERE / f"{model}-curve.npz"))
        np.savez("in.npz", **{name: examples[name][:3] for name in examples if name not in ("losses", "labels")})
        run(artefact, "--weights", f"{model}-tuned.safetensors", "--input", "in.npz", "--output", "packed.npz")
        run(artefact, "--input", "in.npz", "--output", "old.npz")
        for kind in ([], ["-quantize-int8", "-allow-slower"]):
            # Made on the device, and by the compiler.
            subprocess.run([LLMOPT, HERE / f"{model}.onnx", f"-weights={model}-tuned.safetensors", *kind, "-o", "fresh.so"], check=True)
            subprocess.run([LLMOPT, HERE / f"{model}.onnx", "-train", *options, *kind, "-o", "base.so"], check=True)
            run("base.so", "--weights", f"{model}-tuned.safetensors", "--input", "in.npz", "--output", "device.npz")
            run("fresh.so", "--input", "in.npz", "--output", "fresh.npz")
            a, b = np.load("device.npz")["logits"], np.load("fresh.npz")["logits"]
            expect(np.array_equal(a, b), f"{model} {' '.join(kind)}: packed on the device as by the compiler")
        expect(not np.array_equal(np.load("packed.npz")["logits"], np.load("old.npz")["logits"]), f"{model}: tuning changed the logits")
        run(artefact, "--train", HERE / f"{model}-curve.npz", "--weights", f"{model}-tuned.safetensors", "--steps", "1", "--lr", "0",
            "--weight-decay", "0", "--save", "again.safetensors")
        expect(pathlib.Path("again.safetensors").read_bytes() == bits, f"{model}: goes in as it came out")
        run(artefact, "--train", HERE / f"{model}-curve.npz", "--steps", "10", "--save", f"{model}-tuned.weights")
        text = run(artefact, "--weights", f"{model}-tuned.weights", "--check", "--input", "in.npz", "--output", "w.npz")
        expect("match their hash" in text, f"{model}: --save makes a weights file")


    artefact = compile("bert2", "-train", "-lora=r:4,alpha:8,targets:*query*+*value*", "-trainable=classifier*", output="lora.so")
    run(artefact, "--train", HERE / "bert2-curve.npz", "--steps", "20", "--lr", "1e-2", "--save", "lora-tuned.safetensors",
        "--save-adapter", "adapter")
    old, new = read_safetensors("lora.safetensors"), read_safetensors("lora-tuned.safetensors")
    moved = {name for name in old if not np.array_equal(old[name], new[name])}
    adapters = {name for name in old if ".lora_" in name}
    expect(len(adapters) == 8 and moved == adapters | {"classifier.weight", "classifier.bias"},
           f"-lora moves {len(moved)} of {len(old)} weights; the rest keeps its bits")
    expect(all(not old[n].any() and new[n].any() for n in adapters if "lora_B" in n), "B was zero and moved")
    stored, config = read_safetensors("adapter/adapter_model.safetensors"), json.loads(pathlib.Path("adapter/adapter_config.json").read_text())
    layers = [f"bert.encoder.layer.{i}.attention.self.{kind}" for i in (0, 1) for kind in ("query", "value")]
    expect(set(stored) == {f"base_model.model.{layer}.lora_{x}.weight" for layer in layers for x in "AB"} |
           {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}, "the adapter has PEFT's names")
    expect(config["peft_type"] == "LORA" and config["r"] == 4 and config["lora_alpha"] == 8 and not config["use_rslora"] and
           config["target_modules"] == layers and config["modules_to_save"] == ["classifier"], "and its configuration")
    examples = dict(np.load(HERE / "bert2-curve.npz"))
    np.savez("in.npz", **{name: examples[name][:3] for name in examples if name not in ("losses", "labels")})
    for name in ("lora-tuned.safetensors", "adapter/adapter_model.safetensors"):
        run(artefact, "--weights", name, "--input", "in.npz", "--output", f"{pathlib.Path(name).stem}.npz")
    expect(np.array_equal(np.load("lora-tuned.npz")["logits"], np.load("adapter_model.npz")["logits"]), "and goes in again")
    text = run("bert2.so", "--train", HERE / "bert2-curve.npz", "--steps", "1", "--save-adapter", "none", code=2)
    expect("compiled with -lora" in text, "a model without adapters has none to save")


def check_errors():
    artefact = compile("bert2", "-train", output="bert2.so")
    examples = dict(np.load(HERE / "bert2-curve.npz"))
    examples.pop("losses")

    def example(name, **changed):
        np.savez(name, **(examples | changed))
        return name

    labels = examples["labels"]
    for name, data, words, code in (
            ("high", example("high.npz", labels=labels + 1), "expected labels from 0 to 2", 1),
            ("low", example("low.npz", labels=labels - 7), "expected labels from 0 to 2", 1),
            ("type", example("type.npz", labels=labels.astype(np.float32)), "'labels' is f32[80]", 1),
            ("short", example("short.npz", labels=labels[:3]), "expected 80 examples of 'labels', but got 3", 1),
            ("none", example("none.npz", **{k: v[:0] for k, v in examples.items()}), "expected examples", 1)):
        text = run(artefact, "--train", data, code=code)
        expect(words in text and len(text.strip().splitlines()) <= 2, f"{name}: {text.strip().splitlines()[-1]}")
    np.savez("missing.npz", **{k: v for k, v in examples.items() if k != "labels"})
    text = run(artefact, "--train", "missing.npz", code=1)
    expect("expected an array 'labels'" in text, f"missing: {text.strip()}")

    text = run(artefact, "--train", example("ignored.npz", labels=np.full_like(labels, -100)), "--steps", "3", "--save", "same.safetensors")
    old, new = read_safetensors("bert2.safetensors"), read_safetensors("same.safetensors")
    expect("every label is ignored" in text and all(np.array_equal(old[n], new[n]) for n in old), "nothing to learn changes nothing")
    half = labels.copy()
    half[::2] = -100
    text = run(artefact, "--train", example("half.npz", labels=half), "--steps", "3")
    expect("ignored" not in text, "labels that are ignored in part")

    broken = dict(old)
    broken["classifier.weight"] = np.full_like(broken["classifier.weight"], np.nan)
    header, data = {}, b""
    for name, value in broken.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    head = json.dumps(header).encode()
    pathlib.Path("nan.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    text = run(artefact, "--train", example("good.npz"), "--weights", "nan.safetensors", "--steps", "4", "--save", "kept.safetensors")
    expect("not finite" in text and "4 updates skipped" in text, "NaN gradients are skipped and counted")
    expect(np.array_equal(read_safetensors("kept.safetensors")["classifier.bias"], old["classifier.bias"]), "and change nothing")

    text = run(artefact, "--train", "good.npz", "--mem-budget", "100K", code=1)
    expect("--mem-budget" in text and "need" in text, f"budget: {text.strip().splitlines()[-1]}")
    for words, arguments in (("did you mean '--epochs'", ["--epoch", "3"]), ("expected one of adamw", ["--optimizer", "lion"]),
                             ("--resume: expected --checkpoint", ["--resume"]), ("--patience: expected --eval", ["--patience", "3"])):
        text = run(artefact, "--train", "good.npz", *arguments, code=2)
        expect(words in text, f"{' '.join(arguments)}: {text.strip()}")
    text = run(artefact, "--train", "good.npz", "--eval", "good.npz", "--metric", "bleu", "--steps", "2", code=2)
    expect("expected one of loss, accuracy" in text, f"metric: {text.strip().splitlines()[-1]}")
    inference = compile("bert2", output="inference.so")
    text = run(inference, "--train", "good.npz", code=2)
    expect("compiled for inference only" in text, f"inference: {text.strip()}")
    for name, damage in (("short", lambda b: b[:6]), ("cut", lambda b: b[:-64]), ("header", lambda b: b[:12] + b"?" + b[13:])):
        file = pathlib.Path("bert2.safetensors")
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        text = run(artefact, "--train", "good.npz", code=1)
        file.write_bytes(whole)
        expect("damaged safetensors" in text, f"{name} weights: {text.strip()}")
    for arguments, words in ((["-trainable=*qury*"], "near names are"), (["-loss=mae"], "expected -loss=")):
        done = subprocess.run([LLMOPT, HERE / "bert2.onnx", "-train", *arguments, "-o", "x.so"], capture_output=True, text=True)
        expect(done.returncode in (1, 2) and words in done.stderr, done.stderr.strip())
    text = run(artefact, "--train", "good.npz", "--eval", "good.npz", "--epochs", "40", "--lr", "5e-3", "--patience", "2", "--min-delta", "0.01",
               "--metric", "loss", "--batch", "16")
    expect("stopped early" in text and "best loss" in text, "early stopping")


{"curves": check_curves, "resume": check_resume, "weights": check_weights, "errors": check_errors}[SUITE]()
print(f"{len(failures)} failed")
sys.exit(1 if failures else 0)
