"""The same models in words that ONNX Runtime's CPU provider has kernels for.

Used by check_testdata.py. Each rewrite keeps what the model means: bf16 is computed
in fp32 (and compared with a tolerance of bf16), an operator that only a GPU has is
the two that it fuses.
"""
import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BF16_TOLERANCE = 8e-3  # 2^-7, one unit in the last place
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def types(model):
    """Every value info of the graph."""
    return [*model.graph.input, *model.graph.output, *model.graph.value_info]


def uses_bf16(model):
    return any(v.type.tensor_type.elem_type == TensorProto.BFLOAT16 for v in types(model))


def rewrite(model):
    """The model as ONNX Runtime can run it; None where it can as it is."""
    if uses_bf16(model):
        return without_bf16(model)
    if any(node.op_type == "GemmFastGelu" for node in model.graph.node):
        return without_gemm_fast_gelu(model)
    return None


def without_bf16(model):
    model = copy.deepcopy(model)
    for value in types(model):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    return model


def without_gemm_fast_gelu(model):
    """FastGelu(x w + b), with the product in front and the bias inside."""
    model, nodes = copy.deepcopy(model), []
    for node in model.graph.node:
        if node.op_type != "GemmFastGelu":
            nodes.append(node)
            continue
        product = node.output[0] + "_product"
        nodes.append(helper.make_node("MatMul", node.input[:2], [product]))
        nodes.append(helper.make_node("FastGelu", [product, *node.input[2:3]], node.output, domain="com.microsoft"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any(o.domain == "" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 17))
    return model


def wide_inputs(session):
    return {i.name for i in session.get_inputs() if i.type == "tensor(float)"}


def widened(actual, expected):
    """bf16 as fp32, where that is what it is compared with."""
    if actual is not None and expected.dtype == np.float32 and actual.dtype.itemsize == 2:
        if actual.dtype.kind in "Vu":  # NumPy has no such type of its own
            return (actual.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return actual.astype(np.float32)
    return actual


# --- weights ----------------------------------------------------------------------

def is_made_up(values):
    """Whether a matrix has one number everywhere, or counts."""
    steps = np.diff(values.reshape(-1).astype(np.float64))
    return values.ndim > 1 and steps.size > 8 and np.allclose(steps, steps[0], atol=1e-6)


def floats(model):
    return [t for t in model.graph.initializer if t.data_type in FLOATS and not t.external_data]


def has_made_up_weights(model):
    """Such weights make equal channels, which a norm cancels, and scores of thousands."""
    return any(is_made_up(numpy_helper.to_array(t)) for t in floats(model))


def draw_weights(model):
    """The model with such weights drawn: products keep the size of what they multiply."""
    model, rng = copy.deepcopy(model), np.random.default_rng(5)
    for tensor in floats(model):
        values = numpy_helper.to_array(tensor)
        if values.size > 8:
            drawn = rng.standard_normal(values.shape) * (values.shape[0] ** -0.5 if values.ndim > 1 else 0.5)
            tensor.CopyFrom(numpy_helper.from_array(drawn.astype(values.dtype), tensor.name))
    return model
