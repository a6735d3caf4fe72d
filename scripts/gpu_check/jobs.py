"""One measurement in a process of its own: a kernel that hangs or faults takes only its own
context along. `jobs.py KIT JSON` prints one line of JSON."""

import json
import os
import pathlib
import statistics
import sys
import time

import device as devices
import runtime


def weights_of(job, artefact):
    """The weights file made up for an artefact; None where it has its own."""
    return job["weights"][artefact] if "weights" in job else None


def outputs(library, kit, job, artefact, **options):
    model = library.load(kit / artefact, weights_of(job, artefact))
    session = runtime.Session(model, job["values"], **options)
    session.run()
    return model, session


def host(library, kit, job):
    """Every level of the CPU against the first."""
    rows, reference = [], None
    for level, artefact in job["cpu"].items():
        try:
            model, session = outputs(library, kit, job, artefact)
        except runtime.Failure as failure:
            if failure.status != runtime.UNSUPPORTED_CPU:
                raise
            rows.append({"level": level, "skipped": str(failure)})
            continue
        if reference is None:
            reference = session.results
        error = max(runtime.difference(kind, data, expected)
                    for (kind, data), (_, expected) in zip(session.results, reference))
        rows.append({"level": level, "error": error, "ok": error <= job["tolerance"]})
    return {"rows": rows}


def compare(library, kit, job):
    """The device against the best level of the CPU, twice: the second run of a shape
    records a graph, the third launches it."""
    expected = None
    for artefact in reversed(list(job["cpu"].values())):
        try:
            _, session = outputs(library, kit, job, artefact)
            expected = session.results
            break
        except runtime.Failure as failure:
            if failure.status != runtime.UNSUPPORTED_CPU:
                raise
    model, session = outputs(library, kit, job, job["cuda"])
    errors = []
    for _ in range(1 if job.get("once") else 3):
        errors.append(max((runtime.difference(kind, data, wanted)
                           for (kind, data), (_, wanted) in zip(session.results, expected)), default=0.0))
        if not job.get("once"):
            session.run()
    kernels = sorted({f"{step['op']} {step['kernel']}" for step in model.metadata["steps"] if step.get("kernel")})
    session.close()
    model.close()
    return {"error": max(errors), "ok": max(errors) <= job["tolerance"], "kernels": kernels}


def count(text, symbols):
    """A size expression of the metadata; None where it is none of ours."""
    try:
        return float(eval(str(text), {"__builtins__": {}}, dict(symbols)))  # of our own compiler
    except Exception:
        return None


def kernels(library, kit, job):
    """Device time, arithmetic and traffic of every kernel, over its steps."""
    model, session = outputs(library, kit, job, job["cuda"], profile=True)
    best = None
    for _ in range(job.get("runs", 5)):
        session.run()
        times = [ns for _, ns in session.profile()]
        best = times if best is None else [min(a, b) for a, b in zip(best, times)]
    symbols = {s: job["values"].get(s, 0) for s in model.symbols}
    rows = {}
    for step, ns in zip(model.metadata["steps"], best):
        if not step.get("kernel"):
            continue
        row = rows.setdefault(step["kernel"], {"kernel": step["kernel"], "op": step["op"], "steps": 0, "us": 0.0,
                                               "flops": 0.0, "bytes": 0.0})
        row["steps"] += 1
        row["us"] += ns / 1e3
        for key in ("flops", "bytes"):
            row[key] += count(step.get(key, 0), symbols) or 0.0
    session.close()
    model.close()
    return {"rows": sorted(rows.values(), key=lambda row: -row["us"])}


def bench(library, kit, job):
    model, session = outputs(library, kit, job, job["cuda"], graphs=job["graphs"])
    for _ in range(3):
        session.run()
    times, until = [], time.monotonic() + job.get("seconds", 1.0)
    while len(times) < job.get("runs", 20) or (time.monotonic() < until and len(times) < 1000):
        start = time.perf_counter()
        session.run()
        times.append((time.perf_counter() - start) * 1e3)
        if len(times) >= 3 and time.monotonic() > until + 20:
            break
    session.close()
    model.close()
    return {"ms": statistics.median(times), "min": min(times), "max": max(times), "runs": len(times)}


def constants(_, kit, job):
    """Read and copy bandwidth, launch gaps, products of cuBLASLt."""
    gpu, rows = devices.Device(), []
    import ctypes as c
    small = job.get("small")
    find = gpu.load(kit / "constants.fatbin")
    size = (1 << 16) if small else min(4 << 30, gpu.memory()[0] // 4) // 4096 * 4096
    x, y = gpu.allocate(size), gpu.allocate(size)
    blocks = 2 if small else gpu.facts["multiprocessors"] * 8
    threads = 64 if small else 512
    read, copy, nothing = find("read_all"), find("copy_all"), find("nothing")
    arguments = [c.c_uint64(x), c.c_uint64(y), c.c_int64(size // 16)]
    for name, kernel, moved in (("read bandwidth", read, size), ("copy bandwidth", copy, 2 * size)):
        work = lambda kernel=kernel: gpu.launch(kernel, blocks, threads, arguments)  # noqa: E731
        work()
        gpu.wait()
        rows.append([name, moved / gpu.time(work) / 1e9, "GB/s", f"{size} bytes"])
    gpu.free(x)
    gpu.free(y)
    launches = 10 if small else 1000

    def chain():
        for _ in range(launches):
            gpu.launch(nothing, 1, 1 if small else 32)
    chain()
    gpu.wait()
    rows.append(["launch gap, stream", gpu.time(chain) / launches * 1e6, "us", f"{launches} empty kernels, from Python"])
    graph = gpu.graph_of(chain)
    run = lambda: gpu.check(gpu.driver.cuGraphLaunch(graph, gpu.stream), "graph")  # noqa: E731
    run()
    gpu.wait()
    rows.append(["launch gap, graph", gpu.time(run) / launches * 1e6, "us", f"{launches} empty kernels"])
    gpu.driver.cuGraphExecDestroy(graph)
    library = None if small else devices.cublaslt()
    notes = []
    if library is None:
        notes.append("cuBLASLt: not measured on a stand-in" if small else "cuBLASLt: not found, its peaks are left out")
    for kind in devices.PRODUCTS if library else ():
        try:
            rows.append([f"cuBLASLt {kind}", devices.product_rate(gpu, library, kind, 8192) / 1e12, "Top/s", "8192^3, TN"])
        except RuntimeError as error:
            notes.append(str(error))
    gpu.close()
    return {"rows": rows, "notes": notes}


def main():
    kit, job = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        library = runtime.Runtime(kit / "libllmopt_rt.so")
        result = globals()[job["kind"]](library, kit, job)
    except (runtime.Failure, RuntimeError, devices.NoDevice, OSError) as error:
        result = {"failed": str(error)}
    print(json.dumps(result), flush=True)
    if job.get("strict") and (result.get("failed") or not result.get("ok", True)):
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_MODULE_LOADING", "EAGER")  # no loading inside of measurements
    main()
