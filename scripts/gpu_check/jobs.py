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
    """A session of an artefact that has run once: with caches, `past` tokens and then one."""
    model = library.load(kit / artefact, weights_of(job, artefact))
    past = job.get("past", 0)
    if not past:
        session = runtime.Session(model, job["values"], **options)
        session.run()
        return model, session
    values = {**job["values"], "sequence": past, "sequence_length": past}
    session = runtime.Session(model, values, capacity=past + job.get("tokens", 64) + 16, **options)
    session.run()
    session.step()
    return model, session


def again(session):
    """One more run: of a model with caches, of the next token."""
    session.step() if session.model.caches else session.run()


def generate(library, kit, job, artefact):
    """Outputs of a prompt and of single tokens behind it, each with caches of its session."""
    model, session = outputs(library, kit, job, artefact)
    results = [session.results]
    for _ in range(4):
        session.step()
        results.append(session.results)
    session.close()
    return model, results


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


def reference(library, kit, job, produce):
    """What the best level of this CPU gives."""
    for artefact in reversed(list(job["cpu"].values())):
        try:
            return produce(library, kit, job, artefact)
        except runtime.Failure as failure:
            if failure.status != runtime.UNSUPPORTED_CPU:
                raise
    raise RuntimeError("no level of the CPU artefacts runs here")


def kernels_of(model):
    return sorted({f"{step['op']} {step['kernel']}" for step in model.metadata["steps"] if step.get("kernel")})


def largest_error(results, expected):
    return max((runtime.difference(kind, data, wanted) for (kind, data), (_, wanted) in zip(results, expected)),
               default=0.0)


def compare(library, kit, job):
    """The device against the best level of the CPU, three times: the second run of a shape
    records a graph, the third launches it. With caches, a prompt and tokens behind it."""
    errors = []
    if job.get("caches"):
        _, expected = reference(library, kit, job, generate)
        model, results = generate(library, kit, job, job["cuda"])
        errors = [largest_error(got, wanted) for got, wanted in zip(results, expected)]
    else:
        _, session = reference(library, kit, job, outputs)
        expected = session.results
        model, session = outputs(library, kit, job, job["cuda"])
        for _ in range(1 if job.get("once") else 3):
            errors.append(largest_error(session.results, expected))
            if not job.get("once"):
                session.run()
        session.close()
    kernels = kernels_of(model)
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
        again(session)
        times = [ns for _, ns in session.profile()]
        best = times if best is None else [min(a, b) for a, b in zip(best, times)]
    symbols = {s: session.values.get(s, 0) for s in model.symbols}
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
    model, session = outputs(library, kit, job, job["cuda"], graphs=job["graphs"], overlap=job["overlap"])
    for _ in range(3):
        again(session)
    most = job.get("tokens", 64) if session.model.caches else 1000  # that its caches have room for
    times, until = [], time.monotonic() + job.get("seconds", 1.0)
    while len(times) < min(job.get("runs", 20), most) or (time.monotonic() < until and len(times) < most):
        start = time.perf_counter()
        again(session)
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
