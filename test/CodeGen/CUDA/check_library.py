#!/usr/bin/env python3
"""nvcc compiles the listed kernels of the library without warnings, spills or local memory.

    check_library.py library_kernels.cu library_kernels.table INCLUDE [--architectures=sm_80,sm_90a] [--update]

The table gives, for each kernel, registers for each architecture: a kernel may use
fewer; more is an error until the table says so (--update writes what nvcc says). A
kernel that the table lacks, or that lacks from the source, is an error too.
"""

import argparse
import pathlib
import sys

import nvcc_report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("include", type=pathlib.Path)
    parser.add_argument("--architectures", type=lambda text: text.split(","), default=["sm_80", "sm_90a"])
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    try:
        kernels, found, problems = nvcc_report.compile_kernels(arguments.source, arguments.include, arguments.architectures)
    except RuntimeError as error:
        sys.exit(str(error))
    problems += [text for texts in found.values() for text in texts]
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
