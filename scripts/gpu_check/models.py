"""What a kit holds. Small models travel with their weights and cover kernels; large ones
get made-up weights on the spot and are measured."""

# Stem in test/models or test/zoo -> options of llmopt. Decoders without a cache run with
# their past as inputs.
SMALL = {
    "models/bert-tiny.torchscript": [], "models/vit-tiny.dynamo": [], "zoo/albert.optimum": [],
    "zoo/deberta-v3.torchscript": [], "zoo/gpt2.optimum-past": [], "zoo/gpt-neox.dynamo": [],
    "zoo/llama.dynamo-past": [], "zoo/gemma.dynamo": [], "zoo/t5.torchscript14": [], "zoo/bart.dynamo": [],
    "zoo/mixtral.torchscript": [], "zoo/wav2vec2.dynamo": [], "zoo/whisper.optimum-past-decoder": [], "zoo/clip.dynamo": [],
    "zoo/t5.optimum-past-decoder-merged": [], "zoo/bert.int8-dynamic": [], "zoo/bert.int8-qdq": [],
    "zoo/llama.int4": [], "models/bert-tiny.optimum": ["-quantize-int8", "-allow-slower"],
    "models/bert-tiny.dynamo": ["-quantize-int4"],
}
SMALL_VALUES = {"batch": 2, "batch_size": 2, "sequence": 7, "sequence_length": 7, "past": 3, "past_sequence_length": 3}
# Samples enough for its convolutions.
VALUES = {"zoo/wav2vec2.dynamo": {"sequence": 60}}

# Name in the folder of --models (bench/models/make.py writes them) -> shapes measured, and
# what PyTorch runs beside (torch_peer.py).
LARGE = {
    "bert-base.torchscript": {"peer": "bert-base", "shapes": [(1, 128), (8, 128), (32, 128)]},
    "gpt2.torchscript": {"peer": "gpt2", "shapes": [(1, 128), (1, 1024)]},
}
LEVELS = ("x86-64-v3", "x86-64-v4")  # the first is the reference of the others
ARCHITECTURES = "sm_80+sm_90"
TOLERANCE = 1e-4        # of f32 kernels against the CPU's
QUANTIZED_TOLERANCE = 2e-2  # an activation halfway between two integers may go either way
