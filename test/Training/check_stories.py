#!/usr/bin/env python3
"""A trained Llama goes on learning: stories260K on Shakespeare.

    check_stories.py LLMOPT LLMOPT_RUN FOLDER TEXT

FOLDER has stories260K.gguf and its vocabulary, TEXT is a file of plain text. The model learned
children's stories; behind two epochs over 48 KB the perplexity of a part of the text that it
has not seen must have fallen by a quarter, and that of all weights is below that of adapters.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper

LLMOPT, RUN = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
FOLDER, TEXT = (pathlib.Path(p).resolve() for p in sys.argv[3:5])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models/stories260k"))
from make_onnx import Gguf, Graph  # noqa: E402

LENGTH, START = 64, 1


class Whole(Graph):
    """The same decoder without past keys and values: a text at once."""

    def append(self, layer, kind, x):
        return x

    def build(self):
        one = self.constant(np.int64(1))
        keys = self.node("Range", self.constant(np.int64(0)), self.size("input_ids", 1), one)
        visible = self.node("LessOrEqual", keys, self.node("Unsqueeze", keys, self.ints(1)))
        mask = self.node("Where", visible, self.constant(np.float32(0)), self.constant(np.float32(-np.inf)))
        inverse = (10000.0 ** -(np.arange(0, self.dim, 2) / self.dim)).astype(np.float32)
        positions = self.node("Unsqueeze", self.node("Cast", keys, to=TensorProto.FLOAT), self.ints(0, 1, 3))
        angles = self.node("Mul", positions, self.constant(inverse))
        cos, sin = self.node("Cos", angles), self.node("Sin", angles)
        x = self.node("Gather", self.weight("token_embd.weight"), "input_ids")
        for i in range(self.layers):
            x = self.layer(x, i, cos, sin, mask)
        self.scope = ""
        self.linear(self.norm(x, "output_norm.weight"), "output.weight")
        self.nodes[-1].output[0] = "logits"
        dims = ["batch", "sequence"]
        graph = helper.make_graph(self.nodes, "stories260K", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, dims)],
                                  [helper.make_tensor_value_info("logits", TensorProto.FLOAT, dims + [512])], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tokenize(text):
    """Byte pairs joined by score, as sentencepiece does; a word at a time."""
    vocabulary = json.loads((FOLDER / "tok512_vocab.json").read_text())
    scores = json.loads((FOLDER / "tok512_scores.json").read_text())
    space = "▁" if any(piece.startswith("▁") for piece in vocabulary) else " "
    index = {piece: i for i, piece in enumerate(vocabulary)}
    known = {}

    def split(word):
        pieces = [index[c] if c in index else None for c in word]
        pieces = [p if p is not None else index.get(f"<0x{ord(c) & 255:02X}>", 0) for p, c in zip(pieces, word)]
        while True:
            best = max(((scores[index[j]], -i, index[j]) for i, (a, b) in enumerate(zip(pieces, pieces[1:]))
                        if (j := vocabulary[a] + vocabulary[b]) in index), default=None)
            if best is None:
                return pieces
            pieces[-best[1]:-best[1] + 2] = [best[2]]

    tokens = []
    for word in text.replace(" ", " " + space).split(" "):
        if word not in known:
            known[word] = split(word)
        tokens += known[word]
    return tokens


def main():
    text = TEXT.read_text()[:64_000]
    tokens = tokenize(text)
    rows = np.array([[START] + tokens[i:i + LENGTH - 1] for i in range(0, len(tokens) - LENGTH, LENGTH - 1)], np.int64)
    cut = len(rows) * 3 // 4
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        np.savez(work / "train.npz", input_ids=rows[:cut], labels=rows[:cut])
        np.savez(work / "test.npz", input_ids=rows[cut:], labels=rows[cut:])
        model = Whole(Gguf(FOLDER / "stories260K.gguf")).build()
        onnx.checker.check_model(model)
        onnx.save(model, work / "stories.onnx")
        found = {}
        for name, options, rate in (("all weights", [], "1e-3"), ("adapters", ["-lora=r:8,targets:*attn_q*+*attn_v*"], "5e-3")):
            subprocess.run([LLMOPT, work / "stories.onnx", "-train", "-loss=causal", *options, "-o", work / "s.so"], check=True)
            evaluate = [RUN, work / "s.so", "--eval", work / "test.npz", "--json"]
            before = json.loads(subprocess.run(evaluate, check=True, capture_output=True, text=True).stdout)
            done = subprocess.run([RUN, work / "s.so", "--train", work / "train.npz", "--eval", work / "test.npz", "--epochs", "2", "--lr", rate,
                                   "--batch", "8", "--warmup", "0.1", "--save", work / "new.safetensors", "--json"],
                                  check=True, capture_output=True, text=True)
            after = json.loads(subprocess.run([*evaluate, "--weights", work / "new.safetensors"], check=True, capture_output=True,
                                              text=True).stdout)
            summary = json.loads(done.stdout.splitlines()[-1])
            good = after["perplexity"] < 0.75 * before["perplexity"] and abs(after["loss"] - summary["best_loss"]) < 1e-5
            failures += not good
            found[name] = after["perplexity"]
            print(f"{name}: perplexity of {len(rows) - cut} unseen pieces {before['perplexity']:.2f}, then {after['perplexity']:.2f}: "
                  f"{'ok' if good else 'FAILED'}")
        if not found["all weights"] < found["adapters"]:
            failures += 1
            print("FAILED: adapters learn more than all weights")
    sys.exit(1 if failures else 0)


main()
