#!/usr/bin/env python3
"""Models that are a search over a decoder (com.microsoft.BeamSearch and its like).

    check_search.py LLMOPT LLMOPT_RUN [MODEL...]

Each MODEL must give as compiled what ONNX Runtime gives for its graph `decoder` as
a model of its own, on ragged, masked inputs with and without tokens before; and
with -kv-cache, --generate must draw the tokens of ONNX Runtime's own search with
one beam. Then -subgraph is tried on a search around T5 of the zoo, and what is said
about it. ONNX's float16 decoders compute in other precisions inside: 2e-3.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import check_model  # noqa: E402

PROMPT = [5, 6, 7, 40, 11]
COUNT = 9
failed = []


def expect(condition, text):
    print(f"{text}: {'ok' if condition else 'FAILED'}", flush=True)
    if not condition:
        failed.append(text)


def graph_of(model, name):
    """The graph `name` of the search, as a model with the weights around it."""
    node = next(n for n in model.graph.node if n.domain == "com.microsoft")
    graph = next(a.g for a in node.attribute if a.name == name)
    own = {t.name for t in graph.initializer} | {i.name for i in graph.input}
    graph.initializer.extend(t for t in model.graph.initializer if t.name not in own)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def stepped(path):
    """The tokens of greedy steps of the decoder in ONNX Runtime, prompt included."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pasts = [i for i in session.get_inputs() if i.name.startswith("past")]
    past = {i.name: np.zeros([d if isinstance(d, int) else 1 if "batch" in d else 0 for d in i.shape],
                             np.float16 if i.type == "tensor(float16)" else np.float32) for i in pasts}
    ids, new = list(PROMPT), np.array([PROMPT], np.int32)
    while len(ids) < len(PROMPT) + COUNT:
        logits, *present = session.run(None, past | {
            "input_ids": new, "attention_mask": np.ones((1, len(ids)), np.int32),
            "position_ids": np.arange(len(ids) - new.shape[1], len(ids), dtype=np.int32)[None]})
        ids.append(int(logits[0, -1, :1000].argmax()))  # the vocabulary of these models; rows may be wider
        past, new = dict(zip(past, present)), np.array([ids[-1:]], np.int32)
    return ids


def searched(path):
    """The tokens of ONNX Runtime's search with one beam, prompt included."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {"input_ids": np.array([PROMPT], np.int32), "max_length": np.array([len(PROMPT) + COUNT], np.int32),
             "min_length": np.array([1], np.int32), "num_beams": np.array([1], np.int32),
             "num_return_sequences": np.array([1], np.int32), "length_penalty": np.array([1], np.float32),
             "repetition_penalty": np.array([1], np.float32)}
    result = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0]
    return result.reshape(-1).tolist()


def check(path, llmopt, runner, folder):
    model = onnx.load(path)
    node = model.graph.node[0]
    half = "fp16" in path.name
    onnx.save(graph_of(model, "decoder"), folder / "decoder.onnx")
    made = run(llmopt, path, "-o", folder / "m.so")
    expect(made.returncode == 0 and f"unwrapped the decoder of {node.op_type}; search is done by llmopt-run --generate" in
           made.stderr, f"{path.name}: compiles, and says what of")
    rows = check_model.check(folder / "decoder.onnx", folder / "m.so", runner, (1, 3), (1, 5), pasts=(0, 7),
                             tolerance=2e-3 if half else 1e-4)
    bad = [f"{row.case} {row.output} {row.difference}" for row in rows if row.status == "FAIL"]
    expect(check_model.ok(rows) and len(rows) >= 8, f"{path.name}: the decoder as ONNX Runtime runs it, {len(rows)} "
           f"comparisons" + (f", first of {len(bad)}: {bad[0]}" if bad else ""))
    made = run(llmopt, path, "-kv-cache", "-o", folder / "m.so")
    arguments = ["--generate", COUNT, "--prompt", ",".join(map(str, PROMPT)), "--output", folder / "out.npz"]
    if node.op_type == "Sampling":  # draws of its own: only that the settings arrive
        seeds = {run(runner, folder / "m.so", *arguments, "--seed", seed).stdout for seed in range(6)}
        greedy = {run(runner, folder / "m.so", *arguments, "--seed", seed, "--temperature", 0).stdout for seed in range(3)}
        expect(len(seeds) > 1 and len(greedy) == 1, f"{path.name}: draws by default, and not with --temperature 0")
        return
    # ONNX Runtime searches with float16 on GPUs only.
    expected = stepped(folder / "decoder.onnx") if half else searched(path)
    stop = next((a.i for a in node.attribute if a.name == "eos_token_id"), -1)
    expected = expected[: expected.index(stop) + 1] if stop in expected else expected
    done = run(runner, folder / "m.so", *arguments)
    ids = list(np.load(folder / "out.npz")["ids"]) if done.returncode == 0 else done.stderr
    expect(ids == expected, f"{path.name}: the tokens of {node.op_type}" + (f", {ids} for {expected}" if ids != expected else ""))


def check_subgraphs(llmopt, runner, folder):
    encoder, decoder = (onnx.load(HERE / f"t5.optimum-past-{part}.onnx") for part in ("encoder", "decoder"))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "sequence"])
    out = helper.make_tensor_value_info("sequences", TensorProto.INT32, None)
    numbers = [("max_length", 20), ("min_length", 1), ("num_beams", 4), ("num_return_sequences", 1)]
    weights = [helper.make_tensor(name, TensorProto.INT32, [1], [value]) for name, value in numbers]
    weights += [helper.make_tensor("length_penalty", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("repetition_penalty", TensorProto.FLOAT, [1], [1.5])]
    node = helper.make_node("BeamSearch", ["input_ids", *(w.name for w in weights)], ["sequences"], domain="com.microsoft",
                            eos_token_id=1, pad_token_id=0, decoder_start_token_id=0, model_type=1,
                            encoder=encoder.graph, decoder=decoder.graph)
    graph = helper.make_graph([node], "t5", [ids], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[*decoder.opset_import, helper.make_opsetid("com.microsoft", 1)],
                                ir_version=decoder.ir_version), folder / "t5.onnx")
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        onnx.save(part, folder / "part.onnx")
        made = run(llmopt, folder / "t5.onnx", f"-subgraph={name}", "-o", folder / "t5.so")
        expect(made.returncode == 0 and f"unwrapped the {name} of BeamSearch" in made.stderr and
               "greedily instead of with 4 beams" in made.stderr, f"-subgraph={name} compiles")
        rows = check_model.check(folder / "part.onnx", folder / "t5.so", runner, (1, 3), (1, 5))
        expect(check_model.ok(rows) and rows, f"-subgraph={name}: {len(rows)} comparisons")
        info = run(runner, folder / "t5.so", "--info").stdout
        found = re.search(r'"generation":\{[^}]*\}', info)
        expect(found and '"repetition_penalty":1.5' in found[0] and '"eos_token_id":1' in found[0], "settings in the metadata")
    wrong = run(llmopt, folder / "t5.onnx", "-subgraph=middle", "-o", folder / "t5.so")
    expect(wrong.returncode == 1 and "expected -subgraph=decoder or encoder, a graph of BeamSearch, but got 'middle'" in
           wrong.stderr, "-subgraph names what there is")
    wrong = run(llmopt, HERE / "t5.optimum-past-encoder.onnx", "-subgraph=decoder", "-o", folder / "t5.so")
    expect(wrong.returncode == 1 and "there is no such node" in wrong.stderr, "-subgraph of a model that is no search")


def main():
    llmopt, runner, *models = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        for model in models:
            check(pathlib.Path(model), llmopt, runner, pathlib.Path(name))
        check_subgraphs(llmopt, runner, pathlib.Path(name))
    for text in failed:
        print("FAILED", text)
    sys.exit(1 if failed else 0)


main()
