#!/usr/bin/env python3
"""The text of CUDA projects of the whole zoo: printable, and formatted as it is printed.

    check_text.py LLMOPT [--only GLOB]

clang-format leaves model.cu and model_emulation.cpp as they are, under the .clang-format
that comes with them; without clang-format that part is skipped, and said so.
"""

import argparse
import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ZOO = pathlib.Path(__file__).resolve().parents[1] / "zoo"


def problem(llmopt, formatter, model, project):
    done = subprocess.run([llmopt, model, "-emit=cuda", "-o", project], capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip()
    files = [project / "model.cu", project / "model_emulation.cpp"]
    for file in files:
        if re.search(rb"[^\n\x20-\x7e]", file.read_bytes()):
            return f"{file.name} holds more than printable ASCII"
    if formatter:
        done = subprocess.run([formatter, "--dry-run", "-Werror", *files], capture_output=True, text=True)
        if done.returncode:
            return "\n".join(done.stderr.splitlines()[:3])
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llmopt")
    parser.add_argument("ignored", nargs="*")
    parser.add_argument("--only", default="*")
    arguments = parser.parse_args()
    formatter = shutil.which("clang-format-22")
    if not formatter:
        print("skipping the format: clang-format-22 is not installed")
    passed = failed = 0
    for model in sorted(ZOO.glob("*.onnx")):
        if not fnmatch.fnmatch(model.stem, arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            text = problem(arguments.llmopt, formatter, model, pathlib.Path(folder) / "p")
        passed += not text
        failed += bool(text)
        if text:
            print(f"{model.name}: FAILED: {text}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
