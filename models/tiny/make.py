"""Makes the tiny models of this folder (needs the packages onnx and numpy). They are committed; run this to change them.

dense.onnx   relu(x @ w + b), x: f32[batch, 4], for the examples and the tests of the command line.
exotic.onnx  operators that do not exist, to be refused with their complete list.
reshape.onnx a reshape to a shape that the graph computes from its input.
count.onnx   a Loop with a condition from the data, a carried value and a value per step.
Each of the others is broken in the way that its name says.
"""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
F32 = TensorProto.FLOAT


def save(name, nodes, initializers=(), result=("batch", 3)):
    x = helper.make_tensor_value_info("x", F32, ["batch", 4])
    y = helper.make_tensor_value_info("y", F32, result)
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


def reshape():
    axis = numpy_helper.from_array(np.array(0, np.int64), "axis")
    half = numpy_helper.from_array(np.array([2, 2], np.int64), "half")
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], name="shape"),
        helper.make_node("Gather", ["shape", "axis"], ["batch"], name="batch", axis=0),
        helper.make_node("Unsqueeze", ["batch", "zeros"], ["batches"], name="list"),
        helper.make_node("Concat", ["batches", "half"], ["target"], name="target", axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"], name="reshape"),
    ]
    zeros = numpy_helper.from_array(np.array([0], np.int64), "zeros")
    save("reshape", nodes, [axis, half, zeros], ("batch", 2, 2))


def count():
    """while total < 10 and step < 5: total += sum(x)."""
    value = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)
    body = helper.make_graph(
        [
            helper.make_node("Add", ["total_in", "part"], ["total_out"], name="add"),
            helper.make_node("Less", ["total_out", "limit"], ["go_out"], name="less"),
            helper.make_node("Identity", ["total_out"], ["step"], name="collect"),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go_in", TensorProto.BOOL, []), value("total_in", F32, [])],
        [value("go_out", TensorProto.BOOL, []), value("total_out", F32, []), value("step", F32, [])],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["part"], name="part", keepdims=0),
        helper.make_node("Loop", ["trips", "", "zero"], ["total", "y"], name="loop", body=body),
    ]
    constants = {"trips": np.array(5, np.int64), "zero": np.array(0, np.float32), "limit": np.array(10, np.float32)}
    save("count", nodes, [numpy_helper.from_array(v, k) for k, v in constants.items()], ("steps",))


def broken():
    save("cycle", [helper.make_node("Add", ["x", "b"], ["a"], name="first"),
                   helper.make_node("Relu", ["a"], ["b"], name="second"),
                   helper.make_node("Relu", ["b"], ["y"], name="third")])
    narrow = numpy_helper.from_array(np.zeros((5, 3), np.float32), "w")
    save("shapes", [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], [narrow])
    save("dangling", [helper.make_node("Add", ["x", "nowhere"], ["y"], name="sum")])
    outside("missing_data", "gone.bin")
    outside("path_traversal", "../../Cargo.toml")
    huge = onnx.TensorProto(name="w", data_type=F32, dims=[1 << 32, 1 << 32])
    save("huge_dims", [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], [huge])
    whole = (HERE / "dense.onnx").read_bytes()
    (HERE / "truncated.onnx").write_bytes(whole[: len(whole) // 2])


def outside(name, location):
    """A model whose weights lie in another file."""
    w = onnx.TensorProto(name="w", data_type=F32, dims=[4, 3], data_location=onnx.TensorProto.EXTERNAL)
    w.external_data.add(key="location", value=location)
    save(name, [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], [w])


dense()
exotic()
reshape()
count()
broken()
