#!/usr/bin/env python3
"""Compare artefacts of one model with each other on ragged, masked inputs.

    compare_artefacts.py model.onnx a.so b.so --run build/bin/llmopt-run
        [--tolerance 1e-5] [--cosine 0.99]

The inputs and the error are those of check_model.py; `a` takes the place of the
reference. With --cosine the angle between the outputs is bounded instead of
the error, which is how a quantized artefact is compared with an f32 one.
Exit code 0: within the bound, 1: not.
"""

import argparse
import pathlib
import sys

import numpy as np
import onnx

import check_model


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / max(1e-30, np.linalg.norm(a) * np.linalg.norm(b)))


def main():
    parser = argparse.ArgumentParser(description="Compare two artefacts of one model.")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("artefact", type=pathlib.Path)
    parser.add_argument("--run", type=pathlib.Path, default=pathlib.Path("build/bin/llmopt-run"))
    parser.add_argument("--batch", type=check_model.parse_sizes, default=(1, 3))
    parser.add_argument("--length", type=check_model.parse_sizes, default=(1, 5, 64))
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--cosine", type=float)
    args = parser.parse_args()

    model = onnx.load(str(args.model), load_external_data=False)
    inputs = check_model.model_inputs(model)
    worst_error, least_cosine, compared, problems = 0.0, 1.0, 0, []
    for name, feed in check_model.cases(inputs, args.batch, args.length, {}):
        expected, actual = (check_model.run_artifact(args.run.resolve(), path.resolve(), feed, 1, 300)
                            for path in (args.reference, args.artefact))
        for output, value in expected.items():
            difference = check_model.compare(actual.get(output), value)
            if difference.problem:
                problems.append(f"{name}, {output}: {difference.problem}")
                continue
            compared += 1
            worst_error = max(worst_error, difference.error)
            least_cosine = min(least_cosine, cosine(actual[output], value))
    for problem in problems:
        print(problem)
    print(f"{compared} outputs, error {worst_error:.1e}, cosine {least_cosine:.6f}")
    within = least_cosine >= args.cosine if args.cosine is not None else worst_error <= args.tolerance
    return 0 if compared and not problems and within else 1


if __name__ == "__main__":
    sys.exit(main())
