#!/usr/bin/env python3
"""Write models back as ONNX, and compare the two files in ONNX Runtime.

    check_roundtrip.py LLMOPT LLMOPT_RUN [--data FOLDER] [--only GLOB] [--verbose]

Every model of test/zoo and test/models goes through `llmopt -emit=onnx`. ONNX
Runtime runs both files on ragged, masked inputs (test/check_model.py); outputs
agree within 1e-5 of the largest, inputs and outputs are called the same, and only
standard operators are used, with MatMulNBits where the model has it. llmopt imports what it wrote, and writes it a second
time with as many fused sites. With --data, the models there that are listed below
take part. Pruned and quantized models give in ONNX Runtime what llmopt's own code of
them gives, and take less room.
"""

import argparse
import fnmatch
import pathlib
import re
import subprocess
import sys
import tempfile

import onnx

HERE = pathlib.Path(__file__).resolve().parent
TEST = HERE.parent
sys.path[:0] = [str(TEST), str(TEST / "zoo")]
import check_model  # noqa: E402
import check_zoo    # noqa: E402

TOLERANCE = 1e-5
BATCHES, LENGTHS, PASTS = (1, 3), (1, 5, 21), (0, 7)
TESTDATA = [
    "magika/fast_v2_1.onnx",
    "ort-tests/fusion/attention_past_unidir.onnx",
    "ort-tests/fusion/bias_gelu_fusion.onnx",
    "ort-tests/fusion/constant_folding_qdq_node_unit.onnx",
    "ort-tests/fusion/conv_clip11.onnx",
    "ort-tests/fusion/dynamic_quantize_matmul.onnx",
    "ort-tests/fusion/embed_layer_norm_format3.onnx",
    "ort-tests/fusion/fast_gelu.onnx",
    "ort-tests/fusion/attention_int32_mask.onnx",
    "ort-tests/transformers/whisper/hf_fp32_decoder_attention_with_past.onnx",
    "vespa/random_encoder.onnx",
]


def run(llmopt, *arguments):
    done = subprocess.run([llmopt, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"exit code {done.returncode}: {lines[0] if lines else 'no message'}")
    return done.stderr


def sites(table):
    """Fused sites of `-report=fusion`, by kind. What a quantizer or a branch
    leaves open is not counted."""
    return re.findall(r"^(attention|norm|gelu|embedding)\s+(\d+)", table, re.M)


def names(model):
    def dims(value):
        return [d.dim_value if d.HasField("dim_value") else bool(d.dim_param)
                for d in value.type.tensor_type.shape.dim]

    initial = {t.name for t in model.graph.initializer}
    inputs = [(v.name, v.type.tensor_type.elem_type, dims(v)) for v in model.graph.input if v.name not in initial]
    return inputs, [v.name for v in model.graph.output]


def others(model):
    """Operators of other domains than ONNX's."""
    return {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}


def check(model, llmopt, folder):
    """(problem or empty, largest error, number of comparisons)"""
    written, again = folder / "written.onnx", folder / "again.onnx"
    before = run(llmopt, model, "-report=fusion", "-emit=onnx", "-o", written)
    after = run(llmopt, written, "-report=fusion", "-emit=onnx", "-o", again)
    if sites(before) != sites(after):
        return f"sites {sites(after)}, expected {sites(before)}", 0, 0
    original, result = (onnx.load(path, load_external_data=False) for path in (model, written))
    if [(n, t, len(d)) for n, t, d in names(original)[0]] != [(n, t, len(d)) for n, t, d in names(result)[0]]:
        return f"inputs {names(result)[0]}, expected {names(original)[0]}", 0, 0
    if names(original)[1] != names(result)[1]:
        return f"outputs {names(result)[1]}, expected {names(original)[1]}", 0, 0
    if strange := others(result) - (others(original) & {"com.microsoft.MatMulNBits"}):
        return f"operators that are not standard: {', '.join(sorted(strange))}", 0, 0
    onnx.checker.check_model(str(written))

    stem = model.stem
    name, exporter = check_zoo.architecture(stem) if stem.count(".") == 1 else (stem, "")
    optimize = bool(exporter) and not exporter.startswith("int")
    reference = model.with_name(check_zoo.REFERENCES.get(stem, model.name))
    engines = [check_model.Reference(path, 1, optimize) for path in (reference, written)]
    inputs = check_model.model_inputs(original)
    worst, compared, reason = 0.0, 0, "no case"
    lengths = check_zoo.LONGER.get(name, LENGTHS)
    for case, feed in check_model.cases(inputs, BATCHES, lengths, check_zoo.DIMENSIONS.get(name, {}), pasts=PASTS,
                                        prefixes=check_model.takes_prefixes(original)):
        try:
            expected = engines[0].run(feed)
        except Exception as error:  # beyond its positions, for example
            reason = str(error).splitlines()[0]
            continue
        try:
            actual = engines[1].run(feed)
        except Exception as error:
            return f"{case}: {str(error).splitlines()[0]}", worst, compared
        for output, value in expected.items():
            difference = check_model.compare(actual[output], value, TOLERANCE)
            compared += 1
            worst = max(worst, difference.error)
            if not check_model.passes(difference, TOLERANCE):
                return f"{case} {output}: {difference.problem or f'error {difference.error:.1e}'}", worst, compared
    return "" if compared else f"nothing to compare: {reason}", worst, compared


TRANSFORMED = ("-prune=heads:2", "-quantize-int8")


def check_transformed(option, llmopt, runner, folder):
    model = TEST / "models" / "bert-tiny.torchscript.onnx"
    plain, written, artifact = folder / "plain.onnx", folder / "written.onnx", folder / "model.so"
    run(llmopt, model, "-emit=onnx", "-o", plain)
    run(llmopt, model, option, "-emit=onnx", "-o", written)
    run(llmopt, model, option, "-o", artifact)
    size = [sum(file.stat().st_size for file in folder.glob(path.name + "*")) for path in (plain, written)]
    if size[1] >= size[0]:
        return f"takes {size[1]} bytes, without the option {size[0]}"
    original, engine = (check_model.Reference(path, 1, optimize=False) for path in (model, written))
    moved = 0.0
    for case, feed in check_model.cases(check_model.model_inputs(onnx.load(model)), (3,), (5, 21), {}):
        expected, before = check_model.run_artifact(runner, artifact, feed, 1, 60), original.run(feed)
        for name, value in engine.run(feed).items():
            difference = check_model.compare(value, expected[name], TOLERANCE)
            moved = max(moved, check_model.compare(value, before[name]).error)
            if difference.problem or difference.error > TOLERANCE:
                return f"{case} {name}: {difference.problem or f'error {difference.error:.1e}'}"
    return "" if moved > 1e-4 else "gives what the model gives without the option"


def main():
    parser = argparse.ArgumentParser(description="Compare models with what llmopt -emit=onnx makes of them.")
    parser.add_argument("llmopt", type=pathlib.Path)
    parser.add_argument("runner", type=pathlib.Path, metavar="LLMOPT_RUN")
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    models = sorted((TEST / "zoo").glob("*.onnx")) + sorted((TEST / "models").glob("*.onnx"))
    if options.data:
        models += [options.data / name for name in TESTDATA]
    models = [model for model in models if fnmatch.fnmatch(model.name, options.only)]
    # What llmopt does not import has nothing to write.
    expected = check_zoo.read_expectations()
    models = [model for model in models if expected.get(model.name, ("ok",))[0] != "import"]
    failures, total = [], 0
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem, worst, compared = check(model, options.llmopt, pathlib.Path(folder))
            except Exception as error:
                problem, worst, compared = (str(error).splitlines() or [repr(error)])[0], 0, 0
        total += compared
        if problem:
            failures.append(model.name)
        if problem or options.verbose:
            print(f"{model.name}: {problem or 'ok'} (largest error {worst:.1e}, {compared} comparisons)", flush=True)
    for option in TRANSFORMED if options.only == "*" else ():
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = check_transformed(option, options.llmopt, options.runner, pathlib.Path(folder))
            except Exception as error:
                problem = (str(error).splitlines() or [repr(error)])[0]
        print(f"{option}: {problem or 'ok'}", flush=True)
        if problem:
            failures.append(option)
    print(f"{len(models) - len(set(failures) - set(TRANSFORMED))} of {len(models)} models written and read alike, {total} comparisons;"
          f" tolerance {TOLERANCE:g}")
    return 1 if failures or len(models) < (1 if options.only != "*" else 20) else 0


if __name__ == "__main__":
    sys.exit(main())
