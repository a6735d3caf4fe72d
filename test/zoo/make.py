#!/usr/bin/env python3
"""Write the model zoo: small random models, through every exporter.

    make.py [OUT] [--only GLOB] [--exporter NAME]

OUT (default: this folder) receives <architecture>.<exporter>.onnx, at most
200 KB each. What an exporter refuses is left out and listed with its reason in
OUT/refused.txt. Weights are random but attention is peaked, as in
bench/models/make.py, of which this uses the drawing of weights.

What does not live here: the architectures (architectures.py) and what their
files must pass (expectations.txt, check_zoo.py).
"""

import argparse
import contextlib
import copy
import fnmatch
import importlib.util
import inspect
import io
import logging
import pathlib
import shutil
import sys
import tempfile
import warnings

import onnx
import torch
import transformers

from architectures import ARCHITECTURES, LAYERS, POSITIONS, VOCAB, HEADS, HIDDEN

HERE = pathlib.Path(__file__).resolve().parent


def load_bench():
    """The weights and exporters of the benchmarks; a file of the same name."""
    spec = importlib.util.spec_from_file_location("bench_models", HERE.parents[1] / "bench" / "models" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load_bench()

LIMIT = 200_000  # bytes of one file
STATIC = 24  # tokens of a cache of fixed size
QUERY_KEY = ("query", "key", "q_lin", "k_lin", "q_proj", "k_proj", "q", "k", "query_proj", "key_proj", "c_attn",
             "query_key_value", "q_norm", "k_norm")


# --- weights ----------------------------------------------------------------

@torch.no_grad()
def draw(model, names):
    """Random weights, then query and key projections that grow until every
    attention has less than half of the entropy of uniform attention."""
    bench.randomize(model)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    for _ in range(24):
        worst = largest_entropy(model, names)
        if worst < 0.45:
            return worst
        for name, module in model.named_modules():
            if name.rsplit(".", 1)[-1] in QUERY_KEY and hasattr(module, "weight"):
                grow(name.rsplit(".", 1)[-1], module, model.config)
    raise RuntimeError(f"attention has {worst:.2f} of the entropy of uniform attention, expected less than 0.5")


def grow(kind, module, config, factor=1.25):
    if kind == "c_attn":  # [in, 3 out]: queries, keys, values
        module.weight[:, : 2 * module.weight.shape[0]] *= factor
    elif kind == "query_key_value":  # rows: heads, then query, key, value
        module.weight.view(config.num_attention_heads, 3, -1, module.weight.shape[1])[:, :2] *= factor
    else:
        module.weight.mul_(factor)


def largest_entropy(model, names):
    """Of all attentions the mean entropy over that of the visible keys; the
    largest such mean."""
    model.set_attn_implementation("eager")  # the one that returns them
    inputs = sample_inputs(model, names, batch=2, length=24)
    output = model(**inputs, output_attentions=True, return_dict=True)
    if "text_model_output" in output:
        groups = [output.text_model_output.attentions, output.vision_model_output.attentions]
    else:
        groups = [value for key, value in output.items() if key.endswith("attentions")]
    found = []
    for p in (p for group in groups for p in group):
        p = p.double()
        visible = (p > 1e-30).sum(-1)
        entropy = -(p * p.clamp_min(1e-300).log()).sum(-1)
        found.append((entropy[visible > 1] / visible[visible > 1].double().log()).mean().item())
    if not found:
        raise RuntimeError("the model returns no attention")
    return max(found)


# --- inputs -----------------------------------------------------------------

def sample_inputs(model, names, batch=2, length=16):
    generator = torch.Generator().manual_seed(bench.SEED + 1)
    config = model.config
    image = getattr(config, "vision_config", config)
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length * 3 // 4:] = 0
    words = torch.randint(5, VOCAB, (batch, length), generator=generator)
    values = {
        "input_ids": words, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask),
        "position_ids": torch.arange(length).expand(batch, length).clone(),
        "decoder_input_ids": words[:, : max(length // 2, 2)].clone(),
    }
    values["token_type_ids"][:, length // 2:] = 1
    if "pixel_values" in names:
        values["pixel_values"] = torch.randn(batch, 3, image.image_size, image.image_size, generator=generator)
    if "input_features" in names:
        values["input_features"] = torch.randn(batch, config.num_mel_bins, 2 * config.max_source_positions,
                                               generator=generator)
    if "input_values" in names:
        values["input_values"] = torch.randn(batch, 6 * length, generator=generator)
        values["attention_mask"] = torch.ones(batch, 6 * length, dtype=torch.int64)
        values["attention_mask"][0, 5 * length:] = 0
    return {name: values[name] for name in names}


def axes_of(name):
    """Symbolic dimensions of an input."""
    if name == "pixel_values":
        return {0: "batch"}
    if name == "input_features":
        return {0: "batch"}
    if name.startswith("past_key_values"):
        return {0: "batch", 2: "past_sequence"}
    if name.startswith("decoder_"):
        return {0: "batch", 1: "decoder_sequence"}
    return {0: "batch", 1: "sequence"}


class WithPast(torch.nn.Module):
    """A decoder as one step of generation: keys and values of the tokens before
    come in as past_key_values.N.key and .value, and go out as present.N.*."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, past):
        cache = transformers.DynamicCache.from_legacy_cache(
            tuple((past[2 * i], past[2 * i + 1]) for i in range(len(past) // 2)))
        extra = {"position_ids": position_ids} if takes_positions(self.model) else {}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True,
                            **extra)
        present = output.past_key_values.to_legacy_cache()
        return (output.logits, *(tensor for layer in present for tensor in layer))


def takes_positions(model):
    return "position_ids" in inspect.signature(model.forward).parameters


def past_inputs(model, batch=2, length=3, past=5):
    config = model.config
    generator = torch.Generator().manual_seed(bench.SEED + 2)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = [torch.randn(batch, heads, past, size, generator=generator) for _ in range(2 * LAYERS)]
    names = [f"past_key_values.{i}.{kind}" for i in range(LAYERS) for kind in ("key", "value")]
    return names, {
        "input_ids": torch.randint(5, VOCAB, (batch, length), generator=generator),
        "attention_mask": torch.ones(batch, past + length, dtype=torch.int64),
        "position_ids": torch.arange(past, past + length).expand(batch, length).clone(), "past": values}


# --- exporters --------------------------------------------------------------

def with_attention(model, kind):
    """Attention as `kind`, or eager where the architecture has no other."""
    return bench.with_attention(model, kind if model._supports_sdpa else "eager")


def use_traceable_masks():
    """transformers draws masks with torch.vmap, which neither exporter of torch
    traces; the same masks by broadcasting, which optimum uses for its exports."""
    from optimum.exporters.onnx.model_patcher import eager_mask_without_vmap, sdpa_mask_without_vmap
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", sdpa_mask_without_vmap)
    ALL_MASK_ATTENTION_FUNCTIONS.register("eager", eager_mask_without_vmap)


def prepare(model, attention):
    use_traceable_masks()  # optimum puts back the others behind each export
    other = with_attention(model, attention)
    if hasattr(other.config, "use_cache"):
        other.config.use_cache = False
    return other


class Named(torch.nn.Module):
    """A model of exactly `names`, by position: TorchScript would make inputs of
    what else its forward has defaults for."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values):
        return self.model(**dict(zip(self.names, values)))


def torchscript(model, entry, path, opset=17, attention="sdpa"):
    model = prepare(model, attention)
    inputs = sample_inputs(model, entry.inputs)
    with torch.no_grad():
        outputs = [key for key, value in model(**inputs).items() if isinstance(value, torch.Tensor)]
    axes = {name: axes_of(name) for name in entry.inputs}
    torch.onnx.export(Named(model, entry.inputs), tuple(inputs.values()), str(path), input_names=list(entry.inputs),
                      output_names=outputs, dynamic_axes=axes, opset_version=opset, dynamo=False)


def dynamo(model, entry, path, opset=18, attention="sdpa"):
    model = prepare(model, attention)
    inputs = sample_inputs(model, entry.inputs)
    dims = {}
    shapes = {name: {axis: dims.setdefault(dim, torch.export.Dim(dim, min=2, max=POSITIONS * (6 if name == "input_values" else 1)))
                     for axis, dim in axes_of(name).items()} for name in entry.inputs}
    torch.onnx.export(model, kwargs=inputs, f=str(path), input_names=list(entry.inputs), dynamic_shapes=shapes,
                      opset_version=opset, dynamo=True, external_data=False, verbose=False)
    bench.drop_metadata(path, ["stack_trace"])


def past_names(model, past):
    names = ["input_ids", "attention_mask"] + (["position_ids"] if takes_positions(model) else []) + past
    return names, ["logits"] + [name.replace("past_key_values", "present") for name in past]


def torchscript_past(model, entry, path):
    model = prepare(model, "sdpa")
    past, inputs = past_inputs(model)
    names, outputs = past_names(model, past)
    axes = {name: axes_of(name) for name in names}
    axes["attention_mask"] = {0: "batch", 1: "past_sequence + sequence"}
    torch.onnx.export(WithPast(model), tuple(inputs.values()), str(path), input_names=names, output_names=outputs,
                      dynamic_axes=axes, opset_version=17, dynamo=False)


def dynamo_past(model, entry, path):
    model = prepare(model, "sdpa")
    past, inputs = past_inputs(model)
    names, outputs = past_names(model, past)
    batch, new, before, total = (torch.export.Dim(name, min=2, max=POSITIONS)
                                 for name in ("batch", "sequence", "past_sequence", "total_sequence"))
    shapes = {"input_ids": {0: batch, 1: new}, "attention_mask": {0: batch, 1: total},
              "position_ids": {0: batch, 1: new}, "past": [{0: batch, 2: before} for _ in past]}
    torch.onnx.export(WithPast(model), tuple(inputs.values()), f=str(path), input_names=names, output_names=outputs,
                      dynamic_shapes=shapes, opset_version=18, dynamo=True, external_data=False, verbose=False)
    bench.drop_metadata(path, ["stack_trace"])


def optimum(model, entry, path, past=False):
    """Several files for an encoder and its decoder; the name of each is added."""
    from optimum.exporters.onnx import onnx_export_from_model
    model = with_attention(model, "sdpa")
    task = entry.task + ("-with-past" if past else "")
    with tempfile.TemporaryDirectory() as folder:
        onnx_export_from_model(model, pathlib.Path(folder), task=task, do_validation=False,
                               no_post_process=not past)
        for file in sorted(pathlib.Path(folder).glob("*.onnx")):
            part = file.stem.replace("_model", "").replace("model", "").replace("_", "-")
            target = path if not part else path.with_name(path.name.replace(".onnx", f"-{part}.onnx"))
            shutil.move(file, target)


def optimum_past(model, entry, path):
    optimum(model, entry, path, past=True)


def ort(model, entry, path):
    """onnxruntime's fusions (com.microsoft) over the TorchScript export."""
    from onnxruntime.transformers.optimizer import optimize_model
    kinds = {"bert": "bert", "roberta": "bert", "distilbert": "bert", "albert": "bert", "electra": "bert",
             "gpt2": "gpt2", "vit": "vit", "clip": "clip", "bart": "bart", "t5": "t5", "phi": "phi",
             "gpt-neox": "gpt_neox"}
    kind = kinds.get(path.name.split(".")[0], "gpt2")
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source.onnx")
        torchscript(model, entry, source, attention="eager")
        hidden = getattr(model.config, "hidden_size", HIDDEN)
        optimized = optimize_model(str(source), model_type=kind, num_heads=HEADS, hidden_size=hidden, opt_level=0)
        if not any(node.domain == "com.microsoft" for node in optimized.model.graph.node):
            raise RuntimeError(f"the optimizer for '{kind}' fused nothing")
        for node in optimized.model.graph.node:  # it guesses max_distance for 32 buckets only
            for attribute in node.attribute if node.op_type == "RelativePositionBias" else []:
                if attribute.name == "max_distance":
                    attribute.i = model.config.relative_attention_max_distance
        optimized.save_model_to_file(str(path))


def from_optimum(model, entry, path, change):
    """`change`(source, target) over the optimum export, with past if it is a decoder."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source.onnx")
        optimum(model, entry, source, past=entry.causal)
        change(source, path)


def int8_dynamic(model, entry, path):
    from onnxruntime.quantization import quantize_dynamic, QuantType
    from_optimum(model, entry, path, lambda a, b: quantize_dynamic(str(a), str(b), weight_type=QuantType.QInt8))


def int8_qdq(model, entry, path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            inputs = sample_inputs(model, entry.inputs)
            self.feeds = iter([{name: value.numpy() for name, value in inputs.items()}])

        def get_next(self):
            return next(self.feeds, None)

    from_optimum(model, entry, path, lambda a, b: quantize_static(
        str(a), str(b), Reader(), quant_format=QuantFormat.QDQ, per_channel=True))


def int4(model, entry, path):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    def change(source, target):
        quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=16, is_symmetric=False)
        quantizer.process()
        onnx.save(quantizer.model.model, target)
    from_optimum(model, entry, path, change)


class WithStatic(torch.nn.Module):
    """A decoder as one step over keys and values of a fixed number of tokens: the
    new ones go where cache_position says, and the whole goes out again."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, cache_position, past):
        cache = transformers.StaticCache(config=self.model.config, max_cache_len=STATIC)
        for i, layer in enumerate(cache.layers):
            layer.keys, layer.values, layer.max_batch_size, layer.is_initialized = past[2 * i], past[2 * i + 1], 1, True
            layer.dtype, layer.device = torch.float32, torch.device("cpu")
        output = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True, cache_position=cache_position,
                            position_ids=cache_position[None])
        return (output.logits, *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values)))


def static_inputs(model, length=3):
    names, inputs = past_inputs(model, batch=1, length=length, past=STATIC)
    return names, {"input_ids": inputs["input_ids"], "cache_position": torch.arange(5, 5 + length), "past": inputs["past"]}


def torchscript_static(model, entry, path):
    model = prepare(model, "sdpa")
    past, inputs = static_inputs(model)
    names = ["input_ids", "cache_position"] + past
    axes = {"input_ids": {1: "sequence"}, "cache_position": {0: "sequence"}}
    torch.onnx.export(WithStatic(model), tuple(inputs.values()), str(path), input_names=names,
                      output_names=["logits"] + [name.replace("past_key_values", "present") for name in past],
                      dynamic_axes=axes, opset_version=17, dynamo=False)


def dynamo_static(model, entry, path):
    model = prepare(model, "sdpa")
    past, inputs = static_inputs(model)
    new = torch.export.Dim("sequence", min=2, max=STATIC)
    shapes = {"input_ids": {1: new}, "cache_position": {0: new}, "past": [{} for _ in past]}
    torch.onnx.export(WithStatic(model), tuple(inputs.values()), f=str(path),
                      input_names=["input_ids", "cache_position"] + past,
                      output_names=["logits"] + [name.replace("past_key_values", "present") for name in past],
                      dynamic_shapes=shapes, opset_version=18, dynamo=True, external_data=False, verbose=False)
    bench.drop_metadata(path, ["stack_trace"])


def genai_past(model, entry, path):
    """onnxruntime-genai's builder: com.microsoft.GroupQueryAttention."""
    from onnxruntime_genai.models.builder import create_model
    config = copy.deepcopy(model.config)
    config.head_dim = 16  # ONNX Runtime has rotary embeddings of multiples of 16 only
    torch.manual_seed(bench.SEED)
    model = type(model)(config).eval()
    draw(model, entry.inputs)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(f"{folder}/source")
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                create_model("zoo", f"{folder}/source", f"{folder}/out", "fp32", "cpu", f"{folder}/cache")
        except (AttributeError, TypeError):  # behind the model it wants to write the tokenizer, and there is none
            if not pathlib.Path(folder, "out", "model.onnx").exists():
                raise
        onnx.save(onnx.load(f"{folder}/out/model.onnx"), path)


EXPORTERS = {
    "torchscript-static": torchscript_static, "dynamo-static": dynamo_static, "genai-past": genai_past,
    "torchscript14": lambda m, e, p: torchscript(m, e, p, opset=14, attention="eager"),
    "torchscript": torchscript,
    "dynamo": dynamo,
    "dynamo-opset23": lambda m, e, p: dynamo(m, e, p, opset=23),
    "optimum": optimum,
    "torchscript-past": torchscript_past, "dynamo-past": dynamo_past, "optimum-past": optimum_past,
    "ort": ort, "int8-dynamic": int8_dynamic, "int8-qdq": int8_qdq, "int4": int4,
}
WRITTEN = ("bert", "roberta", "distilbert", "vit")  # by bench/models/make.py, in test/models
# Each exporter meets each kind of graph, not each architecture: the whole zoo is
# 12 MB. `dynamo` and `optimum-past` take
# every architecture that they are for.
CHOSEN = {
    "torchscript14": ("albert", "electra", "deberta-v3", "t5", "clip", "wav2vec2"),
    "torchscript": ("albert", "electra", "deberta-v3", "gpt2", "gpt-neox", "opt", "bloom", "llama", "qwen3", "gemma", "phi",
                    "mixtral", "t5", "bart", "whisper", "clip", "wav2vec2"),
    "optimum": ("albert", "electra", "deberta-v3", "llama", "mixtral", "bloom", "clip", "wav2vec2"),
    "dynamo-opset23": ("bert", "vit", "gpt2", "llama", "qwen3", "albert"),
    "torchscript-past": ("gpt2", "llama", "qwen3", "phi", "gpt-neox"),
    "dynamo-past": ("gpt2", "llama", "qwen2", "gemma"),
    "ort": ("bert", "roberta", "distilbert", "albert", "electra", "gpt2", "vit", "clip", "bart", "t5", "phi"),
    "int8-dynamic": ("bert", "distilbert", "albert", "gpt2", "llama"),
    "int8-qdq": ("bert", "vit"),
    "int4": ("llama", "qwen2", "bert"),
    "torchscript-static": ("llama", "gemma"), "dynamo-static": ("llama", "qwen3"),
    "genai-past": ("llama", "qwen3", "mistral", "gemma"),
}


def exports(name, entry):
    """The exporters that this architecture goes through."""
    for exporter in EXPORTERS:
        if exporter == "optimum-past":
            if entry.causal or "decoder_input_ids" in entry.inputs:
                yield exporter
        elif exporter == "dynamo":
            if name not in WRITTEN:
                yield exporter
        elif name in CHOSEN[exporter]:
            yield exporter


# --- the script -------------------------------------------------------------

def write(name, entry, model, exporter, out):
    """Writes one export; returns why it or a part of it is left out, if so."""
    pattern = [f"{name}.{exporter}.onnx", f"{name}.{exporter}-*.onnx"] if exporter.startswith("optimum") else \
        [f"{name}.{exporter}.onnx"]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"{name}.{exporter}.onnx"
        try:
            EXPORTERS[exporter](copy.deepcopy(model), entry, path)
            files = sorted(f for p in pattern for f in pathlib.Path(folder).glob(p))
            for file in files:
                bench.drop_metadata(file, ["namespace", "class_hierarchy", "fx_node", "stack_trace"])
            large = [file for file in files if file.stat().st_size > LIMIT]
            files = [file for file in files if file not in large]
        except Exception as error:  # whatever the tool says is what is listed
            error = error.__cause__ or error  # torch wraps its own
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
        for file in files:
            shutil.move(file, out / file.name)
            print(f"  {file.name}: {(out / file.name).stat().st_size / 1000:.0f} KB", flush=True)
        return "; ".join(f"{file.name} has {file.stat().st_size} bytes, expected at most {LIMIT}" for file in large)


def main():
    parser = argparse.ArgumentParser(description="Write the model zoo.")
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=HERE)
    parser.add_argument("--only", default="*", metavar="GLOB", help="architectures; several with commas")
    parser.add_argument("--exporter", choices=EXPORTERS, action="append")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    arguments.out.mkdir(parents=True, exist_ok=True)
    listing = arguments.out / "refused.txt"
    refused = dict(line.split(" ", 1) for line in listing.read_text().splitlines()) if listing.exists() else {}
    for name, entry in ARCHITECTURES.items():
        if not any(fnmatch.fnmatch(name, glob) for glob in arguments.only.split(",")):
            continue
        torch.manual_seed(bench.SEED)
        model = entry.build().eval()
        print(f"{name}: attention entropy at most {draw(model, entry.inputs):.2f} of uniform", flush=True)
        for exporter in exports(name, entry):
            if arguments.exporter and exporter not in arguments.exporter:
                continue
            reason = write(name, entry, model, exporter, arguments.out)
            refused.pop(f"{name}.{exporter}", None)
            if reason:
                refused[f"{name}.{exporter}"] = reason
                print(f"  {name}.{exporter}: {reason}", flush=True)
            listing.write_text("".join(f"{key} {value}\n" for key, value in sorted(refused.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
