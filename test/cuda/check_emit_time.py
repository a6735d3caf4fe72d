#!/usr/bin/env python3
"""A model of the size of GPT-2 becomes a CUDA project in less than ten seconds.

    check_emit_time.py LLMOPT

Of the processor's time, which other work on the machine does not change. The weights (of
shapes.py) are holes, so no disk is measured, but all of them are converted and packed.
"""

import pathlib
import resource
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts/gpu_check"))
import shapes  # noqa: E402

LIMIT = 10.0
CASES = {"f32": [], "f16 with caches": ["-kv-cache", "-fp16"]}


def main():
    llmopt = pathlib.Path(sys.argv[1]).resolve()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = shapes.write("gpt2", folder)
        for what, options in CASES.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([llmopt, model, *options, "-emit=cuda", "-o", folder / "project"], capture_output=True,
                                  text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            weights = (folder / "project/model.weights").stat().st_size if not done.returncode else 0
            good = not done.returncode and seconds < LIMIT and weights > 200e6
            passed += good
            failed += not good
            print(f"{what}: {seconds:.1f} s, {weights / 1e6:.0f} MB of weights" + ("" if good else ": FAILED: expected less "
                  f"than {LIMIT:.0f} s and more than 200 MB {done.stderr.strip()}"))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
