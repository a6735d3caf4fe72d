"""What nvcc says about kernels: registers, and what should not be there."""

import re
import subprocess
import tempfile


def compile_kernels(source, include, architectures, nvcc="nvcc"):
    """({kernel: {architecture: registers}}, {kernel: [problem]}, [warning]) of one file. A
    problem is a spill, or local memory. Raises RuntimeError with what nvcc says if it fails."""
    problems, kernels, warnings = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++17", "-O3", "-Xcompiler", "-Wall", "-Xcompiler", "-Wextra", "-Xptxas",
                   "-v", f"-I{include}", "-fatbin", source, "-o", f"{folder}/kernels.fatbin"]
        for name in architectures:
            command += ["-gencode", f"arch={name.replace('sm', 'compute')},code={name}"]
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    text = result.stdout + result.stderr
    if result.returncode:
        raise RuntimeError(text)
    kernel = None
    for line in text.splitlines():
        if "warning" in line.lower() or "Performance Loss" in line:
            warnings.append(line)
        if match := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            kernel = match.groups()
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if kernel and set(match.groups()) != {"0"}:
                problems.setdefault(kernel[0], []).append(f"{kernel[0]} for {kernel[1]}: {line.strip()}")
        if kernel and (match := re.search(r"Used (\d+) registers", line)):
            kernels.setdefault(kernel[0], {})[kernel[1]] = int(match.group(1))
            if "bytes lmem" in line:
                problems.setdefault(kernel[0], []).append(f"{kernel[0]} for {kernel[1]}: {line.strip()}")
            kernel = None
    return kernels, problems, warnings
