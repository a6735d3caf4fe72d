#!/usr/bin/env python3
"""Compare compiled gradients of what training adds with PyTorch's (bert2-passes.npz).

    check_passes.py LLMOPT LLMOPT_RUN

Heads, losses, adapters on float and on rounded weights, dropout. Tolerance: 2e-5 of the
largest element of each gradient and of the loss; both sides compute in f32 with
different orders of summation. 1e-4 where weights are rounded: their kernels scale
sums, not weights. Every gradient must exceed 1e-6 somewhere: zeros prove nothing.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper
from philox import draw_uniform

HERE = pathlib.Path(__file__).resolve().parent
QUERY = "-trainable=*layer.0.attention.self.query.weight"
HIDDEN = "last_hidden_state"

# case: model, options, tolerance
CASES = {
    "lora": ("classifier", ["-lora=r:3,alpha:6,targets:*query*+*dense*,rs:on", "-trainable=classifier.weight"], 2e-5),
    "int8": ("classifier", ["-lora=r:4,alpha:8,targets:*query*+*value*", "-quantize-int8=embeddings:float"], 1e-4),
    "int4": ("classifier", ["-lora=r:4,alpha:8,targets:*query*+*value*", "-quantize-int4=embeddings:float"], 1e-4),
    "dropout": ("classifier", ["-dropout=0.1", QUERY + "+classifier.weight"], 2e-5),
    "sequence": ("headless", ["-head=sequence:3,pool:mean", QUERY], 2e-5),
    "token": ("headless", ["-head=token:5", QUERY], 2e-5),
    "span": ("headless", ["-head=span", QUERY], 2e-5),
    "multilabel": ("headless", ["-head=multilabel:4,pool:first", QUERY], 2e-5),
    "regression": ("headless", ["-head=regression,pool:first", QUERY], 2e-5),
    "embedding": ("headless", ["-head=embedding,pool:mean", QUERY], 2e-5),
    "masked": ("words", [QUERY + "+*word_embeddings.weight"], 2e-5),
    "causal": ("words", ["-loss=causal,chunk:5", QUERY + "+*word_embeddings.weight"], 2e-5),
    "causal whole": ("words", ["-loss=causal,chunk:0", QUERY + "+*word_embeddings.weight"], 2e-5),
}
# A shift of all positions changes no probability: only rounding is left of this gradient.
ZERO = {"span": "qa_outputs.bias"}


def write_models(folder):
    """bert2.onnx as it is, without its head, and with its words as a vocabulary."""
    model = onnx.load(HERE / "bert2.onnx")
    onnx.save(model, folder / "classifier.onnx")
    graph = model.graph
    hidden = next(n for n in graph.node if n.name == "/bert/encoder/layer.1/output/LayerNorm/LayerNormalization")
    pooled = next(n for n in graph.node if n.name == "/bert/pooler/activation/Tanh").output[0]
    hidden.output[0], old = HIDDEN, hidden.output[0]
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = HIDDEN
    kept = [n for n in graph.node if n.name != "/classifier/Gemm"]
    weights = [t for t in graph.initializer if not t.name.startswith("classifier.")]
    floats = onnx.TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(HIDDEN, floats, ["batch", "sequence", 32]),
               helper.make_tensor_value_info(pooled, floats, ["batch", 32])]
    words = [helper.make_node("Transpose", ["bert.embeddings.word_embeddings.weight"], ["vocabulary"], perm=[1, 0]),
             helper.make_node("MatMul", [HIDDEN, "vocabulary"], ["logits"])]
    logits = [helper.make_tensor_value_info("logits", floats, ["batch", "sequence", 61])]
    for name, nodes, results in (("headless", kept, outputs), ("words", kept + words, logits)):
        part = helper.make_graph(nodes, name, list(graph.input), results, weights)
        onnx.save(helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version),
                  folder / f"{name}.onnx")


class Checker:
    def __init__(self, llmopt, run, folder):
        self.llmopt, self.run, self.folder = llmopt, run, folder
        self.golden = np.load(HERE / "bert2-passes.npz")
        self.failures = 0

    def compile(self, model, options):
        path = self.folder / "m.so"
        subprocess.run([self.llmopt, self.folder / f"{model}.onnx", "-train", *options, "-o", path], check=True)
        return path

    def gradients(self, model, inputs, threads=2):
        np.savez(self.folder / "in.npz", **inputs)
        subprocess.run([self.run, model, "--entry", "gradients", "--threads", str(threads), "--input",
                        self.folder / "in.npz", "--output", self.folder / "out.npz"], check=True)
        return dict(np.load(self.folder / "out.npz"))

    def get(self, case, kind):
        prefix = f"{case}/{kind}/"
        return {k[len(prefix):]: self.golden[k] for k in self.golden.files if k.startswith(prefix)}

    def fail(self, message):
        self.failures += 1
        print(message)

    def compare(self, case, expected, actual, tolerance):
        if set(expected) != set(actual):
            self.fail(f"{case}: expected results {sorted(expected)}, but got {sorted(actual)}")
            return
        worst = 0
        for name, want in expected.items():
            got = actual[name].reshape(want.shape)
            if name == ZERO.get(case):
                if not np.max(np.abs(got)) <= 1e-5:
                    self.fail(f"{case}: {name}: expected zeros, but got {np.max(np.abs(got)):.2e}")
                continue
            largest = np.max(np.abs(want))
            error = np.max(np.abs(got - want)) / max(1e-6, largest)
            worst = max(worst, error)
            if not error <= tolerance:
                self.fail(f"{case}: {name}: error {error:.2e} exceeds {tolerance}")
            if not largest > 1e-6:
                self.fail(f"{case}: {name}: only zeros are expected, which proves nothing")
        print(f"{case:14s} {len(expected):3d} results, largest error {worst:.1e}")

    def check_case(self, case):
        model, options, tolerance = CASES[case]
        name = case.split()[0]
        inputs = self.get(name, "in")
        self.compare(case, self.get(name, "out"), self.gradients(self.compile(model, options), inputs), tolerance)

    def check_dropout_off(self):
        """Probability 0 changes nothing, bit for bit; masks do not depend on threads."""
        inputs = self.get("dropout", "in")
        options = CASES["dropout"][1]
        plain = {k: v for k, v in inputs.items() if k not in ("dropout", "seed", "step")}
        without = self.gradients(self.compile("classifier", options[1:]), plain)
        model = self.compile("classifier", options)
        off = self.gradients(model, inputs | {"dropout": np.float32(0)})
        one, two = (self.gradients(model, inputs, threads) for threads in (1, 2))
        later = self.gradients(model, inputs | {"step": np.float32(8)})
        for name in without:
            if not np.array_equal(without[name], off[name]):
                self.fail(f"dropout: {name} changes where nothing is dropped")
            if not np.array_equal(one[name], two[name]):
                self.fail(f"dropout: {name} depends on the number of threads")
            if name != "loss_weight" and np.array_equal(one[name], later[name]):
                self.fail(f"dropout: {name} does not depend on the step")

    def check_drawn(self):
        """New weights are in the file of canonical weights, as they are defined."""
        self.compile("headless", ["-lora=r:4,targets:*layer.1*value*", "-head=token:3", "-seed=77"])
        data = (self.folder / "m.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + length])

        def get(name):
            begin, end = header[name]["data_offsets"]
            return np.frombuffer(data[8 + length + begin:8 + length + end], "<f4").reshape(header[name]["shape"])

        layer = "base_model.model.bert.encoder.layer.1.attention.self.value.lora_"
        a, head = get(layer + "A.weight"), get("classifier.weight")
        if not np.array_equal(a, draw_uniform(layer + "A.weight", 77, 1 / np.sqrt(32), (4, 32))):
            self.fail("drawn: lora_A is not what its definition says")
        if head.shape != (3, 32) or not 0.01 < head.std() < 0.03 or np.any(get("classifier.bias")):
            self.fail("drawn: expected a classifier of standard deviation 0.02 and zeros as its bias")
        if np.any(get(layer + "B.weight")):
            self.fail("drawn: expected zeros as lora_B")

    def check_kernels(self):
        """Forward and backward of an int8 base multiply its integers."""
        path = self.folder / "kernels.mlir"
        subprocess.run([self.llmopt, self.folder / "classifier.onnx", "-train", *CASES["int8"][1], "-emit=kernels", "-o",
                        path], check=True)
        counts, name = {}, ""
        for line in path.read_text().splitlines():
            if "func.func" in line:
                name = line.split("@")[1].split("(")[0]
            if name:
                counts[name] = counts.get(name, 0) + ("kernel.gemm_wq" in line)
        # 13 layers; of these, the lowest query, key and value get no gradient of their inputs.
        if counts != {"main": 13, "evaluate": 13, "gradients": 23}:
            self.fail(f"int8: expected products by integers forward and backward, but got {counts}")

    def check_frozen(self):
        """Frozen weights are no inputs; B begins as zeros, so A's first gradient is zero."""
        model = self.compile("classifier", ["-lora=r:4,alpha:8,targets:*query*"])
        inputs = self.get("lora", "in")
        labels = {k: v for k, v in inputs.items() if not k.startswith(("base_model", "classifier"))}
        random = np.random.default_rng(1)
        for layer in (0, 1):
            name = f"base_model.model.bert.encoder.layer.{layer}.attention.self.query.lora_"
            labels[name + "A.weight"] = random.normal(size=(4, 32)).astype(np.float32)
            labels[name + "B.weight"] = np.zeros((32, 4), np.float32)
        for name, gradient in self.gradients(model, labels).items():
            if name.startswith("base_model") and np.any(gradient) == ("lora_A" in name):
                self.fail(f"frozen: {name}: expected {'no' if 'lora_A' in name else 'a'} gradient at the first step")


def main():
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(*sys.argv[1:3], pathlib.Path(folder))
        write_models(checker.folder)
        for case in sys.argv[3:] or CASES:
            checker.check_case(case)
        if not sys.argv[3:]:
            checker.check_dropout_off()
            checker.check_frozen()
            checker.check_drawn()
            checker.check_kernels()
    sys.exit(1 if checker.failures else 0)


main()
