"""Models whose sizes depend on data in every place where they may: read by the
shapes of other nodes, as trip counts, inside of branches and loops, and behind them.

Imports the builders of cases.py, which lists these cases too.
"""
import numpy as np

from cases import B, F, I, body, draw, model, node, value, weight


def mask(random, *shape):
    return random.random(shape) < 0.6


def masked_assignment(random):
    """hidden[~mask] = 0 as exporters write it: zeros of as many rows as the mask
    has holes, scattered to where these are."""
    m = model([node("Not", ["mask"], ["holes"]), node("Cast", ["holes"], ["h0"], to=I),
               node("Reshape", ["h0", "all"], ["h1"]), node("ReduceSum", ["h1", "axis"], ["n"], keepdims=1),
               node("Expand", ["zero", "n"], ["zeros"]), node("NonZero", ["holes"], ["at0"]),
               node("Transpose", ["at0"], ["at"]), node("ScatterND", ["x", "at", "zeros"], ["y"])],
              [value("x", F, ["batch", "length"]), value("mask", B, ["batch", "length"])],
              [value("y", F, ["batch", "length"])],
              [weight("all", np.array([-1])), weight("axis", np.array([0])), weight("zero", np.array([0], np.float32))])
    return m, [{"x": draw(random, b, n), "mask": f(random, b, n)} for b, n in ((2, 5), (1, 9))
               for f in (mask, lambda r, *s: np.ones(s, bool), lambda r, *s: np.zeros(s, bool))]


def longest_row(random):
    """Lengths of rows, positions up to the longest, and the input cut there."""
    m = model([node("Cast", ["mask"], ["m"], to=I), node("ReduceSum", ["m", "one"], ["lengths"], keepdims=0),
               node("ReduceMax", ["lengths"], ["longest"], keepdims=0),
               node("Range", ["zero", "longest", "step"], ["positions"]),
               node("Unsqueeze", ["longest", "front"], ["end"]),
               node("Slice", ["x", "front", "end", "one"], ["cut"]), node("Unsqueeze", ["lengths", "one"], ["column"]),
               node("Less", ["positions", "column"], ["inside"]), node("Where", ["inside", "cut", "none"], ["y"])],
              [value("x", F, ["batch", "length"]), value("mask", B, ["batch", "length"])], [value("y", F, None)],
              [weight("one", np.array([1])), weight("zero", np.array(0)), weight("step", np.array(1)),
               weight("front", np.array([0])), weight("none", np.float32(-1))], 13)
    return m, [{"x": draw(random, b, n), "mask": mask(random, b, n)} for b, n in ((2, 5), (3, 8), (1, 1))]


def filled(random):
    """ConstantOfShape and Tile of counts, beside a size of the input."""
    m = model([node("NonZero", ["x"], ["at"]), node("Shape", ["at"], ["s"]), node("Gather", ["s", "one"], ["n"]),
               node("Shape", ["x"], ["t"]), node("Concat", ["n", "t"], ["dims"], axis=0),
               node("ConstantOfShape", ["dims"], ["c"], value=weight("", np.array([0.5], np.float32))),
               node("Add", ["c", "x"], ["y"]), node("Size", ["y"], ["z"])],
              [value("x", F, ["n"])], [value("y", F, None), value("z", I, [])], [weight("one", np.array([1]))])
    return m, [{"x": np.maximum(draw(random, n), 0)} for n in (1, 6, 11)]


def counted_trips(random):
    """As many iterations as there are true flags; rows that a node reads."""
    step = body("body", [node("Identity", ["go"], ["on"]), node("MatMul", ["s", "w"], ["s0"]), node("Tanh", ["s0"], ["s1"]),
                         node("Cast", ["i"], ["f"], to=F), node("Mul", ["s1", "f"], ["row"])],
                [value("i", I, []), value("go", B, []), value("s", F, [1, 4])],
                [value("on", B, []), value("s1", F, [1, 4]), value("row", F, [1, 4])])
    m = model([node("Cast", ["flags"], ["c"], to=I), node("ReduceSum", ["c", "axis"], ["n"], keepdims=0),
               node("Loop", ["n", "", "x"], ["last", "rows"], body=step), node("Squeeze", ["rows", "one"], ["flat"]),
               node("MatMul", ["flat", "w"], ["y"]), node("ReduceSum", ["flat", "axis"], ["z"], keepdims=0)],
              [value("flags", B, ["n"]), value("x", F, [1, 4])],
              [value("last", F, None), value("y", F, None), value("z", F, None)],
              [weight("w", draw(random, 4, 4) * 0.7), weight("axis", np.array([0])), weight("one", np.array([1]))])
    return m, [{"flags": f, "x": draw(random, 1, 4)} for f in (mask(random, 7), np.zeros(3, bool), np.ones(4, bool))]


def stopping_rows(random):
    """A loop that stops by itself; what it has written is read."""
    step = body("body", [node("Add", ["s", "x"], ["s1"]), node("ReduceMax", ["s1"], ["m"], keepdims=0),
                         node("Less", ["m", "limit"], ["on"]), node("Relu", ["s1"], ["row"])],
                [value("i", I, []), value("go", B, []), value("s", F, ["n"])],
                [value("on", B, []), value("s1", F, ["n"]), value("row", F, ["n"])])
    m = model([node("Loop", ["trips", "", "x"], ["last", "rows"], body=step), node("Neg", ["rows"], ["y"]),
               node("Shape", ["rows"], ["s"])],
              [value("x", F, ["n"]), value("limit", F, [])], [value("last", F, None), value("y", F, None), value("s", I, [2])],
              [weight("trips", np.array(200))])
    return m, [{"x": np.abs(draw(random, n)) + 0.1, "limit": np.array(limit, np.float32)} for n, limit in ((3, 9), (1, 0), (5, 1e9))]


def branch_sizes(random):
    """Branches of different lengths, and nodes that read what they give."""
    then = body("then", [node("Concat", ["x", "past"], ["t"], axis=0)], [], [value("t", F, None)])
    other = body("else", [node("Identity", ["x"], ["e"])], [], [value("e", F, None)])
    m = model([node("If", ["flag"], ["y"], then_branch=then, else_branch=other), node("Relu", ["y"], ["r"]),
               node("Shape", ["y"], ["s"]), node("ReduceMean", ["r"], ["z"], axes=[0])],
              [value("flag", B, []), value("x", F, ["n", 3]), value("past", F, ["past_n", 3])],
              [value("y", F, None), value("r", F, None), value("s", I, [2]), value("z", F, None)])
    return m, [{"flag": np.array(f), "x": draw(random, 2, 3), "past": draw(random, p, 3)} for f in (True, False)
               for p in (1, 4)]


def counts_in_branches(random):
    """Either branch selects, by different masks; a nested one, too."""
    inner = body("inner", [node("Compress", ["x", "second"], ["i0"], axis=0), node("Add", ["i0", "one"], ["i1"])], [],
                 [value("i1", F, None)])
    same = body("same", [node("Identity", ["x"], ["j"])], [], [value("j", F, None)])
    then = body("then", [node("Compress", ["x", "first"], ["t0"], axis=0), node("Mul", ["t0", "t0"], ["t1"])], [],
                [value("t1", F, None)])
    other = body("else", [node("If", ["deep"], ["k"], then_branch=inner, else_branch=same), node("Neg", ["k"], ["e"])], [],
                 [value("e", F, None)])
    m = model([node("If", ["flag"], ["y"], then_branch=then, else_branch=other), node("Tanh", ["y"], ["z"]),
               node("ReduceSum", ["z", "axis"], ["sum"], keepdims=0)],
              [value("flag", B, []), value("deep", B, []), value("x", F, ["n", 2]), value("first", B, ["n"]),
               value("second", B, ["n"])], [value("z", F, None), value("sum", F, None)],
              [weight("one", np.float32(1)), weight("axis", np.array([0]))])
    return m, [{"flag": np.array(f), "deep": np.array(d), "x": draw(random, 6, 2), "first": mask(random, 6),
                "second": mask(random, 6)} for f in (True, False) for d in (True, False)]


def counts_to_outputs(random):
    """Nothing reads what the branches have selected: it is an output as it is."""
    then = body("then", [node("NonZero", ["x"], ["t"])], [], [value("t", I, None)])
    other = body("else", [node("NonZero", ["y"], ["e"])], [], [value("e", I, None)])
    m = model([node("If", ["flag"], ["at"], then_branch=then, else_branch=other)],
              [value("flag", B, []), value("x", F, ["n", 2]), value("y", F, ["m", 2])], [value("at", I, None)])
    return m, [{"flag": np.array(f), "x": np.maximum(draw(random, 5, 2), 0), "y": np.maximum(draw(random, 2, 2), 0)}
               for f in (True, False, True)]


def counts_in_loops(random):
    """Every iteration selects anew; states keep their shapes."""
    step = body("body", [node("Identity", ["go"], ["on"]), node("Gather", ["masks", "i"], ["m"], axis=0),
                         node("Compress", ["x", "m"], ["c"], axis=0), node("ReduceSum", ["c"], ["r"], keepdims=0),
                         node("Add", ["s", "r"], ["s1"]), node("Identity", ["r"], ["row"])],
                [value("i", I, []), value("go", B, []), value("s", F, [])],
                [value("on", B, []), value("s1", F, []), value("row", F, [])])
    m = model([node("Loop", ["trips", "", "start"], ["last", "rows"], body=step), node("NonZero", ["rows"], ["at"])],
              [value("masks", B, [9, "n"]), value("x", F, ["n"])], [value("last", F, []), value("rows", F, [9]), value("at", I, None)],
              [weight("trips", np.array(9)), weight("start", np.float32(0))])
    first = mask(random, 9, 6)
    first[4] = False
    return m, [{"masks": first, "x": draw(random, 6)}, {"masks": np.ones((9, 2), bool), "x": draw(random, 2)}]


ALL = (masked_assignment, longest_row, filled, counted_trips, stopping_rows, branch_sizes, counts_in_branches,
       counts_to_outputs, counts_in_loops)
