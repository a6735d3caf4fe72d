#!/usr/bin/env python3
"""Operators of com.microsoft against ONNX Runtime, which defines them.

    check_contrib.py LLMOPT_CONFORMANCE [--keep FOLDER] [-v]

Makes one model per case with random inputs, has ONNX Runtime run it, and hands
the cases to llmopt-conformance in the modes evaluator, static, dynamic and
constant. In each every case must pass. A case that ONNX Runtime does not run is a
failure of this script.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(7)
F, U8, I8, I32, I64 = np.float32, np.uint8, np.int8, np.int32, np.int64


def normal(*shape):
    return RNG.standard_normal(shape).astype(F)


def integers(dtype, *shape, low=None, high=None):
    info = np.iinfo(dtype)
    return RNG.integers(info.min if low is None else low, (info.max if high is None else high) + 1, shape).astype(dtype)


class Case:
    """Inputs by position: None is absent, a tuple (array,) an initializer."""

    def __init__(self, name, op, inputs, outputs=1, tolerance=1e-5, **attributes):
        self.name, self.op, self.inputs, self.outputs = name, op, inputs, outputs
        self.tolerance, self.attributes = tolerance, attributes

    def write(self, folder):
        names, infos, feed, weights = [], [], {}, []
        for i, value in enumerate(self.inputs):
            name = f"x{i}" if value is not None else ""
            names.append(name)
            if isinstance(value, tuple):
                weights.append(numpy_helper.from_array(value[0], name))
            elif value is not None:
                kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                infos.append(helper.make_tensor_value_info(name, kind, value.shape))
                feed[name] = value
        outs = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, names, outs, name=self.name, domain="com.microsoft", **self.attributes)
        graph = helper.make_graph([node], self.name, infos,
                                  [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outs], weights)
        for out in graph.output:
            out.ClearField("type")
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                        helper.make_opsetid("com.microsoft", 1)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        results = session.run(None, feed)
        for out, value in zip(graph.output, results):
            out.type.CopyFrom(helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        model.graph.CopyFrom(graph)
        data = folder / self.name / "test_data_set_0"
        data.mkdir(parents=True)
        onnx.save(model, str(folder / self.name / "model.onnx"))
        for kind, values in (("input", feed.values()), ("output", results)):
            for i, value in enumerate(values):
                (data / f"{kind}_{i}.pb").write_bytes(numpy_helper.from_array(np.asarray(value)).SerializeToString())


def scale(value=0.05):
    return np.array(value, F)


def nbits(name, bits, k=64, n=24, block=32, zeros=None, **attributes):
    blocks = (k + block - 1) // block
    inputs = [normal(2, 3, k), (integers(U8, n, blocks, block * bits // 8),), (np.abs(normal(n * blocks)) + F(0.1),)]
    if zeros == "packed":
        inputs.append((integers(U8, n * ((blocks * bits + 7) // 8)),))
    elif zeros == "float":
        inputs.append((normal(n * blocks) + F(2 ** (bits - 1)),))
    return Case(name, "MatMulNBits", inputs, K=k, N=n, bits=bits, block_size=block, tolerance=1e-4, **attributes)


def gqa(name, batch, length, past, lasts, heads=4, kv=2, size=16, packed=False, rotary=False, **attributes):
    total = past + length
    shape = (batch, kv, past, size)
    if packed:
        inputs = [normal(batch, length, (heads + 2 * kv) * size), None, None]
    else:
        inputs = [normal(batch, length, heads * size), normal(batch, length, kv * size), normal(batch, length, kv * size)]
    inputs += [normal(*shape), normal(*shape)]
    inputs += [np.array(lasts, I32), (np.array(total, I32),)]
    if rotary:
        angles = np.outer(np.arange(32), 0.3 ** np.arange(size // 2))
        inputs += [(np.cos(angles).astype(F),), (np.sin(angles).astype(F),)]
        attributes["do_rotary"] = 1
    return Case(name, "GroupQueryAttention", inputs, 3, num_heads=heads, kv_num_heads=kv, tolerance=1e-4, **attributes)


def cases():
    zero = np.array(120, U8)
    q = [integers(U8, 2, 3, 8), scale(), zero]
    yield nbits("nbits4", 4)
    yield nbits("nbits4_zeros", 4, zeros="packed")
    yield nbits("nbits4_odd_blocks", 4, k=80, block=32, zeros="packed")
    yield nbits("nbits4_float_zeros", 4, zeros="float")
    yield nbits("nbits8", 8)
    yield nbits("nbits2", 2, zeros="packed")
    for kind in (0, 1):
        yield Case(f"bnb4_{kind}", "MatMulBnb4", [normal(3, 64), (integers(U8, 64 * 12 // 2),),
                                                  (np.abs(normal(64 * 12 // 32)) + F(0.1),)],
                   K=64, N=12, block_size=32, quant_type=kind)
    rows = np.array([[0, 3], [5, 1]], I64)
    yield Case("gather_block", "GatherBlockQuantized",
               [(integers(U8, 8, 32),), rows, (np.abs(normal(8, 4)),)], bits=4, block_size=16, quantize_axis=1)
    yield Case("gather_block_zeros", "GatherBlockQuantized",
               [(integers(U8, 8, 24),), rows, (np.abs(normal(8, 3)),), (integers(U8, 8, 2),)],
               bits=4, block_size=16, quantize_axis=1)
    yield Case("gather_block_8", "GatherBlockQuantized",
               [(integers(U8, 8, 32),), rows, (np.abs(normal(8, 2)),)], bits=8, block_size=16, quantize_axis=1)

    # Scales without ties: ONNX Runtime adds multiples of scale ratios, which round otherwise there.
    yield Case("qlinear_add", "QLinearAdd", [*q, integers(U8, 8), scale(0.1013), np.array(90, U8), scale(0.2039), zero])
    yield Case("qlinear_add_i8", "QLinearAdd", [integers(I8, 4, 8), scale(), np.array(3, I8), integers(I8, 4, 8),
                                                scale(0.1013), np.array(-5, I8), scale(0.2039), np.array(2, I8)])
    yield Case("qlinear_mul", "QLinearMul", [*q, integers(U8, 3, 1), scale(0.1), np.array(90, U8), scale(0.7), zero])
    yield Case("qlinear_sigmoid", "QLinearSigmoid", [integers(U8, 4, 8), (scale(),), (zero,), (scale(1 / 256),),
                                                     (np.array(0, U8),)])
    yield Case("qlinear_leaky", "QLinearLeakyRelu", [integers(U8, 4, 8), (scale(),), (zero,), (scale(0.04),),
                                                     (np.array(40, U8),)], alpha=0.1)
    yield Case("qlinear_softmax", "QLinearSoftmax", [integers(U8, 4, 8), (scale(),), (zero,), (scale(1 / 256),),
                                                     (np.array(0, U8),)], axis=-1, opset=13)
    yield Case("qlinear_concat", "QLinearConcat", [scale(0.06), zero, *q, integers(U8, 2, 1, 8), scale(0.07),
                                                   np.array(100, U8)], axis=1)
    yield Case("qlinear_where", "QLinearWhere", [RNG.random((2, 3, 8)) < 0.5, integers(U8, 2, 3, 8), (scale(),), (zero,),
                                                 integers(U8, 8), (scale(0.1),), (np.array(90, U8),), (scale(0.2),),
                                                 (zero,)])
    yield Case("qlinear_pool", "QLinearGlobalAveragePool", [integers(U8, 2, 3, 4, 5), scale(), zero, scale(0.04), zero])
    yield Case("qlinear_average", "QLinearAveragePool", [integers(U8, 2, 3, 7, 6), scale(), zero, scale(0.0431),
                                                         np.array(97, U8)], kernel_shape=[3, 2], strides=[2, 1])
    yield Case("qlinear_average_pads", "QLinearAveragePool", [integers(U8, 2, 3, 7, 6), scale(), zero, scale(0.0431),
                                                              np.array(97, U8)],
               kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    yield Case("qgemm", "QGemm", [integers(U8, 5, 16), scale(), zero, (integers(I8, 16, 6),), (scale(0.03),),
                                  (np.array(2, I8),), (integers(I32, 6, low=-900, high=900),), scale(0.9), zero])
    yield Case("qgemm_float", "QGemm", [integers(U8, 5, 16), scale(), zero, (integers(I8, 6, 16),), (scale(0.03),),
                                        (np.array(2, I8),)], transB=1, alpha=0.5)
    yield Case("int_to_float", "MatMulIntegerToFloat", [integers(U8, 5, 16), (integers(I8, 16, 6),), scale(),
                                                        (np.abs(normal(6)),), zero, None, (normal(6),)])
    yield Case("dynamic_quantize", "DynamicQuantizeMatMul", [normal(5, 16), (integers(I8, 16, 6),), (scale(0.03),),
                                                             (np.array(2, I8),), (normal(6),)])

    for kind, extra in (("Relu", {}), ("Tanh", {}), ("LeakyRelu", {"activation_alpha": 0.2}), ("Sigmoid", {})):
        yield Case(f"fused_gemm_{kind.lower()}", "FusedGemm", [normal(5, 16), (normal(6, 16),), (normal(6),)],
                   activation=kind, transB=1, **extra)
    yield Case("fused_matmul", "FusedMatMul", [normal(2, 16, 5), (normal(2, 6, 16),)], alpha=0.25, transA=1, transB=1)
    yield Case("bias_gelu", "BiasGelu", [normal(2, 5, 16), (normal(16),)])
    yield Case("fast_gelu", "FastGelu", [normal(2, 5, 16), (normal(16),)])
    yield Case("quick_gelu", "QuickGelu", [normal(2, 5, 16)], alpha=1.702)
    yield Case("skip_norm", "SkipLayerNormalization", [normal(2, 5, 16), normal(2, 5, 16), (normal(16),),
                                                       (normal(16),), (normal(16),)], epsilon=1e-5)
    yield Case("skip_rms", "SkipSimplifiedLayerNormalization", [normal(2, 5, 16), normal(2, 5, 16), (normal(16),)],
               epsilon=1e-5)
    for kind in ("relu", "gelu", "silu", "identity"):
        yield Case(f"moe_{kind}", "MoE", [normal(2, 5, 16), normal(10, 4), (normal(4, 24, 16),), (normal(4, 24),),
                                          (normal(4, 16, 24),), (normal(4, 16),)], k=2, activation_type=kind,
                   normalize_routing_weights=int(kind in ("relu", "silu")))
    yield Case("moe_swiglu", "MoE", [normal(7, 16), normal(7, 4), (normal(4, 48, 16),), (normal(4, 48),),
                                     (normal(4, 16, 24),)], k=3, activation_type="swiglu", swiglu_fusion=1,
               swiglu_limit=1.5, activation_alpha=1.702, activation_beta=1.0, normalize_routing_weights=1)
    ids = integers(I32, 2, 5, low=0, high=7)
    yield Case("embed_norm", "EmbedLayerNormalization", [ids, integers(I32, 2, 5, low=0, high=1), (normal(8, 16),),
                                                         (normal(9, 16),), (normal(2, 16),), (normal(16),),
                                                         (normal(16),), np.array([[1] * 5, [1, 1, 1, 0, 0]], I32)], 2)

    mask = np.array([[1] * 5, [1, 1, 0, 0, 0]], I32)
    joint = [normal(2, 5, 32), (normal(32, 96),), (normal(96),)]
    yield Case("attention", "Attention", [*joint, mask], num_heads=4, tolerance=1e-4)
    yield Case("attention_past", "Attention", [*joint, np.array([[1] * 8, [1] * 6 + [0] * 2], I32),
                                               normal(2, 2, 4, 3, 8)], 2, num_heads=4, unidirectional=1,
               tolerance=1e-4)
    yield Case("qattention", "QAttention", [integers(U8, 2, 5, 32), (integers(I8, 32, 96, low=-30, high=30),),
                                            (normal(96),), (scale(0.02),), (scale(0.01),), mask, (zero,),
                                            (np.array(1, I8),)], num_heads=4, tolerance=1e-4)
    yield Case("mha", "MultiHeadAttention", [normal(2, 5, 32), normal(2, 7, 32), normal(2, 7, 32), (normal(96),)],
               num_heads=4, tolerance=1e-4)
    yield Case("rotary", "RotaryEmbedding", [normal(2, 5, 32), np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]], I64),
                                             (normal(9, 4),), (normal(9, 4),)])
    yield gqa("gqa", 2, 1, 6, [6, 6])
    yield gqa("gqa_prompt", 2, 5, 0, [4, 4])
    yield gqa("gqa_packed", 1, 1, 6, [6], packed=True)
    yield gqa("gqa_window", 1, 1, 6, [6], local_window_size=3)
    yield gqa("gqa_rotary", 2, 1, 6, [6, 6], rotary=True)
    yield gqa("gqa_rotary_interleaved", 1, 4, 0, [3], rotary=True, rotary_interleaved=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("conformance")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or pathlib.Path(temporary)
        by_tolerance = {}
        for case in cases():
            suite = folder / f"contrib-{case.tolerance:g}"
            try:
                case.write(suite)
            except Exception as error:
                failed.append(f"{case.name}: ONNX Runtime: {str(error).splitlines()[0][:150]}")
                continue
            by_tolerance.setdefault(case.tolerance, suite)
        for mode in ("evaluator", "static", "dynamic", "constant"):
            for tolerance, suite in by_tolerance.items():
                command = [args.conformance, f"--mode={mode}", f"--tolerance={tolerance:g}", "-v", str(suite)]
                lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
                seen = [line for line in lines if line.startswith(("pass ", "fail "))]
                for line in seen:
                    if line.startswith("fail"):
                        failed.append(f"{mode}: {line[5:]}")
                passed = sum(line.startswith("pass") for line in seen)
                print(f"{mode} (tolerance {tolerance:g}): {passed} of {len(seen)} pass")
                if not seen:
                    failed.append(f"{mode}: nothing ran")
    for line in failed:
        print("FAILED", line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
