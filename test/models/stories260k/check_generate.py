#!/usr/bin/env python3
"""Decode with a real trained Llama, token by token in the session's cache.

    check_generate.py LLMOPT LLMOPT_RUN FOLDER

FOLDER has stories260K.gguf and golden_greedy200.npz: 201 token ids and the logits
of 200 greedy steps. All ids must be the golden ones, and the logits within 1e-4 of
them, relative to the largest (design: error of an output). The same prompt is also
given in pieces of different length: a prompt of 1, and of 40 tokens.

With -kv-cache=type:int8 the perplexity of the golden text may differ from that with a
cache of floats by 1 %, the likeliest token must be the same for 97 % of its
positions (decoding freely parts at the first that is not), and the cache must take (8 + 4) / 32 of the memory: heads have 8 elements.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4
PERPLEXITY, AGREEMENT = 0.01, 0.97


def score(run, artefact, folder, ids):
    """Perplexity, and the likeliest tokens, of all tokens but the first, given at once: attention reads them from the cache."""
    np.savez(folder / "in.npz", input_ids=ids[None].astype(np.int64), position_ids=np.arange(len(ids))[None])
    subprocess.run([run, artefact, "--input", folder / "in.npz", "--output", folder / "all.npz"], check=True,
                   capture_output=True)
    rows = np.load(folder / "all.npz")["logits"][0, :-1].astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    likelihood = np.take_along_axis(rows, ids[1:, None].astype(np.int64), 1)[:, 0] - np.log(np.exp(rows).sum(axis=1))
    return float(np.exp(-likelihood.mean())), rows.argmax(axis=1)


def check_int8(llmopt, run, folder, model, ids):
    perplexity, best, greedy, memory = {}, {}, {}, {}
    for kind in ("float", "int8"):
        artefact, out = folder / f"{kind}.so", folder / f"{kind}.npz"
        subprocess.run([llmopt, model, f"-kv-cache=type:{kind}", "-o", artefact], check=True)
        perplexity[kind], best[kind] = score(run, artefact, folder, ids)
        result = subprocess.run([run, artefact, "--generate", str(len(ids) - 40), "--prompt", ",".join(map(str, ids[:40])),
                                 "--output", out], check=True, capture_output=True, text=True)
        greedy[kind] = np.load(out)["ids"][40:]
        memory[kind] = float(re.search(r"cache of ([\d.]+) MB", result.stderr).group(1))
    change = perplexity["int8"] / perplexity["float"] - 1
    parted = greedy["int8"] != greedy["float"]
    equal = int(parted.argmax()) if parted.any() else len(parted)
    agreement = float((best["int8"] == best["float"]).mean())
    good = 0 < abs(change) <= PERPLEXITY and agreement >= AGREEMENT and memory["int8"] < 0.4 * memory["float"]
    print(f"int8: perplexity {perplexity['int8']:.4f}, with floats {perplexity['float']:.4f} ({change:+.2%}); likeliest "
          f"token equal for {agreement:.1%}; decoding freely parts after {equal} of {len(parted)}; cache {memory['int8']} MB instead of {memory['float']}: "
          f"{'ok' if good else 'FAILED'}")
    return good


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
        failed |= not check_int8(llmopt, run, folder, model, ids)
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
