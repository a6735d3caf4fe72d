#!/usr/bin/env python3
"""Let the PyPI build of torch load on a machine without CUDA libraries.

The Linux wheel of torch links against a dozen CUDA libraries (several
gigabytes of nvidia-* packages) even when only its CPU half is used. This
script puts empty stand-ins with the same sonames beside torch's own
libraries: every function they export returns 100 (cudaErrorNoDevice), so
torch.cuda.is_available() is False and everything on the CPU works.

Does nothing where torch already loads. Needs gcc and readelf. For a machine
where torch should use a GPU install the nvidia-* packages instead.

    torch-without-cuda.py [VENV]       (default: the venv of this interpreter)
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# Prefixes of symbols that belong to CUDA libraries without symbol versions.
CUDA_SYMBOL = re.compile(r"^(_*cu[a-zA-Z]|nccl|nvshmem|nvtx|nvrtc|nvJit|nvml)")
CUDA_LIBRARY = re.compile(r"^lib(cu|nccl|nvshmem_host|nvrtc|nvJit|nvToolsExt)")


def readelf(*args):
    return subprocess.run(["readelf", "-W", *args], check=True, text=True,
                          capture_output=True).stdout


def find_torch(venv):
    found = sorted(pathlib.Path(venv).glob("lib/python3*/site-packages/torch/lib"))
    if not found:
        sys.exit(f"error: expected torch installed under {venv}")
    return found[0]


def undefined_symbols(lib):
    """Undefined CUDA symbols: {(soname, version) or None: names}."""
    symbols = {}
    for path in sorted(lib.glob("lib*.so")):
        library_of = {}
        for line in readelf("-V", str(path)).splitlines():
            if match := re.search(r"File: (\S+)\s+Cnt:", line):
                soname = match[1]
            elif match := re.search(r"Name: (\S+)\s+Flags:", line):
                library_of[match[1]] = soname
        for line in readelf("--dyn-syms", str(path)).splitlines():
            fields = line.split()
            if len(fields) < 8 or fields[6] != "UND":
                continue
            name, _, version = fields[7].partition("@")
            soname = library_of.get(version, "")
            if CUDA_LIBRARY.match(soname):
                symbols.setdefault((soname, version), set()).add(name)
            elif not version and CUDA_SYMBOL.match(name):
                symbols.setdefault(None, set()).add(name)
    return symbols


def needed_libraries(lib):
    names = set()
    for path in sorted(lib.glob("lib*.so")):
        names.update(re.findall(r"\(NEEDED\).*\[(.+?)\]", readelf("-d", str(path))))
    return {name for name in names if CUDA_LIBRARY.match(name)}


def build(lib, soname, names, version):
    with tempfile.TemporaryDirectory() as work:
        source = pathlib.Path(work, "stub.c")
        source.write_text("".join(f"int {n}(void) {{ return 100; }}\n"
                                  for n in sorted(names)))
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin",
                   "-nostdlib", f"-Wl,-soname,{soname}", str(source),
                   "-o", str(lib / soname)]
        if version:
            script = pathlib.Path(work, "stub.map")
            script.write_text(f"{version} {{ global: *; }};\n")
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)


def main():
    venv = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else sys.prefix)
    lib = find_torch(venv)
    python = [str(venv / "bin/python"), "-c", "import torch"]
    if subprocess.run(python, capture_output=True).returncode == 0:
        return
    symbols = undefined_symbols(lib)
    versioned = {key[0]: (key[1], names)
                 for key, names in symbols.items() if key}
    # All of them, whatever an installed toolkit offers: stand-ins must not be
    # mixed with real libraries. Symbols without a version bind to whichever
    # loaded library has them, so the runtime, which all others need, does.
    for soname in sorted(needed_libraries(lib)):
        version, names = versioned.get(soname, (None, set()))
        if soname.startswith("libcudart"):
            names = names | symbols.get(None, set())
        build(lib, soname, names, version)
    subprocess.run(python, check=True)
    print("torch: CUDA libraries replaced by stand-ins, CPU only")


if __name__ == "__main__":
    main()
