"""The formulas of transformers and control flow, with random variations: what a pass
recognises also comes in shapes that it must leave alone.

What does not live here: single operators (patterns.py).
"""
import numpy as np
from onnx import TensorProto, helper

from patterns import F, size_of


def norm(p):
    """LayerNormalization or RMSNormalization, whole or written out, with variations."""
    name = p.value("fffffd", rank=(2, 3, 4))
    v, g = p.g.values[name], p.g
    width = p.fixed(name, v.rank - 1)
    if not width or width < 2:
        return None
    scale, shift = g.constant(p.normal(width, 0.3, v.dtype) + v.dtype.type(1)), g.constant(p.normal(width, 1, v.dtype))
    way = p.rng.integers(4)
    if way == 0 and g.opset >= 17:
        return g.add("LayerNormalization", [name, scale] + ([shift] if p.chance(0.7) else []), axis=-1,
                     epsilon=float(p.one([1e-5, 1e-2])))
    if way == 1 and g.opset >= 23:
        return g.add("RMSNormalization", [name, scale], axis=-1, epsilon=1e-5)
    axis = -1 if p.chance(0.8) else int(p.rng.integers(v.rank))
    keep = int(p.chance(0.95))

    def mean(x):
        if g.opset >= 18:
            return g.add("ReduceMean", [x, p.ints([axis])], keepdims=keep)
        return g.add("ReduceMean", [x], axes=[axis], keepdims=keep)
    centred = name
    if p.chance(0.6):
        middle = mean(name)
        centred = g.add("Sub", [name, middle[0]])
        centred = centred[0]
    square = (g.add("Pow", [centred, g.constant(v.dtype.type(2 if p.chance(0.9) else 4))]) if p.chance(0.6)
              else g.add("Mul", [centred, centred]))
    variance = mean(square[0])
    epsilon = g.constant(v.dtype.type(p.one([1e-5, 1e-12, 0.1])))
    summed = g.add("Add", [variance[0], epsilon] if p.chance(0.7) else [epsilon, variance[0]])
    root = g.add("Sqrt", summed)
    numerator = centred if p.chance(0.9) else name
    if p.chance(0.6):
        out = g.add("Div", [numerator, root[0]])
    else:
        inverse = g.add("Reciprocal", root)
        out = g.add("Mul", [numerator, inverse[0]])
    if p.chance(0.8):
        out = g.add("Mul", [out[0], scale] if p.chance(0.5) else [scale, out[0]])
    if p.chance(0.6):
        out = g.add("Add", [out[0], shift] if p.chance(0.7) else [shift, out[0]])
    return out


def activation(p):
    """Gelu, its approximation and gates, written out."""
    name, g = p.value("fffd"), p.g
    t = g.values[name].dtype.type

    def op(kind, *operands):
        pair = list(operands)
        if kind in ("Add", "Mul") and p.chance(0.4):
            pair.reverse()
        return g.add(kind, pair)[0]
    half, one = g.constant(t(0.5 if p.chance(0.9) else 0.6)), g.constant(t(1))
    way = p.rng.integers(4)
    if way == 0:
        inner = op("Div", name, g.constant(t(np.sqrt(2.0)))) if p.chance(0.5) else op("Mul", name, g.constant(t(np.sqrt(0.5))))
        outer = op("Add", op("Erf", inner), one)
        if p.chance(0.5):
            return op("Mul", op("Mul", name, outer), half)
        return op("Mul", op("Mul", name, half), outer)
    if way == 1:
        cube = op("Pow", name, g.constant(t(3))) if p.chance(0.7) else op("Mul", op("Mul", name, name), name)
        inner = op("Add", name, op("Mul", cube, g.constant(t(0.044715))))
        outer = op("Add", op("Tanh", op("Mul", inner, g.constant(t(np.sqrt(2 / np.pi))))), one)
        return op("Mul", op("Mul", name, half), outer)
    if way == 2:
        return op("Mul", name, op("Sigmoid", op("Mul", name, g.constant(t(1.702))) if p.chance(0.5) else name))
    gate = p.value(g.values[name].dtype.char, test=lambda v: v.shape == g.values[name].shape)
    return op("Mul", op("Mul", name, op("Sigmoid", name)), gate)


def attention(p):
    """Heads from one value, masked or not, with the order of steps varied."""
    g = p.g
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width or width > 64:
        return None
    heads, depth = int(p.one([1, 2])), int(p.one([2, 4]))
    groups = heads if p.chance(0.8) else 1

    def project(count, source):
        weight = g.constant(p.normal((width, count * depth), 2 * width ** -0.5), "w")
        made = g.add("MatMul", [source, weight])
        if p.chance(0.7):
            made = g.add("Add", [made[0], g.constant(p.normal(count * depth))])
        if p.chance(0.5):
            made = g.add("Reshape", [made[0], p.ints([0, -1, count, depth] if p.chance(0.5) else [0, 0, count, depth])])
        else:
            shape = g.add("Concat", [size_of(p, source, 0), size_of(p, source, 1), p.ints([count]), p.ints([depth])],
                          axis=0)
            made = g.add("Reshape", [made[0], shape[0]])
        return made
    q, k, v = project(heads, name), project(groups, name), project(groups, name)
    q = g.add("Transpose", q, perm=[0, 2, 1, 3])
    v = g.add("Transpose", v, perm=[0, 2, 1, 3])
    if k and p.chance(0.5):
        k = g.add("Transpose", k, perm=[0, 2, 3, 1])
    else:
        k = g.add("Transpose", k, perm=[0, 2, 1, 3])
        k = g.add("Transpose", k, perm=[0, 1, 3, 2])
    scale = g.constant(F(p.one([depth ** -0.5, 1.0, 0.3])))
    way = p.rng.integers(4)
    if way == 0:
        q = g.add("Mul", [q[0], scale])
    elif way == 1:
        k = g.add("Mul", [scale, k[0]])
    scores = g.add("MatMul", [q[0], k[0]])
    if way == 2:
        scores = g.add("Div", [scores[0], g.constant(F(depth ** 0.5))])
    if p.chance(0.6):
        scores = mask(p, name, scores[0])
    weights = g.add("Softmax", [scores[0]], axis=p.one([-1, -1, -1, 3, 2]))
    out = g.add("MatMul", [weights[0], v[0]])
    out = g.add("Transpose", out, perm=[0, 2, 1, 3])
    return g.add("Reshape", [out[0], p.ints([0, -1, heads * depth] if p.chance(0.7) else [0, 0, -1])])


def mask(p, source, scores):
    """Masked scores: from an input of 0 and 1, or causal; the first key stays."""
    g, low = p.g, F(p.one([-10000.0, -1000.0]))
    if p.chance(0.5):
        given = next((n for n in g.inputs if n.startswith("mask")), None)
        if given is None:
            return [scores]
        made = g.add("Unsqueeze", [given, p.ints([1, 2])])
        if p.chance(0.5):
            made = g.add("Cast", made, to=TensorProto.FLOAT)
            made = g.add("Sub", [g.constant(F(1)), made[0]])
            made = g.add("Mul", [made[0], g.constant(low)])
            return g.add("Add", [scores, made[0]])
        made = g.add("Cast", made, to=TensorProto.BOOL)
        return g.add("Where", [made[0], scores, g.constant(low)])
    size = g.add("Squeeze", [size_of(p, source, 1)])
    rows = g.add("Range", [g.constant(np.array(0, np.int64)), size[0], g.constant(np.array(1, np.int64))])
    column = g.add("Unsqueeze", [rows[0], p.ints([1])])
    ahead = g.add("Greater" if p.chance(0.8) else "Less", [rows[0], column[0]])
    return g.add("Where", [ahead[0], g.constant(low), scores])


def rotary(p):
    g, name = p.g, p.value("f", rank=(3, 4))
    width = p.fixed(name, g.values[name].rank - 1)
    if not width or width % 2:
        return None
    axis, middle = p.ints([-1]), p.ints([width // 2])
    first = g.add("Slice", [name, p.ints([0]), middle, axis])
    second = g.add("Slice", [name, middle, p.ints([(1 << 63) - 1]), axis])
    second = g.add("Neg", second)
    turned = g.add("Concat", [second[0], first[0]], axis=-1)
    angles = p.normal((width,))
    left = g.add("Mul", [name, g.constant(np.cos(angles))])
    right = g.add("Mul", [turned[0], g.constant(np.sin(angles))])
    return g.add("Add", [left[0], right[0]])


# --- control flow -----------------------------------------------------------------

def branch(p):
    """If, on a flag that is fed; branches read values from outside."""
    g = p.g
    name = p.value("f", rank=(1, 2, 3))
    flag = next((n for n in g.inputs if n.startswith("flag")), None)
    if flag is None:
        return None
    graphs = []
    for i, op in enumerate(p.rng.permutation(["Relu", "Neg", "Tanh", "Abs"])[:2]):
        inner, out = f"{name}_in{g.count}_{i}", f"{name}_out{g.count}_{i}"
        nodes = [helper.make_node(str(op), [name], [inner]), helper.make_node("Add", [inner, name], [out])]
        graphs.append(helper.make_graph(nodes, f"branch{i}", [],
                                        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]))
    return g.add("If", [flag], captures=[name], then_branch=graphs[0], else_branch=graphs[1])


def loop(p):
    """Loop, a fixed number of steps, with one state and one scanned output."""
    g = p.g
    name = p.value("f", rank=(1, 2, 3))
    tag = f"{name}_{g.count}"
    value = [helper.make_tensor_value_info(f"{tag}_{n}", t, s) for n, t, s in
             (("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("s", TensorProto.FLOAT, None))]
    nodes = [helper.make_node("Identity", [f"{tag}_go"], [f"{tag}_on"]),
             helper.make_node("Tanh", [f"{tag}_s"], [f"{tag}_t"]),
             helper.make_node("Add", [f"{tag}_t", name], [f"{tag}_n"]),
             helper.make_node("Abs", [f"{tag}_n"], [f"{tag}_r"])]
    outs = [helper.make_tensor_value_info(f"{tag}_{n}", t, None) for n, t in
            (("on", TensorProto.BOOL), ("n", TensorProto.FLOAT), ("r", TensorProto.FLOAT))]
    body = helper.make_graph(nodes, "body", value, outs)
    trips = g.constant(np.array(int(p.rng.integers(1, 4)), np.int64))
    return g.add("Loop", [trips, g.constant(np.array(True)), name], 2, captures=[name], body=body)


FORMULAS = [(norm, 4), (activation, 3), (attention, 3), (rotary, 1), (branch, 1), (loop, 1)]
