#!/usr/bin/env python3
"""Write bert2-passes.npz: losses and gradients of what training adds to a model, by PyTorch.

    make_passes_golden.py [FOLDER]        needs the packages of scripts/setup --bench

Parameters of the model are those of bert2.onnx; new ones, inputs and labels are in
the file. Keys are "<case>/in/<name>" and "<case>/out/<name>"; check_passes.py knows
how each case is compiled. Dropout's masks and rounded weights are computed here by
numpy, from their definitions.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import transformers
from philox import philox

HERE = pathlib.Path(__file__).resolve().parent
F = torch.nn.functional


def build_model():
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation="eager")
    model = transformers.BertForSequenceClassification(config).eval()
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(HERE / "bert2.onnx").graph.initializer}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name].copy()))
    return model


def make_inputs(lengths, sequence):
    ids = torch.randint(1, 61, (len(lengths), sequence))
    mask = torch.zeros(len(lengths), sequence, dtype=torch.int64)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    types = (torch.arange(sequence)[None] > 3).long() * mask
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


class LoRA(torch.nn.Module):
    def __init__(self, base, rank, scale):
        super().__init__()
        self.base, self.scale = base, scale
        self.a = torch.nn.Parameter(torch.randn(rank, base.in_features) * 0.2)
        self.b = torch.nn.Parameter(torch.randn(base.out_features, rank) * 0.2)

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.a.T) @ self.b.T


def insert_lora(model, patterns, rank, scale):
    """Replaces linear layers; returns the new parameters by PEFT's names."""
    parameters = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and any(p in name for p in patterns):
            lora = LoRA(module, rank, scale)
            parent, leaf = name.rsplit(".", 1)
            setattr(model.get_submodule(parent), leaf, lora)
            parameters[f"base_model.model.{name}.lora_A.weight"] = lora.a
            parameters[f"base_model.model.{name}.lora_B.weight"] = lora.b
    return parameters


def round_weights(model, bits, group):
    """What quantization to nearest leaves of the weights of linear layers."""
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or min(module.weight.shape) < 16:
            continue
        w = module.weight.detach().numpy()
        if group and w.shape[1] % group:
            continue
        parts = w.reshape(w.shape[0], -1, group) if group else w[:, None, :]
        scale = np.abs(parts).max(-1, keepdims=True) / np.float32(2 ** (bits - 1) - 1)
        rounded = np.round(parts / scale) * scale
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(rounded.reshape(w.shape)))


class Dropout(torch.nn.Module):
    """lm.dropout with a place, a seed and a step."""

    def __init__(self, place, p, seed, step):
        super().__init__()
        self.place, self.p, self.seed, self.step = place, p, seed, step

    def forward(self, x):
        words = []
        for block in range((x.numel() + 3) // 4):
            words += philox((block, 0, self.place, self.step), (self.seed & 0xFFFFFFFF, self.seed >> 32))
        keep = np.array([(w >> 8) * 2.0**-24 >= np.float32(self.p) for w in words[: x.numel()]], np.float32)
        return x * torch.from_numpy(keep.reshape(x.shape)) / (1 - self.p)


def hidden_states(model, inputs):
    return model.bert(**inputs).last_hidden_state


def pool_mean(hidden, mask):
    counts = mask[..., None].float()
    return (hidden * counts).sum(1) / counts.sum(1)


def contrastive(x, labels, temperature):
    unit = F.normalize(x, dim=-1)
    scores = unit @ unit.T / temperature
    scores = scores.masked_fill(torch.eye(len(x), dtype=torch.bool), -1e30)
    log_p = scores.log_softmax(-1)
    total, weight = 0, 0
    for i in range(len(x)):
        partners = [j for j in range(len(x)) if j != i and labels[j] == labels[i] and labels[i] != -100]
        if partners:
            total = total - sum(log_p[i, j] for j in partners) / len(partners)
            weight += 1
    return total, weight


class Golden:
    def __init__(self):
        self.arrays = {}

    def add(self, case, inputs, loss, weight, parameters):
        """`parameters` by name: what is trained, given as inputs, and their gradients."""
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, value in (inputs | parameters).items():
            self.arrays[f"{case}/in/{name}"] = value.detach().numpy() if torch.is_tensor(value) else np.array(value)
        self.arrays[f"{case}/out/loss"] = loss.detach().numpy()
        self.arrays[f"{case}/out/loss_weight"] = np.array(weight, np.float32)
        for name, gradient in zip(parameters, gradients):
            self.arrays[f"{case}/out/{name}"] = gradient.numpy()


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE)
    torch.manual_seed(13)
    golden = Golden()
    inputs = make_inputs([9, 4, 1, 6], 9)
    labels = torch.tensor([2, 0, -100, 1])
    hyper = {"label_smoothing": np.float32(0.1)}

    def classify(case, model, parameters, extra=None):
        logits = model(**inputs).logits
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
        golden.add(case, inputs | {"labels": labels} | hyper | (extra or {}), loss, 3, parameters)

    model = build_model()
    parameters = insert_lora(model, ["query", "dense"], 3, 6 / np.sqrt(3))
    classify("lora", model, parameters | {"classifier.weight": model.classifier.weight})
    for case, bits, group in (("int8", 8, 0), ("int4", 4, 32)):
        model = build_model()
        round_weights(model, bits, group)
        classify(case, model, insert_lora(model, ["query", "value"], 4, 2.0))

    model = build_model()
    places = ["bert.embeddings.dropout"]
    for i in (0, 1):
        places += [f"bert.encoder.layer.{i}.attention.output.dropout", f"bert.encoder.layer.{i}.output.dropout"]
    places += ["dropout"]
    p, seed, step = 0.25, 12345, 7
    for i, name in enumerate(places):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, Dropout(i, p, seed, step))
    query = "bert.encoder.layer.0.attention.self.query.weight"
    trained = {query: model.get_parameter(query), "classifier.weight": model.classifier.weight}
    classify("dropout", model, trained,
             {"dropout": np.float32(p), "seed": np.float32(seed), "step": np.float32(step)})

    # Heads. The classifier of a case is its own.
    def head(case, count, build, extra, module="classifier"):
        model = build_model()
        weight = torch.nn.Parameter(torch.randn(count, 32) * 0.3) if count else None
        bias = torch.nn.Parameter(torch.randn(count) * 0.3) if count else None
        hidden = hidden_states(model, inputs)
        loss, valid = build(hidden, lambda x: F.linear(x, weight, bias))
        trained = {query: model.get_parameter(query)}
        if count:
            trained |= {f"{module}.weight": weight, f"{module}.bias": bias}
        golden.add(case, inputs | extra, loss, valid, trained)

    mask = inputs["attention_mask"]
    head("sequence", 3, lambda h, f: (F.cross_entropy(f(pool_mean(h, mask)), labels, reduction="sum"), 3),
         {"labels": labels, "label_smoothing": np.float32(0)})
    tags = torch.randint(0, 5, (4, 9)).masked_fill(mask == 0, -100)
    head("token", 5, lambda h, f: (F.cross_entropy(f(h).flatten(0, 1), tags.flatten(), reduction="sum"),
                                   int((tags != -100).sum())), {"labels": tags, "label_smoothing": np.float32(0)})
    start, end = torch.tensor([1, 0, 0, 2]), torch.tensor([5, 3, -100, 2])
    head("span", 2, lambda h, f: (F.cross_entropy(f(h)[..., 0], start, reduction="sum") +
                                  F.cross_entropy(f(h)[..., 1], end, reduction="sum"), 7),
         {"start_positions": start, "end_positions": end}, "qa_outputs")
    several = torch.randint(0, 2, (4, 4)).float()
    head("multilabel", 4, lambda h, f: (F.binary_cross_entropy_with_logits(f(h[:, 0]), several, reduction="sum"), 16),
         {"labels": several})
    numbers = torch.randn(4, 1)
    head("regression", 1, lambda h, f: (F.mse_loss(f(h[:, 0]), numbers, reduction="sum"), 4), {"labels": numbers})
    pairs = torch.tensor([3, 8, 3, -100])
    head("embedding", 0, lambda h, f: contrastive(pool_mean(h, mask), pairs, 0.2),
         {"labels": pairs, "temperature": np.float32(0.2)})

    # A vocabulary that is the table of words, transposed: masked and causal.
    for case in ("masked", "causal"):
        model = build_model()
        words = model.bert.embeddings.word_embeddings.weight
        logits = hidden_states(model, inputs) @ words.T
        wanted = torch.randint(0, 61, (4, 9)).masked_fill((torch.rand(4, 9) < 0.5) | (mask == 0), -100)
        shifted = (logits[:, :-1], wanted[:, 1:]) if case == "causal" else (logits, wanted)
        loss = F.cross_entropy(shifted[0].flatten(0, 1), shifted[1].flatten(), label_smoothing=0.1, reduction="sum")
        name = "bert.embeddings.word_embeddings.weight"
        golden.add(case, inputs | {"labels": wanted} | hyper, loss, int((shifted[1] != -100).sum()),
                   {name: words, query: model.get_parameter(query)})
    np.savez_compressed(folder / "bert2-passes.npz", **golden.arrays)


main()
