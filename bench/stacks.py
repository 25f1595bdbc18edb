#!/usr/bin/env python3
"""Stacks of recurrent layers, and what running them side by side on two cores is worth.

    stacks.py write DIR                                    makes DIR/STACK with model.onnx and test_data_set_0
    stacks.py compare SIRIUS MODEL_DIR [..] [--rounds 5]   times MODEL_DIR with one thread, with two, and with two but without
                                                           the pass `wavefront`, in turns, and prints a Markdown table

A stack is named CELL_LAYERSxUNITS, with _both where every layer has two directions; 100 steps, batch 1. `compare` takes
any model with data in the ONNX test layout; times are the best of all rounds, as other work on the machine holds up the
barriers of a team more than anything else. Needs: onnx, onnxruntime, numpy.
"""
import argparse, os, subprocess, sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compare_peers import bench, session

STEPS = 100
GATES = {"lstm": 4, "gru": 3}
STACKS = [("lstm", 2, 64, 1), ("lstm", 4, 64, 1), ("gru", 4, 64, 1), ("lstm", 4, 128, 1), ("lstm", 3, 64, 2), ("gru", 2, 128, 2)]
VARIANTS = [("1 thread", 1, []), ("2 threads, without", 2, ["--disable-pass", "wavefront"]), ("2 threads, with", 2, [])]


def model(cell, layers, units, directions):
    random = np.random.default_rng(1)
    nodes, constants = [], [numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat")]
    result, width = "x", units
    for n in range(layers):
        rows = GATES[cell] * units
        for name, shape in [("W", [directions, rows, width]), ("R", [directions, rows, units]), ("B", [directions, 2 * rows])]:
            drawn = (random.standard_normal(shape) / np.sqrt(units)).astype(np.float32)
            constants.append(numpy_helper.from_array(drawn, "%s%d" % (name, n)))
        nodes += [
            helper.make_node(cell.upper(), [result, "W%d" % n, "R%d" % n, "B%d" % n], ["y%d" % n], name="layer%d" % n,
                             hidden_size=units, direction="bidirectional" if directions == 2 else "forward"),
            helper.make_node("Transpose", ["y%d" % n], ["swapped%d" % n], name="swap%d" % n, perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["swapped%d" % n, "flat"], ["x%d" % n], name="flat%d" % n),
        ]
        result, width = "x%d" % n, units * directions
    info = lambda name, columns: helper.make_tensor_value_info(name, TensorProto.FLOAT, [STEPS, 1, columns])
    graph = helper.make_graph(nodes, "stack", [info("x", units)], [info(result, width)], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def write(directory):
    for cell, layers, units, directions in STACKS:
        name = "%s_%dx%d%s" % (cell, layers, units, "_both" if directions == 2 else "")
        data = os.path.join(directory, name, "test_data_set_0")
        os.makedirs(data, exist_ok=True)
        made = model(cell, layers, units, directions)
        onnx.save(made, os.path.join(directory, name, "model.onnx"))
        x = np.random.default_rng(2).standard_normal([STEPS, 1, units]).astype(np.float32)
        y = session(made.SerializeToString()).run(None, {"x": x})[0]
        for file, tensor in [("input_0.pb", x), ("output_0.pb", y)]:
            with open(os.path.join(data, file), "wb") as f:
                f.write(numpy_helper.from_array(tensor).SerializeToString())


def compare(sirius, folder, out, rounds):
    name, data = os.path.basename(os.path.normpath(folder)), os.path.join(folder, "test_data_set_0")
    best = [float("inf")] * len(VARIANTS)
    artifact = lambda n: os.path.join(out, "%s_%d" % (name, n))
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for n, (_, threads, flags) in enumerate(VARIANTS):
        model = os.path.join(folder, "model.onnx")
        subprocess.run([sirius, "compile", model, "-o", artifact(n), "--threads", str(threads), *flags], **quiet)
        subprocess.run([sirius, "run", artifact(n), "--threads", str(threads), "--data", data], **quiet)
    for _ in range(rounds):
        for n, (_, threads, _) in enumerate(VARIANTS):
            best[n] = min(best[n], bench(sirius, artifact(n), data, threads)["min_us"])
    print("| %s | %s | %.2f |" % (name, " | ".join("%.0f" % t for t in best), best[2] / best[1]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("dir")
    timing = commands.add_parser("compare")
    timing.add_argument("sirius")
    timing.add_argument("models", nargs="+")
    timing.add_argument("--rounds", type=int, default=5)
    timing.add_argument("--out", default="/tmp/sirius-bench")
    args = parser.parse_args()
    if args.command == "write":
        return write(args.dir)
    print("| model | %s | with / without |" % " | ".join(v[0] + ", us" for v in VARIANTS))
    print("|---|" + "--:|" * (len(VARIANTS) + 1))
    for folder in args.models:
        compare(args.sirius, folder, args.out, args.rounds)


if __name__ == "__main__":
    sys.exit(main())
