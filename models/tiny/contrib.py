#!/usr/bin/env python3
"""Makes contrib/CASE/{model.onnx, test_data_set_0}: one operator of com.microsoft each, with ONNX Runtime's answer.

Needs onnx, onnxruntime and numpy; the results are committed, so that tests need none of them.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
RNG = np.random.default_rng(7)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def bytes_(dtype, *shape):
    """Any unsigned bytes, but small signed ones: ONNX Runtime adds two products of a u8 and an s8 in saturating 16 bits."""
    low, high = (0, 256) if dtype == np.uint8 else (-60, 61)
    return RNG.integers(low, high, size=shape).astype(dtype)


def f32(value):
    return np.float32(value)


def binary(op, dtype):
    zero = dtype(3)
    values = [bytes_(dtype, 2, 3), f32(0.02), zero, bytes_(dtype, 2, 3), f32(0.03), zero, f32(0.05), dtype(7)]
    return op, values, [], {}


def unary(op, x, y_scale, **attributes):
    return op, [x, f32(0.04), np.uint8(120), f32(y_scale), np.uint8(5)], [], attributes


def lstm(direction, count):
    w, r = bytes_(np.int8, count, 3, 16), bytes_(np.int8, count, 4, 16)
    scale, zero = np.full(count, 0.01, np.float32), np.zeros(count, np.int8)
    states = [real(count, 2, 4), real(count, 2, 4)]
    values = [real(5, 2, 3), w, r, real(count, 32), None, *states, None, scale, zero, scale, zero]
    return "DynamicQuantizeLSTM", values, list(range(1, 12)), {"hidden_size": 4, "direction": direction}


# Operator, inputs (None is an omitted one), which of them are constants, attributes; outputs are counted apart.
CASES = {
    "bias_gelu": ("BiasGelu", [real(2, 5), real(5)], [], {}),
    "fast_gelu": ("FastGelu", [real(2, 5), real(5)], [], {}),
    "fast_gelu_plain": ("FastGelu", [real(2, 5)], [], {}),
    "gelu": ("Gelu", [real(2, 5)], [], {}),
    "quick_gelu": ("QuickGelu", [real(2, 5)], [], {"alpha": 1.5}),
    "fused_matmul": ("FusedMatMul", [real(2, 3, 4), real(2, 5, 3)], [], {"transA": 1, "transB": 1, "alpha": 0.5}),
    "fused_matmul_plain": ("FusedMatMul", [real(3, 4), real(4, 5)], [], {}),
    "skip_layer_norm": ("SkipLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8), real(8), real(8)], [], {}),
    "skip_layer_norm_plain": ("SkipLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8)], [], {"epsilon": 1e-3}),
    "skip_rms_norm": ("SkipSimplifiedLayerNormalization", [real(2, 3, 8), real(2, 3, 8), real(8)], [], {}),
    "qlinear_add": binary("QLinearAdd", np.uint8),
    "qlinear_add_signed": binary("QLinearAdd", np.int8),
    "qlinear_mul": binary("QLinearMul", np.uint8),
    "qlinear_sigmoid": unary("QLinearSigmoid", bytes_(np.uint8, 2, 7), 1 / 256),
    "qlinear_leaky_relu": unary("QLinearLeakyRelu", bytes_(np.uint8, 2, 7), 0.05, alpha=0.1),
    "qlinear_pool": unary("QLinearGlobalAveragePool", bytes_(np.uint8, 2, 3, 4, 4), 0.03),
    "qlinear_concat": (
        "QLinearConcat",
        [f32(0.05), np.uint8(9), *[v for _ in range(2) for v in (bytes_(np.uint8, 2, 3), f32(0.04), np.uint8(120))]],
        [],
        {"axis": 1},
    ),
    "qgemm": (
        "QGemm",
        [bytes_(np.uint8, 3, 4), f32(0.02), np.uint8(128), bytes_(np.int8, 5, 4), real(5) ** 2, np.zeros(5, np.int8)]
        + [RNG.integers(-99, 99, 5).astype(np.int32), f32(0.3), np.uint8(100)],
        [3, 4, 5],
        {"transB": 1},
    ),
    "qgemm_float": (
        "QGemm",
        [bytes_(np.uint8, 3, 4), f32(0.02), np.uint8(128), bytes_(np.int8, 4, 5), f32(0.1), np.int8(0)],
        [3, 4, 5],
        {},
    ),
    "matmul_to_float": (
        "MatMulIntegerToFloat",
        [bytes_(np.uint8, 3, 4), bytes_(np.int8, 4, 5), f32(0.02), f32(0.1), np.uint8(99), np.int8(1), real(5)],
        [],
        {},
    ),
    "dynamic_matmul": (
        "DynamicQuantizeMatMul",
        [real(3, 4), bytes_(np.int8, 4, 5), f32(0.1), np.int8(1), real(5)],
        [1, 2, 3],
        {},
    ),
    "dynamic_lstm": lstm("forward", 1),
    "dynamic_lstm_reverse": lstm("reverse", 1),
    "dynamic_lstm_both": lstm("bidirectional", 2),
}
OUTPUTS = {"DynamicQuantizeLSTM": 3}


def make(name, op, values, constants, attributes):
    names = ["" if v is None else f"x{n}" for n, v in enumerate(values)]
    given = {n: np.asarray(v) for n, v in enumerate(values) if v is not None}
    outputs = [f"y{n}" for n in range(OUTPUTS.get(op, 1))]
    node = helper.make_node(op, names, outputs, name=name, domain="com.microsoft", **attributes)
    info = lambda n: helper.make_tensor_value_info(names[n], helper.np_dtype_to_tensor_dtype(given[n].dtype), given[n].shape)
    free = [n for n in given if n not in constants]
    weights = [numpy_helper.from_array(given[n], names[n]) for n in given if n in constants]
    graph = helper.make_graph([node], name, [info(n) for n in free], [onnx.ValueInfoProto(name=y) for y in outputs], weights)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8), {names[n]: given[n] for n in free}


def main():
    for name, case in CASES.items():
        model, feed = make(name, *case)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        answers = session.run(None, feed)
        data = HERE / "contrib" / name / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        for output, value in zip(model.graph.output, answers):
            dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
            output.CopyFrom(helper.make_tensor_value_info(output.name, dtype, value.shape))
        onnx.save(model, data.parent / "model.onnx")
        for kind, values in (("input", feed.items()), ("output", zip((o.name for o in model.graph.output), answers))):
            for n, (label, value) in enumerate(values):
                (data / f"{kind}_{n}.pb").write_bytes(numpy_helper.from_array(value, label).SerializeToString())


main()
