#!/usr/bin/env python3
"""Random graphs, compiled and evaluated, against ONNX Runtime.

    fuzz_graph.py --conformance build/bin/llmopt-conformance [--seed N] [--count N | --minutes M]
                  [--cases DIR] [--save DIR] [--llmopt BIN --run BIN]

Each graph has 5 to 40 nodes of an operator set from 7 to 24, symbolic batch and
sequence, and two bindings of these, which may be empty. Graphs are checked in batches by
llmopt-conformance: in the evaluator, compiled as they stand, compiled with every
dimension a symbol and compiled with every input known; some of them by the tools
as users call them (--llmopt, --run). A graph that fails is cut down to the
smallest that fails alike, and saved as a case (model.onnx, test_data_set_*).
--cases checks saved cases first. Every graph follows from its seed alone, which
is its name. Exit code 0: all agree, 1: not.

What must not be: a result that differs, a signal, a timeout, an error of the
compiler's own. A diagnostic that something is not supported is counted; more
than one graph in ten of them is a failure too.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import numpy_helper

from formulas import FORMULAS
import wide
from patterns import OPERATORS, Picker
from values import Graph, Rejected, cut, session

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import check_model

TOLERANCE = 5e-4  # of ill-conditioned graphs, see values.MOVED: noise 100 times float's may move results so far
MODES = ("evaluator", "static", "dynamic", "constant")
BATCH = 20
UNSUPPORTED = 0.1
OUT_OF_BOUNDS = "sizes out of bounds"


def grow(seed):
    """A graph and the names of its outputs."""
    rng = np.random.default_rng(seed)
    sizes = [(2, 5, 3), (3, 4, 7), (1, 6, 2), (4, 1, 5), (1, 3, 4), (2, 7, 1), (2, 4, 0), (0, 5, 3), (3, 0, 2)]
    first, second = rng.choice(len(sizes), 2, replace=False)
    symbols = {name: (sizes[first][i], sizes[second][i]) for i, name in enumerate(("batch", "sequence", "past"))}
    symbols = {name: pair for name, pair in symbols.items() if pair[0] != pair[1]}
    # One name per pair of sizes, so that sizes tell symbols apart.
    symbols = {name: pair for name, pair in symbols.items()
               if list(symbols.values()).index(pair) == list(symbols).index(name)}
    opset = int(rng.integers(13, 25) if rng.random() < 0.8 else rng.integers(7, 13))
    graph = Graph(rng, opset, symbols)
    pick = Picker(graph)
    width = int(rng.choice([2, 4, 6, 8]))
    batch = "batch" if "batch" in symbols else 2
    length = "sequence" if "sequence" in symbols else 3
    normal = lambda dtype=np.float32: lambda shape: rng.standard_normal(shape).astype(dtype)

    def mask(shape):
        made = (rng.random(shape) < 0.6).astype(np.int64)
        made[:, :1] = 1
        return made
    graph.input("x", [batch, length, width], normal())
    for stem, dims, make in [
            ("x", [batch, length, width], normal()), ("x", [length, width], normal()), ("x", [width], normal()),
            ("x", [batch, 3, length, 4], normal()), ("d", [batch, width], normal(np.float64)),
            ("x", ["past" if "past" in symbols else 5, width], normal()),
            ("ids", [batch, length], lambda s: rng.integers(0, 7, s)),
            ("n", [batch], lambda s: rng.integers(-5, 6, s).astype(np.int32)),
            ("mask", [batch, length], mask), ("flag", [], lambda s: rng.random(s) < 0.5)]:
        if pick.chance(0.45):
            graph.input(stem, dims, make)
    wanted, tries = int(rng.integers(5, 41)), 0
    kinds, weights = zip(*OPERATORS, *FORMULAS, *wide.OPERATORS)
    weights = np.array(weights) / sum(weights)
    while len(graph.nodes) < wanted and tries < 6 * wanted:
        tries += 1
        try:
            kinds[rng.choice(len(kinds), p=weights)](pick)
        except Rejected:
            pass
    read = {n for node in graph.nodes for n in node.input}
    leaves = [o for node in graph.nodes for o in node.output if o not in read]
    taps = [n for n in graph.producers if pick.chance(0.05)]
    graph.lists_defaults = pick.chance(0.2)
    return graph, dict.fromkeys(leaves + taps), pick.chance(0.5)


def write_case(folder, model, feeds):
    """One test of llmopt-conformance; raises where ONNX Runtime refuses it."""
    onnx.checker.check_model(model)
    runner = session(model)
    wanted = [runner.run(None, feed) for feed in feeds]
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    for i, (feed, outputs) in enumerate(zip(feeds, wanted)):
        data = folder / f"test_data_set_{i}"
        data.mkdir()
        for kind, values in (("input", feed.values()), ("output", outputs)):
            for j, value in enumerate(values):
                (data / f"{kind}_{j}.pb").write_bytes(numpy_helper.from_array(np.asarray(value)).SerializeToString())


def has_empty_input(folder):
    return any(0 in onnx.load_tensor(path).dims for path in folder.glob("test_data_set_*/input_*.pb"))


def run_suite(options, suite, modes=MODES):
    """(case, mode) -> what is wrong; the unsupported ones apart."""
    wrong, unsupported = {}, {}
    for mode in modes:
        done = subprocess.run([options.conformance, f"--mode={mode}", f"--tolerance={TOLERANCE}", "-v",
                               f"--jobs={options.jobs}", suite], capture_output=True, text=True, errors="replace")
        text = done.stdout
        if f"conformance ({mode}):" not in text:
            raise SystemExit(f"{options.conformance} ended early: {text[-500:]} {done.stderr[-500:]}")
        for line in text.splitlines():
            if line.startswith("WRONG "):
                name, _, reason = line[6:].partition(": ")
                # Sizes of which nothing is known may not be as a slice needs them, nor
                # empty ones; then the library says so.
                is_refusal = reason.startswith(("not run: ", "not evaluated: ")) and "expected " in reason and (
                    mode == "dynamic" or has_empty_input(suite / name.split("/")[-1]))
                (unsupported if is_refusal else wrong)[name.split("/")[-1], mode] = (
                    OUT_OF_BOUNDS if is_refusal else reason)
        for line in text.splitlines():
            if line.startswith("fail "):
                name, _, reason = line[5:].partition(" ")
                key = name.split("/")[-1], mode
                if key not in wrong:
                    unsupported.setdefault(key, reason.strip())
    return wrong, unsupported


def run_tools(options, folder):
    """The same by the tools, as users call them; "" or what is wrong."""
    library = folder / "m.so"
    done = subprocess.run([options.llmopt, folder / "model.onnx", "-o", library], capture_output=True, text=True,
                          timeout=120)
    if done.returncode == 1 and done.stderr.count("\n"):
        return ""  # a diagnostic, which llmopt-conformance counts
    if done.returncode:
        return f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
    model = onnx.load(folder / "model.onnx")
    defaults = {t.name for t in model.graph.initializer}  # inputs that a caller leaves out
    for data in sorted(folder.glob("test_data_set_*")):
        given = [v for v in model.graph.input if v.name not in defaults]
        inputs = {v.name: numpy_helper.to_array(onnx.load_tensor(data / f"input_{i}.pb")) for i, v in enumerate(given)}
        try:
            outputs = check_model.run_artifact(options.run, library, inputs, 2, 120)
        except RuntimeError as error:
            return str(error)
        outputs_of = {v.name: numpy_helper.to_array(onnx.load_tensor(data / f"output_{i}.pb"))
                      for i, v in enumerate(model.graph.output)}
        for name, value in outputs_of.items():
            difference = check_model.compare(outputs.get(name), value, TOLERANCE)
            if not check_model.passes(difference, TOLERANCE):
                return f"{name}: {difference.problem or f'error {difference.error:.1e}'}"
    return ""


def kind_of(reason):
    """Failures of one kind stay one kind while a graph shrinks."""
    return reason.split(":")[0] if reason.startswith(("died", "raising", "plan", "not run", "not evaluated")) else "differs"


def shrink(options, graph, outputs, mode, kind, folder):
    """(outputs, dropped nodes) of a small model that still fails so."""
    best = None
    step = 0
    state = (frozenset(outputs), frozenset())
    size = lambda s: len(cut(graph, *s).graph.node)
    while step < 12:
        candidates, number = [], {}
        kept = [i for i, n in enumerate(graph.nodes) if i not in state[1]]
        made = {o: i for i, n in enumerate(graph.nodes) for o in n.output}
        every = [o for o in made if made[o] not in state[1]]
        if len(state[0]) > 1 or best is None:
            candidates += [(frozenset([o]), state[1]) for o in every]
        else:
            needed = {o for n in cut(graph, *state).graph.node for o in n.output}
            candidates += [(frozenset([o]), state[1]) for o in needed - state[0]]
            candidates += [(state[0], state[1] | {i}) for i in kept if set(graph.nodes[i].output) & needed
                           and not set(graph.nodes[i].output) & state[0]]
        step += 1
        suite = folder / f"shrink{step}"
        for i, candidate in enumerate(candidates):
            try:
                model = cut(graph, *candidate)
                write_case(suite / f"{i:03}", model, graph.feeds(model))
                number[f"{i:03}"] = candidate
            except Exception:
                shutil.rmtree(suite / f"{i:03}", ignore_errors=True)
        if not number:
            break
        wrong, _ = run_suite(options, suite, [mode])
        failing = [number[name] for (name, _), reason in wrong.items() if kind_of(reason) == kind]
        shutil.rmtree(suite)
        if not failing:
            break
        smallest = min(failing, key=size)
        if best is not None and size(smallest) >= size(best) and len(smallest[1]) <= len(best[1]):
            break
        best = state = smallest
    return best or (frozenset(outputs), frozenset())


def report(options, seed, mode, reason, folder):
    graph, outputs, with_shapes = grow(seed)
    print(f"FAIL seed {seed} ({mode}): {reason}", flush=True)
    if options.no_shrink:
        return
    small = shrink(options, graph, outputs, mode, kind_of(reason), folder / f"seed{seed}")
    model = cut(graph, *small)
    print(onnx.printer.to_text(model.graph)[:3000])
    if options.save:
        target = options.save / f"seed{seed}-{mode}"
        shutil.rmtree(target, ignore_errors=True)
        write_case(target, model, graph.feeds(model))
        print(f"saved {target}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conformance", type=pathlib.Path, required=True)
    parser.add_argument("--llmopt", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=int(time.time()) * 1000)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="until then instead of --count")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cases", type=pathlib.Path)
    parser.add_argument("--save", type=pathlib.Path)
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    started, failures, total, nodes, by_operator, refused = time.time(), 0, 0, 0, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if options.cases and options.cases.exists():
            wrong, unsupported = run_suite(options, options.cases)
            for (name, mode), reason in (wrong | unsupported).items():
                if reason == OUT_OF_BOUNDS:
                    continue
                failures += 1
                print(f"FAIL case {name} ({mode}): {reason}", flush=True)
        seed = options.seed
        while (time.time() - started < 60 * options.minutes if options.minutes else total < options.count):
            suite = folder / f"suite{seed}"
            count = min(BATCH, options.count - total) if not options.minutes else BATCH
            for seed in range(seed, seed + count):
                graph, outputs, with_shapes = grow(seed)
                model = graph.finish(outputs, with_shapes)
                try:
                    write_case(suite / f"{seed}", model, graph.feeds(model))
                except Exception as error:  # its shape inference is wrong for a loop's rows, for example
                    refused.setdefault(f"ONNX Runtime: {str(error)[:150]}", []).append(seed)
                    shutil.rmtree(suite / f"{seed}", ignore_errors=True)
                    continue
                nodes += len(model.graph.node)
                for node in model.graph.node:
                    by_operator[node.op_type] = by_operator.get(node.op_type, 0) + 1
            total += count
            wrong, unsupported = run_suite(options, suite)
            for (name, mode), reason in unsupported.items():
                refused.setdefault(f"{mode}: {reason}", []).append(name)
            seen = set()
            for (name, mode), reason in wrong.items():
                failures += 1
                if (name, kind_of(reason)) in seen:
                    print(f"FAIL seed {name} ({mode}): {reason}", flush=True)
                    continue
                seen.add((name, kind_of(reason)))
                report(options, int(name), mode, reason, folder)
            if options.llmopt and options.run:
                for case in sorted(suite.iterdir())[::8]:
                    if problem := run_tools(options, case):
                        failures += 1
                        print(f"FAIL seed {case.name} (tools): {problem}", flush=True)
            shutil.rmtree(suite)
            seed += 1
    for reason, names in sorted(refused.items(), key=lambda item: -len(item[1])):
        print(f"{len(names)} not supported, {reason} (seed {names[0]})")
    most = max((sum(len(n) for r, n in refused.items() if r.startswith(m))
                for m in (*MODES, "ONNX Runtime")), default=0)
    if most > UNSUPPORTED * total:
        failures += 1
        print(f"expected at most one graph in {1 / UNSUPPORTED:.0f} that is not supported, but got {most} of {total}")
    print(f"{total} graphs, {nodes} nodes of {len(by_operator)} operators, {failures} failures, "
          f"{time.time() - started:.0f} s")
    return 1 if failures or not total else 0


if __name__ == "__main__":
    sys.exit(main())
