#!/usr/bin/env python3
"""nvcc compiles the listed kernels of the library without warnings, spills or local memory.

    check_library.py library_kernels.cu library_kernels.table INCLUDE [--architectures=sm_80,sm_90a] [--update]

The table gives, for each kernel, registers for each architecture: a kernel may use
fewer; more is an error until the table says so (--update writes what nvcc says). A
kernel that the table lacks, or that lacks from the source, is an error too.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile


def compile_kernels(source, include, architectures):
    """{kernel: {architecture: registers}}, and problems."""
    problems, kernels = [], {}
    with tempfile.TemporaryDirectory() as folder:
        command = ["nvcc", "-std=c++17", "-Xcompiler", "-Wall", "-Xcompiler", "-Wextra", "-Xptxas", "-v", f"-I{include}",
                   "-fatbin", source, "-o", f"{folder}/kernels.fatbin"]
        for name in architectures:
            command += ["-gencode", f"arch={name.replace('sm', 'compute')},code={name}"]
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    kernel = None
    for line in (result.stdout + result.stderr).splitlines():
        if "warning" in line.lower() or "Performance Loss" in line:
            problems.append(line)
        if match := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            kernel = match.groups()
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if kernel and set(match.groups()) != {"0"}:
                problems.append(f"{kernel[0]} for {kernel[1]}: {line.strip()}")
        if kernel and (match := re.search(r"Used (\d+) registers", line)):
            kernels.setdefault(kernel[0], {})[kernel[1]] = int(match.group(1))
            if "bytes lmem" in line:
                problems.append(f"{kernel[0]} for {kernel[1]}: {line.strip()}")
            kernel = None
    return kernels, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("include", type=pathlib.Path)
    parser.add_argument("--architectures", type=lambda text: text.split(","), default=["sm_80", "sm_90a"])
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    kernels, problems = compile_kernels(arguments.source, arguments.include, arguments.architectures)
    if arguments.update:
        lines = [f"# registers of {' and '.join(arguments.architectures)}, by check_library.py --update"]
        lines += [" ".join([name] + [str(kernels[name][a]) for a in arguments.architectures]) for name in sorted(kernels)]
        arguments.table.write_text("\n".join(lines) + "\n")
    expected = {}
    for line in arguments.table.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *registers = line.split()
            expected[name] = dict(zip(arguments.architectures, map(int, registers)))
    for name in sorted(kernels.keys() | expected.keys()):
        if name not in expected or name not in kernels:
            problems.append(f"{name}: {'not in the table' if name in kernels else 'not in the source'}")
            continue
        for architecture, registers in kernels[name].items():
            if registers > expected[name][architecture]:
                problems.append(f"{name} for {architecture}: expected at most {expected[name][architecture]} registers, "
                                f"but got {registers}")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(kernels)} kernels, {' and '.join(arguments.architectures)}: no warnings, spills or local memory")


main()
