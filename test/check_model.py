#!/usr/bin/env python3
"""Compare a compiled model with ONNX Runtime on ragged, masked inputs.

    check_model.py model.onnx model.so --run build/bin/llmopt-run

Symbolic batch and sequence dimensions are bound to several sizes; every case
runs in both engines and every output is compared:

    error = max|a - b| / max(1e-6, max finite |b|)        (b: ONNX Runtime)

over the finite elements; NaN and infinities must sit at the same places,
integers and booleans must be equal. Prints a table. Exit code 0: all within
the tolerance, 1: not, 2: usage.

What lives here: input generation and comparison, also used as a library.
What does not: compiling the model.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

TOLERANCE = 1e-4
BATCHES = (1, 4, 7)
LENGTHS = (1, 5, 128, 512)
PASTS = (0, 7)  # tokens before, where keys and values of theirs come in


# --- inputs -----------------------------------------------------------------

@dataclasses.dataclass
class Input:
    name: str
    dtype: np.dtype
    shape: list  # of int or str (symbolic)
    bound: int   # integer values stay below this


def consumers_by_input(graph):
    table = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            table.setdefault(name, []).append((node, index))
    return table


def index_bound(name, rows, consumers):
    """Smallest table that values of `name` index, or None: follows operators
    that hand indices on unchanged."""
    bounds, seen, pending = [], set(), [name]
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for node, index in consumers.get(value, []):
            if node.op_type == "Gather" and index == 1:
                if node.input[0] in rows:
                    bounds.append(rows[node.input[0]])
            elif node.op_type in ("Cast", "Identity", "Reshape", "Unsqueeze",
                                  "Squeeze", "Expand") and index == 0:
                pending.append(node.output[0])
            elif (node.op_type == "EmbedLayerNormalization" and index < 2):
                table = node.input[2 + 2 * index]
                if table in rows:
                    bounds.append(rows[table])
    return min(bounds, default=None)


def model_inputs(model):
    graph = model.graph
    rows = {t.name: t.dims[0] for t in graph.initializer if t.dims}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.dims:
                    rows[node.output[0]] = attribute.t.dims[0]
    consumers = consumers_by_input(graph)
    inputs = []
    for value in graph.input:
        if value.name in {t.name for t in graph.initializer}:
            continue
        tensor = value.type.tensor_type
        if not tensor.elem_type:
            raise ValueError(f"input '{value.name}' is not a tensor")
        shape = [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0
                 else d.dim_param or f"?{i}"
                 for i, d in enumerate(tensor.shape.dim)]
        inputs.append(Input(
            value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type),
            shape, index_bound(value.name, rows, consumers) or 2))
    return inputs


def bind_dimensions(inputs, batch, length, fixed, past=0):
    """Symbol -> size. Names say what a dimension is; one without a telling
    name is a batch if it leads and a length otherwise. `past` is the length of
    keys and values that come in; sums ("past + sequence") are sums."""
    sizes, sums = {}, []
    for entry in inputs:
        for axis, dim in enumerate(entry.shape):
            if isinstance(dim, int):
                continue
            if dim in fixed:
                sizes[dim] = fixed[dim]
            elif "+" in dim:
                sums.append(dim)
            elif "batch" in dim.lower():
                sizes[dim] = batch
            elif "past" in dim.lower():
                sizes[dim] = past
            elif "total" in dim.lower() and has_past(inputs):
                sizes[dim] = past + length
            elif "seq" in dim.lower() or "len" in dim.lower():
                sizes[dim] = length
            else:
                sizes.setdefault(dim, batch if axis == 0 else length)
    for dim in sums:
        sizes[dim] = sum(int(part) if part.isdigit() else sizes.get(part, past if "past" in part else length)
                         for part in (part.strip() for part in dim.split("+")))
    return sizes


def has_past(inputs):
    """Whether a length of keys and values that come in is open."""
    return any("past" in dim.lower() for entry in inputs for dim in entry.shape
               if isinstance(dim, str) and "+" not in dim)


def ragged_mask(rng, batch, length):
    """[batch, length] of 0 and 1, never all ones where length > 1. Rows are of
    lengths 1..length; the second is full, every third has holes instead."""
    mask = np.zeros((batch, length), np.int64)
    for row in range(batch):
        if row % 3 == 2:
            mask[row] = rng.random(length) < 0.6
            mask[row, rng.integers(length)] = 1
            if length > 1 and mask[row].all():
                mask[row, rng.integers(length)] = 0
        elif row == 1:
            mask[row] = 1
        else:
            mask[row, :rng.integers(1, max(2, length))] = 1
    return mask


def takes_prefixes(model):
    return any(node.op_type == "GroupQueryAttention" for node in model.graph.node)


def prefix_mask(rng, batch, length, new):
    """What GroupQueryAttention defines all results of: a length per row for single
    tokens, and full rows for several."""
    mask = np.zeros((batch, length), np.int64)
    for row in range(batch):
        low = length if new > 1 else 1
        mask[row, :length if row == 1 else rng.integers(low, length + 1)] = 1
    return mask


def make_inputs(inputs, sizes, seed, prefixes=False):
    rng = np.random.default_rng(seed)
    shapes = {i.name: [sizes.get(d, d) for d in i.shape] for i in inputs}
    masks = {}
    for entry in inputs:
        shape = shapes[entry.name]
        if "mask" in entry.name.lower() and len(shape) == 2:
            masks[entry.name] = prefix_mask(rng, *shape, shapes["input_ids"][1]) if prefixes else ragged_mask(rng, *shape)
    feed = {}
    for entry in inputs:
        shape = shapes[entry.name]
        if entry.name in masks:
            value = masks[entry.name]
        elif entry.dtype == np.bool_:
            value = rng.random(shape) < 0.5
        elif np.issubdtype(entry.dtype, np.integer):
            value = rng.integers(0, entry.bound, shape)
            if "position" in entry.name.lower():
                value = np.broadcast_to(np.arange(shape[-1]) % entry.bound, shape)
            # Padding must not matter: zeros in even rows, noise in odd ones.
            mask = next((m for m in masks.values() if list(m.shape) == shape),
                        None)
            if mask is not None:
                even = (np.arange(shape[0]) % 2 == 0)[:, None]
                value = np.where((mask == 0) & even, 0, value)
        else:
            value = rng.standard_normal(shape)
        # Not ascontiguousarray, which gives scalars a dimension.
        feed[entry.name] = np.array(value, dtype=entry.dtype, order="C")
    return feed


# --- comparison -------------------------------------------------------------

@dataclasses.dataclass
class Difference:
    error: float = 0.0   # relative, as defined at the top
    problem: str = ""    # what is wrong beyond the error, if anything
    decided: int = 0     # rows whose top-1 margin exceeds twice the tolerance
    agreeing: int = 0    # of those, rows with the same top-1


def compare(actual, expected, tolerance=TOLERANCE):
    if actual is None:
        return Difference(problem="missing")
    if actual.shape != expected.shape:
        return Difference(problem=f"shape {list(actual.shape)},"
                                  f" expected {list(expected.shape)}")
    if actual.dtype != expected.dtype:
        return Difference(problem=f"type {actual.dtype},"
                                  f" expected {expected.dtype}")
    if not np.issubdtype(expected.dtype, np.floating):
        wrong = int(np.count_nonzero(actual != expected))
        return Difference(problem=f"{wrong} of {expected.size} differ"
                          if wrong else "")
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return Difference(problem="NaN at other places")
    infinite = np.isinf(a) | np.isinf(b)
    if not np.array_equal(a[infinite], b[infinite]):
        return Difference(problem="infinity at other places")
    finite = np.isfinite(b)
    if not finite.any():
        return Difference()
    scale = max(1e-6, np.abs(b[finite]).max())
    result = Difference(error=np.abs(a[finite] - b[finite]).max() / scale)
    if b.ndim >= 2 and b.shape[-1] >= 2 and finite.all():
        top = np.sort(b, axis=-1)
        decided = top[..., -1] - top[..., -2] > 2 * tolerance * scale
        result.decided = int(decided.sum())
        result.agreeing = int((decided
                               & (a.argmax(-1) == b.argmax(-1))).sum())
    return result


def passes(difference, tolerance):
    return (not difference.problem and difference.error <= tolerance
            and difference.agreeing == difference.decided)


# --- engines ----------------------------------------------------------------

class Reference:
    """ONNX Runtime; without `optimize` as the file is written. Its fusions move
    roundings to integers, so a quantized model means what it gives without."""

    def __init__(self, path, threads, optimize=True):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(None, feed)))


def run_artifact(runner, artifact, feed, threads, timeout):
    """The outputs of `llmopt-run artifact --input .. --output ..`."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "in.npz")
        target = pathlib.Path(folder, "out.npz")
        np.savez(source, **feed)
        command = [str(runner), str(artifact), "--input", str(source),
                   "--output", str(target), "--threads", str(threads)]
        try:
            done = subprocess.run(command, text=True, capture_output=True,
                                  timeout=timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no result after {timeout} s") from None
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise RuntimeError(f"exit code {done.returncode}: "
                               f"{lines[-1] if lines else 'no message'}")
        with np.load(target) as archive:
            return {name: archive[name] for name in archive.files}


# --- the check --------------------------------------------------------------

@dataclasses.dataclass
class Row:
    case: str
    output: str
    difference: Difference
    status: str  # ok, FAIL, skip


def cases(inputs, batches, lengths, fixed, seeds=3, pasts=PASTS, prefixes=False):
    """(name, feed) for every distinct binding of the symbolic dimensions;
    for a static model several seeds instead."""
    bindings = {}
    for batch in batches:
        for length in lengths:
            for past in pasts if has_past(inputs) else (0,):
                sizes = bind_dimensions(inputs, batch, length, fixed, past)
                key = tuple(sorted(sizes.items()))
                bindings.setdefault(key, sizes)
    for number, (key, sizes) in enumerate(bindings.items()):
        name = " ".join(f"{symbol}={size}" for symbol, size in key)
        for repeat in range(1 if key else seeds):
            seed = 1000 * number + repeat + 1
            yield name or f"static, seed {seed}", make_inputs(inputs, sizes, seed, prefixes)


def check(model_path, artifact, runner, batches=BATCHES, lengths=LENGTHS,
          tolerance=TOLERANCE, threads=1, fixed=None, timeout=300, pasts=PASTS,
          optimize=True, reference_path=None):
    """All rows of the table; raises ValueError for a model it cannot feed. ONNX
    Runtime runs `reference_path`, where that is another file."""
    model = onnx.load(str(model_path), load_external_data=False)
    inputs = model_inputs(model)
    reference = Reference(reference_path or model_path, threads, optimize)
    prefixes = takes_prefixes(model)
    rows = []
    for name, feed in cases(inputs, batches, lengths, fixed or {}, pasts=pasts, prefixes=prefixes):
        try:
            expected = reference.run(feed)
        except Exception as error:  # beyond its positions, for example
            reason = str(error).strip().splitlines()[0][:100]
            rows.append(Row(name, "", Difference(
                problem=f"reference refuses: {reason}"), "skip"))
            continue
        try:
            actual = run_artifact(runner, artifact, feed, threads, timeout)
        except RuntimeError as error:
            rows.append(Row(name, "", Difference(problem=str(error)), "FAIL"))
            continue
        for output, value in expected.items():
            difference = compare(actual.get(output), value, tolerance)
            rows.append(Row(name, output, difference,
                            "ok" if passes(difference, tolerance) else "FAIL"))
    return rows


def ok(rows):
    """Nothing failed and something was compared."""
    return (all(row.status != "FAIL" for row in rows)
            and any(row.status == "ok" for row in rows))


def print_table(rows, tolerance):
    width = max(len(row.case) for row in rows)
    output = max(max(len(row.output) for row in rows), 6)
    print(f"{'case':{width}}  {'output':{output}}  {'error':>8}"
          f"  {'top-1':>11}  status")
    for row in rows:
        d = row.difference
        error = "" if d.problem else f"{d.error:.1e}"
        top = f"{d.agreeing}/{d.decided}" if d.decided else ""
        print(f"{row.case:{width}}  {row.output:{output}}  {error:>8}"
              f"  {top:>11}  {row.status}{': ' if d.problem else ''}{d.problem}")
    count = {s: sum(row.status == s for row in rows) for s in ("ok", "FAIL", "skip")}
    worst = max((r.difference.error for r in rows if r.status == "ok"), default=0)
    print(f"{count['ok']} ok (largest error {worst:.1e}), {count['FAIL']} failed, {count['skip']} skipped;"
          f" tolerance {tolerance:g}")


def parse_sizes(text):
    return tuple(int(part) for part in text.split(","))


def parse_dimension(text):
    name, _, size = text.partition("=")
    return name, int(size)


def main():
    parser = argparse.ArgumentParser(
        description="Compare a compiled model with ONNX Runtime.")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("artifact", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path, metavar="LLMOPT_RUN",
                        default=pathlib.Path("build/bin/llmopt-run"))
    parser.add_argument("--batch", type=parse_sizes, default=BATCHES)
    parser.add_argument("--length", type=parse_sizes, default=LENGTHS)
    parser.add_argument("--past", type=parse_sizes, default=PASTS)
    parser.add_argument("--dim", type=parse_dimension, action="append",
                        default=[], metavar="NAME=SIZE",
                        help="bind one symbolic dimension")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE",
                        help="also write the rows there")
    args = parser.parse_args()
    for path in (args.model, args.artifact, args.run):
        if not path.exists():
            parser.error(f"no such file: {path}")
    rows = check(args.model, args.artifact.resolve(), args.run.resolve(),
                 args.batch, args.length, args.tolerance, args.threads,
                 dict(args.dim), args.timeout, args.past)
    print_table(rows, args.tolerance)
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(r) for r in rows],
                                        indent=1) + "\n")
    return 0 if ok(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
