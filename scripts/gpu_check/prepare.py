"""Makes a kit: everything that gpu-check needs on a machine with nothing but a driver."""

import concurrent.futures
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import models

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(w) for w in command)}: {(done.stderr or done.stdout).strip()[-500:]}")


def compile_model(llmopt, path, kit, name, options, embed, rehearse):
    """The artefacts of one model; without `embed` their weights stay behind."""
    entry = {"name": name, "cpu": {}, "caches": "-kv-cache" in options}
    more = ["-embed-weights"] if embed else []
    wide = [option for option in options if option not in models.NARROW_TOLERANCE]
    for level in models.LEVELS:
        entry["cpu"][level] = f"{name}.{level}.so"
        run([llmopt, path, *wide, *more, f"-mcpu={level}", "-o", kit / entry["cpu"][level]])
    entry["cuda"] = f"{name}.cuda.so"
    run([llmopt, path, *options, *more, "-emit=cuda", f"-cuda-arch={models.ARCHITECTURES}", "-o", kit / entry["cuda"]])
    if rehearse:
        entry["emulated"] = f"{name}.emulated.so"
        run([llmopt, path, *options, *more, "-emit=cuda", "-emulate", "-o", kit / entry["emulated"]])
    if not embed:
        for weights in kit.glob(f"{name}.*weights"):
            weights.unlink()
    return entry


def find_large(source, model_folder, folder):
    """The file of a large model: of --models, or a graph of holes made in `folder`."""
    if source.endswith(".onnx"):
        path = model_folder / source if model_folder else None
        if not path or not path.exists():
            raise RuntimeError(f"--models has no {source}")
        return path
    done = subprocess.run([find_python(), pathlib.Path(__file__).with_name("shapes.py"), source, folder],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["shapes.py failed"])[-1])
    return folder / f"{source}.onnx"


def find_python():
    """One with the package onnx, where scripts/setup made it."""
    own = SOURCE / ".venv/bin/python"
    return own if own.exists() else sys.executable


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

    wanted = lambda name: not only or any(fnmatch.fnmatch(name, pattern) for pattern in only.split(","))  # noqa: E731

    def small(item):
        stem, options = item
        name = models.name_of(stem, options)
        try:
            entry = compile_model(llmopt, SOURCE / "test" / f"{stem}.onnx", kit, name, options, True, rehearse)
        except RuntimeError as error:
            return error
        entry["values"] = {**models.SMALL_VALUES, **models.VALUES.get(stem, {})}
        entry["tolerance"] = models.tolerance(stem, options)
        print(f"prepared {name}", flush=True)
        return entry

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        entries = list(pool.map(small, [item for item in models.SMALL if wanted(models.name_of(*item))]))
    failures = [entry for entry in entries if isinstance(entry, RuntimeError)]
    manifest["small"] = [entry for entry in entries if not isinstance(entry, RuntimeError)]
    for name, facts in models.LARGE.items():
        if not wanted(name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = find_large(facts["source"], model_folder, pathlib.Path(folder))
            except RuntimeError as error:
                manifest["missing"].append(f"{name} ({error})")
                continue
            options = facts.get("options", [])
            entry = compile_model(llmopt, path, kit, name, options, False, False)
        manifest["large"].append({**entry, **facts, "tolerance": models.tolerance(name, options)})
        print(f"prepared {name}", flush=True)
    (kit / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    size = sum(file.stat().st_size for file in kit.iterdir())
    print(f"{kit}: {size / 1e6:.1f} MB in {len(list(kit.iterdir()))} files")
    if manifest["missing"]:
        print(f"left out: {', '.join(manifest['missing'])}")
    for failure in failures:
        print(f"gpu-check: left out: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    if size > models.LIMIT:
        sys.exit(f"gpu-check: expected a kit of at most {models.LIMIT / 1e6:.0f} MB, but got {size / 1e6:.1f} MB")
