#!/usr/bin/env python3
"""Makes resize/CASE/{model.onnx, test_data_set_K}: Resize between symbolic sizes, with ONNX Runtime's answers.

Needs onnx, onnxruntime and numpy; the results are committed, so that tests need none of them.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
CASES = [
    ("linear", "half_pixel", "floor"),
    ("linear", "align_corners", "floor"),
    ("linear", "asymmetric", "floor"),
    ("linear", "pytorch_half_pixel", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("nearest", "half_pixel", "round_prefer_ceil"),
    ("nearest", "align_corners", "ceil"),
    ("nearest", "asymmetric", "floor"),
]
SIZES = [(5, 7, 9, 13), (8, 8, 3, 5), (1, 4, 6, 1), (4, 4, 4, 9)]


def make(mode, coordinates, nearest):
    """The size of the result is that of a second input."""
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    nodes = [helper.make_node("Shape", ["like"], ["size"]), helper.make_node("Resize", ["x", "", "", "size"], ["y"], **attributes)]
    tensor = lambda name, *dims: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, *dims])
    graph = helper.make_graph(nodes, "resize", [tensor("x", "h", "w"), tensor("like", "p", "q")], [tensor("y", "p", "q")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main():
    rng = np.random.default_rng(3)
    for case in CASES:
        model = make(*case)
        folder = HERE / "resize" / "_".join(case)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for k, (h, w, p, q) in enumerate(SIZES):
            x, like = rng.normal(size=(1, 1, h, w)).astype(np.float32), np.zeros((1, 1, p, q), np.float32)
            answer = session.run(None, {"x": x, "like": like})[0]
            data = folder / f"test_data_set_{k}"
            data.mkdir(parents=True, exist_ok=True)
            for name, value in (("input_0", x), ("input_1", like), ("output_0", answer)):
                (data / f"{name}.pb").write_bytes(numpy_helper.from_array(value).SerializeToString())
        onnx.save(model, folder / "model.onnx")


main()
