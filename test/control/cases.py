"""Models with branches, loops and recurrent layers, and inputs that take every way
through them. Each case: a name, an ONNX model, and a list of input dictionaries.

What lives here: the models. Who runs them: check_control.py.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, inputs, outputs, weights=(), opset=17, functions=(), opsets=()):
    graph = helper.make_graph(list(nodes), "case", list(inputs), list(outputs), list(weights))
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, v) for d, v in opsets]
    return helper.make_model(graph, opset_imports=imports, ir_version=10 if functions else 8,
                             functions=list(functions))


def body(name, nodes, inputs, outputs, weights=()):
    return helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(weights))


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=attributes.pop("name", op + "_" + outputs[0]), **attributes)


def draw(random, *shape):
    return random.standard_normal(shape).astype(np.float32)


def branches(random):
    """Both branches use one weight; one also has its own."""
    then = body("then", [node("MatMul", ["x", "w"], ["t0"]), node("Add", ["t0", "b"], ["then_y"])], [],
                [value("then_y", F, None)], [weight("b", draw(random, 8))])
    other = body("else", [node("Relu", ["x"], ["e0"]), node("MatMul", ["e0", "w"], ["else_y"])], [],
                 [value("else_y", F, None)])
    m = model([node("If", ["flag"], ["y"], then_branch=then, else_branch=other), node("Tanh", ["y"], ["z"])],
              [value("flag", B, []), value("x", F, ["n", 8])], [value("z", F, ["n", 8])],
              [weight("w", draw(random, 8, 8))])
    return m, [{"flag": np.array(f), "x": draw(random, n, 8)} for f in (True, False) for n in (1, 5)]


def nested_branches(random):
    """A branch in a branch, captures of captures, a result that is passed through."""
    inner_then = body("it", [node("Add", ["x", "y0"], ["it_y"])], [], [value("it_y", F, None)])
    inner_else = body("ie", [node("Identity", ["x"], ["ie_y"])], [], [value("ie_y", F, None)])
    then = body("then", [node("Mul", ["x", "x"], ["y0"]),
                         node("If", ["inner"], ["then_y"], then_branch=inner_then, else_branch=inner_else),
                         node("Identity", ["x"], ["same"])], [], [value("then_y", F, None), value("same", F, None)])
    other = body("else", [node("Neg", ["x"], ["else_y"]), node("Constant", [], ["c"], value=weight("", draw(random, 3, 4)))],
                 [], [value("else_y", F, None), value("c", F, None)])
    m = model([node("If", ["outer"], ["p", "q"], then_branch=then, else_branch=other), node("Sub", ["p", "q"], ["z"])],
              [value("outer", B, [1]), value("inner", B, []), value("x", F, [3, 4])],
              [value("z", F, None), value("q", F, None)])
    return m, [{"outer": np.array([a]), "inner": np.array(b), "x": draw(random, 3, 4)}
               for a in (True, False) for b in (True, False)]


def merged_decoder(random):
    """What exporters write for use_cache_branch: two large branches over the same
    weights, whose keys have different lengths."""
    h, d = 16, 4
    shared = [weight(n, draw(random, h, h) * 0.4) for n in ("wq", "wk", "wo")]

    def branch(prefix, past):
        keys = [node("Concat", ["past", prefix + "k"], [prefix + "present"], axis=2)] if past else \
            [node("Identity", [prefix + "k"], [prefix + "present"])]
        heads = np.array([0, 0, h // d, d], np.int64)
        return body(prefix, [
            node("Constant", [], [prefix + "heads"], value=weight("", heads)),
            node("MatMul", ["x", "wq"], [prefix + "q0"]), node("MatMul", ["x", "wk"], [prefix + "k0"]),
            node("Reshape", [prefix + "q0", prefix + "heads"], [prefix + "q1"]),
            node("Reshape", [prefix + "k0", prefix + "heads"], [prefix + "k1"]),
            node("Transpose", [prefix + "q1"], [prefix + "q"], perm=[0, 2, 1, 3]),
            node("Transpose", [prefix + "k1"], [prefix + "k"], perm=[0, 2, 1, 3]), *keys,
            node("Transpose", [prefix + "present"], [prefix + "kt"], perm=[0, 1, 3, 2]),
            node("MatMul", [prefix + "q", prefix + "kt"], [prefix + "s"]),
            node("Softmax", [prefix + "s"], [prefix + "p"], axis=-1),
            node("MatMul", [prefix + "p", prefix + "present"], [prefix + "c0"]),
            node("Transpose", [prefix + "c0"], [prefix + "c1"], perm=[0, 2, 1, 3]),
            node("Constant", [], [prefix + "flat"], value=weight("", np.array([0, 0, h], np.int64))),
            node("Reshape", [prefix + "c1", prefix + "flat"], [prefix + "c"]),
            node("MatMul", [prefix + "c", "wo"], [prefix + "logits"])], [],
            [value(prefix + "logits", F, None), value(prefix + "present", F, None)])

    m = model([node("If", ["use_cache_branch"], ["logits", "present"], then_branch=branch("a_", True),
                    else_branch=branch("b_", False))],
              [value("x", F, ["batch", "sequence", h]), value("past", F, ["batch", h // d, "past_length", d]),
               value("use_cache_branch", B, [1])],
              [value("logits", F, ["batch", "sequence", h]), value("present", F, ["batch", h // d, "total", d])],
              shared)
    return m, [{"x": draw(random, 2, s, h), "past": draw(random, 2, h // d, p, d), "use_cache_branch": np.array([c])}
               for c, s, p in ((True, 1, 5), (False, 6, 1), (True, 3, 2))]


def while_loop(random):
    """Halves until small: the number of iterations depends on data."""
    inner = body("body", [node("Mul", ["x_in", "half"], ["x_out"]), node("ReduceMax", ["x_out"], ["m"], keepdims=0),
                          node("Greater", ["m", "limit"], ["go_on"]), node("Add", ["n_in", "one"], ["n_out"])],
                 [value("i", I, []), value("cond", B, []), value("x_in", F, None), value("n_in", I, None)],
                 [value("go_on", B, None), value("x_out", F, None), value("n_out", I, None)])
    m = model([node("Loop", ["", "start", "x", "zero"], ["y", "n"], body=inner)],
              [value("start", B, []), value("x", F, ["n", 3])], [value("y", F, None), value("n", I, None)],
              [weight("half", np.float32(0.5)), weight("limit", np.float32(0.1)), weight("one", np.int64(1)),
               weight("zero", np.int64(0))])
    return m, [{"start": np.array(s), "x": np.abs(draw(random, k, 3)) * 40} for s, k in ((True, 2), (False, 2), (True, 4))]


def counted_loop(random):
    """A trip count from data; states that change places, and one that stays."""
    inner = body("body", [node("Add", ["a", "b"], ["sum"]), node("Identity", ["c"], ["go_on"])],
                 [value("i", I, []), value("c", B, []), value("a", F, None), value("b", F, None), value("k", F, None)],
                 [value("go_on", B, None), value("b", F, None), value("sum", F, None), value("k", F, None)])
    swap = body("swap", [node("Identity", ["sc"], ["sgo"])],
                [value("si", I, []), value("sc", B, []), value("sa", F, None), value("sb", F, None)],
                [value("sgo", B, None), value("sb", F, None), value("sa", F, None)])
    m = model([node("Loop", ["trips", "", "x", "y", "y"], ["p", "q", "r"], body=inner),
               node("Loop", ["trips", "", "p", "q"], ["u", "v"], body=swap)],
              [value("trips", I, []), value("x", F, [2, 3]), value("y", F, [2, 3])],
              [value(n, F, None) for n in ("p", "q", "r", "u", "v")])
    return m, [{"trips": np.array(t), "x": draw(random, 2, 3), "y": draw(random, 2, 3)} for t in (0, 1, 2, 7)]


def scanning_loop(random):
    """As many iterations as an input has rows; a row that depends on the iteration."""
    inner = body("body", [node("Gather", ["x", "i"], ["row"], axis=0), node("Add", ["s", "row"], ["next"]),
                          node("Cast", ["i"], ["fi"], to=F), node("Mul", ["next", "fi"], ["out"]),
                          node("Identity", ["c"], ["go_on"])],
                 [value("i", I, []), value("c", B, []), value("s", F, None)],
                 [value("go_on", B, None), value("next", F, None), value("out", F, None), value("s", F, None)])
    m = model([node("Shape", ["x"], ["shape"]), node("Constant", [], ["at"], value=weight("", np.int64(0))),
               node("Gather", ["shape", "at"], ["rows"], axis=0),
               node("Loop", ["rows", "", "zeros"], ["last", "outs", "befores"], body=inner)],
              [value("x", F, ["rows_of_x", 4])],
              [value("last", F, None), value("outs", F, None), value("befores", F, None)],
              [weight("zeros", np.zeros(4, np.float32))])
    return m, [{"x": draw(random, n, 4)} for n in (1, 3, 11)]


def stopping_scan(random):
    """Scan outputs of a loop that may stop before its limit: a shape of this run."""
    inner = body("body", [node("Add", ["s", "x"], ["next"]), node("ReduceMax", ["next"], ["m"], keepdims=0),
                          node("Less", ["m", "limit"], ["go_on"])],
                 [value("i", I, []), value("c", B, []), value("s", F, None)],
                 [value("go_on", B, None), value("next", F, None), value("next", F, None)])
    m = model([node("Loop", ["most", "", "x"], ["last", "rows"], body=inner)], [value("x", F, [3])],
              [value("last", F, None), value("rows", F, None)],
              [weight("most", np.int64(200)), weight("limit", np.float32(5))])
    return m, [{"x": np.array(x, np.float32)} for x in ([0.5, 0.1, 1], [9, 1, 1], [0, 0, 0.01])]


def growing_state(random):
    """A state that grows: written out, since the count is a constant."""
    inner = body("body", [node("Concat", ["s", "x"], ["next"], axis=0), node("Identity", ["c"], ["go_on"])],
                 [value("i", I, []), value("c", B, []), value("s", F, None)],
                 [value("go_on", B, None), value("next", F, None)])
    m = model([node("Loop", ["most", "", "x"], ["y"], body=inner)], [value("x", F, ["n", 3])], [value("y", F, None)],
              [weight("most", np.int64(70))])
    return m, [{"x": draw(random, n, 3)} for n in (1, 2)]


def loops_and_branches(random):
    """A branch in a loop in a branch, with a product by one weight in all of them."""
    even = body("even", [node("MatMul", ["s", "w"], ["ev"])], [], [value("ev", F, None)])
    odd = body("odd", [node("MatMul", ["x", "w"], ["od0"]), node("Add", ["od0", "s"], ["od"])], [], [value("od", F, None)])
    inner = body("body", [node("Mod", ["i", "two"], ["rest"]), node("Equal", ["rest", "zero"], ["is_even"]),
                          node("If", ["is_even"], ["mixed"], then_branch=even, else_branch=odd),
                          node("Tanh", ["mixed"], ["next"]), node("Identity", ["c"], ["go_on"])],
                 [value("i", I, []), value("c", B, []), value("s", F, None)],
                 [value("go_on", B, None), value("next", F, None), value("mixed", F, None)])
    then = body("then", [node("Loop", ["trips", "", "x"], ["t_last", "t_rows"], body=inner)], [],
                [value("t_last", F, None)])
    other = body("else", [node("MatMul", ["x", "w"], ["e"])], [], [value("e", F, None)])
    m = model([node("If", ["flag"], ["y"], then_branch=then, else_branch=other)],
              [value("flag", B, []), value("trips", I, []), value("x", F, ["n", 6])], [value("y", F, None)],
              [weight("w", draw(random, 6, 6) * 0.5), weight("two", np.int64(2)), weight("zero", np.int64(0))])
    # The rows nobody reads make no output whose size depends on data.
    return m, [{"flag": np.array(f), "trips": np.array(t), "x": draw(random, 2, 6)}
               for f, t in ((True, 0), (True, 5), (False, 3))]


def scan(random):
    """Two states, inputs along different axes and directions, outputs likewise."""
    inner = body("body", [node("Add", ["s", "a"], ["s1"]), node("Mul", ["b", "k"], ["bk"]), node("Sub", ["t", "bk"], ["t1"]),
                          node("Mul", ["s1", "t1"], ["o1"]), node("Identity", ["a"], ["o2"])],
                 [value("s", F, [2]), value("t", F, [2]), value("a", F, [2]), value("b", F, [2])],
                 [value("s1", F, [2]), value("t1", F, [2]), value("o1", F, [2]), value("o2", F, [2])])
    m = model([node("Scan", ["s0", "t0", "a0", "b0"], ["s9", "t9", "out1", "out2"], body=inner, num_scan_inputs=2,
                    scan_input_axes=[0, 1], scan_input_directions=[0, 1], scan_output_axes=[0, 1],
                    scan_output_directions=[1, 0])],
              [value("s0", F, [2]), value("t0", F, [2]), value("a0", F, ["length", 2]), value("b0", F, [2, "length"])],
              [value(n, F, None) for n in ("s9", "t9", "out1", "out2")], [weight("k", np.float32(0.5))])
    return m, [{"s0": draw(random, 2), "t0": draw(random, 2), "a0": draw(random, n, 2), "b0": draw(random, 2, n)}
               for n in (1, 4, 9)]


def recurrent(op, random, direction="forward", lengths=False, initial=True, bias=True, opset=14, **attributes):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    hidden, width, d = 6, 5, 2 if direction == "bidirectional" else 1
    peepholes = attributes.pop("peepholes", False)
    weights = [weight("w", draw(random, d, gates * hidden, width) * 0.5),
               weight("r", draw(random, d, gates * hidden, hidden) * 0.5)]
    inputs = [value("x", F, ["steps", "batch", width])]
    names = ["x", "w", "r", "", "", ""]
    if bias:
        weights.append(weight("b", draw(random, d, 2 * gates * hidden) * 0.3))
        names[3] = "b"
    if lengths:
        inputs.append(value("lengths", TensorProto.INT32, ["batch"]))
        names[4] = "lengths"
    states = ["h"] + (["c"] if op == "LSTM" else [])
    if initial:
        for s in states:
            inputs.append(value(s + "0", F, [d, "batch", hidden]))
        names[5:] = [s + "0" for s in states]
    if peepholes:
        weights.append(weight("p", draw(random, d, 3 * hidden)))
        names = (names + [""] * 8)[:7] + ["p"]
    outs = ["y"] + ["y_" + s for s in states]
    m = model([node(op, names, outs, hidden_size=hidden, direction=direction, **attributes)], inputs,
              [value(o, F, None) for o in outs], weights, opset)
    feeds = []
    for steps, batch in ((1, 2), (7, 3)):
        feed = {"x": draw(random, steps, batch, width) * 2}
        if lengths:
            feed["lengths"] = random.integers(1, steps + 1, batch).astype(np.int32)
        for s in states if initial else ():
            feed[s + "0"] = draw(random, d, batch, hidden)
        feeds.append(feed)
    return m, feeds


def referring(name, to):
    attribute = onnx.AttributeProto(name=name, type=onnx.AttributeProto.FLOAT)
    attribute.ref_attr_name = to
    return attribute


def functions(random):
    """Functions that call functions: attributes with and without defaults, an own
    operator set, an input left out, a branch inside."""
    scale = helper.make_function(
        "here", "Scale", ["v"], ["w"],
        [helper.make_node("Constant", [], ["f"], name="c"), helper.make_node("Mul", ["v", "f"], ["w"], name="m")],
        [helper.make_opsetid("", 13)], ["factor"])
    scale.node[0].attribute.append(
        referring("value_float", "factor"))
    leaky = helper.make_function(
        "here", "Twice", ["v", "unused"], ["w"],
        [helper.make_node("Scale", ["v"], ["s"], name="s", domain="here", factor=3.0),
         helper.make_node("LeakyRelu", ["s"], ["w"], name="l")],
        [helper.make_opsetid("", 17), helper.make_opsetid("here", 1)], [],
        [helper.make_attribute("alpha", 0.25)])
    leaky.node[1].attribute.append(referring("alpha", "alpha"))
    m = model([node("Twice", ["x"], ["a"], domain="here"), node("Twice", ["a"], ["y"], domain="here", alpha=0.5)],
              [value("x", F, ["n", 3])], [value("y", F, None)], functions=[scale, leaky], opsets=[("here", 1)])
    return m, [{"x": draw(random, 4, 3)}]


def all_cases():
    import data_cases  # which builds on this module
    random = np.random.default_rng(7)
    for make in (branches, nested_branches, merged_decoder, while_loop, counted_loop, scanning_loop, stopping_scan,
                 growing_state, loops_and_branches, scan, functions):
        yield make.__name__, *make(random)
    for make in data_cases.ALL:
        yield make.__name__, *make(np.random.default_rng(11))
    layers = []
    for op in ("RNN", "GRU", "LSTM"):
        for direction in ("forward", "reverse", "bidirectional"):
            layers.append((op, dict(direction=direction)))
            layers.append((op, dict(direction=direction, lengths=True)))
        layers.append((op, dict(initial=False, bias=False)))
        layers.append((op, dict(clip=0.4)))
        layers.append((op, dict(opset=7)))
    layers += [("GRU", dict(linear_before_reset=1)), ("GRU", dict(linear_before_reset=1, bias=False)),
               ("GRU", dict(linear_before_reset=1, direction="bidirectional", lengths=True)),
               ("GRU", dict(activations=["HardSigmoid", "Softsign"], activation_alpha=[0.3], activation_beta=[0.4])),
               ("RNN", dict(activations=["Relu"])), ("RNN", dict(activations=["Affine"], activation_alpha=[0.5],
                                                                  activation_beta=[0.1])),
               ("LSTM", dict(peepholes=True)), ("LSTM", dict(peepholes=True, direction="bidirectional")),
               ("LSTM", dict(input_forget=1)), ("LSTM", dict(activations=["HardSigmoid", "Tanh", "Softsign"])),
               ("LSTM", dict(direction="bidirectional", activations=["Sigmoid", "Elu", "Tanh", "Sigmoid", "LeakyRelu", "Relu"],
                             activation_alpha=[0.7, 0.2]))]
    for op, attributes in layers:
        name = op.lower() + "".join(f"_{k}" + ("" if v is True else f"_{v}") for k, v in attributes.items() if k != "activation_alpha")
        yield "".join(c if c.isalnum() else "_" for c in name)[:80], *recurrent(op, random, **attributes)
