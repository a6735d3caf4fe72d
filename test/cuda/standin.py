"""Running artefacts on the driver that stands in for a GPU (Standin.h)."""

import os
import pathlib
import stat
import subprocess

# Enough of a fat binary for the stand-in driver: it runs emulated kernels instead.
FAKE_NVCC = """#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" = -o ] && out=$2
  shift
done
printf '\\120\\355\\125\\272stand-in' > "$out"
"""


def environment(driver, kernels, **settings):
    """For llmopt-run: `settings` are LLMOPT_STANDIN_<NAME>."""
    result = dict(os.environ, LLMOPT_CUDA_DRIVER=str(driver), LLMOPT_STANDIN_KERNELS=str(kernels))
    for name, value in settings.items():
        result["LLMOPT_STANDIN_" + name.upper()] = str(value)
    return result


def with_fake_nvcc(folder):
    """An environment in which nvcc is a script that compiles nothing: what model.so
    holds around the device code is the same, and takes a second instead of ten."""
    path = pathlib.Path(folder) / "bin"
    path.mkdir(exist_ok=True)
    script = path / "nvcc"
    script.write_text(FAKE_NVCC)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return dict(os.environ, PATH=f"{path}{os.pathsep}{os.environ['PATH']}")


def compile_model(llmopt, model, folder, *options):
    """model.so for a GPU with its emulated twin, as paths; raises with what llmopt said."""
    folder = pathlib.Path(folder)
    outputs = folder / "model.so", folder / "kernels.so"
    for output, more in zip(outputs, ([], ["-emulate"])):
        result = subprocess.run([llmopt, model, *options, "-emit=cuda", *more, "-o", output], capture_output=True,
                                text=True, env=with_fake_nvcc(folder))
        if result.returncode:
            raise RuntimeError(result.stderr.strip())
    return outputs
