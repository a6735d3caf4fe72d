"""Makes a kit: everything that gpu-check needs on a machine with nothing but a driver."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

import models

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(w) for w in command)}: {(done.stderr or done.stdout).strip()[-500:]}")


def compile_model(llmopt, path, kit, name, options, embed, rehearse):
    """The artefacts of one model; without `embed` their weights stay behind."""
    entry = {"name": name, "cpu": {}}
    more = ["-embed-weights"] if embed else []
    for level in models.LEVELS:
        entry["cpu"][level] = f"{name}.{level}.so"
        run([llmopt, path, *options, *more, f"-mcpu={level}", "-o", kit / entry["cpu"][level]])
    entry["cuda"] = f"{name}.cuda.so"
    run([llmopt, path, *options, *more, "-emit=cuda", f"-cuda-arch={models.ARCHITECTURES}", "-o", kit / entry["cuda"]])
    if rehearse:
        entry["emulated"] = f"{name}.emulated.so"
        run([llmopt, path, *options, *more, "-emit=cuda", "-emulate", "-o", kit / entry["emulated"]])
    if not embed:
        for weights in kit.glob(f"{name}.*weights"):
            weights.unlink()
    return entry


def find_nvcc():
    found = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not pathlib.Path(found).exists():
        sys.exit("gpu-check: --prepare needs nvcc: expected it on PATH or in /usr/local/cuda/bin")
    return found


def prepare(kit, build, model_folder, only, rehearse):
    llmopt = build / "bin/llmopt"
    for needed in (llmopt, build / "bin/llmopt-weights", build / "lib/libllmopt_rt.so"):
        if not needed.exists():
            sys.exit(f"gpu-check: {needed} is missing; build llmopt, llmopt-weights and llmopt_rt_shared first")
    nvcc = find_nvcc()
    kit.mkdir(parents=True, exist_ok=True)
    shutil.copy(build / "lib/libllmopt_rt.so", kit)
    shutil.copy(build / "bin/llmopt-weights", kit)
    code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ("80", "90")]
    here = pathlib.Path(__file__).resolve().parent
    run([nvcc, "-std=c++17", "-O3", "-fatbin", *code, "-gencode=arch=compute_90,code=compute_90", "-o",
         kit / "constants.fatbin", here / "constants.cu"])
    if rehearse:
        shutil.copy(build / "lib/libllmopt-cuda-standin.so", kit)
        run(["clang++-22", "-std=c++17", "-O2", "-w", "-shared", "-fPIC", "-DLLMOPT_EMULATE",
             f"-I{SOURCE / 'runtime/cuda/include'}", here / "constants_emulation.cpp", "-o", kit / "constants.emulated.so"])
    manifest = {"architectures": models.ARCHITECTURES, "small": [], "large": [], "missing": []}

    def small(item):
        stem, options = item
        name = stem.split("/")[1] + "".join(o.replace("-quantize-", ".w") for o in options if "quantize" in o)
        try:
            entry = compile_model(llmopt, SOURCE / "test" / f"{stem}.onnx", kit, name, options, True, rehearse)
        except RuntimeError as error:
            return error
        entry["values"] = {**models.SMALL_VALUES, **models.VALUES.get(stem, {})}
        quantized = any("quantize" in o for o in options) or ".int" in stem
        entry["tolerance"] = models.QUANTIZED_TOLERANCE if quantized else models.TOLERANCE
        print(f"prepared {name}", flush=True)
        return entry

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        entries = list(pool.map(small, [item for item in models.SMALL.items() if not only or only in item[0]]))
    failures = [entry for entry in entries if isinstance(entry, RuntimeError)]
    manifest["small"] = [entry for entry in entries if not isinstance(entry, RuntimeError)]
    for stem, facts in models.LARGE.items():
        path = model_folder / f"{stem}.onnx" if model_folder else None
        if not path or not path.exists() or (only and only not in stem):
            manifest["missing"].append(stem)
            continue
        entry = compile_model(llmopt, path, kit, stem, [], False, False)
        manifest["large"].append({**entry, **facts, "tolerance": models.TOLERANCE})
        print(f"prepared {stem}", flush=True)
    (kit / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    size = sum(file.stat().st_size for file in kit.iterdir())
    print(f"{kit}: {size / 1e6:.1f} MB in {len(list(kit.iterdir()))} files")
    if manifest["missing"]:
        print(f"left out, as --models has no such file: {', '.join(manifest['missing'])}")
    for failure in failures:
        print(f"gpu-check: left out: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    if size > 60e6:
        sys.exit("gpu-check: the kit is larger than 60 MB")
