#!/usr/bin/env python3
"""Times compiled models and other runtimes in turns, with equally many threads, and prints a Markdown table.

    compare_peers.py SIRIUS MODEL_DIR [MODEL_DIR ...] [--peers onnxruntime,openvino] [--threads 1] [--rounds 5] [--level 3]
                     [--out DIR]

MODEL_DIR holds model.onnx and test_data_set_0/input_*.pb (the ONNX test layout). Each round runs `sirius bench --json`
on the compiled artifact and then every peer for the same time, so drift and noise hit all alike. Printed are the
medians over all rounds' medians, in brackets minima, and how many times a peer's time Sirius takes (below 1: faster).
Every engine computes in the model's types (OpenVINO would take bf16 where the processor has it, and quantize what is
multiplied with 8-bit weights) and keeps the model's symbolic dimensions. Pin it to as many cores: `taskset -c 1`.
Needs: onnx, numpy and the peers.
"""
import argparse, json, os, statistics, subprocess, sys, time

import onnx
from onnx import numpy_helper


def feeds(folder, names):
    """The arrays of input_N.pb under `names`, the model's inputs in order."""
    feed = {}
    for n, name in enumerate(names):
        with open(os.path.join(folder, "input_%d.pb" % n), "rb") as f:
            feed[name] = numpy_helper.to_array(onnx.TensorProto.FromString(f.read())).copy()
    return feed


def session(model, threads=1):
    """ONNX Runtime with so many threads, for a model (a file or its bytes)."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnxruntime_call(model, data, threads):
    """One inference by ONNX Runtime as a function without arguments."""
    runtime = session(model, threads)
    feed = feeds(data, [i.name for i in runtime.get_inputs()])
    return lambda: runtime.run(None, feed)


def openvino_call(model, data, threads):
    """One inference by OpenVINO as a function without arguments; inputs and outputs are not copied."""
    import openvino
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    feed = feeds(data, [i.any_name for i in request.model_inputs])
    return lambda: request.infer(feed, share_inputs=True, share_outputs=True)


PEERS = {"onnxruntime": onnxruntime_call, "openvino": openvino_call}


def bench(sirius, artifact, data, threads=1):
    """What `sirius bench` says of an artifact, as a dictionary."""
    command = [sirius, "bench", artifact, "--data", data, "--threads", str(threads), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def timed(call, seconds):
    """Microseconds of every call within `seconds`, three calls at least, after one to warm up."""
    call()
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    return times


def prepared(peer, model, data, threads):
    """The peer's call, or None (said on standard error) where it cannot run the model."""
    try:
        call = PEERS[peer](model, data, threads)
        call()
        return call
    except Exception as error:
        print("%s cannot run %s: %s" % (peer, model, str(error).splitlines()[0]), file=sys.stderr, flush=True)
        return None


def compare(name, model, args):
    data = os.path.join(model, "test_data_set_0")
    out = os.path.join(args.out, name)
    start = time.perf_counter()
    subprocess.run([args.sirius, "compile", os.path.join(model, "model.onnx"), "-o", out, "-O%d" % args.level,
                    "--threads", str(args.threads)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cells = ["%.1f" % (time.perf_counter() - start)]
    calls = [prepared(peer, os.path.join(model, "model.onnx"), data, args.threads) for peer in args.peers]
    ours, theirs = [], [[] for _ in calls]
    for _ in range(args.rounds):
        result = bench(args.sirius, out, data, args.threads)
        ours.append((result["median_us"], result["min_us"]))
        for call, rows in zip(calls, theirs):
            if call:
                times = timed(call, args.seconds)
                rows.append((statistics.median(times), min(times)))
    middle = lambda rows: statistics.median(r[0] for r in rows)
    both = lambda rows: "%.0f (%.0f)" % (middle(rows), min(r[1] for r in rows))
    cells.append(both(ours))
    for rows in theirs:
        cells += [both(rows), "%.2f" % (middle(ours) / middle(rows))] if rows else ["-", "-"]
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sirius")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS), help="some of " + ", ".join(PEERS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="for every peer in every round")
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--out", default="/tmp/sirius-bench")
    args = parser.parse_args()
    unknown = [p for p in args.peers if p not in PEERS]
    if unknown:
        parser.error("unknown peers: %s (there are %s)" % (", ".join(unknown), ", ".join(PEERS)))
    print("| model | compile s | Sirius us |%s" % "".join(" %s us | ratio |" % p for p in args.peers))
    print("|---|--:|--:|%s" % ("--:|--:|" * len(args.peers)))
    for model in args.models:
        name = os.path.basename(os.path.normpath(model))
        try:
            cells = compare(name, model, args)
        except subprocess.CalledProcessError as error:
            cells = ["failed: exit %d" % error.returncode, "-"] + ["-", "-"] * len(args.peers)
        print("| %s | %s |" % (name, " | ".join(cells)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
