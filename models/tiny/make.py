"""Makes the tiny models of this folder (needs the packages onnx and numpy). They are committed; run this to change them.

dense.onnx   relu(x @ w + b), x: f32[batch, 4], for the examples and the tests of the command line.
exotic.onnx  operators that do not exist, to be refused with their complete list.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
F32 = TensorProto.FLOAT


def save(name, nodes, initializers=()):
    x = helper.make_tensor_value_info("x", F32, ["batch", 4])
    y = helper.make_tensor_value_info("y", F32, ["batch", 3])
    graph = helper.make_graph(nodes, name, [x], [y], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make.py")
    model.ir_version = 8
    onnx.save(model, HERE / f"{name}.onnx")


def dense():
    w = np.array([[1, 0, -1], [0, 2, 0], [0.5, 0, 0], [0, 0, 1]], np.float32)
    b = np.array([0, -1, 10], np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="product"),
        helper.make_node("Add", ["xw", "b"], ["sum"], name="bias"),
        helper.make_node("Relu", ["sum"], ["y"], name="relu"),
    ]
    save("dense", nodes, [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")])


def exotic():
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], name="first"),
        helper.make_node("Defenestrate", ["a"], ["y"], name="second", domain="com.example"),
    ]
    save("exotic", nodes)


dense()
exotic()
