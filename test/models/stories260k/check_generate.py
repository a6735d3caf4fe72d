#!/usr/bin/env python3
"""Decode with a real trained Llama, token by token in the session's cache.

    check_generate.py LLMOPT LLMOPT_RUN FOLDER

FOLDER has stories260K.gguf and golden_greedy200.npz: 201 token ids and the logits
of 200 greedy steps. All ids must be the golden ones, and the logits within 1e-4 of
them, relative to the largest (design: error of an output). The same prompt is also
given in pieces of different length: a prompt of 1, and of 40 tokens.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4


def main():
    llmopt, run, data = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    golden = np.load(data / "golden_greedy200.npz")
    ids, logits = golden["ids"], golden["logits"]
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, artefact, out = folder / "model.onnx", folder / "m.so", folder / "out.npz"
        subprocess.run([sys.executable, HERE / "make_onnx.py", data / "stories260K.gguf", model], check=True)
        subprocess.run([llmopt, model, "-kv-cache", "-require-fusion=attention:5,norm:11", "-o", artefact], check=True)
        for prompt in (1, 40):
            count = len(ids) - prompt
            result = subprocess.run(
                [run, artefact, "--generate", str(count), "--prompt", ",".join(map(str, ids[:prompt])), "--output", out],
                check=True, capture_output=True, text=True)
            printed = np.array([int(word) for word in result.stdout.split()])
            got = np.load(out)
            expected = logits[prompt - 1:]
            same = np.array_equal(got["ids"], ids) and np.array_equal(printed, ids[prompt:])
            error = np.abs(got["logits"] - expected).max() / np.abs(expected).max()
            good = same and error <= TOLERANCE
            failed |= not good
            print(f"prompt of {prompt}: {count} tokens {'identical' if same else 'DIFFER'}, logits error {error:.1e}: "
                  f"{'ok' if good else 'FAILED'}; {result.stderr.strip()}")
    sys.exit(1 if failed else 0)


main()
