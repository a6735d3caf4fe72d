#!/usr/bin/env python3
"""Tests check_model.py: an engine that is right passes, planted defects fail.

Stands in for llmopt-run with ONNX Runtime on a damaged copy of the model, so
that it needs nothing built. Run it directly or with python3 -m unittest.
"""

import pathlib
import stat
import sys
import tempfile
import textwrap
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_model  # noqa: E402

MODELS = pathlib.Path(__file__).resolve().parent / "models"

# The "artefact" is an ONNX file; a line in its doc_string may change inputs.
RUNNER = f"#!{sys.executable}\n" + textwrap.dedent('''\
    import sys
    import numpy as np, onnx, onnxruntime
    a = sys.argv
    feed = dict(np.load(a[a.index("--input") + 1]))
    change = onnx.load(a[1]).doc_string
    if change == "crash":
        sys.exit("error: planted")
    if change == "mask dropped":
        feed["attention_mask"] = np.ones_like(feed["attention_mask"])
    if change == "mask inverted":
        feed["attention_mask"] = 1 - feed["attention_mask"]
    s = onnxruntime.InferenceSession(a[1], providers=["CPUExecutionProvider"])
    names = [o.name for o in s.get_outputs()]
    out = dict(zip(names, s.run(None, feed)))
    if change == "output lost":
        out.popitem()
    if change == "nan":
        next(iter(out.values())).flat[0] = np.nan
    np.savez(a[a.index("--output") + 1], **out)
    ''')


def weight_of(graph, bias):
    """The matrix whose product `bias` is added to."""
    add = next(n for n in graph.node if n.op_type == "Add" and bias in n.input)
    other = next(i for i in add.input if i != bias)
    product = next(n for n in graph.node if other in n.output)
    return product.input[1]


def change_tensor(graph, name, function):
    tensor = next(t for t in graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(numpy_helper.from_array(
        np.ascontiguousarray(function(array)), name))


def zero_bias(graph):
    change_tensor(graph, "encoder.layer.1.attention.self.query.bias",
                  np.zeros_like)


def other_scale(graph):
    bias = "encoder.layer.0.attention.self.query.bias"
    change_tensor(graph, bias, lambda v: v * 1.02)
    change_tensor(graph, weight_of(graph, bias), lambda v: v * 1.02)


def rotate_heads(graph):
    bias = "encoder.layer.0.attention.self.value.bias"
    change_tensor(graph, bias, lambda v: np.roll(v, 8))
    change_tensor(graph, weight_of(graph, bias), lambda v: np.roll(v, 8, axis=1))


def other_epsilon(graph):
    node = next(n for n in graph.node if n.op_type == "LayerNormalization")
    for attribute in node.attribute:
        if attribute.name == "epsilon":
            attribute.f = 1e-5


class CheckModelTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.runner = self.folder / "runner"
        self.runner.write_text(RUNNER)
        self.runner.chmod(self.runner.stat().st_mode | stat.S_IXUSR)

    def rows(self, name="bert-tiny.torchscript", change="", edit=None,
             batches=(4,), lengths=(5, 128), fixed=None):
        model = onnx.load(MODELS / f"{name}.onnx")
        model.doc_string = change
        if edit:
            edit(model.graph)
        artifact = self.folder / "model.onnx"
        onnx.save(model, artifact)
        return check_model.check(MODELS / f"{name}.onnx", artifact, self.runner,
                                 batches, lengths, fixed=fixed)

    def test_right_engine_passes(self):
        rows = self.rows(batches=(1, 4), lengths=(1, 5, 128, 600))
        self.assertTrue(check_model.ok(rows))
        # Its position table ends at 514.
        self.assertEqual({r.status for r in rows if "sequence=600" in r.case},
                         {"skip"})

    def test_nothing_compared_fails(self):
        self.assertFalse(check_model.ok(self.rows(lengths=(600,))))

    def test_image_model(self):
        self.assertTrue(check_model.ok(self.rows("vit-tiny.torchscript")))
        self.assertTrue(check_model.ok(self.rows(
            "vit-tiny.optimum", fixed=dict(num_channels=3, height=32, width=32))))

    def test_planted_defects_fail(self):
        for change in ("mask dropped", "mask inverted", "nan", "crash",
                       "output lost"):
            with self.subTest(change):
                self.assertFalse(check_model.ok(self.rows(change=change)))
        for edit in (zero_bias, other_scale, rotate_heads, other_epsilon):
            with self.subTest(edit.__name__):
                rows = self.rows(edit=edit)
                self.assertFalse(check_model.ok(rows))
                # In every case, not only in the luckiest.
                self.assertEqual({r.status for r in rows
                                  if r.output == "last_hidden_state"}, {"FAIL"})


class InputsTest(unittest.TestCase):
    def test_masks_are_ragged(self):
        for batch in (1, 4, 7):
            for length in (5, 128):
                mask = check_model.ragged_mask(
                    np.random.default_rng(0), batch, length)
                self.assertTrue((mask.sum(1) >= 1).all())
                self.assertTrue((mask == 0).any())

    def test_past_lengths(self):
        past, total = "past_sequence_length", "past_sequence_length + sequence_length"
        inputs = [check_model.Input("input_ids", np.int64, ["batch_size", "sequence_length"], 9),
                  check_model.Input("attention_mask", np.int64, ["batch_size", total], 2),
                  check_model.Input("past_key_values.0.key", np.float32, ["batch_size", 2, past, 8], 2)]
        self.assertEqual(check_model.bind_dimensions(inputs, 3, 5, {}, 7),
                         {"batch_size": 3, "sequence_length": 5, past: 7, total: 12})
        shapes = {(feed["input_ids"].shape, feed["attention_mask"].shape, feed["past_key_values.0.key"].shape)
                  for _, feed in check_model.cases(inputs, (1,), (5,), {}, pasts=(0, 7))}
        self.assertEqual(shapes, {((1, 5), (1, 5), (1, 2, 0, 8)), ((1, 5), (1, 12), (1, 2, 7, 8))})
        inputs[1].shape[1] = "total_sequence"
        self.assertEqual(check_model.bind_dimensions(inputs, 3, 5, {}, 7)["total_sequence"], 12)

    def test_scalars_stay_scalars(self):
        inputs = [check_model.Input("count", np.int64, [], 5)]
        self.assertEqual(check_model.make_inputs(inputs, {}, 1)["count"].shape, ())

    def test_ids_stay_below_the_table(self):
        inputs = check_model.model_inputs(
            onnx.load(MODELS / "bert-tiny.dynamo.onnx"))
        self.assertEqual({i.name: i.bound for i in inputs},
                         {"input_ids": 97, "attention_mask": 2,
                          "token_type_ids": 2})


class CompareTest(unittest.TestCase):
    def passes(self, actual, expected):
        return check_model.passes(check_model.compare(
            np.array(actual), np.array(expected)), 1e-4)

    def test_error_is_relative_to_the_largest(self):
        self.assertTrue(self.passes([100.0, 0.009], [100.0, 0.0]))
        self.assertFalse(self.passes([1.0, 0.009], [1.0, 0.0]))

    def test_infinities(self):
        inf = np.inf
        self.assertTrue(self.passes([inf, -inf, 1.0], [inf, -inf, 1.0]))
        self.assertFalse(self.passes([inf, inf, 1.0], [inf, -inf, 1.0]))
        self.assertFalse(self.passes([inf, 3.0, 1.0], [inf, -inf, 1.0]))
        self.assertFalse(self.passes([inf, 1.0], [2.0, 1.0]))

    def test_nan(self):
        self.assertTrue(self.passes([np.nan, 1.0], [np.nan, 1.0]))
        self.assertFalse(self.passes([np.nan, 1.0], [1.0, 1.0]))
        self.assertFalse(self.passes([1.0, 1.0], [np.nan, 1.0]))

    def test_integers_are_exact(self):
        self.assertTrue(self.passes([1, 2], [1, 2]))
        self.assertFalse(self.passes([1, 3], [1, 2]))
        self.assertFalse(self.passes([1.0, 2.0], [1, 2]))

    def test_shapes(self):
        self.assertFalse(self.passes([[1.0, 2.0]], [1.0, 2.0]))


if __name__ == "__main__":
    unittest.main()
