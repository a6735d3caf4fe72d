"""Graphs of well-known shapes without weights: what is measured with made-up ones.

    shapes.py NAME FOLDER    writes FOLDER/NAME.onnx; its weights are a hole in NAME.bin

NAME is of SHAPES. Decoders have their past as inputs, so that -kv-cache keeps it in the session;
encoders a mask [batch, sequence]. Needs the Python package onnx.
"""

import pathlib
import sys

import onnx
from onnx import TensorProto, helper

# gpt2: GPT-2 of 124 million weights, whole. llama7b-quarter: 8 of the 32 layers of Llama-2-7B
# (hidden 4096, gated feed-forward 11008), with its vocabulary: what a layer takes is that of 7B.
SHAPES = {
    "gpt2": {"family": "gpt2", "layers": 12, "hidden": 768, "heads": 12, "ffn": 3072, "vocabulary": 50257, "positions": 1024},
    "llama7b-quarter": {"family": "llama", "layers": 8, "hidden": 4096, "heads": 32, "ffn": 11008, "vocabulary": 32000,
                        "positions": 4096},
    # Two layers of them, whose kernels are those of the whole.
    "bert-base-2": {"family": "bert", "layers": 2, "hidden": 768, "heads": 12, "ffn": 3072, "vocabulary": 3000, "positions": 512},
    "gpt2-2": {"family": "gpt2", "layers": 2, "hidden": 768, "heads": 12, "ffn": 3072, "vocabulary": 5000, "positions": 1024},
    # Shaped alike and small, for tests.
    "bert-tiny": {"family": "bert", "layers": 2, "hidden": 128, "heads": 4, "ffn": 512, "vocabulary": 101, "positions": 300},
    "gpt2-tiny": {"family": "gpt2", "layers": 2, "hidden": 128, "heads": 4, "ffn": 512, "vocabulary": 101, "positions": 400},
    "llama-tiny": {"family": "llama", "layers": 2, "hidden": 128, "heads": 4, "kv_heads": 2, "ffn": 512, "vocabulary": 101,
                   "positions": 400},
}


class Graph:
    def __init__(self, name, shape):
        self.data, self.offset = name + ".bin", 0
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []
        self.__dict__.update({"kv_heads": shape["heads"], **shape})
        self.head = self.hidden // self.heads
        self.key_width = self.kv_heads * self.head

    def weight(self, name, *dims):
        size = 4
        for dim in dims:
            size *= dim
        tensor = TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.data), ("offset", self.offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self.offset += size
        self.weights.append(tensor)
        return name

    def node(self, op, inputs, outputs=None, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, outputs or [name], name=name, **attributes))
        return name

    def input(self, name, kind, *dims):
        self.inputs.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def linear(self, x, name, n, k, bias=False):
        x = self.node("MatMul", [x, self.weight(name + ".weight", k, n)])
        return self.node("Add", [x, self.weight(name + ".bias", n)]) if bias else x

    def attend(self, q, k, v, layer):
        """With the past of a decoder, or the mask of an encoder."""
        if self.family == "bert":
            return self.node("Attention", [q, k, v, "mask"], q_num_heads=self.heads, kv_num_heads=self.heads)
        past, present = [], []
        for part in ("key", "value"):
            past.append(self.input(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, "batch", self.kv_heads, "past",
                                   self.head))
            present.append(f"present.{layer}.{part}")
            self.outputs.append(helper.make_tensor_value_info(present[-1], TensorProto.FLOAT,
                                                              ["batch", self.kv_heads, "total", self.head]))
        y = f"attention_{layer}"
        self.node("Attention", [q, k, v, "", *past], [y, *present], q_num_heads=self.heads,
                  kv_num_heads=self.kv_heads, is_causal=1)
        return y


def layer_norm(g, x, name):
    return g.node("LayerNormalization", [x, g.weight(name + ".weight", g.hidden), g.weight(name + ".bias", g.hidden)],
                  axis=-1, epsilon=1e-5)


def bert_layer(g, x, i):
    name = f"encoder.layer.{i}."
    q, k, v = (g.linear(x, f"{name}attention.self.{part}", g.hidden, g.hidden, bias=True) for part in ("query", "key", "value"))
    h = g.linear(g.attend(q, k, v, i), name + "attention.output.dense", g.hidden, g.hidden, bias=True)
    x = layer_norm(g, g.node("Add", [h, x]), name + "attention.output.norm")
    h = g.node("Gelu", [g.linear(x, name + "intermediate.dense", g.ffn, g.hidden, bias=True)])
    h = g.linear(h, name + "output.dense", g.hidden, g.ffn, bias=True)
    return layer_norm(g, g.node("Add", [h, x]), name + "output.norm")


def gpt2_layer(g, x, i):
    h = layer_norm(g, x, f"h.{i}.ln_1")
    q, k, v = (g.linear(h, f"h.{i}.attn.{part}", g.hidden, g.hidden, bias=True) for part in "qkv")
    x = g.node("Add", [x, g.linear(g.attend(q, k, v, i), f"h.{i}.attn.c_proj", g.hidden, g.hidden, bias=True)])
    h = g.linear(layer_norm(g, x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc", g.ffn, g.hidden, bias=True)
    h = g.node("Gelu", [h], approximate="tanh")
    return g.node("Add", [x, g.linear(h, f"h.{i}.mlp.c_proj", g.hidden, g.ffn, bias=True)])


def llama_layer(g, x, i):
    prefix = f"model.layers.{i}."

    def norm(x, name):
        return g.node("RMSNormalization", [x, g.weight(prefix + name + ".weight", g.hidden)], axis=-1, epsilon=1e-6)
    h = norm(x, "input_layernorm")
    q, k, v = (g.linear(h, f"{prefix}self_attn.{part}_proj", width, g.hidden)
               for part, width in (("q", g.hidden), ("k", g.key_width), ("v", g.key_width)))
    q, k = (g.node("RotaryEmbedding", [part, "cos", "sin", "position_ids"], num_heads=heads)
            for part, heads in ((q, g.heads), (k, g.kv_heads)))
    x = g.node("Add", [x, g.linear(g.attend(q, k, v, i), prefix + "self_attn.o_proj", g.hidden, g.hidden)])
    h = norm(x, "post_attention_layernorm")
    gate = g.linear(h, prefix + "mlp.gate_proj", g.ffn, g.hidden)
    up = g.linear(h, prefix + "mlp.up_proj", g.ffn, g.hidden)
    gated = g.node("Mul", [g.node("Mul", [gate, g.node("Sigmoid", [gate])]), up])
    return g.node("Add", [x, g.linear(gated, prefix + "mlp.down_proj", g.hidden, g.ffn)])


LAYERS = {"bert": bert_layer, "gpt2": gpt2_layer, "llama": llama_layer}


def fill(g, file, seed):
    """Weights that attention is peaked with, norms near one, and rotations for cos and sin."""
    import numpy
    generator = numpy.random.default_rng(seed)
    for tensor in g.weights:
        shape = tuple(tensor.dims)
        if tensor.name in ("cos", "sin"):
            frequencies = 10000.0 ** (-numpy.arange(shape[1]) / shape[1])
            values = getattr(numpy, tensor.name)(numpy.arange(shape[0])[:, None] * frequencies)
        else:
            scale = 0.1 if len(shape) == 1 else 1.5 / shape[0] ** 0.5
            values = generator.normal(1.0 if "norm.weight" in tensor.name or ".ln_" in tensor.name else 0.0, scale, shape)
        file.write(values.astype(numpy.float32).tobytes())


def write(name, folder, seed=None):
    """FOLDER/NAME.onnx, as a path; with a seed its weights are random numbers."""
    g = Graph(name, SHAPES[name])
    ids = g.input("input_ids", TensorProto.INT64, "batch", "sequence")
    positions = g.input("position_ids", TensorProto.INT64, "batch", "sequence")
    x = g.node("Gather", [g.weight("wte.weight", g.vocabulary, g.hidden), ids])
    if g.family == "llama":
        for table in ("cos", "sin"):
            g.weight(table, g.positions, g.head // 2)
    else:
        x = g.node("Add", [x, g.node("Gather", [g.weight("wpe.weight", g.positions, g.hidden), positions])])
    if g.family == "bert":
        x = layer_norm(g, x, "embeddings.norm")
        mask = g.node("Cast", [g.input("attention_mask", TensorProto.INT64, "batch", "sequence")], to=TensorProto.BOOL)
        axes = g.node("Constant", [], value=helper.make_tensor("", TensorProto.INT64, [2], [1, 2]))
        g.node("Unsqueeze", [mask, axes], ["mask"])
    for i in range(g.layers):
        x = LAYERS[g.family](g, x, i)
    if g.family == "gpt2":
        x = layer_norm(g, x, "ln_f")
    elif g.family == "llama":
        x = g.node("RMSNormalization", [x, g.weight("model.norm.weight", g.hidden)], axis=-1, epsilon=1e-6)
    last, width = ("pooled", g.hidden) if g.family == "bert" else ("logits", g.vocabulary)
    g.node("MatMul", [x, g.weight("lm_head.weight", g.hidden, width)], [last])
    g.outputs.insert(0, helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", "sequence", width]))
    graph = helper.make_graph(g.nodes, name, g.inputs, g.outputs, g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    folder = pathlib.Path(folder)
    path = folder / (name + ".onnx")
    onnx.save(model, path)
    with open(folder / g.data, "wb") as file:
        if seed is None:
            file.truncate(g.offset)
        else:
            fill(g, file, seed)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(f"usage: shapes.py {'|'.join(SHAPES)} FOLDER")
    print(write(sys.argv[1], sys.argv[2]))
