#!/usr/bin/env python3
"""Run the model zoo, and compare what happens with what is expected.

    check_zoo.py LLMOPT LLMOPT_RUN [--only GLOB] [--update] [--verbose]

Every file is compiled (-require-fusion with the counts that its architecture
has, not with what was found), run on ragged, masked inputs of several lengths,
with and without tokens before, and compared with ONNX Runtime
(test/check_model.py). What a file reaches is one word:

    ok       compiled, raised as expected, equal results
    raise    the same, but not everything was raised
    match    runs, but results differ from ONNX Runtime's
    run      compiles, but does not run
    compile  imports, but does not compile
    import   is not imported

expectations.txt holds the word of every file, and a reason where it is not ok.
A file that does worse or better than its line fails the test: --update writes
the words and reasons anew. docs/models.md is the table made of expectations.txt; the test fails
where that is not current, and --update rewrites it.
"""

import argparse
import fnmatch
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import check_model  # noqa: E402

EXPECTATIONS = HERE / "expectations.txt"
TABLE = HERE.parents[1] / "docs" / "models.md"
FOLDERS = (HERE, HERE.parent / "models")
WORDS = ("import", "compile", "run", "match", "raise", "ok")
BATCHES, LENGTHS, PASTS = (1, 3), (1, 5, 21), (0, 7)

# Sites of each architecture with its layers, by the part that
# an exporter may write as a file of its own.
FUSIONS = {
    "bert": "attention:2,norm:5,gelu:2", "roberta": "attention:2,norm:5,gelu:2",
    "distilbert": "attention:2,norm:5,gelu:2", "vit": "attention:2,norm:5,gelu:2",
    "albert": "attention:2,norm:5,gelu:2", "electra": "attention:2,norm:5,gelu:2",
    # One layer; one norm for the table of relative positions; a GELU in the pooler.
    "deberta-v3": "attention:1,norm:4,gelu:2",
    "gpt2": "attention:2,norm:5,gelu:2", "gpt-neox": "attention:2,norm:5,gelu:2",
    "opt": "attention:2,norm:5,gelu:0",
    "bloom": "attention:2,norm:6,gelu:2",  # one norm behind the embedding
    "llama": "attention:2,norm:5,gelu:0", "mistral": "attention:2,norm:5,gelu:0",
    "qwen2": "attention:2,norm:5,gelu:0",
    "qwen3": "attention:2,norm:9,gelu:0",  # queries and keys have norms
    "gemma": "attention:2,norm:5,gelu:2",
    "phi": "attention:2,norm:3,gelu:2",    # one norm for attention and MLP
    "mixtral": "attention:1,norm:3,gelu:0",  # one layer
    # One layer in the encoder and one in the decoder, with two and three norms.
    "t5": "attention:3,norm:7,gelu:0", "t5 encoder": "attention:1,norm:3,gelu:0", "t5 decoder": "attention:2,norm:4,gelu:0",
    # Two layers in the decoder; one norm behind each embedding.
    "bart": "attention:5,norm:10,gelu:3", "bart encoder": "attention:1,norm:3,gelu:1",
    "bart decoder": "attention:4,norm:7,gelu:2",
    # Two convolutions with GELU lead the encoder.
    "whisper": "attention:5,norm:10,gelu:5", "whisper encoder": "attention:1,norm:3,gelu:3",
    "whisper decoder": "attention:4,norm:7,gelu:2",
    # Text: two norms in its layer, one behind; images: one before, too.
    "clip": "attention:2,norm:7,gelu:2",
    # GELU behind two convolutions, the positional one and in each layer; the group
    # norm of the first has one channel per group, so it is one over time.
    "wav2vec2": "attention:2,norm:7,gelu:5",
}
# Dimensions that optimum leaves open although the model has one size of them.
IMAGE = {"num_channels": 3, "height": 32, "width": 32}
DIMENSIONS = {"vit": IMAGE, "clip": IMAGE}
# com.microsoft.RelativePositionBias has no kernel for CPUs in ONNX Runtime: the file
# that its optimizer read.
REFERENCES = {"t5.ort": "t5.torchscript.onnx"}
# Audio is long: two convolutions with strides shorten it.
LONGER = {"wav2vec2": (25, 60, 121)}


def architecture(stem):
    name, exporter = stem.split(".")
    return name.removesuffix("-tiny"), exporter


def fusions(stem):
    name, exporter = architecture(stem)
    for part in ("encoder", "decoder"):
        if exporter.startswith("optimum") and part in exporter:
            name += " " + part
    if exporter.endswith("merged"):  # a branch without tokens before, and one with
        return re.sub("[0-9]+", lambda count: str(2 * int(count[0])), FUSIONS[name])
    # The quantizer puts roundings between the steps of GELU, and between the
    # products of attention: raising either would change what the file computes.
    return re.sub("(attention|gelu):[0-9]+", r"\1:0", FUSIONS[name]) if exporter == "int8-qdq" else FUSIONS[name]


def first_line(result):
    lines = [line.strip() for line in (result.stderr + result.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return (errors or lines or [f"exit code {result.returncode}"])[0]


def reach(model, llmopt, runner):
    """(word, reason)"""
    def compile_to(target, *options):
        return subprocess.run([llmopt, model, *options, "-o", target], capture_output=True, text=True)

    with tempfile.TemporaryDirectory() as folder:
        artifact = pathlib.Path(folder) / "model.so"
        raised, reason = True, ""
        result = compile_to(artifact, f"-require-fusion={fusions(model.stem)}")
        if result.returncode == 3:
            raised = False
            reason = "; ".join(line.removeprefix("llmopt: ").strip() for line in result.stderr.splitlines() if line.strip())
            result = compile_to(artifact)
        if result.returncode:
            imported = compile_to(pathlib.Path(folder) / "model.mlir", "-emit=lm")
            return ("import", first_line(imported)) if imported.returncode else ("compile", first_line(result))
        name, exporter = architecture(model.stem)
        try:
            rows = check_model.check(model, artifact, runner, BATCHES, LONGER.get(name, LENGTHS),
                                     fixed=DIMENSIONS.get(name), pasts=PASTS,
                                     optimize=not exporter.startswith("int"),
                                     reference_path=REFERENCES.get(model.stem) and model.with_name(REFERENCES[model.stem]))
        except Exception as error:  # neither engine can be fed
            return "run", str(error).splitlines()[0]
        failed = [row for row in rows if row.status == "FAIL"]
        for row in failed:
            if not row.output:
                return "run", f"{row.case}: {row.difference.problem}"
        if not check_model.ok(rows):
            if not failed:
                return "run", rows[0].difference.problem if rows else "no case"
            worst = max(failed, key=lambda row: row.difference.error)
            what = worst.difference.problem or f"error {worst.difference.error:.0e}"
            return "match", f"{worst.output}: {what}, in {len(failed)} of {len(rows)} comparisons"
        return ("ok", "") if raised else ("raise", reason)


def read_expectations():
    """File -> (word, reason)."""
    table = {}
    for line in EXPECTATIONS.read_text().splitlines() if EXPECTATIONS.exists() else []:
        if line and not line.startswith("#"):
            name, word, *reason = line.split(None, 2)
            table[name] = (word, reason[0] if reason else "")
    return table


def write_expectations(table):
    width = max(map(len, table))
    EXPECTATIONS.write_text(
        "# What every file of the zoo reaches, see check_zoo.py; a reason where that is not all.\n"
        + "".join(f"{name:{width}} {word} {reason}".rstrip() + "\n" for name, (word, reason) in sorted(table.items())))


def table_text(table):
    rows, groups = [], {}
    for name, (word, reason) in sorted(table.items()):
        model, exporter = architecture(name.removesuffix(".onnx"))
        groups.setdefault(model, []).append((exporter, word, reason, fusions(name.removesuffix(".onnx"))))
    good = sum(word == "ok" for word, _ in table.values())
    for model, entries in groups.items():
        for exporter, word, reason, counts in sorted(entries):
            at = WORDS.index(word)
            marks = ["yes" if at > WORDS.index(stage) else "no" for stage in ("import", "run", "match")]
            marks.append("yes" if word == "ok" else "no" if word == "raise" else "")
            if at <= WORDS.index("compile"):
                marks[1:] = ["no" if at else "", "", ""]
            elif at == WORDS.index("run"):
                marks[2:] = ["", ""]
            expected = ", ".join(f"{n} {kind}" for kind, n in (part.split(":") for part in counts.split(",")) if n != "0")
            rows.append(f"| {model} | {exporter} | {' | '.join(marks)} | {expected} | {reason.replace('|', '/')} |")
    refused = HERE / "refused.txt"
    lines = refused.read_text().splitlines() if refused.exists() else []
    return f"""# Models and exporters

Small models with random weights, written by the tools that people use, and what becomes of each: whether it is imported,
runs, gives what ONNX Runtime gives on ragged, masked inputs (relative error at most 1e-4, with and without tokens
before), and whether everything that the architecture consists of was raised (`-require-fusion`). {good} of {len(table)} pass all.

Exporters: `torchscript14` and `torchscript` (`torch.onnx.export(dynamo=False)`, opset 14 with attention written out and 17),
`dynamo` (`dynamo=True`, opset 18) and `dynamo-opset23`, `optimum`; `-past` is a decoder that takes keys and values of the tokens
before (`past_key_values.N.key` and `.value`) and gives `present.N.*`; `-static` writes them into buffers of fixed size
(transformers' StaticCache), and `genai-past` is onnxruntime-genai's builder (GroupQueryAttention). `ort` is onnxruntime's transformer optimizer over
`torchscript`; `int8-dynamic`, `int8-qdq` and `int4` are its quantizers over `optimum`, compared with ONNX Runtime as they are written (its
own fusions move roundings). `int8-qdq` rounds between the steps of attention and GELU: there is nothing to raise.

This page is written by `test/zoo/check_zoo.py --update`; `test/zoo/README.md` says how the files are made.

| model | exporter | imports | runs | matches | raised | expected | reason |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}
""" + (f"""
## What the exporters refuse

| model and exporter | its reason |
|---|---|
{chr(10).join("| " + line.replace("|", "/").replace(" ", " | ", 1) + " |" for line in lines)}
""" if lines else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt")
    parser.add_argument("run")
    parser.add_argument("--only", default="*", metavar="GLOB", help="file names; several with commas")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print every row")
    parser.add_argument("--table-only", action="store_true", help="run nothing: check that docs/models.md is current")
    arguments = parser.parse_args()
    expected = read_expectations()
    files = {file.name: file for folder in FOLDERS for file in sorted(folder.glob("*.onnx"))}
    wrong = []
    if not arguments.table_only:
        chosen = [name for name in files if any(fnmatch.fnmatch(name, glob) for glob in arguments.only.split(","))]
        if not chosen:
            sys.exit(f"no file matches '{arguments.only}'")
        for name in chosen:
            word, reason = reach(files[name], arguments.llmopt, arguments.run)
            reason = reason.replace(str(files[name].parent) + "/", "").removeprefix(f"llmopt: {name}: ")[:240]
            before = expected.get(name, ("", ""))
            if word != before[0]:
                wrong.append(f"{name}: expected '{before[0]}', but got '{word}'" + (f": {reason}" if reason else ""))
                print(wrong[-1], flush=True)
            elif arguments.verbose:
                print(f"{name}: {word}" + (f": {reason}" if reason else ""), flush=True)
            if arguments.update:
                expected[name] = (word, reason)
    if arguments.update:
        write_expectations({name: expected[name] for name in expected if name in files})
        TABLE.write_text(table_text({name: expected[name] for name in expected if name in files}))
        return
    for name in sorted(set(expected) ^ set(files)) if arguments.only == "*" else []:
        wrong.append(f"{name}: " + ("no such file" if name in expected else "no line in expectations.txt"))
        print(wrong[-1])
    if not wrong and (not TABLE.exists() or TABLE.read_text() != table_text(expected)):
        wrong.append("docs/models.md is not current: run check_zoo.py --update")
        print(wrong[-1])
    print(f"{len(files)} files, {sum(word == 'ok' for word, _ in expected.values())} expected to pass all,"
          f" {len(wrong)} surprises")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
