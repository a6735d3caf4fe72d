#!/usr/bin/env python3
"""Compile every model of the test data for the CPU, and compare it with ONNX Runtime.

    check_testdata.py LLMOPT LLMOPT_RUN [--data FOLDER] [--filter TEXT] [--update] [-v]

The models are those of other projects' tests (testdata/models), most of them
the inputs of ONNX Runtime's fusions. testdata.txt, beside this file, says of
each whether it passes, or why not; any other result fails, a better one too.
--update rewrites it, but never records a wrong result: those always fail.

Inputs are made by shape and consumers (check_model.py); the first binding of
symbolic dimensions that ONNX Runtime accepts is used, with integers as drawn, all
1 or all 0. ONNX Runtime runs the graph as written, without fusions of its own.
Tolerances: 1e-4 on models of fp32, 5e-3 on models with any fp16, 8e-3 (one unit in
the last place) on models of bf16.

Four kinds of models do not run as they are, but their meaning is no less clear
(oracles.py): those that need kernels which ONNX Runtime's CPU provider lacks; searches,
of which llmopt takes the decoder (test/zoo/check_search.py checks the search); those
whose weights are one number everywhere or count, so that results drown in rounding;
and those whose weights are not there. The last two get drawn weights, in both engines.

"Both refuse" what ONNX Runtime refuses at every binding, and so does llmopt or what it
made of it; where llmopt alone has a result there is "no reference".
"""

import argparse
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

import check_model  # noqa: E402
import oracles  # noqa: E402

STATUS = HERE / "testdata.txt"
SECONDS = 120
LARGEST = 1 << 26  # elements of all inputs together
HALF = onnx.TensorProto.FLOAT16


# --- inputs -----------------------------------------------------------------

def size_of(name, axis, batch, length, past):
    """Sizes that fit together: total = past + length."""
    name = name.lower()
    if "+" in name or "total" in name or "present" in name:
        return past + length
    if "past" in name:
        return past
    if "batch" in name or (axis == 0 and "seq" not in name and "len" not in name):
        return batch
    return length


def bindings(inputs):
    """Candidate bindings of the symbolic dimensions, most telling first."""
    if not any(isinstance(d, str) for i in inputs for d in i.shape):
        yield {}
        return
    def sizes_of(batch, length, past):
        sizes = {}
        for entry in inputs:
            for axis, dim in enumerate(entry.shape):
                if isinstance(dim, str):
                    sizes.setdefault(dim, size_of(dim, axis, batch, length, past))
        return sizes
    # Sequences of 576 are frames of audio.
    for batch, length, past in ((2, 5, 3), (2, 4, 4), (2, 8, 8), (1, 1, 4), (1, 16, 0), (1, 1, 1), (2, 576, 0)):
        yield sizes_of(batch, length, past)
    for size in sorted({d for i in inputs for d in i.shape if isinstance(d, int)}):
        yield sizes_of(2, 4, 4) | {d: size for i in inputs for d in i.shape if isinstance(d, str)}
    for entry in inputs:  # the right-hand side of a product
        if len(entry.shape) > 1 and isinstance(entry.shape[-2], str) and isinstance(entry.shape[-1], int):
            yield sizes_of(1, 2, 0) | {d: 1 for d in entry.shape[:-2] if isinstance(d, str)} | {entry.shape[-2]: entry.shape[-1]}


# What generation takes beside the prompt.
GENERATION = {"max_length": 24, "min_length": 1, "num_beams": 2, "num_return_sequences": 1, "length_penalty": 1,
              "repetition_penalty": 1}


def feeds(inputs, sizes):
    """Inputs of these sizes: as drawn; with integers all 1 and all 0, for divisors and
    tables of one row; with floats from 1 to 2, and larger ones of half precision, whose
    ratios are no integer 0."""
    drawn = check_model.make_inputs(inputs, sizes, 1)
    for name, value in GENERATION.items():
        if name in drawn and "input_ids" in drawn:
            drawn[name] = np.full_like(drawn[name], value)
    yield drawn
    if any(np.issubdtype(v.dtype, np.integer) for v in drawn.values()):
        for number in (1, 0):
            yield {n: np.full_like(v, number) if np.issubdtype(v.dtype, np.integer) else v for n, v in drawn.items()}
    rng = np.random.default_rng(2)
    def positive(value):
        drawn = 1 + rng.random(value.shape) if value.dtype.kind == "f" else value
        return (2 * drawn if value.dtype == np.float16 else drawn).astype(value.dtype)
    yield {n: positive(v) for n, v in drawn.items()}


def draws(model):
    """Whether results are random: Dropout with a third input is in training mode."""
    return any(node.op_type == "Dropout" and len(node.input) > 2 for node in model.graph.node)


def uses_half(model):
    graphs, pending = [model.graph], [model.graph]
    while pending:
        for node in pending.pop().node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                    pending.append(attribute.g)
    return any(HALF in [t.data_type for t in g.initializer]
               + [v.type.tensor_type.elem_type for v in [*g.input, *g.output, *g.value_info]]
               + [a.t.data_type for n in g.node for a in n.attribute]
               + [a.i for n in g.node if n.op_type == "Cast" for a in n.attribute if a.name == "to"]
               for g in graphs)


# --- one model ----------------------------------------------------------------

def reason_of(text, model):
    """The first message of a tool, without what differs from run to run."""
    lines = [line for line in text.strip().splitlines() if "warning:" not in line]
    line = lines[0] if lines else "no message"
    line = line.replace(str(model), "").replace("llmopt: ", "", 1).replace("llmopt-run: ", "", 1)
    return re.sub(r"\s+", " ", line.lstrip(": "))[:160]


def open_session(model):
    """`model`: a path, or a model of memory."""
    source = str(model) if isinstance(model, pathlib.Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def reference_of(session, inputs):
    """The feed that ONNX Runtime accepts, and its outputs; or why there is none."""
    names = [o.name for o in session.get_outputs()]
    wide = oracles.wide_inputs(session)
    problem = ""
    for sizes in bindings(inputs):
        if sum(np.prod([sizes.get(d, d) for d in i.shape], dtype=np.int64) for i in inputs) > LARGEST:
            problem = problem or f"inputs of more than {LARGEST} elements"
            continue
        for feed in feeds(inputs, sizes):
            try:
                given = {n: v.astype(np.float32) if n in wide and v.dtype != np.float32 and v.dtype.kind not in "iub" else v
                         for n, v in feed.items()}
                return feed, dict(zip(names, session.run(None, given))), ""
            except Exception as error:
                problem = problem or short(error)
    return None, None, problem


def short(error):
    """ONNX Runtime's message without its code, sources, signatures and addresses."""
    text = " ".join(str(error).split())
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"Non-zero status code returned while running (\w+) node\. Name:'[^']*' Status Message: ", r"\1: ", text)
    text = re.sub(r"\S+\.(cc|h):\d+ (onnxruntime::|void |virtual ).*?\)( const)? ", "", text)
    return re.sub(r"/\S+/", "", text)[:160]


def check(model_path, llmopt, run):
    """"pass", "wrong: ...", or the reason why there is nothing to compare."""
    try:
        model = onnx.load(str(model_path), load_external_data=False)
        decoder = oracles.decoder_of(model)
        inputs = check_model.model_inputs(decoder or model)
    except Exception as error:
        return "no reference: " + short(error)
    if not model.graph.output:
        return "both refuse: the graph has no outputs"
    if oracles.has_missing_weights(model, model_path.parent):
        with tempfile.TemporaryDirectory() as folder:
            drawn = pathlib.Path(folder, "drawn.onnx")
            part, count = oracles.draw_missing_weights(model)
            onnx.save(part, drawn)
            verdict = compare(drawn, part, inputs, llmopt, run)
        return f"{verdict} with drawn weights: first {count} of {len(model.graph.node)} nodes" if verdict == "pass" else verdict
    if decoder:
        verdict = compare(model_path, decoder, inputs, llmopt, run, decoder)
        return "pass as its decoder" if verdict == "pass" else verdict
    verdict = compare(model_path, model, inputs, llmopt, run)
    if verdict.startswith("wrong") and oracles.has_made_up_weights(model):
        with tempfile.TemporaryDirectory() as folder:
            drawn = pathlib.Path(folder, "drawn.onnx")
            onnx.save(oracles.draw_weights(model), drawn)
            verdict = compare(drawn, onnx.load(drawn), inputs, llmopt, run)
            if verdict == "pass":
                verdict = "pass with drawn weights"
    return verdict


def compare(model_path, model, inputs, llmopt, run, reference=None):
    """The verdict on the file, from what ONNX Runtime makes of `reference`, by default `model`
    in words that it knows."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder, "model.so")
        compiled = subprocess.run([llmopt, model_path, "-o", artifact], capture_output=True, text=True, cwd=folder)
        if compiled.returncode not in (0, 1):
            return f"wrong: llmopt ended with {compiled.returncode}: {reason_of(compiled.stderr, model_path)}"
        try:
            session = open_session(reference or oracles.rewrite(model) or model_path)
            feed, expected, problem = reference_of(session, inputs)
        except Exception as error:  # whatever it has against the model
            problem = short(error)
        if problem:
            return refused(problem, compiled, model_path, artifact, inputs, run)
        if compiled.returncode == 1:
            return "unsupported: " + reason_of(compiled.stderr, model_path)
        try:
            actual = check_model.run_artifact(run, artifact, feed, 1, SECONDS)
        except RuntimeError as error:
            return "wrong: " + str(error)[:200]
    tolerance = (oracles.BF16_TOLERANCE if oracles.uses_bf16(model) else 5e-3 if uses_half(model) else check_model.TOLERANCE)
    if not expected:
        return "no reference: no outputs"
    if not all(isinstance(value, np.ndarray) for value in expected.values()):
        return "no reference: outputs that are no tensors"
    if draws(model):
        same = all(name in actual and actual[name].shape == value.shape and actual[name].dtype == value.dtype
                   for name, value in expected.items())
        return "random: only shapes and types are compared" if same else "wrong: another shape or type"
    for name, value in expected.items():
        difference = check_model.compare(oracles.widened(actual.get(name), value), value, tolerance)
        if not check_model.passes(difference, tolerance):
            return f"wrong: {name}: {difference.problem or f'error {difference.error:.1e}'}"
    return "pass"


def refused(problem, compiled, model_path, artifact, inputs, run):
    """What to say of a model that ONNX Runtime refuses: whether llmopt does too."""
    if compiled.returncode == 1:
        return f"both refuse: {problem}; llmopt: {reason_of(compiled.stderr, model_path)}"
    feed = check_model.make_inputs(inputs, next(bindings(inputs)), 1)
    try:
        check_model.run_artifact(run, artifact, feed, 1, SECONDS)
    except RuntimeError as error:
        if not str(error).startswith("exit code 1:"):
            return f"wrong: llmopt-run: {str(error)[:200]}"
        return f"both refuse: {problem}; llmopt-run: {str(error)[:200]}"
    return "no reference: " + problem


def child(pipe, *arguments):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        pipe.send(check(*arguments))
    except Exception as error:  # a defect of this script
        pipe.send(f"wrong: {type(error).__name__}: {error}")
    pipe.close()


def check_all(models, llmopt, run, jobs):
    """Results by model, each from a process of its own, since ONNX Runtime may crash."""
    results, waiting, running = {}, list(reversed(models)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            model = waiting.pop()
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(target=child, args=(theirs, model, llmopt, run))
            process.start()
            theirs.close()
            running[ours] = (model, process, time.monotonic())
        for pipe in multiprocessing.connection.wait(list(running), timeout=5):
            model, process, _ = running.pop(pipe)
            try:
                results[model] = pipe.recv()
            except EOFError:
                results[model] = "no reference: ONNX Runtime crashes"
            process.join()
        for pipe, (model, process, start) in list(running.items()):
            if time.monotonic() - start > SECONDS:
                process.kill()
                process.join()
                results[model] = f"wrong: no result after {SECONDS} s"
                del running[pipe]
    return results


# --- the list -------------------------------------------------------------------

def read_status():
    known = {}
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, text = line.partition(": ")
                known[name] = text
    return known


def write_status(known):
    lines = ["# Models of the test data: pass, or why not. Written by check_testdata.py --update."]
    lines += [f"{name}: {text}" for name, text in sorted(known.items())]
    STATUS.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Compare the test data's models with ONNX Runtime.")
    parser.add_argument("llmopt")
    parser.add_argument("run")
    parser.add_argument("--data", type=lambda p: pathlib.Path(p).resolve(), default=HERE.parents[2] / "shared/testdata/models")
    parser.add_argument("--filter", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--update", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: no test data at {args.data}")
        return 0
    models = [m for m in sorted(args.data.rglob("*.onnx")) if args.filter in str(m.relative_to(args.data))]
    if not models:
        sys.exit(f"no models in {args.data}")
    llmopt, run = (pathlib.Path(tool).resolve() for tool in (args.llmopt, args.run))
    results = check_all(models, llmopt, run, args.jobs)
    known, unexpected = read_status(), 0
    counts = {}
    for model in models:
        name, text = str(model.relative_to(args.data)), results[model]
        kind = text.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
        if args.verbose:
            print(f"{name}: {text}")
        if kind == "wrong":
            print(f"WRONG {name}: {text}")
            unexpected += 1
        elif args.update:
            known[name] = text
        elif known.get(name, "").partition(":")[0] != kind:
            print(f"UNEXPECTED {name}: {text}, but listed is: {known.get(name, 'nothing')}")
            unexpected += 1
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    if args.update:
        write_status(known)
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
