#!/usr/bin/env python3
"""Whole models through the host code of CUDA artefacts, on the stand-in driver.

    check_models.py LLMOPT LLMOPT_RUN STANDIN [--only GLOB]

Every model is compiled for the CPU and for a GPU; the latter runs through the CUDA
driver that stands in for one (Standin.h), which checks every call and executes the
emulated kernels. Outputs must be those of the CPU artefact within 1e-4 of the
largest, integers equal; of -fp16 and -bf16, which the CPU computes in f32, within
5e-3 and 4e-2 (8 bits of a mantissa less than 11). Besides whole models: branches, loops and sizes that depend
on data; decoding with the session's cache; CUDA graphs of repeated runs.
"""

import argparse
import fnmatch
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

import standin

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "control"), str(HERE.parents[1] / "scripts/gpu_check")]
import cases as control  # noqa: E402
import check_model  # noqa: E402
import shapes as made  # noqa: E402

TOLERANCE = 1e-4
NARROW = {"-fp16": 5e-3, "-bf16": 4e-2}
# Beside -fp16: what a row rounds to in f16 decides some of its int8 roundings, each 1/127
# of the row's largest element.
NARROW_INT8 = 3e-2
MODELS = {
    "models/bert-tiny.torchscript": [], "models/vit-tiny.dynamo": [], "zoo/gpt2.dynamo": [],
    "zoo/llama.optimum-past": [], "zoo/t5.torchscript14": [], "zoo/bert.int8-dynamic": [],
    "models/bert-tiny.dynamo": ["-fp16"], "models/distilbert-tiny.optimum": ["-bf16"], "models/vit-tiny.torchscript": ["-fp16"],
    "zoo/gpt2.torchscript": ["-fp16"], "zoo/llama.dynamo": ["-fp16"], "zoo/t5.dynamo": ["-bf16"],
    "models/roberta-tiny.dynamo": ["-quantize-int8=embeddings:float", "-allow-slower", "-fp16"],
    "zoo/albert.optimum": ["-quantize-int8"], "zoo/electra.torchscript": ["-embed-weights"],
}
# Weights of fewer bits, in every type of input; few rows and many.
QUANTIZED = [
    ("models/bert-tiny.torchscript", ["-quantize-int4"]),
    ("models/bert-tiny.dynamo", ["-quantize-int4=inputs:float"]),
    ("models/distilbert-tiny.optimum", ["-quantize-int4=inputs:float", "-fp16"]),
    ("models/roberta-tiny.dynamo", ["-quantize-int4", "-fp16"]),
    ("zoo/llama.dynamo", ["-quantize-int4=inputs:float", "-bf16"]),
    ("zoo/bert.int4", []), ("zoo/bert.int4", ["-fp16"]),
    ("models/bert-tiny.optimum", ["-quantize-int8=inputs:float"]),
    ("zoo/gpt2.torchscript", ["-quantize-int8=inputs:float", "-fp16"]),
    ("zoo/llama.torchscript", ["-quantize-int8=inputs:float", "-bf16"]),
    # One scale and zero point for all rows: of files, found when running, and by calibration.
    ("zoo/bert.int8-qdq", []), ("zoo/gpt2.int8-dynamic", []),
    ("models/distilbert-tiny.dynamo", ["-quantize-int8=inputs:static", "-calib", "-allow-slower"]),
    ("models/distilbert-tiny.torchscript", ["-quantize-int8=inputs:static", "-calib", "-allow-slower", "-fp16"]),
]
# e4m3 has no kernels on CPUs (test/unit/Plan/Float8Test.cpp has the evaluator): beside the same
# model in f32, by the cosine of the outputs. A product of operands of four bits is off by 4 %,
# eight of them in turn by 11 %; 20 % is a cosine of 0.98.
FLOAT8 = [("models/bert-tiny.torchscript", ["-fp8"]), ("zoo/llama.dynamo", ["-fp8", "-fp16"])]
FLOAT8_COSINE = 0.98
CONTROL = ("branches", "nested_branches", "while_loop", "scanning_loop", "growing_state", "masked_assignment", "filled",
           "counts_to_outputs", "lstm_direction_bidirectional_lengths")
DECODERS = ("zoo/gpt2.optimum-past", "zoo/llama.dynamo-past")
# Wide and long enough that sums are cut into parts: K of products, keys of single queries.
WIDE = {"bert-tiny": [[], ["-fp16"], ["-quantize-int8", "-allow-slower"]], "gpt2-tiny": [[], ["-bf16"]],
        "llama-tiny": [["-fp16"]]}


def rounds_rows(options):
    """Whether rows become int8, which floats of fewer bits decide otherwise here and there."""
    return any(option.startswith("-quantize") and "inputs:float" not in option for option in options)


class Checker:
    def __init__(self, arguments):
        self.llmopt, self.run, self.driver = (p.resolve() for p in (arguments.llmopt, arguments.run, arguments.standin))
        self.passed = self.failed = 0

    def report(self, name, problems):
        self.passed += not problems
        self.failed += bool(problems)
        for problem in problems:
            print(f"{name}: FAILED: {problem}", flush=True)

    def compile(self, model, folder, *options):
        cpu = pathlib.Path(folder) / "cpu.so"
        wide = [option for option in options if option not in NARROW]
        done = subprocess.run([self.llmopt, model, *wide, "-o", cpu], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return cpu, *standin.compile_model(self.llmopt, model, folder, *options)

    def outputs(self, artefact, feed, folder, kernels=None, **settings):
        """What llmopt-run writes for `feed`; on the stand-in driver where `kernels` are given."""
        source, target = pathlib.Path(folder) / "in.npz", pathlib.Path(folder) / "out.npz"
        np.savez(source, **feed)
        target.unlink(missing_ok=True)
        done = subprocess.run([self.run, artefact, "--input", source, "--output", target], capture_output=True, text=True,
                              timeout=120, env=standin.environment(self.driver, kernels, **settings) if kernels else None)
        if done.returncode or done.stderr:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()}")
        with np.load(target) as arrays:
            return dict(arrays)

    def compare(self, cpu, model, kernels, feed, folder, name, tolerance):
        expected = self.outputs(cpu, feed, folder)
        actual = self.outputs(model, feed, folder, kernels)
        problems = [] if expected else [f"{name}: no outputs"]
        for output, value in expected.items():
            difference = check_model.compare(actual.get(output), value, tolerance)
            if difference.problem or difference.error > tolerance:
                problems.append(f"{name}, output '{output}': {difference.problem or f'error {difference.error:.1e}'}")
        return problems

    def check_feeds(self, name, path, feeds, options=()):
        with tempfile.TemporaryDirectory() as folder:
            try:
                # Data of calibration: the inputs of the first run.
                data = pathlib.Path(folder) / "calib.npz"
                np.savez(data, **feeds[0][1])
                options = [f"-calib={data}" if option == "-calib" else option for option in options]
                cpu, model, kernels = self.compile(path, folder, *options)
                tolerance = max(NARROW.get(option, TOLERANCE) for option in [*options, ""])
                if tolerance > TOLERANCE and rounds_rows(options):
                    tolerance = max(tolerance, NARROW_INT8)
                problems = [p for label, feed in feeds
                            for p in self.compare(cpu, model, kernels, feed, folder, label, tolerance)]
            except Exception as error:
                problems = [str(error)]
        self.report(name, problems)

    def check_float8(self, name, path, feeds, options):
        problems = []
        with tempfile.TemporaryDirectory() as folder:
            try:
                cpu = pathlib.Path(folder) / "cpu.so"
                subprocess.run([self.llmopt, path, "-o", cpu], check=True)
                model, kernels = standin.compile_model(self.llmopt, path, folder, *options, "-cuda-arch=sm_89")
                for label, feed in feeds:
                    expected, actual = self.outputs(cpu, feed, folder), self.outputs(model, feed, folder, kernels)
                    for output, value in expected.items():
                        a, b = (x.astype(np.float64).ravel() for x in (actual[output], value))
                        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
                        if not FLOAT8_COSINE < cosine < 1 - 1e-6:  # less than f32, or nothing was rounded
                            problems.append(f"{label}, output '{output}': cosine {cosine}")
            except Exception as error:
                problems.append(str(error))
        self.report(name, problems)

    def check_generation(self, name, path, tokens=6, prompt=5, options=()):
        """The tokens are those of the CPU; from the third on a token is one launch of one
        graph, whose nodes are changed."""
        ids = ",".join(str(5 + 7 * i % 31) for i in range(prompt))
        command = ["--generate", str(tokens), "--prompt", ids]
        with tempfile.TemporaryDirectory() as folder:
            try:
                cpu, model, kernels = self.compile(path, folder, "-kv-cache", *options)
                log = pathlib.Path(folder) / "log"
                texts = [subprocess.run([self.run, artefact, *command], capture_output=True, text=True, env=environment)
                         for artefact, environment in ((cpu, None), (model, standin.environment(self.driver, kernels, log=log)))]
                ids = [text.stdout.split("\n")[0] for text in texts]
                problems = [t.stderr.strip() for t in texts if t.returncode]
                if not problems and (not ids[0] or ids[0] != ids[1]):
                    problems = [f"expected the tokens {ids[0]}, but got {ids[1]}"]
                counts = dict(part.split("=") for part in log.read_text().split())
                graphs, recorded, changed = (int(counts.get(what, 0)) for what in ("graph", "recorded", "changed"))
                if not problems and (graphs != tokens - 2 or recorded != 1 or not changed):
                    problems = [f"expected {tokens - 2} launches of one graph, but got {graphs} of {recorded}, with "
                                f"{changed} changes"]
            except Exception as error:
                problems = [str(error)]
        self.report(name, problems)

    def check_graphs(self, path):
        """The second run of a shape records a graph, later ones launch it; not so where
        that is turned off, or every step is timed."""
        problems = []
        with tempfile.TemporaryDirectory() as folder:
            _, model, kernels = self.compile(path, folder)
            for options, graphs in (["--bench"], True), (["--bench", "--no-graphs"], False), (["--profile"], False):
                log = pathlib.Path(folder) / "log"
                log.unlink(missing_ok=True)
                done = subprocess.run([self.run, model, *options, "--shape", "batch=1,sequence=4", "--runs", "4", "--seconds",
                                       "0", "--warmup", "0"], capture_output=True, text=True,
                                      env=standin.environment(self.driver, kernels, log=log))
                counts = dict(part.split("=") for part in log.read_text().split())
                launched = int(counts.get("graph", 0))
                if done.returncode or done.stderr or (launched < 2) == graphs:
                    problems.append(f"{options}: {launched} graph launches, exit code {done.returncode}: {done.stderr}")
        self.report("graphs", problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("llmopt", "run", "standin"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--only", default="*")
    arguments = parser.parse_args()
    checker = Checker(arguments)
    wanted = lambda name: fnmatch.fnmatch(name, arguments.only)  # noqa: E731
    for name, options in [*MODELS.items(), *QUANTIZED]:
        if wanted(" ".join([name, *options])):
            path = HERE.parent / (name + ".onnx")
            inputs = check_model.model_inputs(onnx.load(str(path), load_external_data=False))
            shapes = ((2,), (5,)) if (name, options) not in QUANTIZED else ((1, 3), (1, 4))
            feeds = list(check_model.cases(inputs, *shapes, {}, seeds=1, pasts=(3,)))
            checker.check_feeds(" ".join([name, *options]), path, feeds, options)
    for name, options in FLOAT8:
        if wanted(" ".join([name, *options])):
            path = HERE.parent / (name + ".onnx")
            inputs = check_model.model_inputs(onnx.load(str(path), load_external_data=False))
            feeds = list(check_model.cases(inputs, (1, 2), (1, 5), {}, seeds=1, pasts=(3,)))
            checker.check_float8(" ".join([name, *options]), path, feeds, options)
    with tempfile.TemporaryDirectory() as folder:
        for name, model, feeds in control.all_cases():
            if name in CONTROL and wanted(name):
                path = pathlib.Path(folder) / (name + ".onnx")
                onnx.save(model, path)
                checker.check_feeds(name, path, [(f"inputs {i}", feed) for i, feed in enumerate(feeds)])
    for name in DECODERS:
        if wanted(name):
            checker.check_generation(name + " -kv-cache", HERE.parent / (name + ".onnx"))
    for options in ["-quantize-int4"], ["-quantize-int4=inputs:float"], ["-quantize-int8=inputs:float"]:
        name = " ".join([DECODERS[1], "-kv-cache", *options])
        if wanted(name):
            checker.check_generation(name, HERE.parent / (DECODERS[1] + ".onnx"), options=options)
    with tempfile.TemporaryDirectory() as folder:
        for name, cases in WIDE.items():
            path = made.write(name, folder, seed=3)
            inputs = check_model.model_inputs(onnx.load(str(path), load_external_data=False))
            for options in cases:
                if wanted("wide " + name):
                    feeds = list(check_model.cases(inputs, (1,), (1, 40), {}, seeds=1, pasts=(0, 290)))
                    checker.check_feeds(f"wide {name} {' '.join(options)}", path, feeds, options)
            if wanted("wide " + name) and name != "bert-tiny":
                checker.check_generation(f"wide {name} -kv-cache -fp16", path, tokens=8, prompt=252, options=["-fp16"])
    if wanted("graphs"):
        checker.check_graphs(HERE.parent / "models/bert-tiny.torchscript.onnx")
    print(f"{checker.passed} passed, {checker.failed} failed")
    sys.exit(1 if checker.failed or not checker.passed else 0)


main()
