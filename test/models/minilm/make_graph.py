#!/usr/bin/env python3
"""Take the weights out of an export whose weights are known elsewhere.

    make_graph.py EXPORT.onnx model.safetensors GRAPH.onnx

Every initializer that equals a tensor of the safetensors file, or its transpose,
becomes a reference to the bytes in that file (external data at an offset; a
Transpose where the exporter had transposed). What is left is the exporter's
graph, small enough to keep.
"""

import json
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KEEP = 1024  # bytes: smaller initializers stay


def read_safetensors(path):
    """{name: (array, offset of its bytes in the file)}; float32 tensors only."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin = 8 + length + entry["data_offsets"][0]
        count = int(np.prod(entry["shape"], dtype=np.int64))
        tensors[name] = np.frombuffer(data, np.float32, count, begin).reshape(entry["shape"]), begin
    return tensors


def main():
    export, weights, out = sys.argv[1:]
    model = onnx.load(export)
    known = {}
    for name, (array, offset) in read_safetensors(weights).items():
        known[array.shape, array.tobytes()] = name, array, offset, False
        if array.ndim == 2:
            known.setdefault((array.T.shape, np.ascontiguousarray(array.T).tobytes()), (name, array, offset, True))
    transposes = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.nbytes < KEEP:
            continue
        name, stored, offset, transposed = known[array.shape, array.tobytes()]
        target = tensor.name
        if transposed:
            transposes.append(helper.make_node("Transpose", [name], [target], name=target, perm=[1, 0]))
            target = name
        tensor.CopyFrom(TensorProto(name=target, dims=stored.shape, data_type=TensorProto.FLOAT,
                                    data_location=TensorProto.EXTERNAL))
        for key, value in (("location", pathlib.Path(weights).name), ("offset", offset), ("length", stored.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
    for node in reversed(transposes):
        model.graph.node.insert(0, node)
    onnx.save(model, out)


main()
