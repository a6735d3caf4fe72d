"""What a kit holds. Small models travel with their weights and cover kernels; large ones
get made-up weights on the spot and are measured."""

# Stem in test/models or test/zoo, options of llmopt. Decoders without -kv-cache run with
# their past as inputs.
SMALL = [
    ("models/bert-tiny.torchscript", []), ("models/vit-tiny.dynamo", []), ("zoo/albert.optimum", []),
    ("zoo/deberta-v3.torchscript", []), ("zoo/gpt2.optimum-past", []), ("zoo/gpt-neox.dynamo", []),
    ("zoo/llama.dynamo-past", []), ("zoo/gemma.dynamo", []), ("zoo/t5.torchscript14", []), ("zoo/bart.dynamo", []),
    ("zoo/mixtral.torchscript", []), ("zoo/wav2vec2.dynamo", []), ("zoo/whisper.optimum-past-decoder", []),
    ("zoo/clip.dynamo", []), ("zoo/t5.optimum-past-decoder-merged", []), ("zoo/bert.int8-dynamic", []),
    ("zoo/bert.int8-qdq", []), ("zoo/llama.int4", []),
    ("models/bert-tiny.optimum", ["-quantize-int8", "-allow-slower"]), ("models/bert-tiny.dynamo", ["-quantize-int4"]),
    ("models/bert-tiny.dynamo", ["-fp16"]), ("models/vit-tiny.torchscript", ["-bf16"]), ("zoo/llama.dynamo", ["-fp16"]),
    ("models/roberta-tiny.dynamo", ["-quantize-int8=embeddings:float", "-allow-slower", "-fp16"]),
    ("zoo/gpt2.optimum-past", ["-kv-cache"]), ("zoo/llama.dynamo-past", ["-kv-cache", "-fp16"]),
]
SMALL_VALUES = {"batch": 2, "batch_size": 2, "sequence": 7, "sequence_length": 7, "past": 3, "past_sequence_length": 3}
# Samples enough for its convolutions.
VALUES = {"zoo/wav2vec2.dynamo": {"sequence": 60}}

# Large models, measured with made-up weights. `source`: a name of shapes.py, or a file in the
# folder of --models (bench/models/make.py writes it). `shapes`: batch and length of what is
# measured; of `decode`, batch and tokens before. `peer`: what PyTorch runs beside (torch_peer.py).
LARGE = {
    "bert-base": {"source": "bert-base.torchscript.onnx", "peer": "bert-base", "shapes": [(1, 128), (8, 128), (32, 128)]},
    "bert-base.fp16": {"source": "bert-base.torchscript.onnx", "options": ["-fp16"], "peer": "bert-base",
                       "shapes": [(1, 128), (32, 128)]},
    "gpt2": {"source": "gpt2", "peer": "gpt2", "shapes": [(1, 128), (1, 1024)]},
    "gpt2.fp16": {"source": "gpt2", "options": ["-kv-cache", "-fp16"], "decode": [(1, 16), (1, 900), (8, 128)]},
    "llama7b-quarter.fp16": {"source": "llama7b-quarter", "options": ["-kv-cache", "-fp16"], "decode": [(1, 16), (1, 1000)]},
}
LEVELS = ("x86-64-v3", "x86-64-v4")  # the first is the reference of the others
ARCHITECTURES = "sm_80+sm_90"
TOLERANCE = 1e-4        # of f32 kernels against the CPU's
# The CPU computes these in f32.
NARROW_TOLERANCE = {"-fp16": 5e-3, "-bf16": 4e-2}
QUANTIZED_TOLERANCE = 2e-2  # an activation halfway between two integers may go either way
LIMIT = 60e6  # bytes of a kit


def tolerance(stem, options):
    quantized = any("quantize" in o for o in options) or ".int" in stem
    narrow = max((NARROW_TOLERANCE.get(o, 0) for o in options), default=0)
    return max(QUANTIZED_TOLERANCE if quantized else TOLERANCE, narrow, 3e-2 if quantized and narrow else 0)


def name_of(stem, options):
    """bert-tiny.dynamo.wint4, llama.dynamo-past.kv-cache.fp16"""
    parts = [o.split("=")[0].replace("-quantize-", "w").lstrip("-") for o in options if o != "-allow-slower"]
    return ".".join([stem.split("/")[-1], *parts])
