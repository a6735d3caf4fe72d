#!/usr/bin/env python3
"""Time llmopt against other engines, side by side.

    run.py MODEL.onnx [...] [--shape 1x128] [--threads 1,2] [--precision int8|int4]

Engines: llmopt (compiled with build/bin/llmopt, timed by llmopt-run --bench),
onnxruntime (as loaded, and after its transformers optimizer), openvino,
ctranslate2, torch. One that is not there, or cannot take the model, is left
out with a line that says why.

Every engine lives in a process of its own, pinned to the same CPUs, and they
take turns: A B C A B C ... One round of an engine is the median of several
runs; the table shows median, least and greatest of the rounds, and the ratio
to llmopt (to the fastest variant of onnxruntime while llmopt is missing).
Results are compared too: `error` is against onnxruntime in fp32. Rows are
appended to a CSV file in bench/results/.

ctranslate2 and torch read the transformers folder that models/make.py writes:
bert-base/ for bert-base.torchscript.onnx.
"""

import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "test"))

import numpy as np  # noqa: E402

WARM_UP = 3


class Unavailable(Exception):
    """This engine cannot take part, and why."""


# --- engines: prepared in the worker process, called with nothing -----------
# Each returns (function that runs once and gives the first output, version).
# Imports stay inside: a worker loads only its own engine.

def need(module, package=None):
    try:
        __import__(module)
        return importlib.metadata.version(package or module)
    except (ImportError, importlib.metadata.PackageNotFoundError):
        raise Unavailable(f"{package or module} is not installed") from None


def transformers_config(job):
    folder = pathlib.Path(job["folder"])
    if not (folder / "config.json").exists():
        raise Unavailable(f"no transformers folder {folder.name}/ beside the model")
    need("transformers")
    import transformers
    transformers.logging.set_verbosity_error()
    return transformers.AutoConfig.from_pretrained(folder)


def ort_session(job, path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"])
    # Bound inputs: no copies in the timed part.
    binding = session.io_binding()
    for name, value in job["feed"].items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")

    def run():
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    return run, lambda value: value.numpy()


def ort_quantized(path, job):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    target = pathlib.Path(job["work"], path.stem + ".int8.onnx")
    if not target.exists():
        quantize_dynamic(str(path), str(target), per_channel=True,
                         reduce_range=False, weight_type=QuantType.QInt8,
                         # Its shape inference stops at fused operators.
                         extra_options={"DefaultTensorType": 1})
    return target


def onnxruntime_plain(job):
    version = need("onnxruntime")
    path = pathlib.Path(job["model"])
    if job["precision"] != "fp32":
        path = ort_quantized(path, job)
    return *ort_session(job, path), version


def onnxruntime_optimizer(job):
    version = need("onnxruntime")
    config = transformers_config(job)
    kind = {"bert": "bert", "distilbert": "bert", "roberta": "bert",
            "vit": "vit"}.get(config.model_type)
    if not kind:
        raise Unavailable(f"its optimizer does not know {config.model_type}")
    try:
        from onnxruntime.transformers import optimizer
    except ImportError as error:
        raise Unavailable(f"its optimizer needs {error.name}") from None
    source = pathlib.Path(job["model"])
    target = pathlib.Path(job["work"], source.stem + ".ort.onnx")
    if not target.exists():
        hidden = getattr(config, "hidden_size", None) or config.dim
        heads = getattr(config, "num_attention_heads", None) or config.n_heads
        optimizer.optimize_model(str(source), kind, num_heads=heads,
                                 hidden_size=hidden).save_model_to_file(str(target))
    if job["precision"] != "fp32":
        target = ort_quantized(target, job)
    return *ort_session(job, target), version


def openvino(job):
    version = need("openvino")
    if job["precision"] != "fp32":
        raise Unavailable("no int8 without its separate compression package")
    import openvino as ov
    core = ov.Core()
    model = core.read_model(job["model"])
    # Static shapes are its best case.
    model.reshape({name: list(value.shape) for name, value in job["feed"].items()})
    request = core.compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": job["threads"], "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
    }).create_infer_request()
    for name, value in job["feed"].items():
        request.set_tensor(name, ov.Tensor(value))

    def run():
        request.infer()
        return request.get_output_tensor(0)

    return run, lambda value: np.array(value.data), version


def ctranslate2(job):
    version = need("ctranslate2")
    config = transformers_config(job)
    need("torch")
    import ctranslate2 as ct2
    kind = {"bert": "BertModel"}.get(config.model_type)
    if not kind or kind not in (config.architectures or []):
        raise Unavailable(f"no encoder loader for {config.architectures}")
    folder = pathlib.Path(job["work"], pathlib.Path(job["folder"]).name + ".ct2")
    if not folder.exists():
        ct2.converters.TransformersConverter(job["folder"]).convert(str(folder))
    encoder = ct2.Encoder(
        str(folder), device="cpu", inter_threads=1, intra_threads=job["threads"],
        compute_type="int8" if job["precision"] != "fp32" else "float32")
    feed = job["feed"]
    if not (np.diff(feed["attention_mask"], axis=1) <= 0).all():
        raise Unavailable("masks with holes")
    lengths = feed["attention_mask"].sum(1)
    ids = ct2.StorageView.from_array(feed["input_ids"].astype(np.int32))
    lengths = ct2.StorageView.from_array(lengths.astype(np.int32))
    types = (feed["token_type_ids"].tolist() if "token_type_ids" in feed else None)

    def run():
        return encoder.forward_batch(ids, lengths, token_type_ids=types)

    return run, lambda value: np.array(value.last_hidden_state), version


def torch_eager(job):
    version = need("torch")
    transformers_config(job)
    import torch
    import transformers
    torch.set_num_threads(job["threads"])
    torch.set_num_interop_threads(1)
    config = transformers.AutoConfig.from_pretrained(job["folder"])
    kind = getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(job["folder"], attn_implementation="sdpa").eval()
    if job["precision"] != "fp32":
        model = torch.ao.quantization.quantize_dynamic(
            model, {torch.nn.Linear}, dtype=torch.qint8)
    feed = {name: torch.from_numpy(value) for name, value in job["feed"].items()}

    def run():
        with torch.inference_mode():
            return model(**feed)[0]

    return run, lambda value: value.numpy(), version


ENGINES = {
    "onnxruntime": onnxruntime_plain,
    "onnxruntime-optimizer": onnxruntime_optimizer,
    "openvino": openvino,
    "ctranslate2": ctranslate2,
    "torch": torch_eager,
}


def worker():
    """One engine: says ready or unavailable, then measures on every line of
    standard input. Nothing else may write to its standard output."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, job["cpus"])

    def answer(**values):
        channel.write(json.dumps(values) + "\n")
        channel.flush()

    with np.load(job["input"]) as archive:
        job["feed"] = {name: archive[name] for name in archive.files}
    try:
        run, to_numpy, version = ENGINES[job["engine"]](job)
        for _ in range(WARM_UP):
            result = run()
        np.save(job["result"], to_numpy(result))
    except Unavailable as reason:
        return answer(unavailable=str(reason))
    except Exception as error:
        lines = str(error).strip().splitlines()
        return answer(unavailable=f"{type(error).__name__}:"
                                  f" {lines[0][:120] if lines else ''}")
    answer(version=version)
    for _ in sys.stdin:
        times, start = [], time.perf_counter()
        while (len(times) < job["least"]
               or time.perf_counter() - start < job["seconds"]):
            before = time.perf_counter()
            run()
            times.append((time.perf_counter() - before) * 1e3)
        answer(median=statistics.median(times), runs=len(times))


class Peer:
    """A worker process, seen from the outside."""

    def __init__(self, engine, job):
        self.name = engine
        self.result = pathlib.Path(job["work"], f"{engine}.npy")
        environment = dict(os.environ, OMP_NUM_THREADS=str(job["threads"]),
                           MKL_NUM_THREADS=str(job["threads"]))
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"], text=True, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        job = dict(job, engine=engine, result=str(self.result))
        reply = self.ask(json.dumps(job))
        if "unavailable" in reply:
            self.close()
            raise Unavailable(reply["unavailable"])
        self.version = reply["version"]

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        if not reply:
            code = self.process.wait()
            raise Unavailable(f"its process ended with code {code}")
        return json.loads(reply)

    def measure(self):
        return self.ask("go")["median"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class LLMOpt:
    """The compiled artefact; llmopt-run does the timing itself."""

    name = "llmopt"

    def __init__(self, job, binaries, flags):
        compiler, self.runner = binaries / "llmopt", binaries / "llmopt-run"
        for tool in (compiler, self.runner):
            if not tool.exists():
                raise Unavailable(f"{tool} is not built")
        self.job = job
        self.artifact = pathlib.Path(job["work"], "llmopt.so")
        if job["precision"] != "fp32":
            flags = [f"-quantize-{job['precision']}", *flags]
        self.call([compiler, job["model"], *flags, "-o", self.artifact])
        target = pathlib.Path(job["work"], "llmopt.npz")
        self.call(self.command("--output", target))
        with np.load(target) as archive:
            first = job["outputs"][0]
            if first not in archive.files:
                raise Unavailable(f"no output '{first}' in its result")
            self.result = pathlib.Path(job["work"], "llmopt.npy")
            np.save(self.result, archive[first])
        self.version = subprocess.run(
            ["git", "-C", str(binaries), "describe", "--always", "--dirty"],
            text=True, capture_output=True).stdout.strip() or "unknown"

    def command(self, *rest):
        return [self.runner, self.artifact, "--input", self.job["input"],
                "--threads", self.job["threads"], *rest]

    def call(self, command):
        done = subprocess.run(
            [str(part) for part in command], text=True, capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self.job["cpus"]))
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise Unavailable(f"{pathlib.Path(command[0]).name} exit code"
                              f" {done.returncode}: {(lines or [''])[-1][:120]}")
        return done.stdout

    def measure(self):
        return json.loads(self.call(self.command(
            "--bench", "--json", "--runs", self.job["least"],
            "--seconds", self.job["seconds"])))["median_ms"]

    def close(self):
        pass


# --- one comparison ---------------------------------------------------------

def model_feed(path, batch, length, ragged):
    import check_model
    import onnx
    proto = onnx.load(path, load_external_data=False)
    inputs = check_model.model_inputs(proto)
    sizes = check_model.bind_dimensions(inputs, batch, length, {})
    feed = check_model.make_inputs(inputs, sizes, 1)
    for name, value in feed.items():
        if "mask" in name:
            lengths = np.full(batch, length)
            if ragged:
                lengths = np.random.default_rng(1).integers(1, length + 1, batch)
            feed[name] = (np.arange(length) < lengths[:, None]).astype(value.dtype)
    return feed, [output.name for output in proto.graph.output]


def relative_error(actual, expected, mask):
    if actual.shape != expected.shape:
        return None
    if mask is not None and actual.ndim == 3:  # padded rows are free
        actual, expected = actual[mask], expected[mask]
    scale = max(1e-6, float(np.abs(expected).max()))
    return float(np.abs(actual - expected).max()) / scale


def compare(model, shape, threads, args, cpus):
    """Rows of the table for one model, shape and thread count."""
    batch, length = shape
    with tempfile.TemporaryDirectory(prefix="llmopt-bench-") as work:
        feed, outputs = model_feed(model, batch, length, args.ragged)
        np.savez(pathlib.Path(work, "in.npz"), **feed)
        job = {"model": str(model), "work": work, "threads": threads,
               "input": str(pathlib.Path(work, "in.npz")), "outputs": outputs,
               "folder": str(model.parent / model.name.split(".")[0]),
               "precision": args.precision, "cpus": cpus[:threads],
               "least": args.least, "seconds": args.seconds}
        reference = None
        try:
            peer = Peer("onnxruntime", dict(job, precision="fp32"))
            reference = np.load(peer.result)
            peer.close()
        except Unavailable:
            pass
        contestants, skipped = [], []
        for engine in args.engines:
            try:
                contestants.append(
                    LLMOpt(job, args.llmopt, shlex.split(args.llmopt_flags))
                    if engine == "llmopt" else Peer(engine, job))
            except Unavailable as reason:
                skipped.append(f"  {engine}: left out, {reason}")
        try:
            rounds = {c.name: [] for c in contestants}
            for _ in range(args.rounds):
                for contestant in contestants:
                    rounds[contestant.name].append(contestant.measure())
            rows = summarise(contestants, rounds, feed, reference)
        finally:
            for contestant in contestants:
                contestant.close()
    return rows, skipped


def summarise(contestants, rounds, feed, reference):
    mask = next((v.astype(bool) for n, v in feed.items() if "mask" in n), None)
    medians = {name: statistics.median(times) for name, times in rounds.items()}
    base = medians.get("llmopt")
    if base is None:
        base = min((m for n, m in medians.items() if n.startswith("onnxruntime")),
                   default=None)
    return [{"engine": c.name, "version": c.version,
             "median_ms": round(medians[c.name], 4),
             "min_ms": round(min(rounds[c.name]), 4),
             "max_ms": round(max(rounds[c.name]), 4),
             "ratio": round(medians[c.name] / base, 3) if base else "",
             "error": "" if reference is None
                      else relative_error(np.load(c.result), reference, mask)}
            for c in contestants]


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*:\s*(.+)", text)
    name = match[1].strip() if match else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} CPUs"


def print_rows(title, rows, skipped):
    print(title)
    print(f"  {'engine':22} {'median ms':>10} {'least':>9} {'greatest':>9}"
          f" {'ratio':>6} {'error':>8}  version")
    for row in rows:
        error = f"{row['error']:.0e}" if isinstance(row["error"], float) else ""
        print(f"  {row['engine']:22} {row['median_ms']:10.2f} {row['min_ms']:9.2f}"
              f" {row['max_ms']:9.2f} {row['ratio']:>6} {error:>8}  {row['version']}")
    print(*skipped, sep="\n", end="\n" if skipped else "", flush=True)


def append_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def parse_shape(text):
    batch, _, length = text.partition("x")
    return int(batch), int(length or 1)


def main():
    if sys.argv[1:] == ["--worker"]:
        return worker()
    today = datetime.date.today().isoformat()
    parser = argparse.ArgumentParser(
        description="Time llmopt against other engines, side by side.")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--shape", default="1x128",
                        help="batch x length; several with commas")
    parser.add_argument("--threads", default="1", help="several with commas")
    parser.add_argument("--precision", choices=["fp32", "int8", "int4"], default="fp32",
                        help="int4: llmopt's int4 weights and int8 inputs beside the peers' int8")
    parser.add_argument("--ragged", action="store_true",
                        help="rows of lengths 1..length instead of full ones")
    parser.add_argument("--engines", default="llmopt," + ",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--least", type=int, default=5, help="runs a round")
    parser.add_argument("--seconds", type=float, default=0.5, help="a round")
    parser.add_argument("--llmopt", type=pathlib.Path, default=ROOT / "build/bin",
                        help="folder of llmopt and llmopt-run")
    parser.add_argument("--llmopt-flags", default="")
    parser.add_argument("--csv", type=pathlib.Path,
                        default=HERE / "results" / f"{today}.csv")
    args = parser.parse_args()
    args.engines = args.engines.split(",")
    if unknown := set(args.engines) - {"llmopt", *ENGINES}:
        parser.error(f"unknown engine '{sorted(unknown)[0]}':"
                     f" llmopt, {', '.join(ENGINES)}")
    for model in args.models:
        if not model.exists():
            parser.error(f"no such file: {model}")
    cpus = sorted(os.sched_getaffinity(0))
    threads = [int(t) for t in args.threads.split(",")]
    if max(threads) > len(cpus):
        parser.error(f"{max(threads)} threads, but only {len(cpus)} CPUs")

    print(f"{machine()}, {today}")
    if (load := os.getloadavg()[0]) > 0.3:
        print(f"warning: load average {load:.1f}: other work disturbs the times",
              file=sys.stderr)
    for model in args.models:
        for shape in map(parse_shape, args.shape.split(",")):
            for count in threads:
                rows, skipped = compare(model.resolve(), shape, count, args, cpus)
                title = (f"{model.name} {shape[0]}x{shape[1]}"
                         f"{' ragged' if args.ragged else ''},"
                         f" {args.precision}, {count} thread(s)")
                print_rows(title, rows, skipped)
                if rows:
                    append_csv(args.csv, [{
                        "date": today, "machine": machine(), "model": model.name,
                        "batch": shape[0], "length": shape[1],
                        "ragged": int(args.ragged), "precision": args.precision,
                        "threads": count, "rounds": args.rounds,
                        "load": f"{os.getloadavg()[0]:.1f}", **row}
                        for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
