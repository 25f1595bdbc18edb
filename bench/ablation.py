#!/usr/bin/env python3
"""Writes docs/ablation.md: what every pass is worth on every model, as `sirius ablate` counts and times it.

    ablation.py SIRIUS MODEL_DIR [MODEL_DIR ...] [--seconds 1] [--keep DIR] [--pin CPU] [--brief NAME ...]
        > docs/ablation.md

MODEL_DIR holds model.onnx and test_data_set_0/input_*.pb (the ONNX test layout). `--keep DIR` keeps each model's rows
in DIR/NAME.json, and takes those that are there already instead of measuring again. `--pin` takes the times
on that processor and keeps other work off it meanwhile (it needs the right to do so). Of the models named by `--brief`
only all passes and unfused are measured. Only the standard library is needed; docs/counting.md says what the figures mean.
"""
import argparse, json, os, subprocess, sys

HEAD = """# What every pass is worth

Made by `bench/ablation.py` (`make ablation`); [counting.md](counting.md) says what the figures mean and what they show. MB are 10^6 bytes;
times are of single inferences with one thread, pinned, the variants in turns, five rounds: the median of the rounds'
medians, and the best of all; barriers are those of two threads. "= VARIANT" stands where the artifact is byte for byte that
of another variant, whose row has the figures (but for barriers, which are asked of every variant). The limit is what the
operations and bytes of a variant take on this core at least.
"""
COLUMNS = ["variant", "regions", "loops entered", "barriers", "stored MB", "loaded MB", "written MB", "read MB",
           "behind L2 MB", "MFLOP", "workspace MB", "limit us", "median us", "min us", "compile s"]


def measure(args, model):
    name = os.path.basename(os.path.normpath(model))
    kept = os.path.join(args.keep, name + ".json") if args.keep else None
    if kept and os.path.exists(kept):
        with open(kept) as f:
            return name, [json.loads(line) for line in f]
    command = [args.sirius, "ablate", os.path.join(model, "model.onnx"), "--data", model, "--json",
               "--seconds", str(args.seconds)]
    if name in args.brief:
        command += ["--only", "all passes", "--only", "unfused"]
    lines = run(command, args.pin)
    if kept:
        os.makedirs(args.keep, exist_ok=True)
        with open(kept, "w") as f:
            f.write(lines)
    return name, [json.loads(line) for line in lines.splitlines()]


def run(command, processor):
    """What a command prints; from the phase "times" on it has the processor to itself."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = ""
    while piece := process.stderr.read(1):
        said += piece
        if processor is not None and said.endswith("  times ..."):
            pin(process.pid, processor)
    printed = process.stdout.read()
    if process.wait():
        sys.exit(said)
    return printed


def pin(process, processor):
    for thread in os.listdir("/proc/%d/task" % process):
        os.sched_setaffinity(int(thread), {processor})
        os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(40))


def mb(value):
    if value is None:
        return "-"
    return "%.3g" % (value / 1e6) if value < 1e7 else "%.0f" % (value / 1e6)


def cells(row):
    compile_s = "%.2f" % row["compile_s"]
    if row["same_as"]:
        return [row["variant"] + " = " + row["same_as"], "", "", str(row["barriers"]), *[""] * 10, compile_s]
    counts = [str(row[key]) for key in ("regions", "loops", "barriers")]
    sizes = [mb(row[key + "_bytes"]) for key in ("stored", "loaded", "written", "read", "behind_l2")]
    times = ["-" if row[key] is None else "%.1f" % row[key] for key in ("limit_us", "median_us", "min_us")]
    return [row["variant"], *counts, *sizes, mb(row["operations"]), mb(row["workspace_bytes"]), *times, compile_s]


def table(name, rows):
    print("\n## %s\n" % name)
    print("| " + " | ".join(COLUMNS) + " |\n|---|" + "--:|" * (len(COLUMNS) - 1))
    for row in rows:
        print("| " + " | ".join(cells(row)) + " |")


def summary(models):
    """Unfused against all passes: how many times more."""
    keys = [("written_bytes", "bytes written"), ("stored_bytes", "bytes stored"), ("regions", "regions"),
            ("barriers", "barriers"), ("workspace_bytes", "workspace"), ("median_us", "median time"), ("min_us", "best time")]
    print("\n## Unfused against all passes, how many times more\n")
    print("| model | " + " | ".join(name for _, name in keys) + " |\n|---|" + "--:|" * len(keys))
    for name, rows in models:
        all_passes, unfused = (next(r for r in rows if r["variant"] == v) for v in ("all passes", "unfused"))
        ratio = lambda key: "%.2f" % (unfused[key] / all_passes[key]) if all_passes[key] and unfused[key] else "-"
        print("| %s | " % name + " | ".join(ratio(key) for key, _ in keys) + " |")


def limits(models):
    """How far the times are from what the machine can do, and so what there was to gain."""
    print("\n## Best times and the machine's limit\n\nNo schedule of all passes' operations and bytes is faster than its limit: "
          "unfused is at most the last column slower\nthan anything that moves as little.\n")
    print("| model | limit us | all passes us | of the limit | unfused us | unfused / all passes | unfused / limit |\n|---|" + "--:|" * 6)
    for name, rows in models:
        all_passes, unfused = (next(r for r in rows if r["variant"] == v) for v in ("all passes", "unfused"))
        limit, best, other = all_passes["limit_us"], all_passes["min_us"], unfused["min_us"]
        if limit and best and other:
            print("| %s | %.1f | %.1f | %.0f %% | %.1f | %.2f | %.2f |" % (
                name, limit, best, 100 * limit / best, other, other / best, other / limit))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sirius")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--keep")
    parser.add_argument("--pin", type=int, metavar="CPU")
    parser.add_argument("--brief", nargs="*", default=[], metavar="NAME")
    args = parser.parse_args()
    models = [measure(args, model) for model in args.models]
    print(HEAD, end="")
    summary(models)
    limits(models)
    for name, rows in models:
        table(name, rows)


if __name__ == "__main__":
    sys.exit(main())
