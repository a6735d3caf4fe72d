#!/usr/bin/env python3
"""Products by cuBLASLt where a table says that it is faster, by the library that stands in for it.

    check_library_products.py LLMOPT LLMOPT_RUN STANDIN CUBLASLT_STANDIN

An f16 encoder and a decoder of tests are compiled with a table for the device of the stand-in
driver. Outputs must be those of the model's own kernels within what f16 rounds; the library
must get the products, rows and epilogues of the table and no others; and the model's kernels
run where the library is not there, refuses, or the device or number of rows is another.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import standin

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts/gpu_check"))
import shapes  # noqa: E402

TOLERANCE = 5e-3


def product(n, k, epilogue, rows=(9, 64), provider="cublaslt", **more):
    return {"type": "f16", "n": n, "k": k, "epilogue": epilogue, "rows": list(rows), "provider": provider,
            "algorithm": [21, 18, 1, 0, 0, 0, 5, 0, 0], **more}


# Of gpt2-tiny: the joint query, key and value do not exist (three products of 128 x 128 with a
# bias), the output adds a residual, the feed-forward has a GELU by tanh.
TABLE = [product(128, 128, "bias"), product(512, 128, "bias+gelu_tanh"), product(128, 512, "bias+residual"),
         product(128, 128, "bias+residual", provider="builtin")]


def main():
    llmopt, runner, driver, library = (pathlib.Path(p).resolve() for p in sys.argv[1:5])
    checks = 0

    def expect(condition, what):
        nonlocal checks
        checks += 1
        if not condition:
            sys.exit(f"FAILED: {what}")

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        source = shapes.write("gpt2-tiny", folder, seed=11)

        def compile_model(table, label):
            path, place = folder / f"{label}.json", folder / label
            place.mkdir()
            path.write_text(json.dumps(table))
            return standin.compile_model(llmopt, source, place, "-fp16", "-kv-cache", f"-cuda-tune={path}")

        def run(model, kernels, rows, *options, path=library, refuse=False):
            log, target = folder / "log", folder / "out.npz"
            for file in (log, target):
                file.unlink(missing_ok=True)
            ids = np.random.default_rng(rows).integers(1, 90, (1, rows))
            np.savez(folder / "in.npz", input_ids=ids, position_ids=np.arange(rows)[None])
            environment = standin.environment(driver, kernels)
            environment.update(LLMOPT_CUBLASLT=str(path), LLMOPT_STANDIN_CUBLASLT_LOG=str(log))
            if refuse:
                environment["LLMOPT_STANDIN_CUBLASLT_REFUSE"] = "1"
            done = subprocess.run([runner, model, "--input", folder / "in.npz", *(options or ("--output", target))],
                                  capture_output=True, text=True, env=environment)
            if done.returncode or done.stderr:
                sys.exit(f"FAILED: exit code {done.returncode}: {done.stderr}{done.stdout}")
            launched = log.read_text().splitlines() if log.exists() else []
            if options:
                return done.stdout, launched
            with np.load(target) as arrays:
                return arrays["logits"], launched

        model, kernels = compile_model({"device": "stand-in", "products": TABLE}, "with")
        other, other_kernels = compile_model({"device": "another", "products": TABLE}, "other")
        plain, plain_kernels = compile_model({"device": "stand-in", "products": []}, "without")

        wanted, launched = run(plain, plain_kernels, 20)
        expect(not launched, "no library without a table")
        outputs, launched = run(model, kernels, 20)
        error = np.abs(outputs - wanted).max() / np.abs(wanted).max()
        expect(error < TOLERANCE, f"outputs of the library: error {error:.1e}")
        forms = sorted(set(line.split(" algorithm")[0] for line in launched))
        expect(forms == ["20 x 128 x 128 epilogue 4", "20 x 128 x 512 epilogue 4", "20 x 512 x 128 epilogue 36"],
               f"products of the table, but got {forms}")
        expect(all(line.endswith("algorithm 21") for line in launched), "the algorithm of the table")
        expect(len(launched) % 5 == 0, f"five products a layer, but got {len(launched)}")
        for what, settings in (("no library", {"path": folder / "missing.so"}), ("a refusal", {"refuse": True})):
            outputs, launched = run(model, kernels, 20, **settings)
            expect(not launched and np.array_equal(outputs, wanted), f"the model's own kernels behind {what}")
        outputs, launched = run(other, other_kernels, 20)
        expect(not launched and np.array_equal(outputs, wanted), "the model's own kernels on another device")
        outputs, launched = run(model, kernels, 100)
        expect(not launched, "the model's own kernels for other rows")

        whole = folder / "whole"
        whole.mkdir()
        artefact, code = standin.compile_model(llmopt, source, whole, "-fp16", f"-cuda-tune={folder / 'with.json'}")
        environment = {**standin.environment(driver, code), "LLMOPT_CUBLASLT": str(library)}
        done = subprocess.run([runner, artefact, "--profile", "--shape", "batch=1,sequence=20,past=3", "--runs", "4",
                               "--seconds", "0", "--warmup", "0"], capture_output=True, text=True, env=environment)
        expect(not done.returncode and done.stdout.count("by cuBLASLt") == 10,
               f"ten steps by cuBLASLt in\n{done.stdout}{done.stderr}")
        info = subprocess.run([runner, model, "--info"], capture_output=True, text=True, check=True).stdout
        expect("library   10 steps" in info, f"ten steps in\n{info}")

        # A decoder's graph holds products: other rows or addresses are recorded again.
        environment = standin.environment(driver, kernels)
        environment["LLMOPT_CUBLASLT"] = str(library)
        texts = [subprocess.run([runner, artefact, "--generate", "6", "--prompt", ",".join(["5", "9"] * 8)],
                                capture_output=True, text=True, env={**environment, "LLMOPT_STANDIN_KERNELS": str(code)})
                 for artefact, code in ((model, kernels), (plain, plain_kernels))]
        expect(all(not t.returncode for t in texts), texts[0].stderr + texts[1].stderr)
        expect(texts[0].stdout.split("\n")[0] == texts[1].stdout.split("\n")[0], "the same tokens with and without")

        for table, words in (({"device": "x"}, "expected \"device\" and \"products\""),
                             ({"device": "x", "products": [product(1, 1, "bias", provider="magic")]}, "provider builtin or"),
                             ({"device": "x", "products": [product(1, 1, "bias", algorithm=[1])]}, "an algorithm of 9")):
            path = folder / "bad.json"
            path.write_text(json.dumps(table))
            done = subprocess.run([llmopt, source, "-fp16", "-emit=cuda", f"-cuda-tune={path}", "-o", folder / "p"],
                                  capture_output=True, text=True)
            expect(done.returncode and words in done.stderr, f"'{words}', but got {done.stderr}")
    print(f"{checks} passed, 0 failed")


main()
