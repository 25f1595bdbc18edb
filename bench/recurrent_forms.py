#!/usr/bin/env python3
"""The same LSTM and GRU as an operator, as Loop, as Scan and unrolled: the same weights, the same results.

    recurrent_forms.py write DIR [--cells lstm,gru] [--hidden 64,256] [--steps 16,100] [--batch 1,8]
    recurrent_forms.py compare SIRIUS DIR [--rounds 5]

`write` makes DIR/CELL_hHIDDEN_tSTEPS_bBATCH_FORM with model.onnx and test_data_set_0 (the ONNX test layout); the
results in it are ONNX Runtime's for the operator. `compare` compiles every one, checks its results, times it and
ONNX Runtime in turns (as compare_peers.py does), and says how each form compares with the operator.
Needs: onnx, onnxruntime, numpy.
"""
import argparse, os, statistics, subprocess, sys, time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compare_peers import bench, session, timed

FORMS = ["op", "loop", "scan", "unrolled"]
FLOAT = TensorProto.FLOAT


class Nodes:
    """Nodes with results named after them."""

    def __init__(self, prefix):
        self.prefix, self.list = prefix, []

    def add(self, op, inputs, name, count=1, **attributes):
        outputs = [self.prefix + name + (str(n) if count > 1 else "") for n in range(count)]
        self.list.append(helper.make_node(op, inputs, outputs, name=self.prefix + name, **attributes))
        return outputs if count > 1 else outputs[0]


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def info(name, shape):
    return helper.make_tensor_value_info(name, FLOAT, shape)


def weights(cell, size, hidden, seed=1):
    gates = {"lstm": 4, "gru": 3}[cell] * hidden
    random = np.random.default_rng(seed)
    draw = lambda *shape: (random.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32)
    return {"W": draw(gates, size), "R": draw(gates, hidden), "Wb": draw(gates), "Rb": draw(gates)}


def step(cell, nodes, x, state):
    """One step from the input [batch, input] and the state [batch, hidden]: the new state, the output first."""
    from_x = nodes.add("Gemm", [x, "W", "Wb"], "ih", transB=1)
    from_h = nodes.add("Gemm", [state[0], "R", "Rb"], "hh", transB=1)
    if cell == "lstm":
        i, o, f, c = nodes.add("Split", [nodes.add("Add", [from_h, from_x], "gates"), "four"], "gate", 4, axis=1)
        i, o, f = (nodes.add("Sigmoid", [g], "sigmoid_" + n) for g, n in zip([i, o, f], "iof"))
        kept = nodes.add("Mul", [f, state[1]], "kept")
        new = nodes.add("Mul", [i, nodes.add("Tanh", [c], "candidate")], "new")
        cell_state = nodes.add("Add", [kept, new], "c")
        return [nodes.add("Mul", [o, nodes.add("Tanh", [cell_state], "shown")], "h"), cell_state]
    zx, rx, hx = nodes.add("Split", [from_x, "three"], "x_gate", 3, axis=1)
    zh, rh, hh = nodes.add("Split", [from_h, "three"], "h_gate", 3, axis=1)
    z = nodes.add("Sigmoid", [nodes.add("Add", [zx, zh], "z_in")], "z")
    r = nodes.add("Sigmoid", [nodes.add("Add", [rx, rh], "r_in")], "r")
    inner = nodes.add("Add", [hx, nodes.add("Mul", [r, hh], "reset")], "inner")
    candidate = nodes.add("Tanh", [inner], "candidate")
    rest = nodes.add("Sub", [candidate, nodes.add("Mul", [z, candidate], "z_candidate")], "rest")
    return [nodes.add("Add", [rest, nodes.add("Mul", [z, state[0]], "old")], "h")]


def operator(cell, hidden, w, nodes, starts):
    d = lambda a: a[None]
    initial = [constant("Wd", d(w["W"])), constant("Rd", d(w["R"])), constant("Bd", d(np.concatenate([w["Wb"], w["Rb"]]))),
               constant("first", np.array([0])), constant("second", np.array([1]))]
    planes = [nodes.add("Unsqueeze", [s, "first"], "plane_" + s) for s in starts]
    extra = {"linear_before_reset": 1} if cell == "gru" else {}
    outputs = ["y4", "last_h"] + (["last_c"] if cell == "lstm" else [])
    nodes.list.append(helper.make_node(cell.upper(), ["x", "Wd", "Rd", "Bd", ""] + planes, outputs,
                                       name=cell, hidden_size=hidden, **extra))
    nodes.list.append(helper.make_node("Squeeze", ["y4", "second"], ["y"], name="y"))
    return initial


def body(cell, states, batch, size, hidden, kind):
    """The graph of one step of a Loop or a Scan."""
    nodes = Nodes("")
    state_in = [s + "_in" for s in states]
    carried = [info(s, [batch, hidden]) for s in state_in]
    if kind == "scan":
        inputs = carried + [info("x_t", [batch, size])]
    else:
        inputs = [helper.make_tensor_value_info("t", TensorProto.INT64, []),
                  helper.make_tensor_value_info("go", TensorProto.BOOL, [])] + carried
        nodes.add("Gather", ["x", "t"], "x_t", axis=0)
        nodes.add("Identity", ["go"], "again")
    new = step(cell, nodes, "x_t", state_in)
    shown = nodes.add("Identity", [new[0]], "shown_h")
    outputs = [info(n, [batch, hidden]) for n in new + [shown]]
    if kind == "loop":
        outputs.insert(0, helper.make_tensor_value_info("again", TensorProto.BOOL, []))
    return helper.make_graph(nodes.list, "step", inputs, outputs)


def model(cell, form, steps, batch, size, hidden):
    w, states = weights(cell, size, hidden), ["h", "c"] if cell == "lstm" else ["h"]
    starts = ["start_" + s for s in states]
    nodes = Nodes("")
    initial = [constant(n, a) for n, a in w.items()]
    initial += [constant("four", np.array([hidden] * 4)), constant("three", np.array([hidden] * 3))]
    if form == "op":
        initial = operator(cell, hidden, w, nodes, starts)
    elif form == "unrolled":
        initial.append(constant("front", np.array([0])))
        state, rows = starts, []
        for t in range(steps):
            part = Nodes("t%d_" % t)
            initial.append(constant("at%d" % t, np.array(t)))
            state = step(cell, part, part.add("Gather", ["x", "at%d" % t], "x", axis=0), state)
            rows.append(part.add("Unsqueeze", [state[0], "front"], "row"))
            nodes.list += part.list
        nodes.list.append(helper.make_node("Concat", rows, ["y"], name="y", axis=0))
    else:
        graph = body(cell, states, batch, size, hidden, form)
        results = ["last_" + s for s in states] + ["y"]
        if form == "scan":
            node = helper.make_node("Scan", starts + ["x"], results, name="scan", body=graph, num_scan_inputs=1)
        else:
            initial += [constant("count", np.array(steps)), constant("true", np.array(True))]
            node = helper.make_node("Loop", ["count", "true"] + starts, results, name="loop", body=graph)
        nodes.list.append(node)
    inputs = [info("x", [steps, batch, size])] + [info(s, [batch, hidden]) for s in starts]
    used = {i for n in nodes.list for i in n.input} | {i for n in nodes.list for a in n.attribute for b in a.g.node for i in b.input}
    graph = helper.make_graph(nodes.list, cell, inputs, [info("y", [steps, batch, hidden])],
                              [i for i in initial if i.name in used])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return made


def feeds(cell, steps, batch, size, hidden):
    random = np.random.default_rng(2)
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)
    feed = {"x": draw(steps, batch, size), "start_h": draw(batch, hidden)}
    return feed | ({"start_c": draw(batch, hidden)} if cell == "lstm" else {})


def write(args):
    numbers = lambda text: [int(n) for n in text.split(",")]
    for cell in args.cells.split(","):
        for hidden in numbers(args.hidden):
            for steps in numbers(args.steps):
                for batch in numbers(args.batch):
                    write_forms(args.dir, cell, steps, batch, hidden)


def write_forms(folder, cell, steps, batch, hidden):
    feed, expected = feeds(cell, steps, batch, hidden, hidden), None
    for form in FORMS:
        made = model(cell, form, steps, batch, hidden, hidden)
        if expected is None:
            expected = session(made.SerializeToString()).run(None, feed)[0]
        place = os.path.join(folder, "%s_h%d_t%d_b%d_%s" % (cell, hidden, steps, batch, form))
        os.makedirs(os.path.join(place, "test_data_set_0"), exist_ok=True)
        onnx.save(made, os.path.join(place, "model.onnx"))
        for n, (name, array) in enumerate(feed.items()):
            save(os.path.join(place, "test_data_set_0", "input_%d.pb" % n), name, array)
        save(os.path.join(place, "test_data_set_0", "output_0.pb"), "y", expected)


def save(path, name, array):
    with open(path, "wb") as f:
        f.write(numpy_helper.from_array(array, name).SerializeToString())


def compare(args):
    print("| network | form | compile s | library KiB | Sirius us | to operator | ONNX Runtime us | ratio |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    groups = {}
    for name in sorted(os.listdir(args.dir)):
        group, _, form = name.rpartition("_")
        groups.setdefault(group, []).append(form)
    for group, forms in groups.items():
        compare_forms(args, group, [f for f in FORMS if f in forms])


def compare_forms(args, group, forms):
    artifacts, compiled, ours, theirs = {}, {}, {f: [] for f in forms}, {f: [] for f in forms}
    for form in forms:
        place = os.path.join(args.dir, group + "_" + form)
        artifacts[form] = os.path.join(args.out, group + "_" + form)
        start = time.perf_counter()
        quiet = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([args.sirius, "compile", os.path.join(place, "model.onnx"), "-o", artifacts[form]], **quiet)
        compiled[form] = time.perf_counter() - start
        subprocess.run([args.sirius, "run", artifacts[form], "--data", os.path.join(place, "test_data_set_0")], **quiet)
    cell, hidden, steps, batch = group.split("_")
    feed = feeds(cell, int(steps[1:]), int(batch[1:]), int(hidden[1:]), int(hidden[1:]))
    sessions = {f: session(os.path.join(args.dir, group + "_" + f, "model.onnx")) for f in forms}
    for _ in range(args.rounds):
        for form in forms:
            data = os.path.join(args.dir, group + "_" + form, "test_data_set_0")
            ours[form].append(bench(args.sirius, artifacts[form], data)["median_us"])
        for form in forms:
            theirs[form].append(statistics.median(timed(lambda: sessions[form].run(None, feed), args.seconds)))
    for form in forms:
        mine, other = statistics.median(ours[form]), statistics.median(theirs[form])
        size = sum(os.path.getsize(os.path.join(artifacts[form], f)) for f in os.listdir(artifacts[form]) if f.endswith(".so"))
        print("| %s | %s | %.1f | %.0f | %.1f | %.2f | %.1f | %.2f |" % (
            group, form, compiled[form], size / 1024, mine, mine / statistics.median(ours[forms[0]]), other, mine / other), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("write")
    one.add_argument("dir")
    for name, default in [("cells", "lstm,gru"), ("hidden", "64,256"), ("steps", "16,100"), ("batch", "1,8")]:
        one.add_argument("--" + name, default=default)
    two = commands.add_parser("compare")
    two.add_argument("sirius")
    two.add_argument("dir")
    two.add_argument("--rounds", type=int, default=5)
    two.add_argument("--seconds", type=float, default=0.2)
    two.add_argument("--out", default="/tmp/sirius-recurrent")
    args = parser.parse_args()
    write(args) if args.command == "write" else compare(args)


if __name__ == "__main__":
    sys.exit(main())
