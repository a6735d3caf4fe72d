#!/usr/bin/env python3
"""Run the commands of README.md, and compare with the output it shows.

    check_readme.py ROOT

In ```console blocks, lines that begin with `$ ` are commands, run in bash in
the root of the tree; what follows is what they print on standard output, or,
where they only report, on standard error. Masked are numbers that depend on the
machine: times, sizes of code, and rounding errors, which differ between
instruction sets.
"""

import pathlib
import re
import subprocess
import sys


def mask(text):
    text = re.sub(r"\d+(\.\d+)? (ms|MB|s)\b", r"# \2", text)
    text = re.sub(r"\d\.\d+e-\d\d", "#", text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines()]


def blocks(text):
    for block in re.findall(r"```console\n(.*?)```", text, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    passed = failed = 0
    for command, expected in blocks((root / "README.md").read_text()):
        result = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True)
        printed = result.stdout or result.stderr
        if result.returncode or mask(printed) != mask(expected):
            failed += 1
            print(f"$ {command}\nexit {result.returncode}, printed\n{result.stdout}{result.stderr}\n"
                  f"README shows\n{expected}")
        else:
            passed += 1
    if not passed + failed:
        sys.exit("README.md shows no command")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
