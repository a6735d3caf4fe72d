"""A graph that grows node by node, each run in ONNX Runtime when it is added.

Every value carries what it is for each binding of the symbolic dimensions, twice:
exact, and with noise added to every float that was computed. A node whose results
are not finite, are large, or move by more than a bound when its inputs do is not
taken. So NaN, overflow, ties and ill-conditioned formulas never decide a
comparison, and no operator needs rules of its own.

What lives here: growing a graph and writing it as a model. What does not: which
nodes to grow (patterns.py).
"""
import dataclasses

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NOISE = 1e-5        # of a computed value, relative to its largest element
MOVED = 5e-4        # by how much noise may move a result: 50 times the noise
LARGEST = 1e4       # of a float
LARGEST_INT = 1000  # of an integer: products of two fit any type but int8
# Operators that only move data: their results are as exact as their inputs.
MOVES = {"Reshape", "Transpose", "Slice", "Gather", "GatherElements", "GatherND", "Concat", "Split", "Squeeze",
         "Unsqueeze", "Expand", "Tile", "Pad", "Identity", "Flatten", "Where", "Trilu", "Neg", "Abs", "Relu", "Max",
         "Min", "ScatterND", "ScatterElements", "Constant", "ConstantOfShape", "EyeLike", "OneHot", "Compress"}


MS = "com.microsoft"


class Rejected(Exception):
    """A node that does not qualify; the graph is as it was."""


@dataclasses.dataclass
class Value:
    name: str
    exact: list     # one array per binding
    noisy: list
    is_constant: bool = False  # an initializer

    @property
    def dtype(self):
        return self.exact[0].dtype

    @property
    def shape(self):  # of the first binding
        return self.exact[0].shape

    @property
    def rank(self):
        return self.exact[0].ndim

    def dims(self):
        """Per axis the sizes over all bindings."""
        return list(zip(*(a.shape for a in self.exact)))

    def is_float(self):
        return self.dtype.kind == "f"


def session(model):
    options = onnxruntime.SessionOptions()
    # As the file is written: fusions are the other engine's business.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tensor_type(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    def __init__(self, rng, opset, symbols):
        """`symbols`: name -> sizes, one per binding."""
        self.rng, self.opset, self.symbols = rng, opset, symbols
        self.bindings = len(next(iter(symbols.values())))
        self.values, self.inputs, self.initializers, self.nodes = {}, [], [], []
        self.producers = {}
        self.names = {sizes: name for name, sizes in symbols.items()}
        self.count = 0
        self.lists_defaults = False  # initializers are inputs, too: values that a caller may leave out

    # --- what stands at the beginning ---------------------------------------

    def fresh(self, stem):
        self.count += 1
        return f"{stem}_{self.count}"

    def input(self, stem, dims, make):
        """An input; `make(shape)` gives its value. `dims`: numbers and symbols."""
        name = self.fresh(stem)
        arrays = [np.ascontiguousarray(make([self.symbols[d][i] if isinstance(d, str) else d for d in dims])).reshape(
            [self.symbols[d][i] if isinstance(d, str) else d for d in dims]) for i in range(self.bindings)]
        self.values[name] = Value(name, arrays, arrays)
        self.inputs.append(name)
        return name

    def constant(self, array, stem="c"):
        name = self.fresh(stem)
        array = np.asarray(array)
        self.values[name] = Value(name, [array] * self.bindings, [array] * self.bindings, True)
        self.initializers.append(name)
        return name

    # --- nodes ----------------------------------------------------------------

    def declare(self, name, with_shape=True):
        """ValueInfo: sizes that are those of a symbol in every binding are it."""
        value = self.values[name]
        dims = []
        for sizes in value.dims():
            if sizes in self.names:
                dims.append(self.names[sizes])
            else:
                dims.append(None if len(set(sizes)) > 1 else sizes[0])
        return helper.make_tensor_value_info(name, tensor_type(value.dtype), dims if with_shape else [None] * len(dims))

    def model(self, nodes, inputs, outputs, initializers, with_shapes=True):
        defaults = initializers if self.lists_defaults else []
        graph = helper.make_graph(nodes, "fuzz", [self.declare(n) for n in [*inputs, *defaults]],
                                  [self.declare(n, with_shapes) if n in self.values else
                                   onnx.ValueInfoProto(name=n) for n in outputs],
                                  [numpy_helper.from_array(self.values[n].exact[0], n) for n in initializers])
        domains = [("", self.opset)] + ([(MS, 1)] if any(node.domain == MS for node in nodes) else [])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*d) for d in domains])
        model.ir_version = 10
        return model

    def add(self, op, inputs, outputs=1, captures=(), **attributes):
        """The names of the results; Rejected where the node does not qualify."""
        # ONNX Runtime gives reductions of nothing another shape than ONNX does.
        if op.startswith(("Reduce", "Arg", "Log", "Lp", "Top")) and any(0 in d for d in self.values[inputs[0]].dims()):
            raise Rejected
        if not self.is_broadcast_known([n for n in inputs if n]):
            raise Rejected
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        node = helper.make_node(op, inputs, names, name=self.fresh(op), **attributes)
        used = dict.fromkeys([n for n in inputs if n] + list(captures))
        constants = [n for n in used if self.values[n].is_constant]
        feeds = [n for n in used if n not in constants]
        try:
            runner = session(self.model([node], feeds, names, constants))
            exact, noisy = [], []
            for i in range(self.bindings):
                exact.append(runner.run(None, {n: self.values[n].exact[i] for n in feeds}))
                noisy.append(runner.run(None, {n: self.values[n].noisy[i] for n in feeds}))
        except Exception:  # it has no such kernel, or shapes do not fit
            raise Rejected from None
        results = []
        for k, name in enumerate(names):
            value = Value(name, [np.asarray(e[k]) for e in exact], [np.asarray(n[k]) for n in noisy])
            if not self.qualifies(value):
                raise Rejected
            if value.is_float() and op not in MOVES:
                value.noisy = [self.shake(a) for a in value.noisy]
            results.append(value)
        for value in results:
            self.values[value.name] = value
            self.producers[value.name] = node
        self.nodes.append(node)
        return names

    def is_broadcast_known(self, names):
        """Whether no size that may be 0 meets another that may be 1: two sizes give
        their maximum, and the library says that it refuses this."""
        for i, first in enumerate(names):
            for second in names[:i]:
                for a, b in zip(reversed(self.values[first].dims()), reversed(self.values[second].dims())):
                    if len(set(a)) > 1 and len(set(b)) > 1 and any({x, y} == {0, 1} for x, y in zip(a, b)):
                        return False
        return True

    def shake(self, array):
        if not array.size:
            return array
        noise = self.rng.uniform(-1, 1, array.shape) * NOISE * np.abs(array).max()
        return (array + noise).astype(array.dtype)

    def qualifies(self, value):
        for a, b in zip(value.exact, value.noisy):
            if a.dtype.kind not in "fiub" or a.shape != b.shape or a.size > 4096 or a.ndim > 6:
                return False
            if a.dtype.kind != "f":
                if not np.array_equal(a, b) or (a.dtype.kind in "iu" and np.abs(a.astype(np.int64)).max(initial=0) > LARGEST_INT):
                    return False
                continue
            if not np.isfinite(a).all() or not np.isfinite(b).all():
                return False
            largest = np.abs(a).max(initial=0)
            if largest > LARGEST or (largest and largest < 1e-4):
                return False
            if np.abs(a.astype(np.float64) - b).max(initial=0) > MOVED * largest:
                return False
        return True

    # --- the whole --------------------------------------------------------------

    def finish(self, outputs, with_shapes=True):
        """The model of `outputs` and what it needs."""
        return cut(self, set(outputs), frozenset(), with_shapes)

    def feeds(self, model):
        defaults = {t.name for t in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in defaults]
        return [{n: self.values[n].exact[i] for n in names} for i in range(self.bindings)]


def reads(node):
    names = [n for n in node.input if n]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = {o for n in attribute.g.node for o in n.output} | {i.name for i in attribute.g.input}
            names += [n for sub in attribute.g.node for n in reads(sub) if n not in inner]
            names += [o.name for o in attribute.g.output if o.name not in inner]
            names = [n for n in names if n not in {t.name for t in attribute.g.initializer}]
    return names


def cut(graph, outputs, dropped, with_shapes=True):
    """The model that computes `outputs`; what nodes numbered in `dropped` gave
    are inputs of it, with the values they had."""
    needed, kept = set(outputs), []
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if index not in dropped and any(o in needed for o in node.output):
            kept.append(node)
            needed.update(reads(node))
    kept.reverse()
    made = {o for node in kept for o in node.output}
    initializers = [n for n in graph.initializers if n in needed]
    inputs = [n for n in graph.values if n in needed and n not in made and n not in initializers]
    return graph.model(kept, inputs, sorted(outputs & made, key=list(graph.values).index), initializers, with_shapes)
