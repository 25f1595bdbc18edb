#!/usr/bin/env python3
"""Writes one head of attention with a symbolic length, softmax(q k' / 8 + mask) v, and data of several lengths.

    attention.py DIR [LENGTH..]

makes DIR/attention with model.onnx and one folder for every length (default 512 2048 8192), in the ONNX test layout:
DIR/attention/n512/input_0.pb and so on. The results are those of numpy in double precision.

Needs: onnx, numpy.
"""
import os, sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DEPTH = 64


def model():
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], name="transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["q", "kt"], ["products"], name="scores"),
        helper.make_node("Mul", ["products", "scale"], ["scaled"], name="scale"),
        helper.make_node("Add", ["scaled", "mask"], ["scores"], name="mask"),
        helper.make_node("Softmax", ["scores"], ["weights"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["y"], name="values"),
    ]
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [info(name, ["n", DEPTH]) for name in "qkv"] + [info("mask", ["n"])]
    scale = numpy_helper.from_array(np.float32(DEPTH ** -0.5), "scale")
    graph = helper.make_graph(nodes, "attention", inputs, [info("y", ["n", DEPTH])], [scale])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def feeds(length):
    random = np.random.default_rng(length)
    tensors = {name: random.standard_normal([length, DEPTH]).astype(np.float32) for name in "qkv"}
    # The last eighth is padding that nobody looks at.
    tensors["mask"] = np.where(np.arange(length) < length - length // 8, 0, -np.inf).astype(np.float32)
    return tensors


def result(q, k, v, mask):
    q, k, v, mask = (t.astype(np.float64) for t in (q, k, v, mask))
    blocks = []
    for rows in np.array_split(q, max(1, len(q) // 256)):
        scores = rows @ k.T * DEPTH ** -0.5 + mask
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        blocks.append(weights @ v / weights.sum(axis=1, keepdims=True))
    return np.concatenate(blocks).astype(np.float32)


def write(directory, lengths):
    directory = os.path.join(directory, "attention")
    os.makedirs(directory, exist_ok=True)
    onnx.save(model(), os.path.join(directory, "model.onnx"))
    for length in lengths:
        data, tensors = os.path.join(directory, "n%d" % length), feeds(length)
        os.makedirs(data, exist_ok=True)
        files = [("input_%d" % n, name, tensor) for n, (name, tensor) in enumerate(tensors.items())]
        for file, name, tensor in files + [("output_0", "y", result(**tensors))]:
            with open(os.path.join(data, file + ".pb"), "wb") as f:
                f.write(numpy_helper.from_array(tensor, name).SerializeToString())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    write(sys.argv[1], [int(a) for a in sys.argv[2:]] or [512, 2048, 8192])
