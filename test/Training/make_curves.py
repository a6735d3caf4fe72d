#!/usr/bin/env python3
"""Write llama2.onnx, and the losses of 100 AdamW steps by PyTorch of it and of bert2.onnx.

    make_curves.py [FOLDER]        needs the packages of scripts/setup --bench

<model>-curve.npz holds the examples (an example per row, taken in their order) and `losses`,
one per step. Both models start as their ONNX files are. Dropout is off, rows are ragged,
weight decay is for matrices only, gradients are clipped.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
import transformers
from onnx import numpy_helper
from optimum.exporters.onnx.model_patcher import eager_mask_without_vmap
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

STEPS, BATCH, EXAMPLES, LENGTH = 100, 8, 80, 16


def ragged(generator, vocabulary):
    lengths = torch.randint(3, LENGTH + 1, (EXAMPLES,), generator=generator)
    mask = (torch.arange(LENGTH)[None] < lengths[:, None]).long()
    return torch.randint(1, vocabulary, (EXAMPLES, LENGTH), generator=generator) * mask, mask


def train(model, inputs, loss_of, rate):
    decays = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=decays, weight_decay=0.01), dict(params=others, weight_decay=0.0)],
                                  lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    losses = []
    for step in range(STEPS):
        at = step * BATCH % EXAMPLES
        batch = {name: value[at:at + BATCH] for name, value in inputs.items()}
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return losses


def bert(folder):
    generator = torch.Generator().manual_seed(11)
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation="eager")
    model = transformers.BertForSequenceClassification(config).train()
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
               for t in onnx.load(folder / "bert2.onnx").graph.initializer}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    ids, mask = ragged(generator, 61)
    inputs = dict(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids),
                  labels=(ids[:, 0] + ids[:, 1]) % 3)

    def loss_of(model, batch):
        labels = batch.pop("labels")
        return torch.nn.functional.cross_entropy(model(**batch).logits, labels)

    losses = train(model, inputs, loss_of, 2e-3)
    np.savez_compressed(folder / "bert2-curve.npz", losses=np.array(losses),
                        **{name: value.numpy() for name, value in inputs.items()})
    print("bert2", losses[0], losses[-1])


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def llama(folder):
    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(13)
    config = transformers.LlamaConfig(
        vocab_size=53, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=56, max_position_embeddings=32, attn_implementation="eager", tie_word_embeddings=False)
    model = transformers.LlamaForCausalLM(config).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * (0.5 if "q_proj" in name or "k_proj" in name else 0.2))
            else:  # the exporter makes one weight of several that are equal
                parameter.copy_(1 + 0.1 * torch.randn_like(parameter))
    ids, mask = ragged(generator, 53)
    path = folder / "llama2.onnx"
    # transformers draws masks with torch.vmap, which is not traced; optimum has the same by broadcasting.
    ALL_MASK_ATTENTION_FUNCTIONS.register("eager", eager_mask_without_vmap)
    model.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(Logits(model), (ids[:2], mask[:2]), path, input_names=["input_ids", "attention_mask"],
                          output_names=["logits"], opset_version=17, dynamo=False, do_constant_folding=False,
                          dynamic_axes={"input_ids": {0: "batch", 1: "sequence"},
                                        "attention_mask": {0: "batch", 1: "sequence"},
                                        "logits": {0: "batch", 1: "sequence"}})
    model.train()
    inputs = dict(input_ids=ids, attention_mask=mask, labels=torch.where(mask == 1, ids, -100))

    def loss_of(model, batch):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(),
                                                 ignore_index=-100)

    losses = train(model, inputs, loss_of, 5e-4)
    np.savez_compressed(folder / "llama2-curve.npz", losses=np.array(losses),
                        **{name: value.numpy() for name, value in inputs.items()})
    print("llama2", losses[0], losses[-1])


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    bert(folder)
    llama(folder)


main()
