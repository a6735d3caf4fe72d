"""What random graphs are made of, beyond the operators that transformers use most:
com.microsoft, quantized operators, narrow types, recurrent layers, loops and sizes
that depend on data.

As in patterns.py, a function takes a Picker and adds nodes, or gives up half way.
"""
import numpy as np
from onnx import TensorProto, helper

F, MS = np.float32, "com.microsoft"


# --- com.microsoft -----------------------------------------------------------------

def contrib_activation(p):
    name = p.value("f", rank=(1, 2, 3, 4))
    width = p.fixed(name, p.g.values[name].rank - 1)
    op = p.one(["Gelu", "FastGelu", "QuickGelu", "BiasGelu"])
    bias = [p.g.constant(p.normal(width))] if width and (op == "BiasGelu" or (op == "FastGelu" and p.chance(0.5))) else []
    if op == "BiasGelu" and not bias:
        return None
    return p.g.add(op, [name] + bias, domain=MS, **({"alpha": 1.5} if op == "QuickGelu" else {}))


def contrib_norm(p):
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width:
        return None
    scale, bias = p.g.constant(p.normal(width, 0.3) + F(1)), p.g.constant(p.normal(width))
    if p.chance(0.3):
        return p.g.add("SimplifiedLayerNormalization", [name, scale], axis=-1, epsilon=1e-3)
    other = p.value("f", rank=(3,), test=lambda v: v.dims() == p.g.values[name].dims())
    if p.chance(0.5):
        return p.g.add("SkipSimplifiedLayerNormalization", [name, other, scale], domain=MS, epsilon=1e-3)
    extra = [bias, p.g.constant(p.normal(width))] if p.chance(0.5) else [bias]
    return p.g.add("SkipLayerNormalization", [name, other, scale] + extra, domain=MS, epsilon=1e-3)


def fused_matmul(p):
    name = p.value("f", rank=(2, 3))
    rank = p.g.values[name].rank
    transpose = int(p.rng.integers(2))
    inner = p.fixed(name, rank - 2 if transpose else rank - 1)
    if not inner or inner > 64:
        return None
    turn = int(p.rng.integers(2))
    shape = (5, inner) if turn else (inner, 5)
    return p.g.add("FusedMatMul", [name, p.g.constant(p.normal(shape, inner ** -0.5), "w")], domain=MS,
                   transA=transpose, transB=turn, alpha=p.one([1.0, 0.5]))


def packed_attention(p):
    """Attention and MultiHeadAttention of ONNX Runtime."""
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width or width % 2:
        return None
    if p.chance(0.5):
        weight = p.g.constant(p.normal((width, 3 * width), width ** -0.5), "w")
        return p.g.add("Attention", [name, weight, p.g.constant(p.normal(3 * width))], domain=MS, num_heads=2,
                       unidirectional=int(p.rng.integers(2)))
    same = lambda v: v.dims()[0] == p.g.values[name].dims()[0] and v.shape[2] == width
    key = p.value("f", rank=(3,), test=same)
    return p.g.add("MultiHeadAttention", [name, key, key], domain=MS, num_heads=2)


# --- quantized ------------------------------------------------------------------------

def quantized_matmul(p):
    """Dynamic quantization as its tool writes it."""
    name = p.value("f", rank=(2, 3))
    inner = p.fixed(name, p.g.values[name].rank - 1)
    if not inner or inner > 64:
        return None
    # Sums stay below values.LARGEST_INT.
    scale, zero = p.g.constant(F(p.rng.uniform(0.2, 0.5))), p.g.constant(np.uint8(p.rng.integers(10, 30)))
    data = p.g.add("QuantizeLinear", [name, scale, zero])
    kind = p.one([np.int8, np.uint8])
    weight = p.g.constant(p.rng.integers(0 if kind is np.uint8 else -4, 5, (inner, 6)).astype(kind), "w")
    shift = [p.g.constant(kind(3))] if p.chance(0.5) else []
    product = p.g.add("MatMulInteger", [data[0], weight, zero] + shift)
    number = p.g.add("Cast", product, to=TensorProto.FLOAT)
    return p.g.add("Mul", [number[0], p.g.constant(F(0.05))])


def per_channel(p):
    """Weights of a scale per channel, of any axis, in 8, 16 or 4 bits."""
    name = p.value("f", rank=(2, 3))
    inner = p.fixed(name, p.g.values[name].rank - 1)
    if not inner or inner > 64:
        return None
    kind, low, high = p.one([(np.int8, -128, 128), (np.uint8, 0, 256), (np.int16, -300, 300), (np.uint16, 0, 600)])
    axis = int(p.rng.integers(2))
    shape = (inner, 6)
    weight = p.g.constant(p.rng.integers(low, high, shape).astype(kind), "w")
    scale = p.g.constant(p.rng.uniform(0.01, 0.05, shape[axis]).astype(F))
    zero = [p.g.constant(p.rng.integers(0, 5, shape[axis]).astype(kind))] if p.chance(0.6) else []
    made = p.g.add("DequantizeLinear", [weight, scale] + zero, axis=axis - 2 if p.chance(0.5) else axis)
    return p.g.add("MatMul", [name, made[0]])


# --- narrow types -----------------------------------------------------------------------

def half(p):
    """Arithmetic of whole numbers in fp16, where every engine is exact."""
    name = p.value("f", rank=(1, 2, 3))
    small = p.g.add("Clip", [p.g.add("Round", [name])[0], p.g.constant(F(-8)), p.g.constant(F(8))])
    x = p.g.add("Cast", small, to=TensorProto.FLOAT16)[0]
    way = p.rng.integers(6)
    width = p.fixed(name, p.g.values[name].rank - 1)
    if way == 0 and width and width <= 16:
        x = p.g.add("MatMul", [x, p.g.constant(p.rng.integers(-2, 3, (width, 3)).astype(np.float16))])[0]
    elif way == 1:
        x = p.g.add(p.one(["Add", "Sub", "Mul", "Max", "Min"]), [x, p.g.constant(np.float16(p.rng.integers(-3, 4)))])[0]
    elif way == 2:
        x = p.g.add(p.one(["Neg", "Abs", "Relu", "Sign", "Floor"]), [x])[0]
    elif way == 3:
        x = p.g.add("Concat", [x, x], axis=p.axis(name))[0]
    elif way == 4 and p.g.opset >= 13:
        x = p.g.add("ReduceSum", [x, p.ints([p.axis(name)])], keepdims=1)[0]
    elif way == 5:
        x = p.g.add("Where", [p.g.add("Greater", [x, p.g.constant(np.float16(0))])[0], x, p.g.constant(np.float16(2))])[0]
    return p.g.add("Cast", [x], to=TensorProto.FLOAT)


def integers(p):
    """Integers of every width, signed or not."""
    name = p.value("li")
    kind = p.one([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
    to = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    if np.dtype(kind).kind == "u":
        name = p.g.add("Abs", [name])[0]
    made = p.g.add("Cast", [name], to=to)[0]
    op = p.one(["Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Greater", "Equal", "BitShift", "Neg", "Sum"])
    number = p.g.constant(np.array(int(p.rng.integers(1, 4)), kind))
    if op == "Neg":
        made = p.g.add("Neg", [made])[0]
    elif op == "BitShift":
        made = p.g.add(op, [made, number], direction=p.one(["LEFT", "RIGHT"]))[0]
    else:
        made = p.g.add(op, [made, number])[0]
    return p.g.add("Cast", [made], to=p.one([TensorProto.FLOAT, TensorProto.INT64]))


def is_empty(p, name):
    """Without elements, where ONNX Runtime's loops and recurrent layers crash."""
    return any(0 in d for d in p.g.values[name].dims())


# --- recurrent layers, loops --------------------------------------------------------------

def recurrent(p):
    """With optional inputs there or not, and some outputs left out."""
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width or width > 16 or is_empty(p, name):
        return None
    op = p.one(["RNN", "GRU", "LSTM"])
    gates, hidden = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 3
    direction = p.one(["forward", "reverse", "bidirectional"])
    d = 2 if direction == "bidirectional" else 1
    bias = p.g.constant(p.normal((d, 2 * gates * hidden), 0.3)) if p.chance(0.5) else ""
    operands = [name, p.g.constant(p.normal((d, gates * hidden, width), 0.5), "w"),
                p.g.constant(p.normal((d, gates * hidden, hidden), 0.5), "w"), bias]
    while operands[-1] == "":
        operands.pop()
    return p.g.add(op, operands, int(p.rng.integers(1, 3)), hidden_size=hidden, direction=direction)


def while_loop(p):
    """A loop that stops by itself; what it wrote is read."""
    g, name = p.g, p.value("f", rank=(1, 2))
    tag = f"{name}_{g.count}"
    n = lambda s: f"{tag}_{s}"
    info = lambda s, t, shape: helper.make_tensor_value_info(n(s), t, shape)
    limit = g.constant(np.array(int(p.rng.integers(0, 4)), np.int64))
    nodes = [helper.make_node("Less", [n("i"), limit], [n("on")]), helper.make_node("Tanh", [n("s")], [n("t")]),
             helper.make_node("Add", [n("t"), name], [n("n")]), helper.make_node("Neg", [n("n")], [n("r")])]
    body = helper.make_graph(nodes, "body", [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
                                             info("s", TensorProto.FLOAT, None)],
                             [info("on", TensorProto.BOOL, None), info("n", TensorProto.FLOAT, None),
                              info("r", TensorProto.FLOAT, None)])
    most = g.constant(np.array(int(p.rng.integers(1, 6)), np.int64))
    return g.add("Loop", [most, "", name], 2, captures=[name, limit], body=body)


def scan(p):
    g, name = p.g, p.value("f", rank=(2, 3))
    rank = g.values[name].rank
    if is_empty(p, name):
        return None
    axis = int(p.rng.integers(rank))
    tag = f"{name}_{g.count}"
    n = lambda s: f"{tag}_{s}"
    info = lambda s: helper.make_tensor_value_info(n(s), TensorProto.FLOAT, None)
    nodes = [helper.make_node("Mul", [n("x"), n("x")], [n("q")]), helper.make_node("Add", [n("q"), n("x")], [n("r")])]
    body = helper.make_graph(nodes, "body", [helper.make_tensor_value_info(n("x"), TensorProto.FLOAT, [None] * (rank - 1))],
                             [info("r")])
    return g.add("Scan", [name], body=body, num_scan_inputs=1, scan_input_axes=[axis],
                 scan_input_directions=[int(p.rng.integers(2))], scan_output_axes=[int(p.rng.integers(rank))],
                 scan_output_directions=[int(p.rng.integers(2))])


# --- sizes that depend on data -----------------------------------------------------------------

def select(p):
    """What a condition selects, and something over it."""
    name = p.value("f", rank=(1, 2, 3))
    flags = p.g.add("Greater", [name, p.g.constant(F(0.1))])
    way = p.rng.integers(4)
    if way == 0:
        found = p.g.add("Compress", [name, p.g.add("Reshape", [flags[0], p.ints([-1])])[0]])
        return p.g.add("ReduceSum", [found[0], p.ints([0])], keepdims=0) if p.g.opset >= 13 else found
    at = p.g.add("NonZero", flags)
    if way == 1:
        return p.g.add("GatherND", [name, p.g.add("Transpose", at, perm=[1, 0])[0]])
    shape = p.g.add("Shape", at)
    count = p.g.add("Gather", [shape[0], p.ints([1])])
    if way == 2:
        return p.g.add("Expand", [p.g.constant(F([0.5])), count[0]])
    return p.g.add("Cast", [p.g.add("Squeeze", [count[0], p.ints([0])])[0]], to=TensorProto.FLOAT)


def cut_to_longest(p):
    """Rows up to the longest that a mask has."""
    mask = next((n for n in p.g.inputs if n.startswith("mask")), None)
    if mask is None or p.g.opset < 13 or p.g.opset > 17:
        return None
    lengths = p.g.add("ReduceSum", [mask, p.ints([1])], keepdims=0)
    longest = p.g.add("ReduceMax", lengths, keepdims=0)
    name = p.value("f", rank=(3,), test=lambda v: v.dims()[1] == p.g.values[mask].dims()[1])
    end = p.g.add("Unsqueeze", [longest[0], p.ints([0])])
    return p.g.add("Slice", [name, p.ints([0]), end[0], p.ints([1])])


OPERATORS = [(contrib_activation, 2), (contrib_norm, 2), (fused_matmul, 1), (packed_attention, 1), (quantized_matmul, 1),
             (per_channel, 1), (half, 2), (integers, 2), (recurrent, 0.5), (while_loop, 1), (scan, 1), (select, 1),
             (cut_to_longest, 0.5)]
