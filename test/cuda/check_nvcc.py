#!/usr/bin/env python3
"""nvcc builds the kernels of whole models for sm_80 and sm_90a, without warnings, spills or
local memory.

    check_nvcc.py LLMOPT [--update] [--only GLOB]

The models have two layers of the real widths (scripts/gpu_check/shapes.py); layers share
kernels, so these are those of the whole model. nvcc_models.table lists every kernel with the
registers that it takes for each architecture: one that the table lacks, one that the model
lacks, more registers, and any warning, spill or byte of local memory is an error. --update
writes the table from what nvcc says; the rest stays an error. Without nvcc nothing is
checked, and said so.
"""

import argparse
import fnmatch
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "CodeGen/CUDA"), str(HERE.parents[1] / "scripts/gpu_check")]
import nvcc_report  # noqa: E402
import shapes  # noqa: E402

TABLE = HERE / "nvcc_models.table"
ARCHITECTURES = ("sm_80", "sm_90a")
MODELS = {
    "encoder-f32": ("bert-base-2", []), "encoder-f16": ("bert-base-2", ["-fp16"]),
    "encoder-int8": ("bert-base-2", ["-quantize-int8"]), "decoder-f16": ("gpt2-2", ["-kv-cache", "-fp16"]),
}


def find_nvcc():
    found = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    return found if pathlib.Path(found).exists() else None


def emit(llmopt, shape, options, folder):
    """The project of a model, as a folder."""
    model = shapes.write(shape, folder)
    project = pathlib.Path(folder) / "project"
    done = subprocess.run([llmopt, model, *options, "-emit=cuda", "-o", project], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return project


def read_table():
    rows = {}
    for line in TABLE.read_text().splitlines() if TABLE.exists() else ():
        if line and not line.startswith("#"):
            model, kernel, *registers = line.split()
            rows.setdefault(model, {})[kernel] = dict(zip(ARCHITECTURES, map(int, registers)))
    return rows


def write_table(rows):
    lines = [f"# Model, kernel, registers of {' and '.join(ARCHITECTURES)}: by check_nvcc.py --update"]
    lines += [" ".join([model, kernel, *(str(registers[a]) for a in ARCHITECTURES)])
              for model, kernels in rows.items() for kernel, registers in sorted(kernels.items())]
    TABLE.write_text("\n".join(lines) + "\n")


def compare(kernels, listed):
    for name in sorted(kernels.keys() | listed.keys()):
        if name not in listed or name not in kernels:
            yield f"{name}: {'is not in the table' if name in kernels else 'is in the table, but not in the model'}"
            continue
        for architecture, most in listed[name].items():
            if kernels[name].get(architecture, 1 << 30) > most:
                yield (f"{name} for {architecture}: expected at most {most} registers, but got "
                       f"{kernels[name].get(architecture, 'no code')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt", type=pathlib.Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--only", default="*")
    arguments = parser.parse_args()
    nvcc = find_nvcc()
    if not nvcc:
        print("skipping nvcc: it is not installed")
        return
    table, failed, passed = read_table(), 0, 0
    for name, (shape, options) in MODELS.items():
        if not fnmatch.fnmatch(name, arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                project = emit(arguments.llmopt.resolve(), shape, options, folder)
                kernels, found, problems = nvcc_report.compile_kernels(project / "model.cu", project, ARCHITECTURES, nvcc)
            except RuntimeError as error:
                kernels, found, problems = {}, {}, [str(error)]
        problems = problems + [text for texts in found.values() for text in texts]
        if arguments.update:
            table[name] = kernels
        problems += compare(kernels, table.get(name, {}))
        for problem in problems:
            print(f"{name}: FAILED: {problem}", flush=True)
        if not problems:
            print(f"{name}: {len(kernels)} kernels, {' and '.join(ARCHITECTURES)}: no warnings, spills or local memory", flush=True)
        passed += not problems
        failed += bool(problems)
    if arguments.update:
        write_table(table)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
