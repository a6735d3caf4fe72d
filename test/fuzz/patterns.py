"""What random graphs are made of: single operators with random operands.

Each function takes a Picker and adds nodes; it may give up half way (Rejected, or
an early return), and what it added until then stays. Values are drawn from all there are.
"""
import numpy as np
from onnx import TensorProto, helper

from values import Rejected

F = np.float32
KINDS = {"f": np.float32, "d": np.float64, "l": np.int64, "i": np.int32, "?": np.bool_, "B": np.uint8, "b": np.int8}


class Picker:
    """Short words for drawing."""

    def __init__(self, graph):
        self.g, self.rng = graph, graph.rng

    def chance(self, p):
        return self.rng.random() < p

    def one(self, things):
        return things[int(self.rng.integers(len(things)))]

    def value(self, kinds="f", rank=None, test=None):
        """A name; later values come more often, so that graphs grow deep."""
        names = [n for n, v in self.g.values.items()
                 if v.dtype.char.replace("q", "l") in kinds and (rank is None or v.rank in rank) and not v.is_constant
                 and (test is None or test(v))]
        if not names:
            raise Rejected
        back = int(self.rng.exponential(4))
        return names[max(0, len(names) - 1 - back)] if self.chance(0.8) else self.one(names)

    def axis(self, name, positive=False):
        rank = self.g.values[name].rank
        axis = int(self.rng.integers(rank))
        return axis if positive or self.chance(0.5) else axis - rank

    def normal(self, shape, scale=1.0, dtype=F):
        return (self.rng.standard_normal(shape) * scale).astype(dtype)

    def ints(self, values, dtype=np.int64):
        return self.g.constant(np.array(values, dtype), "k")

    def fixed(self, name, axis):
        """The size along `axis` if all bindings agree, else None."""
        sizes = set(self.g.values[name].dims()[axis])
        return sizes.pop() if len(sizes) == 1 else None


def same_as(p, name):
    """A second operand: another value, or a constant that broadcasts to `name`."""
    v = p.g.values[name]
    if p.chance(0.6):
        return p.value(v.dtype.char.replace("q", "l"))
    keep = int(p.rng.integers(0, v.rank + 1))
    shape = [p.fixed(name, a) or 1 for a in range(v.rank)][v.rank - keep:]
    shape = [1 if p.chance(0.2) else s for s in shape]
    if v.is_float():
        return p.g.constant(p.normal(shape, 1.0, v.dtype) + v.dtype.type(0.5))
    if v.dtype == np.bool_:
        return p.g.constant(p.rng.random(shape) < 0.5)
    return p.g.constant(p.rng.integers(1, 6, shape).astype(v.dtype))


# --- single operators -----------------------------------------------------------

UNARY = ("Neg Abs Exp Log Sqrt Reciprocal Sin Cos Tan Sinh Cosh Erf Sign Floor Ceil Round Relu Tanh Sigmoid Softplus "
         "LeakyRelu Elu Selu Celu HardSigmoid HardSwish Softsign Mish Gelu ThresholdedRelu Acos Asin Atan Acosh Asinh "
         "Atanh Identity Clip").split()


def unary(p):
    name = p.value("fd")
    op = p.one(UNARY)
    attributes = {}
    if op in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu") and p.chance(0.5):
        attributes["alpha"] = float(p.rng.uniform(0.1, 2))
    if op == "Gelu":
        attributes["approximate"] = p.one(["none", "tanh"])
    if op == "Clip":
        dtype = p.g.values[name].dtype.type
        low, high = p.one([(-0.7, 0.9), (None, 0.5), (0.1, None)])
        return p.g.add(op, [name] + [p.g.constant(dtype(x)) if x is not None else "" for x in (low, high)])
    if op in ("Sqrt", "Log") and p.chance(0.7):
        name = p.g.add("Abs", [name])[0]
    return p.g.add(op, [name], **attributes)


def binary(p):
    name = p.value("fffffdli")
    other = same_as(p, name)
    pair = [name, other] if p.chance(0.6) else [other, name]
    op = p.one(["Add", "Sub", "Mul", "Div", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "PRelu"])
    if op == "Mod" and p.g.values[name].is_float():
        return p.g.add(op, pair, fmod=1)
    return p.g.add(op, pair)


def compare(p):
    name = p.value("fdli")
    return p.g.add(p.one(["Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"]), [name, same_as(p, name)])


def logic(p):
    name = p.value("?")
    return p.g.add("Not", [name]) if p.chance(0.3) else p.g.add(p.one(["And", "Or", "Xor"]), [name, same_as(p, name)])


def select(p):
    condition, name = p.value("?"), p.value("fdli")
    return p.g.add("Where", [condition, name, same_as(p, name)])


def cast(p):
    to = p.one(["f", "f", "d", "l", "i", "?", "b", "B"])
    name = p.value("fdli?bB")
    if p.g.values[name].is_float() and to in "lib" and p.chance(0.7):
        name = p.g.add(p.one(["Round", "Floor", "Ceil"]), [name])[0]
    return p.g.add("Cast", [name], to=helper.np_dtype_to_tensor_dtype(np.dtype(KINDS[to])))


def reduce(p):
    name = p.value("ffffdli", rank=(1, 2, 3, 4))
    op = p.one("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp "
               "ReduceLogSum".split())
    if "Log" in op and not p.g.values[name].is_float():
        return None  # a logarithm of integers is refused
    rank = p.g.values[name].rank
    axes = sorted({p.axis(name, True) for _ in range(int(p.rng.integers(1, 3)))})
    axes = [a - rank if p.chance(0.3) else a for a in axes]
    keep = {"keepdims": int(p.rng.integers(2))}
    if p.chance(0.1):
        return p.g.add(op, [name], **keep)
    if p.g.opset >= (13 if op == "ReduceSum" else 18):
        return p.g.add(op, [name, p.ints(axes)], **keep)
    return p.g.add(op, [name], axes=axes, **keep)


def arg(p):
    name = p.value("ffli", rank=(1, 2, 3, 4))
    return p.g.add(p.one(["ArgMax", "ArgMin"]), [name], axis=p.axis(name), keepdims=int(p.rng.integers(2)),
                            select_last_index=int(p.rng.integers(2)))


def along(p):
    """Operators along one axis."""
    name = p.value("fffd", rank=(1, 2, 3, 4))
    op = p.one(["Softmax", "Softmax", "LogSoftmax", "Hardmax", "CumSum", "LpNormalization", "TopK"])
    if op == "CumSum":
        return p.g.add(op, [name, p.g.constant(np.array(p.axis(name), np.int64))], exclusive=int(p.rng.integers(2)),
                       reverse=int(p.rng.integers(2)))
    if op == "LpNormalization":
        return p.g.add(op, [name], axis=p.axis(name), p=p.one([1, 2]))
    if op == "TopK":
        axis = p.axis(name)
        size = p.fixed(name, axis) or 1
        return p.g.add(op, [name, p.ints([int(p.rng.integers(1, size + 1))])], 2, axis=axis,
                       largest=int(p.rng.integers(2)))
    return p.g.add(op, [name], axis=p.axis(name))


# --- shapes and data movement -----------------------------------------------------

def size_of(p, name, axis):
    """A one-element shape that holds a size of `name`, written as exporters do."""
    shape = p.g.add("Shape", [name])
    way = p.rng.integers(3)
    if way == 0:
        scalar = p.g.add("Gather", [shape[0], p.g.constant(np.array(axis, np.int64))])
        if p.g.opset >= 13:
            return p.g.add("Unsqueeze", [scalar[0], p.ints([0])])[0]
    if way == 1:
        return p.g.add("Slice", [shape[0], p.ints([axis]), p.ints([axis + 1]), p.ints([0])])[0]
    return p.g.add("Gather", [shape[0], p.ints([axis])])[0]


def reshape(p):
    name = p.value("ffffdli?", rank=(1, 2, 3, 4))
    v = p.g.values[name]
    way = p.rng.integers(5)
    if way == 0:  # merge two axes
        a = int(p.rng.integers(v.rank))
        shape = [0] * a + [-1] + ([p.fixed(name, i) or 0 for i in range(a + 2, v.rank)])
        return p.g.add("Reshape", [name, p.ints(shape)])
    if way == 1:  # split the last axis
        size = p.fixed(name, v.rank - 1)
        if not size or size % 2:
            return None
        return p.g.add("Reshape", [name, p.ints([0] * (v.rank - 1) + [2, size // 2] if p.chance(0.5)
                                                else [0] * (v.rank - 1) + [-1, 2])])
    if way == 2:
        return p.g.add("Flatten", [name], axis=p.axis(name))
    if way == 3:
        return p.g.add("Reshape", [name, p.ints([-1])])
    parts = [size_of(p, name, a) for a in range(v.rank)]
    if v.rank > 1 and p.chance(0.6):  # a product of two sizes
        a = int(p.rng.integers(v.rank - 1))
        product = p.g.add("Mul", [parts[a], parts[a + 1]])
        parts[a:a + 2] = [product[0]]
    elif p.chance(0.5):
        parts[int(p.rng.integers(v.rank))] = p.ints([-1])
    shape = p.g.add("Concat", parts, axis=0)
    return p.g.add("Reshape", [name, shape[0]])


def squeeze(p):
    name = p.value("fffdli?", rank=(0, 1, 2, 3, 4))
    v = p.g.values[name]
    if p.chance(0.5):
        ones = [a for a in range(v.rank) if p.fixed(name, a) == 1]
        if ones:
            return p.g.add("Squeeze", [name, p.ints([p.one(ones)])])
    return p.g.add("Unsqueeze", [name, p.ints([int(p.rng.integers(-1, v.rank + 1))])])


def transpose(p):
    name = p.value("ffffdli?", rank=(2, 3, 4, 5))
    return p.g.add("Transpose", [name], perm=[int(a) for a in p.rng.permutation(p.g.values[name].rank)])


def expand(p):
    name = p.value("fffli?", rank=(0, 1, 2, 3))
    like = p.value("fffl", rank=(1, 2, 3))
    way = p.rng.integers(4)
    if way == 0:
        rank = p.g.values[name].rank
        return p.g.add("Tile", [name, p.ints([int(p.rng.integers(1, 3)) for _ in range(rank)])]) if rank else None
    if way == 1 and p.g.values[like].rank >= 2:
        shape = p.g.add("Concat", [size_of(p, like, a) for a in range(p.g.values[like].rank)], axis=0)
        return p.g.add("Expand", [name, shape[0]])
    if way == 2:
        shape = p.g.add("Shape", [like])
        filled = p.g.add("ConstantOfShape", [shape[0]], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5]))
        return p.g.add("Add", [filled[0], like])
    return p.g.add("Expand", [name, p.g.add("Shape", [like])[0]])


def concat(p):
    name = p.value("ffffdl", rank=(1, 2, 3, 4))
    v = p.g.values[name]
    axis = p.axis(name)
    others = [n for n, o in p.g.values.items() if o.dtype == v.dtype and o.rank == v.rank and
              all(a == b for i, (a, b) in enumerate(zip(o.dims(), v.dims())) if i != axis % v.rank)]
    picked = [p.one(others) for _ in range(int(p.rng.integers(1, 3)))]
    return p.g.add("Concat", [name] + picked if p.chance(0.5) else picked + [name], axis=axis)


def slices(p):
    name = p.value("ffffdl?", rank=(1, 2, 3, 4))
    count = int(p.rng.integers(1, min(3, p.g.values[name].rank) + 1))
    axes = [int(a) for a in p.rng.permutation(p.g.values[name].rank)[:count]]
    starts, ends, steps = [], [], []
    for _ in axes:
        step = p.one([1, 1, 1, 2, -1, -2, 3])
        starts.append(int(p.rng.integers(-4, 3)) if step > 0 else p.one([-1, 4, 100]))
        ends.append(p.one([1, 2, 3, -1, 100, (1 << 63) - 1]) if step > 0 else p.one([0, -100, -(1 << 63)]))
        steps.append(step)
    operands = [name, p.ints(starts), p.ints(ends), p.ints([a - p.g.values[name].rank if p.chance(0.3) else a
                                                           for a in axes])]
    if count == 1 and steps[0] > 0 and p.chance(0.5):  # up to the size of something else
        like = p.value("f", rank=(1, 2, 3))
        end = p.axis(like, True)
        # A size that is read as an end must fit: docs/decisions/import.md.
        if all(e <= n for e, n in zip(p.g.values[like].dims()[end], p.g.values[name].dims()[axes[0]])):
            operands[2], operands[1] = size_of(p, like, end), p.ints([0])
    return p.g.add("Slice", operands + ([p.ints(steps)] if p.chance(0.8) or set(steps) != {1} else []))


def split(p):
    name = p.value("fffd", rank=(1, 2, 3, 4))
    axis = p.axis(name)
    size = p.fixed(name, axis)
    if not size or size < 2:
        return None
    if p.chance(0.5):
        first = int(p.rng.integers(1, size))
        return p.g.add("Split", [name, p.ints([first, size - first])], 2, axis=axis)
    if p.g.opset >= 18:
        return p.g.add("Split", [name], 2, axis=axis, num_outputs=2)
    return p.g.add("Split", [name], 2, axis=axis) if size % 2 == 0 else None


def pad(p):
    name = p.value("ffd", rank=(1, 2, 3, 4))
    pads = p.rng.integers(0, 3, 2 * p.g.values[name].rank)
    if p.chance(0.3):
        pads = p.rng.integers(-1, 2, 2 * p.g.values[name].rank)
    operands = [name, p.ints(pads)]
    mode = p.one(["constant", "constant", "edge", "reflect"])
    if mode == "constant" and p.chance(0.5):
        operands.append(p.g.constant(p.g.values[name].dtype.type(0.25)))
    return p.g.add("Pad", operands, mode=mode)


def gather(p):
    name = p.value("ffffdl", rank=(1, 2, 3))
    axis = p.axis(name)
    least = min(p.g.values[name].dims()[axis])
    if not least:
        return None
    low = -least if p.chance(0.4) else 0
    shape = p.one([[], [1], [3], [2, 2]])
    way = p.rng.integers(3)
    if way == 0:
        return p.g.add("Gather", [name, p.g.constant(p.rng.integers(low, least, shape))], axis=axis)
    if way == 1:
        table = p.g.constant(p.normal((7, int(p.rng.integers(1, 5)))))
        ids = p.value("li")
        return p.g.add("Gather", [table, ids])
    fixed = [p.fixed(name, a) or 1 for a in range(p.g.values[name].rank)]
    fixed[axis] = int(p.rng.integers(1, 4))
    return p.g.add("GatherElements", [name, p.g.constant(p.rng.integers(low, least, fixed))], axis=axis)


def scatter(p):
    name = p.value("fffd", rank=(1, 2, 3))
    v = p.g.values[name]
    least = [min(d) for d in v.dims()]
    if not all(least):
        return None
    if p.chance(0.5):
        depth = int(p.rng.integers(1, v.rank + 1))
        rows = np.unique(np.stack([p.rng.integers(0, n, 3) for n in least[:depth]], -1), axis=0)
        rest = [p.fixed(name, a) for a in range(depth, v.rank)]
        if None in rest:
            return None
        how = {"reduction": p.one(["none", "add", "mul"])} if p.g.opset >= 16 else {}
        return p.g.add("ScatterND", [name, p.g.constant(rows), p.g.constant(p.normal([len(rows)] + rest, 1, v.dtype))],
                       **how)
    axis = p.axis(name, True)
    shape = [1] * v.rank
    shape[axis] = int(p.rng.integers(1, least[axis] + 1))
    index = p.rng.permutation(least[axis])[:shape[axis]].reshape(shape)
    how = {"reduction": p.one(["none", "add", "mul"])} if p.g.opset >= 16 else {}
    return p.g.add("ScatterElements", [name, p.g.constant(index), p.g.constant(p.normal(shape, 1, v.dtype))],
                   axis=axis, **how)


def ranges(p):
    """Positions from a size, as decoders count them."""
    like = p.value("f", rank=(1, 2, 3))
    shape = p.g.add("Shape", [like])
    size = p.g.add("Gather", [shape[0], p.g.constant(np.array(p.axis(like, True), np.int64))])
    start = p.g.constant(np.array(int(p.rng.integers(0, 2)), np.int64))
    made = p.g.add("Range", [start, size[0], p.g.constant(np.array(p.one([1, 1, 2]), np.int64))])
    if not made:
        return None
    if p.chance(0.5):
        column = p.g.add("Unsqueeze", [made[0], p.ints([1])])
        return p.g.add(p.one(["Less", "GreaterOrEqual", "Sub"]), [column[0], made[0]])
    return p.g.add("Cast", [made[0]], to=TensorProto.FLOAT)


def trilu(p):
    name = p.value("fl", rank=(2, 3, 4))
    if p.g.opset < 14:
        return None
    extra = [p.g.constant(np.array(int(p.rng.integers(-2, 3)), np.int64))] if p.chance(0.5) else []
    return p.g.add("Trilu", [name] + extra, upper=int(p.rng.integers(2)))


def one_hot(p):
    ids = p.value("li", rank=(0, 1, 2))
    return p.g.add("OneHot", [ids, p.g.constant(np.array(int(p.rng.integers(2, 7)), np.int64)),
                                      p.g.constant(np.array([0, 1], F))], axis=p.one([-1, 0]))


# --- products ---------------------------------------------------------------------

def matmul(p):
    name = p.value("fffffd", rank=(1, 2, 3, 4))
    v = p.g.values[name]
    inner = p.fixed(name, v.rank - 1)
    if p.chance(0.3):
        return p.g.add("MatMul", [name, p.value(v.dtype.char, rank=(1, 2, 3, 4)) or name])
    if not inner or not inner <= 64:
        return None
    width = int(p.one([1, 2, 3, 4, 8, 17, 33]))
    weight = p.g.constant(p.normal((inner, width), inner ** -0.5, v.dtype), "w")
    if v.rank == 2 and p.chance(0.4):
        transposed = int(p.rng.integers(2))
        if transposed:
            weight = p.g.constant(p.normal((width, inner), inner ** -0.5, v.dtype), "w")
        bias = [p.g.constant(p.normal(p.one([[width], [1, width], [1], []]), 1, v.dtype))] if p.chance(0.7) else []
        return p.g.add("Gemm", [name, weight] + bias, transB=transposed, alpha=p.one([1.0, 0.5]),
                       beta=p.one([1.0, 2.0]))
    out = p.g.add("MatMul", [name, weight])
    if p.chance(0.6):
        bias = p.g.constant(p.normal(width, 1, v.dtype), "bias")
        return p.g.add("Add", [out[0], bias] if p.chance(0.6) else [bias, out[0]])
    return out


def einsum(p):
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width:
        return None
    text = p.one(["bsh,hk->bsk", "bsh,hk->bks", "bsh,hk->sk", "bsh,kh->bsk"])
    shape = (3, width) if ",kh" in text else (width, 3)
    return p.g.add("Einsum", [name, p.g.constant(p.normal(shape))], equation=text)


def spatial(p):
    """Convolutions and pools along the last axes, channels known."""
    name = p.value("f", rank=(3, 4))
    v = p.g.values[name]
    channels, window = p.fixed(name, 1), [int(p.rng.integers(1, 4)) for _ in range(v.rank - 2)]
    # A window that is larger than what it moves over is refused.
    if not channels or channels > 8 or any(min(d) < k for d, k in zip(v.dims()[2:], window)):
        return None
    pads = [int(p.rng.integers(0, k)) for k in window] * 2
    common = dict(kernel_shape=window, pads=pads, strides=[int(p.rng.integers(1, 3)) for _ in window])
    way = p.rng.integers(4)
    if way == 0:
        return p.g.add("MaxPool", [name], ceil_mode=int(p.rng.integers(2)), **common)
    if way == 1:
        return p.g.add("AveragePool", [name], count_include_pad=int(p.rng.integers(2)), **common)
    groups = channels if p.chance(0.3) else 1
    out = groups * int(p.rng.integers(1, 3))
    weight = p.g.constant(p.normal([out, channels // groups] + window, 0.5), "w")
    bias = [p.g.constant(p.normal(out))] if p.chance(0.6) else []
    return p.g.add("Conv", [name, weight] + bias, group=groups, **common)


def channel_norm(p):
    name = p.value("f", rank=(2, 3, 4))
    channels = p.fixed(name, 1)
    if not channels:
        return None
    vectors = [p.g.constant(p.normal(channels, 0.3) + F(1)), p.g.constant(p.normal(channels))]
    way = p.rng.integers(3)
    if way == 0:
        vectors += [p.g.constant(p.normal(channels, 0.3)), p.g.constant(p.rng.uniform(0.5, 2, channels).astype(F))]
        return p.g.add("BatchNormalization", [name] + vectors, epsilon=1e-3)
    if way == 1 and p.g.opset >= 21:
        return p.g.add("GroupNormalization", [name] + vectors, num_groups=2 if channels % 2 == 0 else 1)
    return p.g.add("InstanceNormalization", [name] + vectors)


def bits(p):
    name = p.value("liB")
    other = p.g.constant(np.asarray(int(p.rng.integers(1, 7)), p.g.values[name].dtype))
    if p.g.opset >= 18 and p.chance(0.7):
        return p.g.add(p.one(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]), [name, other])
    return p.g.add("CastLike", [name, p.value("fdli?")])


def quantize(p):
    """There and back; noise rejects it where a tie decides."""
    name = p.value("f")
    kind = p.one([np.uint8, np.int8])
    operands = [p.g.constant(F(p.rng.uniform(0.02, 0.1))), p.g.constant(kind(p.rng.integers(0, 100)))]
    made = p.g.add("QuantizeLinear", [name] + operands)
    return p.g.add("DequantizeLinear", made + operands)


def fused_attention(p):
    """Attention of operator set 23."""
    name = p.value("f", rank=(3,))
    width = p.fixed(name, 2)
    if not width or width % 2 or p.g.opset < 23:
        return None
    other = p.value("f", rank=(3,), test=lambda v: v.shape[2] == width)
    return p.g.add("Attention", [name, other, other], q_num_heads=2, kv_num_heads=2, is_causal=int(p.rng.integers(2)))


def rearrange(p):
    name = p.value("f", rank=(3, 4))
    if p.g.values[name].rank == 4:
        mode = {"mode": p.one(["DCR", "CRD"])} if p.chance(0.5) else {}
        return p.g.add("DepthToSpace", [name], blocksize=2, **mode) if mode else p.g.add("SpaceToDepth", [name], blocksize=2)
    shape = [min(d) for d in p.g.values[name].dims()]
    rows = p.rng.integers(0, max(1, min(shape[:2])), (2, 2))
    return p.g.add("GatherND", [name, p.g.constant(rows)])


OPERATORS = [(unary, 6), (binary, 8), (compare, 2), (logic, 1), (select, 2), (cast, 3), (reduce, 4), (arg, 1), (along, 3),
            (reshape, 4), (squeeze, 2), (transpose, 3), (expand, 2), (concat, 3), (slices, 3), (split, 2), (pad, 1),
            (gather, 3), (scatter, 2), (ranges, 1), (trilu, 1), (one_hot, 1), (matmul, 6), (einsum, 1),
            (spatial, 2), (channel_norm, 1), (bits, 1), (quantize, 1), (fused_attention, 1), (rearrange, 1)]
