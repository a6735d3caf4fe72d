#!/usr/bin/env python3
"""Makes llmopt-conformance cases of any models, with ONNX Runtime's outputs as truth.

    make_ort_cases.py OUT MODEL...

writes OUT/<model>/model.onnx (a link) and OUT/<model>/test_data_set_0. ONNX's own
vectors do not cover com.microsoft operators; this does. Inputs are ragged: masks
have rows of different length, ids are random. Models that ONNX Runtime does not
run are left out and named.
"""
import os
import sys

import numpy as np
import onnxruntime
from onnx import numpy_helper

SIZES = {}


def size_of(dim, position):
    if isinstance(dim, int) and dim > 0:
        return dim
    name = str(dim) if dim else f"?{position}"
    if "past" in name and "total" not in name and "+" not in name:
        return 3
    if "batch" in name or position == 0:
        return 2
    return SIZES.setdefault(name, 5)


def make_input(info, random):
    shape = [size_of(d, i) for i, d in enumerate(info.shape)]
    name = info.name.lower()
    kind = info.type
    if "float" in kind or "double" in kind:
        dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(kind, np.float32)
        return random.standard_normal(shape).astype(dtype)
    dtype = {
        "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int8)": np.int8,
        "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
    }.get(kind)
    if dtype is None:
        raise ValueError(f"input of type {kind}")
    if dtype in (np.int8, np.uint8):
        return random.integers(0, 100, shape).astype(dtype)
    if "mask" in name and len(shape) == 1:
        return random.integers(1, 4, shape).astype(dtype)
    if "mask" in name and len(shape) >= 2:
        lengths = random.integers(1, shape[-1] + 1, shape[:-1] + [1])
        return (np.arange(shape[-1]) < lengths).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def make_case(out, path):
    random = np.random.default_rng(1)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Its own fusions may change results; the graph as written is the truth.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {i.name: make_input(i, random) for i in session.get_inputs()}
    outputs = session.run(None, inputs)
    case = os.path.join(out, os.path.basename(path)[: -len(".onnx")])
    data = os.path.join(case, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    link = os.path.join(case, "model.onnx")
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.path.abspath(path), link)
    for kind, values in (("input", inputs.values()), ("output", outputs)):
        for i, value in enumerate(values):
            with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(np.asarray(value)).SerializeToString())


def main():
    out, paths = sys.argv[1], sys.argv[2:]
    made = 0
    for path in paths:
        SIZES.clear()
        try:
            make_case(out, path)
            made += 1
        except Exception as error:  # whatever keeps ONNX Runtime from running it
            print(f"left out {path}: {str(error).splitlines()[0][:160]}")
    print(f"{made} cases of {len(paths)} models")


if __name__ == "__main__":
    main()
