#!/usr/bin/env python3
"""The CUDA project of an int8 model is complete, readable, and compiles.

    check_project.py LLMOPT MODEL

nvcc compiles it for sm_80 where nvcc is installed; without it that part is
skipped, and said so.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def main():
    llmopt, model = map(pathlib.Path, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        # The literal command: the folder is named after the model, here.
        subprocess.run([llmopt.resolve(), model.resolve(), "-quantize-int8", "-emit=cuda"], cwd=folder, check=True)
        project = pathlib.Path(folder) / (model.stem + ".cuda")
        names = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
        wanted = {"model.cu", "model.weights", "CMakeLists.txt", "README.md", "llmopt/cuda/mma_gemm.cuh"}
        if wanted - names:
            sys.exit(f"missing {sorted(wanted - names)}")
        text = (project / "model.cu").read_text()
        kernels = re.findall(r"__launch_bounds__\([\d, ]+\)\s+(\w+)\(", text)
        if not any(name.startswith("gemm_s8") for name in kernels) or "llmopt::s8_any_rows" not in text:
            sys.exit("no int8 gemm in model.cu")
        if "/encoder/layer.0/" not in text or not text.isascii():
            sys.exit("model.cu does not name its ONNX nodes, or holds more than ASCII")
        nvcc = shutil.which("nvcc")
        if not nvcc:
            print("skipping nvcc: it is not installed")
        else:
            subprocess.run([nvcc, "-std=c++17", "-arch=sm_80", "-w", f"-I{project}", "-c", project / "model.cu", "-o",
                            pathlib.Path(folder) / "model.o"], check=True)
        print(f"{len(kernels)} kernels; 1 passed, 0 failed")


main()
