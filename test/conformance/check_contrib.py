#!/usr/bin/env python3
"""Operators of com.microsoft against ONNX Runtime, which defines them.

    check_contrib.py LLMOPT_CONFORMANCE [--keep FOLDER] [-v]

Makes one model per case with random inputs, has ONNX Runtime run it (or, where it
has no CPU kernel, numpy compute what the operator's documentation says), and hands
the cases to llmopt-conformance in the modes evaluator, static, dynamic and
constant. In each every case must pass, except those that NOT_DYNAMIC begins in
dynamic. A case that ONNX Runtime does not run is a failure of this script.
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
# The gate of GatedRelativePositionBias is cut from a weight by the hidden size.
NOT_DYNAMIC = ("gated_bias",)


def normal(*shape):
    return RNG.standard_normal(shape).astype(F)


def integers(dtype, *shape, low=None, high=None):
    info = np.iinfo(dtype)
    return RNG.integers(info.min if low is None else low, (info.max if high is None else high) + 1, shape).astype(dtype)


class Case:
    """Inputs by position: None is absent, a tuple (array,) an initializer."""

    def __init__(self, name, op, inputs, outputs=1, tolerance=1e-5, reference=None, **attributes):
        self.name, self.op, self.inputs, self.outputs = name, op, inputs, outputs
        self.reference = reference
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
        if self.reference is not None:
            results = [self.reference]
        else:
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


def gqa(name, batch, length, past, lasts, heads=4, kv=2, size=16, packed=False, rotary=False, total=None, ids=None,
        bias=False, sinks=False, **attributes):
    """`past` rows of keys and values come in. `total` is that of the longest row; less
    than past and length where the past is a buffer with room."""
    total = total or past + length
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
    inputs += [None] * (9 - len(inputs)) + [ids, normal(batch, 1, length, total) if bias else None]
    inputs += [(normal(heads),)] if sinks else []
    return Case(name, "GroupQueryAttention", inputs, 3, num_heads=heads, kv_num_heads=kv, tolerance=1e-4, **attributes)


# Blocks of 8 bits are left out: ONNX Runtime rounds activations there (4e-3).
def qmoe(name, bits, block=0, zeros=False, experts=4, hidden=32, inter=64, fused=2, shares=False, **attributes):
    """Weights of `bits` with a scale per row, or per block."""
    def weights(rows, width):
        blocks = width // block if block else 1
        parts = [(integers(U8, experts, rows, width * bits // 8),)]
        parts.append((np.abs(normal(*((experts, rows, blocks) if block else (experts, rows)))) * F(0.1 / 2 ** (bits - 4)),))
        zero = (experts, rows, (blocks * bits + 7) // 8) if block else (experts, (rows * bits + 7) // 8)
        return parts, (integers(U8, *zero),) if zeros else None
    (up, up_scale), up_zero = weights(fused * inter, hidden)
    (down, down_scale), down_zero = weights(hidden, inter)
    inputs = [normal(6, hidden), normal(6, experts), up, up_scale, (normal(experts, fused * inter),), down, down_scale,
              (normal(experts, hidden),), None, None, None, up_zero, down_zero, None,
              np.abs(normal(6, experts)) if shares else None]
    while inputs[-1] is None:
        inputs.pop()
    if block:
        attributes["block_size"] = block
    return Case(name, "QMoE", inputs, k=2, expert_weight_bits=bits, tolerance=1e-4, **attributes)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def packed_mha(name, joint):
    """Rows of 3, 1 and 4 tokens one behind the other."""
    ends, heads, size = np.array([0, 3, 4, 8], I32), 4, 8
    offsets = np.arange(12, dtype=I32).reshape(3, 4)
    bias = normal(3 * heads * size)
    qkv = normal(8, heads, 3, size)
    parts = [qkv[:, :, i].reshape(8, -1) for i in range(3)]
    q, k, v = [(x + b).reshape(8, heads, size) for x, b in zip(parts, np.split(bias, 3))]
    out = np.zeros((8, heads, size), F)
    for a, b in zip(ends, ends[1:]):
        weights = softmax(np.einsum("shd,thd->hst", q[a:b], k[a:b]) / np.sqrt(size))
        out[a:b] = np.einsum("hst,thd->shd", weights, v[a:b])
    inputs = [qkv, None, None] if joint else parts
    return Case(name, "PackedMultiHeadAttention", [*inputs, (bias,), offsets, ends], num_heads=heads,
                reference=out.reshape(8, -1), tolerance=1e-4)


def relative_bias(name, length, both, buckets=32, heads=4, furthest=30):
    """T5's: a bucket per distance, then logarithmic ones."""
    table = normal(buckets, heads)
    relative = np.arange(length)[None] - np.arange(length)[:, None]
    half = buckets // 2 if both else buckets
    away = np.abs(relative) if both else -np.minimum(relative, 0)
    exact = half // 2
    share = np.log(np.maximum(away, 1).astype(F) / F(exact)) / np.log(F(furthest) / F(exact))
    bucket = np.where(away < exact, away, np.minimum(exact + (share * F(half - exact)).astype(I64), half - 1))
    bucket = bucket + (half * (relative > 0) if both else 0)
    columns = np.ascontiguousarray(table.T).reshape(buckets, heads)  # column-major, under its shape
    return Case(name, "RelativePositionBias", [(columns,), (np.array(length, I64),), (np.array(length, I64),)],
                max_distance=furthest, is_bidirectional=both, reference=table[bucket].transpose(2, 0, 1)[None])


def gated_bias():
    heads, size, length, width = 4, 8, 5, 6
    query, bias = normal(2, length, heads * size), normal(heads * size)
    positions, weight, offset, eco = normal(1, heads, length, length), normal(size, width), normal(width), normal(1, heads, 1, 1)
    x = (query + bias).reshape(2, length, heads, size).transpose(0, 2, 1, 3)
    gates = 1 / (1 + np.exp(-(x @ weight + offset).reshape(2, heads, length, 2, width // 2).sum(-1)))
    gate = gates[..., :1] * (gates[..., 1:] * eco - 1) + 2
    return Case("gated_bias", "GatedRelativePositionBias", [query, bias, positions, (weight,), (offset,), (eco,)],
                num_heads=heads, reference=(gate * positions).astype(F))


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

    bytes_of = lambda *shape: (integers(U8, *shape),)
    scales = [(scale(s),) for s in (0.02, 0.01, 0.03, 0.01, 0.02)]
    zeros = [(np.array(z, U8),) for z in (120, 128, 99, 3, 140)]
    yield Case("q_embed_norm", "QEmbedLayerNormalization",
               [ids, integers(I32, 2, 5, low=0, high=1), bytes_of(8, 16), bytes_of(9, 16), bytes_of(2, 16), bytes_of(16),
                bytes_of(16), np.array([[1] * 5, [1, 1, 1, 0, 0]], I32), *scales, *zeros], 2, tolerance=1e-4)

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
    yield gqa("gqa_rotary_packed", 2, 1, 6, [6, 3], rotary=True, packed=True)
    yield gqa("gqa_ragged", 2, 1, 6, [6, 3])
    yield gqa("gqa_shared", 2, 1, 8, [5, 5], total=6)
    yield gqa("gqa_shared_ragged", 2, 1, 8, [5, 2], total=6, rotary=True)
    yield gqa("gqa_shared_more", 1, 3, 8, [5], total=6)
    yield gqa("gqa_softcap", 2, 1, 6, [6, 6], softcap=1.5)
    yield gqa("gqa_softcap_prompt", 1, 5, 0, [4], softcap=1.5, local_window_size=2)
    yield gqa("gqa_smooth", 2, 1, 6, [6, 4], smooth_softmax=1)
    yield gqa("gqa_sinks", 2, 1, 6, [6, 4], sinks=True)
    yield gqa("gqa_sinks_prompt", 1, 5, 0, [4], sinks=True, local_window_size=3)
    yield gqa("gqa_sinks_softcap", 1, 2, 6, [7], sinks=True, softcap=2.0, rotary=True)
    yield gqa("gqa_bias", 1, 2, 6, [7], bias=True)
    yield gqa("gqa_bias_prompt", 2, 4, 0, [3, 3], bias=True)
    yield gqa("gqa_positions", 2, 1, 6, [6, 4], rotary=True, ids=np.array([[6], [9]], I64))
    yield gqa("gqa_window_ragged", 2, 1, 6, [6, 4], local_window_size=2)
    for both in (0, 1):
        for length in (5, 40):
            yield relative_bias(f"relative_bias_{both}_{length}", length, both)
    yield gated_bias()
    yield packed_mha("packed_mha", False)
    yield packed_mha("packed_mha_joint", True)
    yield qmoe("qmoe_4", 4, activation_type="swiglu", swiglu_fusion=1)
    yield qmoe("qmoe_4_block", 4, block=32, activation_type="swiglu", swiglu_fusion=1, swiglu_limit=1.5,
               activation_alpha=1.702, activation_beta=1.0, normalize_routing_weights=1)
    yield qmoe("qmoe_8", 8, activation_type="swiglu", swiglu_fusion=1)
    yield qmoe("qmoe_8_zeros", 8, zeros=True, activation_type="swiglu", swiglu_fusion=1)
    yield qmoe("qmoe_4_zeros", 4, block=16, zeros=True, activation_type="swiglu", swiglu_fusion=1)
    yield qmoe("qmoe_silu", 4, fused=1, activation_type="silu")
    yield qmoe("qmoe_shares", 4, fused=1, activation_type="silu", shares=True)
    yield qmoe("qmoe_shares_normal", 4, fused=1, activation_type="silu", shares=True, normalize_routing_weights=1)


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
                    name = line.split()[1].partition("/")[2]
                    allowed = mode == "dynamic" and name.startswith(NOT_DYNAMIC) and "to be a known size" in line
                    if line.startswith("fail") and not allowed:
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
