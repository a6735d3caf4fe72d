#!/usr/bin/env python3
"""Write bert2.onnx and bert2-step.npz: one SGD step of a two-layer BERT, by PyTorch.

    make_golden.py [FOLDER]        needs the packages of scripts/setup --bench

The .npz holds the inputs, the labels, the loss and every parameter after the
step, under the names of the ONNX initializers. Dropout is off; the batch is
ragged; the classifier's logits are the first output.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
import transformers

LEARNING_RATE = 0.1


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation="eager")
    model = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.6 if "query" in name or "key" in name else 0.2
            parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if name.endswith("LayerNorm.weight") else 0.0))

    lengths = [9, 4, 1]
    ids = torch.randint(1, 61, (3, 9))
    mask = torch.zeros(3, 9, dtype=torch.int64)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    types = (torch.arange(9)[None] > 3).long() * mask
    labels = torch.tensor([2, 0, 1])
    ids = ids * mask

    path = folder / "bert2.onnx"
    axes = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask", "token_type_ids")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (ids, mask, types), path, input_names=list(axes), output_names=["logits"],
            dynamic_axes=axes | {"logits": {0: "batch"}}, opset_version=17, dynamo=False, do_constant_folding=False)

    loss = torch.nn.functional.cross_entropy(model(ids, attention_mask=mask, token_type_ids=types).logits, labels)
    loss.backward()
    golden = dict(input_ids=ids.numpy(), attention_mask=mask.numpy(), token_type_ids=types.numpy(),
                  labels=labels.numpy(), loss=loss.detach().numpy())
    names = {tensor.name for tensor in onnx.load(path).graph.initializer}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in names:
                sys.exit(f"{name} is no initializer of {path}")
            golden["new." + name] = (parameter - LEARNING_RATE * parameter.grad).numpy()
            golden["old." + name] = parameter.numpy()
    np.savez_compressed(folder / "bert2-step.npz", **golden)


main()
