"""Decoders of opset 24 that no exporter of the zoo writes: TensorScatter puts new keys
and values into buffers, and Attention reads as much of them as nonpad_kv_seqlen says.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB, HIDDEN, HEADS, KV_HEADS, SIZE, ROOM = 61, 32, 4, 2, 8, 20


def write(path, by_head, mode="linear"):
    """One layer; the buffers are [batch, heads, ROOM, size] (`by_head`) or [batch, ROOM, width]."""
    random = np.random.default_rng(3)
    nodes, weights = [], []

    def add(op, inputs, outputs, **attributes):
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))

    def weight(name, *shape, scale=1.0):
        weights.append(numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name))

    weight("words", VOCAB, HIDDEN)
    for name, width in (("q", HEADS * SIZE), ("k", KV_HEADS * SIZE), ("v", KV_HEADS * SIZE)):
        weight(f"w{name}", HIDDEN, width, scale=0.4)  # peaked
    weight("wo", HEADS * SIZE, HIDDEN)
    weight("head", HIDDEN, VOCAB)
    add("Gather", ["words", "input_ids"], ["x"])
    for name in "qkv":
        add("MatMul", ["x", f"w{name}"], [f"{name}_rows"])
    suffix, heads = "_rows", {"q_num_heads": HEADS, "kv_num_heads": KV_HEADS}
    shape = ["batch", ROOM, KV_HEADS * SIZE]
    if by_head:
        suffix, heads, shape = "", {}, ["batch", KV_HEADS, ROOM, SIZE]
        for name, count in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            weights.append(numpy_helper.from_array(np.array([0, 0, count, SIZE]), f"{name}_shape"))
            add("Reshape", [f"{name}_rows", f"{name}_shape"], [f"{name}_split"])
            add("Transpose", [f"{name}_split"], [name], perm=[0, 2, 1, 3])
    for name in ("key", "value"):
        add("TensorScatter", [f"past_{name}", name[0] + suffix, "write_indices"], [f"present_{name}"], axis=-2, mode=mode)
    add("Attention", ["q" + suffix, "present_key", "present_value", "", "", "", "nonpad_kv_seqlen"], ["a"], is_causal=1, **heads)
    if by_head:
        weights.append(numpy_helper.from_array(np.array([0, 0, HEADS * SIZE]), "flat"))
        add("Transpose", ["a"], ["a_split"], perm=[0, 2, 1, 3])
        add("Reshape", ["a_split", "flat"], ["a_rows"])
    add("MatMul", ["a_rows" if by_head else "a", "wo"], ["o"])
    add("Add", ["o", "x"], ["y"])
    add("MatMul", ["y", "head"], ["logits"])
    info, i64, f32 = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.FLOAT
    inputs = [info("input_ids", i64, ["batch", "sequence"]), info("past_key", f32, shape), info("past_value", f32, shape),
              info("write_indices", i64, ["batch"]), info("nonpad_kv_seqlen", i64, ["batch"])]
    outputs = [info("logits", f32, ["batch", "sequence", VOCAB]), info("present_key", f32, shape), info("present_value", f32, shape)]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11), path)
