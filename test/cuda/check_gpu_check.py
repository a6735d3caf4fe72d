#!/usr/bin/env python3
"""scripts/gpu-check makes a kit and rehearses with it, so that neither rots without a GPU.

    check_gpu_check.py LLMOPT GPU_CHECK BUILD

A kit of a few small models, with a decoder whose past stays in the session, goes through all
that a run on a GPU does, on the driver that stands in for one. Then the same kit with a
tolerance that nothing meets must fail, and so must a kit of more than 60 MB.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import standin

MODELS = "bert-tiny.torchscript,gpt2.optimum-past.kv-cache,llama.dynamo-past.kv-cache.fp16,bert-tiny.optimum.wint8"
TIMEOUT = 240


def main():
    _, script, build = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    checks = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = standin.with_fake_nvcc(folder)

        def gpu_check(*arguments, expect=0):
            done = subprocess.run([str(a) for a in (script, *arguments, "--build", build)], capture_output=True, text=True,
                                  timeout=TIMEOUT, env=environment)
            if done.returncode != expect:
                sys.exit(f"gpu-check {' '.join(str(a) for a in arguments)}: expected exit code {expect}, but got "
                         f"{done.returncode}\n{done.stdout}{done.stderr}")
            return done.stdout + done.stderr

        def expect(condition, what, output):
            nonlocal checks
            checks += 1
            if not condition:
                sys.exit(f"expected {what}, but got\n{output}")

        kit, results = folder / "kit", folder / "results"
        output = gpu_check("--prepare", kit, "--rehearse", "--only", MODELS)
        manifest = json.loads((kit / "manifest.json").read_text())
        names = [entry["name"] for entry in manifest["small"]]
        expect(sorted(names) == sorted(MODELS.split(",")), f"a kit of {MODELS}", names)
        output = gpu_check("--kit", kit, "--rehearse", "--out", results)
        expect(" 0 failed" in output and "rehearsal" in output, "a rehearsal without failures", output)
        expect("token behind" in output, "times of a decoder", output)
        table, = results.glob("gpu-rehearsal-*.csv")
        with open(table, newline="") as file:
            rows = list(csv.reader(line for line in file if not line.startswith("#")))
        compared = {row[1] for row in rows if row[0] == "correctness" and row[2] == "error"}
        expect(compared == set(names), f"errors of {names}", rows)
        expect(all(any(row[0] == section for row in rows) for section in ("host", "device", "constants", "kernels", "models")),
               "rows of every section", rows)

        manifest["small"][0]["tolerance"] = -1
        (kit / "manifest.json").write_text(json.dumps(manifest))
        output = gpu_check("--kit", kit, "--rehearse", "--out", results, expect=1)
        expect("FAILED" in output, "a failure where nothing meets the tolerance", output)

        large = folder / "large"
        large.mkdir()
        with open(large / "model.weights", "wb") as file:
            file.truncate(60_000_001)
        output = gpu_check("--prepare", large, "--only", "none", expect=1)
        expect("expected a kit of at most 60 MB" in output, "a word about the size", output)
    print(f"{checks} passed, 0 failed")


main()
