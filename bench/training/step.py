#!/usr/bin/env python3
"""Time a training step of an encoder beside PyTorch, and the memory that both take.

    step.py FOLDER [--models minilm-l6,bert-base] [--batch 16] [--length 128] [--rounds 3] [--steps 8] [--real data.npz]

FOLDER holds what bench/models/make.py writes. Both sides train a classifier (AdamW, clipping) on
the same batches, pinned to the same CPUs, in turns; a round is the median step of a process of
its own. Sides: llmopt with all weights, -recompute=free and layers, and LoRA of rank 8 on queries
and values; PyTorch eager and compiled, and PEFT's LoRA eager. Memory is the most that a process had
resident, for PyTorch above what it had when everything was imported. Rows go to
bench/results/training.csv, a table to training.txt beside it.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LLMOPT, RUN = ROOT / "build/bin/llmopt", ROOT / "build/bin/llmopt-run"
OURS = {"llmopt": [], "llmopt -recompute=layers": ["-recompute=layers"],
        "llmopt LoRA": ["-lora=r:8,targets:*query*+*value*"]}
THEIRS = {"torch": [], "torch compiled": ["--compile"], "torch LoRA": ["--lora"]}


def torch_worker(folder, data, batch, steps, threads, options):
    import torch
    import transformers
    torch.set_num_threads(threads)
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=2)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    if "--lora" in options:
        import peft
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = transformers.AutoModelForSequenceClassification.from_config(config).train()
    if "--lora" in options:
        model = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"],
                                                           modules_to_save=["classifier"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5)
    run = torch.compile(model) if "--compile" in options else model
    arrays = {name: torch.from_numpy(value) for name, value in np.load(data).items()}
    times = []
    for step in range(steps):
        at = step * batch % len(arrays["labels"])
        began = time.perf_counter()
        loss = run(**{name: value[at:at + batch] for name, value in arrays.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"times": times, "memory": peak - before}))


def measured(command, environment=None):
    """Output, and the most memory in MB that the process had."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.close(read)
        os.execvpe(str(command[0]), [str(c) for c in command], environment or os.environ)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: failed")
    return text, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--models", default="minilm-l6,bert-base")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default="")
    parser.add_argument("--worker", nargs="*")
    arguments = parser.parse_args()
    if arguments.worker is not None:
        return torch_worker(arguments.folder, "train.npz", arguments.batch, arguments.steps, arguments.threads,
                            ["--" + option for option in arguments.worker])
    date = datetime.date.today().isoformat()
    rows, folder = [], pathlib.Path(tempfile.mkdtemp())
    models = arguments.folder.resolve()
    os.chdir(folder)
    random = np.random.default_rng(0)
    shape = (arguments.batch * 4, arguments.length)
    ids = random.integers(1000, 20000, shape)
    np.savez("train.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids),
             labels=random.integers(0, 2, shape[0]))
    for model in arguments.models.split(","):
        for i, (side, options) in enumerate(OURS.items()):
            subprocess.run([LLMOPT, models / f"{model}.torchscript.onnx", "-train", "-head=sequence:2,pool:cls", *options,
                            "-o", f"{i}.so"], check=True)
        results = {}
        for _ in range(arguments.rounds):
            for i, side in enumerate(OURS):
                if arguments.sides and side not in arguments.sides.split(","):
                    continue
                pathlib.Path("log.jsonl").unlink(missing_ok=True)
                _, memory = measured([RUN, f"{i}.so", "--train", "train.npz", "--order", "file", "--steps", arguments.steps, "--batch",
                                      arguments.batch, "--threads", arguments.threads, "--log", "log.jsonl", "--json"])
                times = [json.loads(line)["seconds"] for line in open("log.jsonl") if '"train"' in line]
                results.setdefault(side, []).append((statistics.median(times[2:]), memory))
            for side, options in THEIRS.items():
                if arguments.sides and side not in arguments.sides.split(","):
                    continue
                text, _ = measured([sys.executable, __file__, models / model, "--batch", arguments.batch, "--steps", arguments.steps + 2,
                                    "--threads", arguments.threads, "--worker", *[o.removeprefix("--") for o in options]])
                result = json.loads(text.splitlines()[-1])
                results.setdefault(side, []).append((statistics.median(result["times"][4:]), result["memory"]))
        for side, rounds in results.items():
            seconds, memory = statistics.median(r[0] for r in rounds), statistics.median(r[1] for r in rounds)
            rows.append([date, platform.processor() or platform.machine(), model, arguments.batch, arguments.length, arguments.threads, side,
                         f"{seconds:.4f}", f"{min(r[0] for r in rounds):.4f}", f"{max(r[0] for r in rounds):.4f}", f"{memory:.0f}"])
    results = ROOT / "bench/results"
    path = results / "training.csv"
    isNew = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if isNew:
            writer.writerow(["date", "cpu", "model", "batch", "length", "threads", "side", "seconds", "least", "most", "memory_mb"])
        writer.writerows(rows)
    lines = [f"{date}, {arguments.threads} threads, batch {arguments.batch} x {arguments.length}: median step, and memory (PyTorch's above its imports)"]
    for row in rows:
        lines.append(f"{row[2]:12} {row[6]:28} {float(row[7]) * 1000:8.0f} ms  ({float(row[8]) * 1000:.0f} to {float(row[9]) * 1000:.0f})  {row[10]:>6} MB")
    text = "\n".join(lines) + "\n"
    (results / "training.txt").write_text(text)
    print(text, end="")


main()
