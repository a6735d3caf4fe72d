"""What scripts/gpu-check does; see its header."""

import argparse
import csv
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import device as devices

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]


class Check:
    def __init__(self, arguments):
        self.kit = arguments.kit.resolve()
        self.manifest = json.loads((self.kit / "manifest.json").read_text())
        self.rehearse = arguments.rehearse
        self.start, self.limit = time.monotonic(), arguments.minutes * 60
        self.rows, self.lines = [], []
        self.passed = self.failed = self.skipped = 0
        self.device = "stand-in"

    # -- results

    def left(self):
        return self.limit - (time.monotonic() - self.start)

    def say(self, text):
        print(text, flush=True)
        self.lines.append(text)

    def row(self, section, name, metric, value, unit, note=""):
        self.rows.append([section, name, metric, f"{value:.6g}" if isinstance(value, float) else value, unit, note])

    def judge(self, section, name, result):
        """Counts a result that is right or wrong; False where there is nothing to use."""
        if "skipped" in result:
            self.skipped += 1
            self.row(section, name, "skipped", "", "", result["skipped"])
            self.say(f"  {name}: skipped: {result['skipped']}")
            return False
        failed = result.get("failed") or (None if result.get("ok", True) else f"error {result['error']:.2e}")
        self.passed += not failed
        self.failed += bool(failed)
        if failed:
            self.row(section, name, "failed", "", "", failed)
            self.say(f"  {name}: FAILED: {failed}")
        return not failed

    # -- jobs

    def environment(self, entry):
        result = dict(os.environ)
        if self.rehearse:
            result["LLMOPT_CUDA_DRIVER"] = str(self.kit / "libllmopt-cuda-standin.so")
            result["LLMOPT_STANDIN_KERNELS"] = str(self.kit / entry.get("emulated", "constants.emulated.so"))
        return result

    def job(self, kind, entry, prefix=(), timeout=120, **more):
        job = {"kind": kind, **{k: v for k, v in entry.items() if k not in ("shapes", "decode", "peer", "source", "options")}, **more}
        command = [*prefix, sys.executable, HERE / "jobs.py", self.kit, json.dumps(job)]
        timeout = max(5, min(timeout, self.left()))
        try:
            done = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=timeout,
                                  env=self.environment(entry))
        except subprocess.TimeoutExpired:
            return {"failed": f"no result after {timeout:.0f} s"}
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            text = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            return {"failed": f"exit code {done.returncode}: {' | '.join(text[-3:])}"}
        return json.loads(lines[-1])

    # -- sections

    def host(self):
        self.say("host: CPU artefacts of every level against the first")
        for entry in self.manifest["small"]:
            result = self.job("host", entry)
            if self.judge("host", entry["name"], {**result, "ok": all(r.get("ok", True) for r in result.get("rows", [])),
                                                  "error": max((r.get("error", 0) for r in result.get("rows", [])),
                                                               default=0)}):
                for row in result["rows"]:
                    self.row("host", entry["name"], row["level"], row.get("error", "skipped"), "error",
                             row.get("skipped", ""))

    def facts(self):
        gpu = devices.Device()
        self.device = gpu.name
        free, total = gpu.memory()
        self.say(f"device: {gpu.name}, sm_{gpu.facts['major']}{gpu.facts['minor']}, driver for CUDA "
                 f"{gpu.driver_version // 1000}.{gpu.driver_version % 1000 // 10}, {total / 1e9:.1f} GB")
        for name, value in {**gpu.facts, "memory_bytes": total, "driver": gpu.driver_version}.items():
            self.row("device", gpu.name, name, value, "")
        gpu.close()

    def correctness(self):
        self.say("correctness: every kernel and model against the CPU artefact")
        kernels = set()
        for entry in self.manifest["small"]:
            result = self.job("compare", entry, once=self.rehearse)
            if self.judge("correctness", entry["name"], result):
                self.row("correctness", entry["name"], "error", result["error"], "of the largest",
                         f"{len(result['kernels'])} kernels")
                kernels |= {kernel.split()[0] for kernel in result["kernels"]}
        self.say(f"  kinds of kernels run: {', '.join(sorted(kernels))}")

    def sanitizer(self):
        self.say("compute-sanitizer on small cases")
        tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
        if self.rehearse or not pathlib.Path(tool).exists():
            why = "not with a stand-in, which checks bounds and races itself" if self.rehearse else "it is not installed"
            return self.judge("sanitizer", "all", {"skipped": why})
        for entry in self.manifest["small"][:4]:
            for check in ("memcheck", "racecheck", "synccheck"):
                if self.left() < self.limit * 0.6:
                    return self.judge("sanitizer", check, {"skipped": "no time left for more"})
                result = self.job("compare", entry, [tool, "--tool", check, "--error-exitcode", "86"], timeout=60,
                                  once=True, strict=True)
                self.judge("sanitizer", f"{entry['name']} {check}", result)
        return True

    def constants(self):
        self.say("machine constants")
        result = self.job("constants", {}, small=self.rehearse)
        if self.judge("constants", "all", result):
            for name, value, unit, note in result["rows"]:
                self.row("constants", self.device, name, value, unit, note)
                self.say(f"  {name}: {value:.4g} {unit}")
            for note in result["notes"]:
                self.say(f"  {note}")

    def make_weights(self, entry, folder):
        weights = {}
        for artefact in (*entry["cpu"].values(), entry["cuda"]):
            weights[artefact] = str(folder / (artefact + ".weights"))
            done = subprocess.run([self.kit / "llmopt-weights", self.kit / artefact, "random:7", weights[artefact]],
                                  capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr.strip())
        return weights

    def measured(self, folder):
        """The models whose kernels and times are measured: the large ones, of a rehearsal
        two small ones."""
        if self.rehearse:
            decoders = [entry for entry in self.manifest["small"] if entry.get("caches")]
            for entry in self.manifest["small"][:1] + decoders[:1]:
                yield {**entry, "decode" if entry.get("caches") else "shapes": [(1, 4)], "peer": None}
            return
        for entry in self.manifest["large"]:
            # One level of the CPU is enough to compare with, and its weights take a while.
            level = next((l for l in reversed(entry["cpu"]) if self.supports(entry["cpu"][l])), "x86-64-v3")
            entry = {**entry, "cpu": {level: entry["cpu"][level]}}
            yield {**entry, "weights": self.make_weights(entry, folder)}

    def supports(self, artefact):
        probe = self.job("host", {"cpu": {"": artefact}, "values": {}, "tolerance": 0, "name": artefact})
        return "skipped" not in json.dumps(probe.get("rows", []))

    def models(self):
        self.say("kernels and models")
        with tempfile.TemporaryDirectory() as name:
            for entry in self.measured(pathlib.Path(name)):
                if not self.rehearse:
                    result = self.job("compare", {**entry, "values": self.values(1, 16)}, timeout=180)
                    if self.judge("correctness", entry["name"], result):
                        self.row("correctness", entry["name"], "error", result["error"], "of the largest", "batch 1, length 16")
                for shape in entry.get("shapes", ()):
                    if self.has_time(f"{entry['name']} {shape}"):
                        self.measure({**entry, "values": self.values(*shape)}, shape, f"b{shape[0]} s{shape[1]}")
                for shape in entry.get("decode", ()):
                    if self.has_time(f"{entry['name']} {shape}"):
                        self.measure({**entry, "values": self.values(shape[0], 1), "past": shape[1]}, shape,
                                     f"b{shape[0]} token behind {shape[1]}")

    def has_time(self, what):
        return self.rehearse or self.left() > 40 or self.judge("models", what, {"skipped": "no time left"})

    @staticmethod
    def values(batch, length):
        return {"batch": batch, "batch_size": batch, "sequence": length, "sequence_length": length}

    def measure(self, entry, shape, what):
        title = f"{entry['name']} {what}"
        quick = {"runs": 2, "seconds": 0} if self.rehearse else {}
        result = self.job("kernels", entry, **({"runs": 1} if self.rehearse else {}))
        if self.judge("kernels", title, result):
            for row in result["rows"]:
                seconds = max(row["us"], 1e-3) / 1e6
                note = f"{row['op']}, {row['steps']} steps"
                self.row("kernels", title, row["kernel"], row["us"], "us", note)
                self.row("kernels", title, row["kernel"], row["bytes"] / seconds / 1e9, "GB/s", note)
                self.row("kernels", title, row["kernel"], row["flops"] / seconds / 1e12, "TFLOP/s", note)
        ours = {}
        for how, graphs, overlap in (("graph", True, True), ("graph without overlap", True, False), ("launches", False, True)):
            result = self.job("bench", entry, graphs=graphs, overlap=overlap, **quick)
            if self.judge("models", f"{title} {how}", result):
                ours[how] = result["ms"]
                self.row("models", title, f"llmopt, {how}", result["ms"], "ms",
                         f"{result['runs']} runs, with copies from and to the host")
        line = ", ".join(f"llmopt {how} {ms:.3f} ms" for how, ms in ours.items())
        for mode, kind in (("eager", "f32"), ("compiled", "f32"), ("compiled", "f16")) if entry.get("peer") else ():
            if self.left() < 90:
                self.judge("models", f"{title} PyTorch {mode} {kind}", {"skipped": "no time left"})
                continue
            result = self.peer(entry["peer"], shape, mode, kind)
            again = self.job("bench", entry, graphs=True, overlap=True)  # A B A: ours on both sides of the peer
            if not self.judge("models", f"{title} PyTorch {mode} {kind}", result):
                continue
            self.row("models", title, f"PyTorch {mode} {kind}", result["ms"], "ms", result["torch"])
            if "ms" in again:
                self.row("models", title, "llmopt, graph, again", again["ms"], "ms", f"beside PyTorch {mode} {kind}")
            line += f", PyTorch {mode} {kind} {result['ms']:.3f} ms"
        self.say(f"  {title}: {line}")

    def peer(self, name, shape, mode, kind):
        try:
            done = subprocess.run([sys.executable, HERE / "torch_peer.py", name, *map(str, shape), mode, kind],
                                  capture_output=True, text=True, timeout=max(5, min(150, self.left() - 20)))
        except subprocess.TimeoutExpired:
            return {"skipped": "PyTorch took too long"}
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {"skipped": (done.stderr.strip().splitlines() or ["no output"])[-1]}

    # -- the end

    def write(self, out):
        out.mkdir(parents=True, exist_ok=True)
        today = datetime.date.today().isoformat()
        label = "rehearsal" if self.rehearse else self.device.lower().replace(" ", "-").replace("/", "-")
        stem = out / f"gpu-{label}-{today}"
        note = ["rehearsal on a stand-in driver: no number here is a measurement"] if self.rehearse else []
        with open(f"{stem}.csv", "w", newline="") as file:
            for text in note:
                file.write(f"# {text}\n")
            writer = csv.writer(file)
            writer.writerow(["section", "name", "metric", "value", "unit", "note"])
            writer.writerows(self.rows)
        table = [f"# gpu-check, {self.device}, {today}", ""] + [f"**{text}**\n" for text in note]
        for section in ("constants", "models", "correctness", "host"):
            rows = [row for row in self.rows if row[0] == section]
            if rows:
                table += [f"## {section}", "", "| | | | | |", "| --- | --- | --- | --- | --- |"]
                table += ["| " + " | ".join(str(cell) for cell in row[1:]) + " |" for row in rows] + [""]
        kernels = [row for row in self.rows if row[0] == "kernels" and row[4] == "us"]
        if kernels:
            table += ["## slowest kernels", "", "| model | kernel | us | |", "| --- | --- | --- | --- |"]
            table += [f"| {r[1]} | {r[2]} | {r[3]} | {r[5]} |" for r in sorted(kernels, key=lambda r: -float(r[3]))[:20]]
        pathlib.Path(f"{stem}.md").write_text("\n".join(table) + "\n")
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped; {stem}.csv, {stem}.md"
                 + (" (rehearsal: no measurement)" if self.rehearse else ""))


def main():
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__.splitlines()[0])
    parser.add_argument("--kit", type=pathlib.Path, default=SOURCE / "build" / "gpu-kit")
    parser.add_argument("--out", type=pathlib.Path, default=SOURCE / "bench" / "results")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--prepare", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build")
    parser.add_argument("--models", type=pathlib.Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    if arguments.prepare:
        import prepare
        try:
            prepare.prepare(arguments.prepare, arguments.build.resolve(), arguments.models, arguments.only,
                            arguments.rehearse)
        except RuntimeError as error:
            sys.exit(f"gpu-check: {error}")
        return
    if not (arguments.kit / "manifest.json").exists():
        sys.exit(f"gpu-check: {arguments.kit} is no kit; make one with scripts/gpu-check --prepare {arguments.kit}")
    check = Check(arguments)
    if arguments.rehearse:
        check.say("rehearsal on a stand-in driver: no number here is a measurement")
        if not (check.kit / "constants.emulated.so").exists():
            sys.exit("gpu-check: the kit cannot rehearse; make it with --prepare DIR --rehearse")
        os.environ["LLMOPT_CUDA_DRIVER"] = str(check.kit / "libllmopt-cuda-standin.so")
        os.environ["LLMOPT_STANDIN_KERNELS"] = str(check.kit / "constants.emulated.so")
    check.host()
    try:
        check.facts()
    except devices.NoDevice as error:
        check.say(f"no GPU: {error}; only the host was checked")
        print(f"{check.passed} passed, {check.failed} failed")
        sys.exit(1 if check.failed else 4)
    for section in (check.correctness, check.sanitizer, check.constants, check.models):
        section()
    check.write(arguments.out)
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
