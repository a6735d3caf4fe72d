"""The same models in words that ONNX Runtime's CPU provider has kernels for.

Used by check_testdata.py. Each rewrite keeps what the model means: bf16 is computed
in fp32 (and compared with a tolerance of bf16), an operator that only a GPU has is
the two that it fuses, a mask that only GPUs take is cut to the one that all take, and
a search is its decoder, which is what llmopt makes of it.

The second part makes up weights, for models whose own tell nothing or are missing;
both engines get the result.
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
    if any(is_megatron_attention(node, model) for node in model.graph.node):
        return without_megatron_masks(model)
    return None


def decoder_of(model):
    """The graph that a search runs, as a model with the weights around it; None of other models."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.domain == "com.microsoft" and attribute.name == "decoder":
                graph = copy.deepcopy(attribute.g)
                own = {t.name for t in graph.initializer} | {i.name for i in graph.input}
                graph.initializer.extend(t for t in model.graph.initializer if t.name not in own)
                return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
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


def is_megatron_attention(node, model):
    """Attention with a past and a mask [batch, 1, longest, longest]."""
    if node.op_type != "Attention" or node.domain != "com.microsoft" or len(node.input) < 5:
        return False
    ranks = {i.name: len(i.type.tensor_type.shape.dim) for i in model.graph.input}
    casts = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Cast"}
    return ranks.get(casts.get(node.input[3], node.input[3])) == 4


def without_megatron_masks(model):
    """Rows and columns of the mask as the GPU kernels read them: of the queries, which
    come after the past, and of the keys, from the first; as a mask of 3 dimensions."""
    model, nodes = copy.deepcopy(model), []
    for node in model.graph.node:
        if is_megatron_attention(node, model):
            x, mask, past, prefix = node.input[0], node.input[3], node.input[4], node.output[0] + "_mask_"
            def value(name, data):
                model.graph.initializer.append(numpy_helper.from_array(np.array(data, np.int64), prefix + name))
                return prefix + name
            def add(op, inputs, name, **attributes):
                nodes.append(helper.make_node(op, inputs, [prefix + name], **attributes))
                return prefix + name
            before = add("Gather", [add("Shape", [past], "past_shape"), value("three", [3])], "before")
            new = add("Gather", [add("Shape", [x], "x_shape"), value("one", [1])], "new")
            total = add("Add", [before, new], "total")
            starts = add("Concat", [before, value("zero", [0])], "starts", axis=0)
            ends = add("Concat", [total, total], "ends", axis=0)
            rows = add("Slice", [mask, starts, ends, value("axes", [2, 3])], "rows")
            node.input[3] = add("Squeeze", [rows], "squeezed", axes=[1])
        nodes.append(node)
    nodes = [copy.deepcopy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
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


# --- weights that are missing ----------------------------------------------------------

MOST_DRAWN = 1 << 26  # elements: a layer of a model of billions
TABLE_ROWS = 64


def has_missing_weights(model, folder):
    return any(not (folder / entry.value).exists() for t in model.graph.initializer for entry in t.external_data
               if entry.key == "location")


def draw_missing_weights(model):
    """As many first nodes of the model as fit MOST_DRAWN, with all that later ones read as
    outputs; tables that are only gathered from have few rows. With the number of nodes."""
    model, rng = copy.deepcopy(model), np.random.default_rng(6)
    tensors = {t.name: t for t in model.graph.initializer}
    readers = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node.op_type, index))
    for name, tensor in tensors.items():
        if tensor.external_data and all(use == ("Gather", 0) for use in readers.get(name, [])):
            tensor.dims[0] = min(tensor.dims[0], TABLE_ROWS)
    kept, used = [], set()
    for node in model.graph.node:
        names = used | {name for name in node.input if name in tensors}
        if sum(int(np.prod(tensors[name].dims)) for name in names) > MOST_DRAWN:
            break
        kept.append(node)
        used = names
    made = {name: node for node in kept for name in node.output}
    later = {name for node in model.graph.node[len(kept):] for name in node.input} | {o.name for o in model.graph.output}
    outputs = [name for name, node in made.items() if name in later and node.op_type != "Constant"]
    initializers = []
    for name in sorted(used):
        tensor = tensors[name]
        if tensor.external_data:
            shape = list(tensor.dims)
            drawn = rng.standard_normal(shape, np.float32) * np.float32(max(1, shape[0]) ** -0.5 if len(shape) > 1 else 0.5)
            tensor = numpy_helper.from_array(drawn.astype(helper.tensor_dtype_to_np_dtype(tensor.data_type)), name)
        initializers.append(tensor)
    count = len(kept)
    kept = [copy.deepcopy(node) for node in kept]
    for part, values in ((model.graph.node, kept), (model.graph.initializer, initializers),
                         (model.graph.output, [onnx.ValueInfoProto(name=name) for name in outputs])):
        del part[:]
        part.extend(values)
    return model, count
