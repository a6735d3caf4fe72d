#!/usr/bin/env python3
"""A CUDA project as its README says: built, run, one kernel changed, built again.

    check_project.py LLMOPT LLMOPT_RUN STANDIN

The project's own CMakeLists.txt builds model.so (with nvcc where there is one) and the
emulated build; model.so runs on the stand-in driver with the kernels of the emulated
build. Then the epilogue of one kernel is changed as the README describes.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import standin

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "models/bert-tiny.torchscript.onnx"


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def outputs(runner, artefact, folder, environment=None):
    generator = np.random.default_rng(3)
    np.savez(folder / "in.npz", input_ids=generator.integers(1, 90, (2, 6)), attention_mask=np.ones((2, 6), np.int64),
             token_type_ids=np.zeros((2, 6), np.int64))
    run([runner, artefact, "--input", folder / "in.npz", "--output", folder / "out.npz"], env=environment)
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def with_own_epilogue(project, text, kernel):
    """model.cu with an epilogue of its own for the kernel that begins at `kernel`: the
    library's under another name, which doubles what it stores."""
    library = (project / "llmopt/cuda/epilogue.cuh").read_text()
    start = library.rindex("template <", 0, library.index("struct GemmEpilogue {"))
    epilogue = library[start:library.index("\n};\n", start) + 4].replace("GemmEpilogue", "DoubledEpilogue")
    doubled = epilogue.replace("v[i] = activate<A>(v[i]);", "v[i] = 2 * activate<A>(v[i]);")
    before, name, after = text[kernel:].partition("llmopt::GemmEpilogue<")
    includes = text.rindex("#include \"llmopt/cuda/")
    includes = text.index("\n", includes) + 1
    if doubled == epilogue or not name or "}\n\n" in before or includes > kernel:
        sys.exit("there is no epilogue to change")
    return (text[:includes] + "\nnamespace llmopt {\n" + doubled + "}\n" + text[includes:kernel] + before +
            "llmopt::DoubledEpilogue<" + after)


def device_code(llmopt, folder):
    """-emit=ptx and cubin; an artefact, the same bytes twice."""
    kernel = re.compile(rb"\.entry gemm_32_96")
    run([llmopt, MODEL, "-emit=ptx", "-cuda-arch=sm_80", "-o", folder / "m.ptx"])
    run([llmopt, MODEL, "-emit=cubin", "-cuda-arch=sm_90", "-o", folder / "m.cubin"])
    for name in ("one", "two"):
        run([llmopt, MODEL, "-emit=cuda", "-o", folder / f"{name}.so"])
    ptx, cubin = (folder / "m.ptx").read_bytes(), (folder / "m.cubin").read_bytes()
    if b".target sm_80" not in ptx or not kernel.search(ptx):
        sys.exit("-emit=ptx gives no kernels for sm_80")
    if cubin[:4] != b"\x7fELF" or b"gemm_32_96" not in cubin:
        sys.exit("-emit=cubin gives no device code with kernels")
    for suffix in (".so", ".weights"):
        if (folder / f"one{suffix}").read_bytes() != (folder / f"two{suffix}").read_bytes():
            sys.exit(f"the same model gives another {suffix} the second time")
    return 3


def main():
    llmopt, runner, driver = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    checks = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        project = folder / "bert"
        run([llmopt, MODEL, "-emit=cuda", "-o", project])
        environment = dict(os.environ)
        if shutil.which("nvcc") or pathlib.Path("/usr/local/cuda/bin/nvcc").exists():
            checks += device_code(llmopt, folder)
        else:
            print("nvcc is not installed: a script takes its place")
            environment = standin.with_fake_nvcc(folder)
        readme = (project / "README.md").read_text()
        commands = ["cmake -B build && cmake --build build", "cmake -B build-cpu -DEMULATE=ON && cmake --build build-cpu"]
        for command in commands:
            if command not in readme:
                sys.exit(f"the README does not say {command}")
            run(["bash", "-ec", command], cwd=project, env=environment)
            checks += 1
        on_standin = standin.environment(driver, project / "model-emulated.so")

        def compare(what):
            device = outputs(runner, project / "model.so", folder, on_standin)
            emulated = outputs(runner, project / "model-emulated.so", folder)
            for output, value in emulated.items():
                if not np.array_equal(device[output], value):
                    sys.exit(f"{what}: output '{output}' of model.so differs from the emulated build")
            return emulated

        before = compare("as written")
        start = time.monotonic()
        kernel = re.search(r"Take `(\w+)`", readme)[1]
        text = (project / "model.cu").read_text()
        at = text.index(f" {kernel}(")
        (project / "model.cu").write_text(with_own_epilogue(project, text, at))
        for command in commands:
            run(["bash", "-ec", command.split(" && ")[1]], cwd=project, env=environment)
        after = compare("with another epilogue")
        if all(np.allclose(before[output], after[output]) for output in before):
            sys.exit("the change of the epilogue has no effect")
        print(f"another epilogue: {time.monotonic() - start:.0f} s from the edit to outputs")
        (project / "model.cu").write_text(text)
        run(["cmake", "--build", "build-cpu"], cwd=project, env=environment)
        back = outputs(runner, project / "model-emulated.so", folder)
        if any(not np.array_equal(before[output], back[output]) for output in before):
            sys.exit("undoing the change does not give the former outputs")
        print(f"{checks + 4} passed, 0 failed")


main()
