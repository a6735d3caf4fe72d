#!/usr/bin/env python3
"""Write the Llama of stories260K.gguf as an ONNX decoder with past keys and values.

    make_onnx.py stories260K.gguf OUT.onnx

Inputs: input_ids and position_ids [batch, sequence], past_key_values.N.key and
.value [batch, kv_heads, past_sequence, head_dim]; outputs: logits and present.N.*
of past_sequence + sequence tokens. Only standard operators of opset 17, written as
exporters write them: RMS norm in single steps, rotary embedding on interleaved
pairs (what ggml stores), keys and values repeated for grouped queries.
"""

import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Gguf:
    """Metadata and float32 tensors of a GGUF file of version 3."""

    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    STRING, ARRAY = 8, 9

    def __init__(self, path):
        self.data, self.at = pathlib.Path(path).read_bytes(), 0
        magic, version, tensors, entries = self.read("I"), self.read("I"), self.read("Q"), self.read("Q")
        if magic != 0x46554747 or version != 3:
            sys.exit(f"{path}: expected a GGUF file of version 3")
        self.meta = {}
        for _ in range(entries):
            name = self.string()
            self.meta[name] = self.value(self.read("I"))
        headers = []
        for _ in range(tensors):
            name = self.string()
            dims = [self.read("Q") for _ in range(self.read("I"))]
            headers.append((name, dims, self.read("I"), self.read("Q")))
        alignment = self.meta.get("general.alignment", 32)
        start = (self.at + alignment - 1) // alignment * alignment
        self.tensors = {}
        for name, dims, kind, offset in headers:
            if kind != 0:
                sys.exit(f"{name}: expected float32, but got type {kind}")
            flat = np.frombuffer(self.data, np.float32, int(np.prod(dims)), start + offset)
            self.tensors[name] = flat.reshape(dims[::-1])  # ggml names the fastest dimension first

    def read(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        size = self.read("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == self.STRING:
            return self.string()
        if kind == self.ARRAY:
            element = self.read("I")
            return [self.value(element) for _ in range(self.read("Q"))]
        return self.read(self.SCALARS[kind])


class Graph:
    def __init__(self, gguf):
        self.gguf, self.nodes, self.weights = gguf, [], []
        meta = gguf.meta
        self.width = meta["llama.embedding_length"]
        self.heads, self.kv_heads = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
        self.dim = self.width // self.heads
        self.layers = meta["llama.block_count"]
        self.epsilon = meta["llama.attention.layer_norm_rms_epsilon"]
        self.scope = ""

    def node(self, op, *inputs, **attributes):
        name = f"{self.scope}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array):
        return self.node("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def weight(self, name, transpose=False):
        array = self.gguf.tensors[name]
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array.T if transpose else array), name))
        return name

    def norm(self, x, name):
        mean = self.node("ReduceMean", self.node("Pow", x, self.constant(np.float32(2))), axes=[-1])
        root = self.node("Sqrt", self.node("Add", mean, self.constant(np.float32(self.epsilon))))
        return self.node("Mul", self.node("Div", x, root), self.weight(name))

    def linear(self, x, name):
        return self.node("MatMul", x, self.weight(name, transpose=True))

    def split(self, x, heads):
        """[batch, sequence, heads * dim] -> [batch, heads, sequence, dim]"""
        x = self.node("Reshape", x, self.ints(0, 0, heads, self.dim))
        return self.node("Transpose", x, perm=[0, 2, 1, 3])

    def rotate(self, x, cos, sin, heads):
        pairs = self.node("Reshape", x, self.ints(0, heads, -1, self.dim // 2, 2))
        even = self.node("Gather", pairs, self.constant(np.int64(0)), axis=-1)
        odd = self.node("Gather", pairs, self.constant(np.int64(1)), axis=-1)
        first = self.node("Sub", self.node("Mul", even, cos), self.node("Mul", odd, sin))
        second = self.node("Add", self.node("Mul", even, sin), self.node("Mul", odd, cos))
        joined = self.node("Concat", self.node("Unsqueeze", first, self.ints(-1)),
                           self.node("Unsqueeze", second, self.ints(-1)), axis=-1)
        return self.node("Reshape", joined, self.ints(0, heads, -1, self.dim))

    def size(self, x, axis):
        return self.node("Gather", self.node("Shape", x), self.constant(np.int64(axis)), axis=0)

    def repeat(self, x):
        """Each key head serves heads / kv_heads query heads."""
        group = self.heads // self.kv_heads
        x = self.node("Unsqueeze", x, self.ints(2))
        shape = self.node("Concat", self.node("Unsqueeze", self.size(x, 0), self.ints(0)), self.ints(self.kv_heads, group),
                          self.node("Unsqueeze", self.size(x, 3), self.ints(0)), self.ints(self.dim), axis=0)
        return self.node("Reshape", self.node("Expand", x, shape), self.ints(0, self.heads, -1, self.dim))

    def append(self, layer, kind, x):
        name = f"present.{layer}.{kind}"
        self.nodes.append(helper.make_node("Concat", [f"past_key_values.{layer}.{kind}", x], [name], name=name, axis=2))
        return name

    def layer(self, x, i, cos, sin, mask):
        self.scope, blk = f"/layers.{i}", f"blk.{i}."
        h = self.norm(x, blk + "attn_norm.weight")
        q = self.rotate(self.split(self.linear(h, blk + "attn_q.weight"), self.heads), cos, sin, self.heads)
        k = self.rotate(self.split(self.linear(h, blk + "attn_k.weight"), self.kv_heads), cos, sin, self.kv_heads)
        v = self.split(self.linear(h, blk + "attn_v.weight"), self.kv_heads)
        k, v = self.repeat(self.append(i, "key", k)), self.repeat(self.append(i, "value", v))
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.node("Mul", scores, self.constant(np.float32(self.dim**-0.5)))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        a = self.node("Transpose", self.node("MatMul", weights, v), perm=[0, 2, 1, 3])
        a = self.node("Reshape", a, self.ints(0, 0, self.width))
        x = self.node("Add", x, self.linear(a, blk + "attn_output.weight"))
        h = self.norm(x, blk + "ffn_norm.weight")
        gate = self.linear(h, blk + "ffn_gate.weight")
        gate = self.node("Mul", gate, self.node("Sigmoid", gate))
        h = self.node("Mul", gate, self.linear(h, blk + "ffn_up.weight"))
        return self.node("Add", x, self.linear(h, blk + "ffn_down.weight"))

    def build(self):
        past, new = self.size("past_key_values.0.key", 2), self.size("input_ids", 1)
        total = self.node("Add", past, new)
        zero, one = self.constant(np.int64(0)), self.constant(np.int64(1))
        keys = self.node("Range", zero, total, one)
        queries = self.node("Unsqueeze", self.node("Range", past, total, one), self.ints(1))
        visible = self.node("LessOrEqual", keys, queries)
        mask = self.node("Where", visible, self.constant(np.float32(0)), self.constant(np.float32(-np.inf)))
        inverse = (10000.0 ** -(np.arange(0, self.dim, 2) / self.dim)).astype(np.float32)
        positions = self.node("Unsqueeze", self.node("Cast", "position_ids", to=TensorProto.FLOAT), self.ints(1, 3))
        angles = self.node("Mul", positions, self.constant(inverse))  # [batch, 1, sequence, dim / 2]
        cos, sin = self.node("Cos", angles), self.node("Sin", angles)
        x = self.node("Gather", self.weight("token_embd.weight"), "input_ids")
        for i in range(self.layers):
            x = self.layer(x, i, cos, sin, mask)
        self.scope = ""
        logits = self.linear(self.norm(x, "output_norm.weight"), "output.weight")
        self.nodes[-1].output[0] = "logits"
        assert logits != "logits"
        caches = [f"{i}.{kind}" for i in range(self.layers) for kind in ("key", "value")]

        def tensor(name, length):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", self.kv_heads, length, self.dim])

        ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
               for n in ("input_ids", "position_ids")]
        vocabulary = len(self.gguf.tensors["token_embd.weight"])
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", vocabulary])]
        graph = helper.make_graph(self.nodes, "stories260K",
                                  ids + [tensor(f"past_key_values.{c}", "past_sequence") for c in caches],
                                  outputs + [tensor(f"present.{c}", "past_sequence + sequence") for c in caches],
                                  self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main():
    source, out = sys.argv[1:]
    model = Graph(Gguf(source)).build()
    onnx.checker.check_model(model)
    onnx.save(model, out)


if __name__ == "__main__":
    main()
