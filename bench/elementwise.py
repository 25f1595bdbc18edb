#!/usr/bin/env python3
"""Writes four models that are elementwise operators and sums over rows: what fusion is for.

    elementwise.py DIR

makes DIR/NAME with model.onnx and test_data_set_0 (the ONNX test layout; the results are those of ONNX's reference
evaluator):

    elem20_cheap   20 additions, products and comparisons on 1024 x 1024 numbers
    elem20_mix     the same with exp, tanh, erf, square root and division
    layer_norm     layer normalization of 1024 rows of 768, written as its nine operators
    softmax        softmax of 1024 rows of 768, written as its five operators

Needs: onnx, numpy.
"""
import os, sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SQUARE, ROWS = [1024, 1024], [1024, 768]

# Each operator works on the result of the one before; "x" and "y" are inputs, "row" is a constant row, numbers are scalars.
CHEAP = [("Add", "x", "y"), ("Mul", 0.5), ("Sub", "y"), ("Relu",), ("Add", "row"), ("Mul", "x"), ("Neg",), ("Add", "y"),
         ("Abs",), ("Mul", 0.25), ("Max", "x"), ("Add", 1.0), ("Mul", "y"), ("Sub", "row"), ("Min", 3.0), ("Add", "x"),
         ("Relu",), ("Mul", 1.7), ("Add", "y"), ("Sub", "x")]
MIX = [("Add", "x", "y"), ("Mul", 0.5), ("Sigmoid",), ("Mul", "x"), ("Add", "row"), ("Tanh",), ("Sub", "y"), ("Abs",),
       ("Sqrt",), ("Add", 1.0), ("Div", "x"), ("Relu",), ("Neg",), ("Exp",), ("Mul", "y"), ("Max", "x"), ("Min", 3.0),
       ("Erf",), ("Mul", 1.7), ("Add", "x")]


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = "c%d" % len(self.constants)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op, *inputs, **attributes):
        name = "%s_%d" % (op.lower(), len(self.nodes))
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


def chain(steps, g):
    row = g.constant((0.3 * np.random.default_rng(1).standard_normal(SQUARE[1])).astype(np.float32))
    operand = lambda a: row if a == "row" else a if isinstance(a, str) else g.constant(np.float32(a))
    result = None
    for op, *operands in steps:
        known = [] if result is None else [result]
        result = g.add(op, *known, *map(operand, operands))
    return result


def layer_norm(g):
    mean = lambda v: g.add("ReduceMean", v, axes=[-1], keepdims=1)
    draw = lambda seed: np.random.default_rng(seed).standard_normal(ROWS[1]).astype(np.float32)
    centred = g.add("Sub", "x", mean("x"))
    variance = mean(g.add("Mul", centred, centred))
    deviation = g.add("Sqrt", g.add("Add", variance, g.constant(np.float32(1e-5))))
    scaled = g.add("Mul", g.add("Div", centred, deviation), g.constant(draw(2)))
    return g.add("Add", scaled, g.constant(draw(3)))


def softmax(g):
    shifted = g.add("Sub", "x", g.add("ReduceMax", "x", axes=[-1], keepdims=1))
    powers = g.add("Exp", shifted)
    return g.add("Div", powers, g.add("ReduceSum", powers, g.constant(np.array([-1], np.int64)), keepdims=1))


MODELS = {
    "elem20_cheap": (lambda g: chain(CHEAP, g), ["x", "y"], SQUARE),
    "elem20_mix": (lambda g: chain(MIX, g), ["x", "y"], SQUARE),
    "layer_norm": (layer_norm, ["x"], ROWS),
    "softmax": (softmax, ["x"], ROWS),
}


def write(directory, name):
    make, inputs, shape = MODELS[name]
    g = Graph()
    result = make(g)
    info = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
    graph = helper.make_graph(g.nodes, name, [info(n) for n in inputs], [info(result)], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(4)
    feeds = {n: random.standard_normal(shape).astype(np.float32) for n in inputs}
    results = ReferenceEvaluator(model).run(None, feeds)
    data = os.path.join(directory, name, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    onnx.save(model, os.path.join(directory, name, "model.onnx"))
    named = [("input", feeds.items()), ("output", zip([result], results))]
    for kind, tensors in named:
        for n, (tensor, value) in enumerate(tensors):
            with open(os.path.join(data, "%s_%d.pb" % (kind, n)), "wb") as f:
                f.write(numpy_helper.from_array(value.astype(np.float32), tensor).SerializeToString())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for model in MODELS:
        write(sys.argv[1], model)
