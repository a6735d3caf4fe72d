#!/usr/bin/env python3
"""Dimensions of no elements: models bound to a batch, a sequence or a past of 0.

    check_empty.py LLMOPT LLMOPT_RUN [--filter TEXT] [-v]

Einsum is not among them: ONNX Runtime divides by zero there. Whatever ONNX Runtime accepts must give the same shapes and values; what it refuses
must end with a message or a result, never by a signal. Small graphs are one per
fold and operator that might take a size for positive; the files beside this one and
in test/zoo are whole models. REFUSED names what the library refuses, and why.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnx.parser

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import check_model  # noqa: E402

# name: why a run ends with a status although ONNX Runtime gives a result
REFUSED = {
    "last_row": "x[-1:] is one row by name, so that what follows has numbers as sizes",
    "broadcast_two": "one of two sizes that differ by name must be 1 where they differ, and beside a 1 the 0 is no maximum",
}
# Text of a graph body over x [batch, sequence, 4] of floats, i of int64 [batch, sequence].
GRAPHS = {
    "first_token": "y = Gather <axis=1> (x, zero)",
    "last_token": "y = Gather <axis=1> (x, minus)",
    "last_row": "m1 = Constant <value_ints=[-1]> () y = Slice (x, m1, ends, ones)",
    "all_but_first": "y = Slice (x, ones, ends, ones)",
    "all_but_last": "m1 = Constant <value_ints=[-1]> () y = Slice (x, zeros, m1, ones)",
    "shifted_sum": "m1 = Constant <value_ints=[-1]> () a = Slice (x, ones, ends, ones) b = Slice (x, zeros, m1, ones) y = Add (a, b)",
    "head": "two = Constant <value_ints=[2]> () y = Slice (x, zeros, two, ones)",
    "tail": "m2 = Constant <value_ints=[-2]> () y = Slice (x, m2, ends, ones)",
    "backwards": "m1 = Constant <value_ints=[-1]> () far = Constant <value_ints=[-1000]> () y = Slice (x, m1, far, ones, m1)",
    "every_other": "two = Constant <value_ints=[2]> () y = Slice (x, zeros, ends, ones, two)",
    "sum": "y = ReduceSum <keepdims=0> (x, ones)",
    "sum_batch": "y = ReduceSum <keepdims=1> (x, zeros)",
    "sum_all": "y = ReduceSum <keepdims=0> (x)",
    "softmax": "y = Softmax <axis=1> (x)",
    "cumsum": "y = CumSum (x, one)",
    "concat": "y = Concat <axis=1> (x, x)",
    "flatten": "f = Constant <value_ints=[-1, 4]> () y = Reshape (x, f)",
    "flatten_all": "f = Constant <value_ints=[-1]> () y = Reshape (x, f)",
    "product_shape": "s = Shape (x) b = Gather (s, zeros) q = Gather (s, ones) n = Mul (b, q) f = Constant <value_ints=[4]> () d = Concat <axis=0> (n, f) y = Reshape (x, d)",
    "zero_copies": "f = Constant <value_ints=[0, 0, 2, 2]> () y = Reshape (x, f)",
    "transpose": "y = Transpose <perm=[2, 1, 0]> (x)",
    "expand": "s = Shape (x) h = Constant <value_float=0.5> () y = Expand (h, s)",
    "constant_of_shape": "s = Shape (x) c = ConstantOfShape (s) y = Add (c, x)",
    "range": "s = Shape (x) q = Gather (s, one) y = Range (zero, q, one)",
    "range_step": "s = Shape (x) q = Gather (s, one) two = Constant <value_int=2> () y = Range (zero, q, two)",
    "range_from_one": "s = Shape (x) q = Gather (s, one) y = Range (one, q, one)",
    "causal": "s = Shape (x) q = Gather (s, one) r = Range (zero, q, one) c = Unsqueeze (r, ones) y = Less (r, c)",
    "at_least_one": "s = Shape (x) y = Max (s, one)",
    "compare_size": "s = Shape (x) q = Gather (s, one) y = Greater (q, zero)",
    "size_minus_one": "s = Shape (x) q = Gather (s, one) y = Sub (q, one)",
    "size_sign": "s = Shape (x) q = Gather (s, one) n = Sub (q, one) y = Abs (n)",
    "size_relu": "s = Shape (x) n = Sub (s, one) c = Cast <to=1> (n) y = Relu (c)",
    "size_where": "s = Shape (x) g = Equal (s, zero) y = Where (g, minus, s)",
    "size_mod": "s = Shape (x) n = Sub (s, one) f = Constant <value_int=3> () y = Mod (n, f)",
    "size_div": "s = Shape (x) n = Sub (s, one) f = Constant <value_int=2> () y = Div (n, f)",
    "matmul_keys": "t = Transpose <perm=[0, 2, 1]> (x) y = MatMul (t, x)",
    "scores": "t = Transpose <perm=[0, 2, 1]> (x) s = MatMul (x, t) p = Softmax <axis=-1> (s) y = MatMul (p, x)",
    "linear": "w = Constant <value_floats=[1.0, 2.0, 3.0, 4.0]> () d = Constant <value_ints=[4, 1]> () v = Reshape (w, d) y = MatMul (x, v)",
    "norm": "w = Constant <value_floats=[1.0, 2.0, 3.0, 4.0]> () y = LayerNormalization <axis=-1> (x, w)",
    "embedding": "t = Constant <value_floats=[1.0, 2.0, 3.0, 4.0]> () y = Gather (t, i)",
    "one_hot": "d = Constant <value_int=3> () v = Constant <value_floats=[0.0, 1.0]> () y = OneHot (i, d, v)",
    "tile": "f = Constant <value_ints=[1, 2, 1]> () y = Tile (x, f)",
    "tile_by_size": "s = Shape (x) f = Constant <value_floats=[1.0, 2.0]> () q = Gather (s, ones) y = Tile (f, q)",
    "split": "p = Constant <value_ints=[1, 3]> () y, z = Split <axis=2> (x, p)",
    "pad": "p = Constant <value_ints=[0, 1, 0, 0, 2, 0]> () y = Pad (x, p)",
    "pad_and_cut": "p = Constant <value_ints=[0, -1, 0, 0, 1, 0]> () y = Pad (x, p)",
    "non_zero": "y = NonZero (i)",
    "trilu": "y = Trilu (x)",
    "scatter": "y = ScatterND (x, none, nothing)",
    "gather_elements": "y = GatherElements <axis=1> (i, i)",
    "where_mask": "m = Cast <to=9> (i) u = Unsqueeze (m, two1) h = Constant <value_float=-1.0> () y = Where (u, x, h)",
    "broadcast_two": "a = ReduceMax <keepdims=1, axes=[2]> (x) b = Transpose <perm=[1, 0, 2]> (a) y = Add (a, b)",
}
CONSTANTS = """
  zero = Constant <value_int=0> () one = Constant <value_int=1> () minus = Constant <value_int=-1> ()
  zeros = Constant <value_ints=[0]> () ones = Constant <value_ints=[1]> () ends = Constant <value_ints=[9223372036854775807]> ()
  two1 = Constant <value_ints=[2]> () none = ConstantOfShape <value = int64[1] {0}> (none_dims) nothing = ConstantOfShape (nothing_dims)
"""
SIZES = ((0, 5), (3, 0), (1, 0), (0, 0), (2, 1), (2, 3))


def graph_of(text):
    outputs = "y" + (", z" if " z = " in text or ", z = " in text else "")
    body = CONSTANTS.replace("none_dims", "nd").replace("nothing_dims", "gd") + text
    body = "nd = Constant <value_ints=[0, 3]> () gd = Constant <value_ints=[0]> ()" + body
    names = ", ".join(f"float {n}" for n in outputs.split(", "))
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> case (float[batch, sequence, 4] x, int64[batch, sequence] i) => ({names})'
        f"{{ {body} }}")
    for output in model.graph.output:  # whatever it is
        output.ClearField("type")
    return onnx.shape_inference.infer_shapes(model)


def prune(model):
    """Only what the outputs need, and the inputs that are left."""
    needed, kept = {o.name for o in model.graph.output}, []
    for node in reversed(model.graph.node):
        if any(o in needed for o in node.output):
            kept.append(node)
            needed.update(node.input)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(reversed(kept))
    inputs = [i for i in model.graph.input if i.name in needed]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def compare(model_path, options, folder, feeds):
    """Problems, and how many feeds were compared."""
    library = folder / "m.so"
    done = subprocess.run([options.llmopt, model_path, "-o", library], capture_output=True, text=True)
    if done.returncode:
        return [f"compiling: {done.stderr.strip()[:300]}"], 0
    reference = check_model.Reference(model_path, 1, optimize=False)
    problems, compared = [], 0
    for name, feed in feeds:
        try:
            expected = reference.run(feed)
        except Exception:
            expected = None
        try:
            actual = check_model.run_artifact(options.run, library, feed, 1, 120)
        except RuntimeError as error:
            died = not str(error).startswith("exit code 1:")
            if expected is not None or died:
                problems.append(f"{name}: {error}")
            continue
        if expected is None:
            continue
        compared += 1
        for output, value in expected.items():
            difference = check_model.compare(actual.get(output), value)
            if not check_model.passes(difference, check_model.TOLERANCE):
                problems.append(f"{name}: {output}: {difference.problem or difference.error}")
    return problems, compared


def graph_feeds(model, seed=3):
    inputs = check_model.model_inputs(model)
    for batch, sequence in SIZES:
        sizes = {"batch": batch, "sequence": sequence}
        yield f"batch={batch} sequence={sequence}", check_model.make_inputs(inputs, sizes, seed)


def model_feeds(model):
    inputs = check_model.model_inputs(model)
    yield from check_model.cases(inputs, (0, 2), (0, 3), {}, pasts=(0, 2))


def main():
    parser = argparse.ArgumentParser(description="Dimensions of no elements, compared with ONNX Runtime.")
    parser.add_argument("llmopt", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--filter", default="")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    options.llmopt, options.run = options.llmopt.resolve(), options.run.resolve()
    files = sorted(HERE.glob("*-tiny.torchscript.onnx")) + sorted((HERE.parent / "zoo").glob("*.torchscript*.onnx"))
    failed = total = compared = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        every = [(name, None, text) for name, text in GRAPHS.items()] + [(f.stem, f, None) for f in files]
        for name, path, text in every:
            if options.filter not in name:
                continue
            model = onnx.load(path, load_external_data=False) if path else prune(graph_of(text))
            if not path:
                path = folder / f"{name}.onnx"
                onnx.save(model, path)
            problems, count = compare(path, options, folder, graph_feeds(model) if text else model_feeds(model))
            total, compared = total + 1, compared + count
            if bool(problems) != (name in REFUSED):
                failed += 1
                print(f"FAIL {name}" + ("" if problems else ": is no longer refused"))
                for problem in problems:
                    print("     " + problem)
            elif options.verbose:
                print(f"ok   {name}: {count} compared" + "".join("\n     " + p for p in problems))
    print(f"{total - failed} of {total} models agree, {compared} runs compared")
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
