#!/usr/bin/env python3
"""Compile a model of the size of a 7B one in bounded memory.

    check_memory.py LLMOPT [--layers N] [--int4]

Writes a Llama-shaped graph (32 layers, hidden 4096, gated feed-forward 11008,
vocabulary 32000, fp32: 27 GB) whose weights are holes in a sparse file, and
compiles it with anonymous memory limited to what the design allows: 600 MB and
three times the largest tensor. RLIMIT_DATA enforces that, so that a compiler
that needs more fails to allocate. The weights file must have its full size. With
--int4 weights are rounded to 4 bits in groups, and the file must be that small.
"""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import onnx
from onnx import TensorProto, helper

HIDDEN, HEADS, FFN, VOCAB = 4096, 32, 11008, 32000


class Graph:
    def __init__(self, data):
        self.data, self.offset = data, 0
        self.nodes, self.weights, self.largest = [], [], 0

    def weight(self, name, *shape):
        """A weight that is a hole in the data file."""
        size = 4
        for dim in shape:
            size *= dim
        tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT,
                             data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self.data), ("offset", self.offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self.offset += size
        self.largest = max(self.largest, size)
        self.weights.append(tensor)
        return name

    def node(self, op, inputs, **attributes):
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def ints(self, *values):
        tensor = helper.make_tensor("", TensorProto.INT64, [len(values)], values)
        return self.node("Constant", [], value=tensor)

    def norm(self, x, name):
        return self.node("RMSNormalization", [x, self.weight(name, HIDDEN)], axis=-1, epsilon=1e-6)

    def linear(self, x, name, n, k=HIDDEN):
        return self.node("MatMul", [x, self.weight(name, k, n)])

    def layer(self, x, prefix):
        h = self.norm(x, prefix + "input_layernorm.weight")
        q, k, v = (self.linear(h, f"{prefix}self_attn.{p}_proj.weight", HIDDEN) for p in "qkv")
        a = self.node("Attention", [q, k, v], q_num_heads=HEADS, kv_num_heads=HEADS, is_causal=1)
        x = self.node("Add", [x, self.linear(a, prefix + "self_attn.o_proj.weight", HIDDEN)])
        h = self.norm(x, prefix + "post_attention_layernorm.weight")
        gate = self.linear(h, prefix + "mlp.gate_proj.weight", FFN)
        silu = self.node("Mul", [gate, self.node("Sigmoid", [gate])])
        up = self.linear(h, prefix + "mlp.up_proj.weight", FFN)
        down = self.linear(self.node("Mul", [silu, up]), prefix + "mlp.down_proj.weight", HIDDEN, FFN)
        return self.node("Add", [x, down])


def write(folder, layers):
    g = Graph("weights.bin")
    x = g.node("Gather", [g.weight("model.embed_tokens.weight", VOCAB, HIDDEN), "input_ids"])
    for i in range(layers):
        x = g.layer(x, f"model.layers.{i}.")
    logits = g.linear(g.norm(x, "model.norm.weight"), "lm_head.weight", VOCAB)
    g.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    graph = helper.make_graph(
        g.nodes, "llama", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCAB])], g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    with open(folder / g.data, "wb") as file:
        file.truncate(g.offset)
    return g.offset, g.largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--int4", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        size, largest = write(folder, arguments.layers)
        limit = 600 * 2**20 + 3 * largest
        start = time.monotonic()
        result = subprocess.run(
            [arguments.llmopt, folder / "model.onnx", f"-require-fusion=attention:{arguments.layers}",
             *(["-quantize-int4"] if arguments.int4 else []), "-o", folder / "model.so"], capture_output=True, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
        seconds = time.monotonic() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{size / 1e9:.1f} GB of weights, largest {largest / 1e6:.0f} MB: exit code {result.returncode} "
              f"after {seconds:.0f} s; peak {usage.ru_maxrss / 1024:.0f} MB resident, pages of files included; "
              f"limit {limit / 2**20:.0f} MB anonymous")
        sys.stdout.write(result.stdout + result.stderr)
        if result.returncode:
            sys.exit(1)
        written = (folder / "model.weights").stat()
        # 4 bits and what a group of 32 or more needs beside them; embeddings have 8 bits a value.
        low, high = (size / 8, size / 4.5) if arguments.int4 else (size, 1.01 * size)
        if not low <= written.st_size <= high:
            sys.exit(f"expected {low:.0f} to {high:.0f} bytes of weights, but got {written.st_size}")
        print(f"model.weights: {written.st_size / 1e9:.1f} GB, {written.st_blocks * 512 / 1e6:.1f} MB on the disk")


main()
