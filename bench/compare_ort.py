#!/usr/bin/env python3
"""Times compiled models and ONNX Runtime in turns, one thread each, and prints a Markdown table.

    compare_ort.py SIRIUS MODEL_DIR [MODEL_DIR ...] [--rounds 5] [--level 3] [--out DIR]

MODEL_DIR holds model.onnx and test_data_set_0/input_*.pb (the ONNX test layout). Each round runs
`sirius bench --json` on the compiled artifact and then ONNX Runtime for the same time, so drift and noise hit
both alike. Printed are the medians over all rounds' medians, and minima. Needs: onnx, onnxruntime, numpy.
"""
import argparse, json, os, statistics, subprocess, sys, time

import onnx, onnxruntime
from onnx import numpy_helper


def feeds(folder, session):
    feed = {}
    for n, i in enumerate(session.get_inputs()):
        with open(os.path.join(folder, "input_%d.pb" % n), "rb") as f:
            feed[i.name] = numpy_helper.to_array(onnx.TensorProto.FromString(f.read()))
    return feed


def ort_round(session, feed, seconds):
    session.run(None, feed)
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 3:
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def compare(sirius, model, args):
    name = os.path.basename(os.path.normpath(model))
    data = os.path.join(model, "test_data_set_0")
    out = os.path.join(args.out, name)
    start = time.perf_counter()
    subprocess.run([sirius, "compile", os.path.join(model, "model.onnx"), "-o", out, "-O%d" % args.level],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    compile_s = time.perf_counter() - start
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.path.join(model, "model.onnx"), options, providers=["CPUExecutionProvider"])
    feed = feeds(data, session)
    ours, theirs = [], []
    for _ in range(args.rounds):
        text = subprocess.run([sirius, "bench", out, "--data", data, "--threads", "1", "--json"],
                              check=True, capture_output=True, text=True).stdout
        result = json.loads(text)
        ours.append((result["median_us"], result["min_us"]))
        times = ort_round(session, feed, 0.5)
        theirs.append((statistics.median(times), min(times)))
    middle = lambda rows: statistics.median(r[0] for r in rows)
    best = lambda rows: min(r[1] for r in rows)
    print("| %s | %.1f | %.0f | %.0f | %.0f | %.0f | %.2f |" % (
        name, compile_s, middle(ours), best(ours), middle(theirs), best(theirs), middle(ours) / middle(theirs)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sirius")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--out", default="/tmp/sirius-bench")
    args = parser.parse_args()
    print("| model | compile s | Sirius median us | min us | ONNX Runtime median us | min us | ratio of medians |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for model in args.models:
        try:
            compare(args.sirius, model, args)
        except subprocess.CalledProcessError as error:
            print("| %s | failed: exit %d | | | | | |" % (os.path.basename(os.path.normpath(model)), error.returncode), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
