#!/usr/bin/env python3
"""Writes the small models that the tests beside this directory read.

Run it in a Python with onnx after changing it, and commit what it writes.
"""
import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


def value(name, dims, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def weight(name, *dims):
    data = np.arange(int(np.prod(dims)), dtype=np.float32).reshape(dims) / 8
    return numpy_helper.from_array(data, name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def save(name, nodes, inputs, outputs, initializers=(), opset=17, domains=(), functions=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    model = helper.make_model(graph, opset_imports=imports, producer_name="make_fixtures", functions=functions)
    model.ir_version = 8
    with open(os.path.join(HERE, name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())


def node(op, inputs, outputs, name="", domain="", **attributes):
    return helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes)


# Heads split by a chain of shape computations, as the TorchScript exporter writes it.
save(
    "shape-chain",
    [
        node("Shape", ["x"], ["s0"]),
        node("Gather", ["s0", "i0"], ["batch"], axis=0),
        node("Shape", ["x"], ["s1"]),
        node("Gather", ["s1", "i1"], ["seq"], axis=0),
        node("Unsqueeze", ["batch", "axis0"], ["b1"]),
        node("Unsqueeze", ["seq", "axis0"], ["q1"]),
        node("Concat", ["b1", "q1", "heads", "size"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["split"], name="/layer.0/attention/self/Reshape"),
        node("Transpose", ["split"], ["y"], name="/layer.0/attention/self/Transpose", perm=[0, 2, 1, 3]),
    ],
    [value("x", ["batch", "sequence", 8])],
    [value("y", None)],
    [numpy_helper.from_array(np.array(0, dtype=np.int64), "i0"),
     numpy_helper.from_array(np.array(1, dtype=np.int64), "i1"),
     ints("axis0", 0), ints("heads", 2), ints("size", -1)],
)

# Positions cut to the length of the sequence.
save(
    "positions",
    [
        node("Shape", ["ids"], ["s"]),
        node("Gather", ["s", "one"], ["length"], axis=0),
        node("Slice", ["positions", "zero", "length", "one"], ["cut"]),
        node("Gather", ["table", "cut"], ["p"]),
        node("Gather", ["words", "ids"], ["w"]),
        node("Add", ["w", "p"], ["y"]),
    ],
    [value("ids", ["batch", "sequence"], INT64)],
    [value("y", None)],
    [ints("one", 1), ints("zero", 0), weight("table", 16, 4), weight("words", 8, 4),
     numpy_helper.from_array(np.arange(16, dtype=np.int64)[None], "positions")],
)

# Everything that is wrong is said at once.
save(
    "unsupported",
    [
        node("ImageDecoder", ["x"], ["v"], name="picture"),
        node("SequenceConstruct", ["x"], ["h"], name="/list/SequenceConstruct"),
        node("SequenceConstruct", ["w"], ["h2"], name="/list/SequenceConstruct_1"),
        node("BeamSearch", ["x"], ["z"], name="beam", domain="com.microsoft"),
        node("Relu", ["v"], ["y"]),
    ],
    [value("x", ["a", "b", 4]), value("k", [1], INT64)],
    [value("y", None), value("z", None), value("h2", None)],
    [weight("w", 1, 16, 4)],
    domains=["com.microsoft"],
)

# ONNX Runtime's transformer operators.
save(
    "contrib",
    [
        node("EmbedLayerNormalization", ["ids", "", "words", "positions", "", "g", "b", "mask"], ["e", "lengths"],
             name="embed", domain="com.microsoft", epsilon=1e-12),
        node("Attention", ["e", "w", "wb", "lengths"], ["a"], name="attention", domain="com.microsoft", num_heads=2),
        node("SkipLayerNormalization", ["e", "a", "g", "b"], ["n"], name="skip", domain="com.microsoft"),
        node("BiasGelu", ["n", "b"], ["y"], name="gelu", domain="com.microsoft"),
    ],
    [value("ids", ["batch", "sequence"], INT32), value("mask", ["batch", "sequence"], INT32)],
    [value("y", None)],
    [weight("words", 8, 4), weight("positions", 16, 4), weight("g", 4), weight("b", 4), weight("w", 4, 12),
     weight("wb", 12)],
    domains=["com.microsoft"],
)

# A function, as the dynamo exporter leaves them.
save(
    "function",
    [node("Silu", ["x"], ["y"], name="call", domain="pkg.torch")],
    [value("x", ["batch", 4])],
    [value("y", None)],
    domains=["pkg.torch"],
    functions=[
        helper.make_function("pkg.torch", "Silu", ["a"], ["c"],
                             [node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["c"])],
                             [helper.make_opsetid("", 17)])
    ],
)

# A size that depends on data, and a condition that does.
save(
    "data-dependent",
    [node("Reshape", ["x", "shape"], ["y"], name="reshape")],
    [value("x", ["n"]), value("shape", [2], INT64)],
    [value("y", None)],
)

# A name that two constants define, as some optimizers leave it.
save(
    "repeated-constant",
    [
        node("Constant", [], ["c"], value_float=8.0),
        node("Div", ["x", "c"], ["y"], name="scale"),
        node("Constant", [], ["c"], value_float=2.0),
    ],
    [value("x", ["n"])],
    [value("y", None)],
)
