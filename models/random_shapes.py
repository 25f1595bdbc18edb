#!/usr/bin/env python3
"""One artifact per model against ONNX Runtime at random sizes; prints a Markdown table (docs/random_shapes.md).

    random_shapes.py SIRIUS MODEL_DIR [MODEL_DIR ...] [--models NAME,..] [--seed 0] [--shapes 3] [--out DIR]

Every MODEL_DIR that examples.toml gives symbolic dimensions is compiled once, with every dimension bounded by
`--dim NAME=LO..HI:TYPICAL` to the range in examples.toml. Then sizes are drawn from these ranges (sizes that depend on
one another are one dimension there), inputs made by its recipes, and each output of `sirius run` compared with ONNX
Runtime's: type, shape and every element, to the tolerance that tests/models.rs uses. Exits with 1 if anything fails.
`--models` takes some of the models only. Needs onnx, onnxruntime, numpy.

ONNX Runtime runs on one thread: with more, it quantizes the parts of a batch apart.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import zlib

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import answers

HEAD = """# Random sizes

Made by `models/random_shapes.py` (`make random-shapes`), seed {seed}: each model is compiled once, every dimension bounded
to the range shown, and runs at random sizes in turn. Every output has ONNX Runtime {version}'s type and shape; the error is the
largest absolute difference of an element of an output, and the share is the largest part of what the
tolerance (relative, absolute) allows that an element uses: above 100 % is a failure.

| model | dimensions | sizes | largest error | share of tolerance | tolerance |
|---|---|---|--:|--:|---|"""
TOLERANCES = answers.HERE / "tolerances.txt"
# As `Tolerance::of` in src/run/compare.rs.
USUAL = {np.dtype(np.float16): (2e-3, 1e-3)}


class Failure(Exception):
    """What went wrong with one model."""


def ranges(entry):
    """The smallest range per dimension that holds what examples.toml draws from and its fixed sizes."""
    found = {name: list(pair) for name, pair in entry.get("dims", {}).items()}
    for name, pair in found.items():
        fixed = [dims[name] for dims in entry["at"] if name in dims]
        pair[0], pair[1] = min(pair + fixed), max(pair + fixed)
    return found


def draw(found, count, rng):
    """`count` sizes; no value of a dimension comes twice where its range has that many."""
    values = {}
    for name, (low, high) in found.items():
        whole = np.arange(low, high + 1)
        rounds = -(-count // len(whole))
        values[name] = np.concatenate([rng.permutation(whole) for _ in range(rounds)])[:count]
    return [{name: int(column[k]) for name, column in values.items()} for k in range(count)]


def bounds(model, entry, found):
    """`--dim` for every dimension of an input that the model leaves open and the recipe varies."""
    graph = onnx.load(model, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    options = {}
    for value in graph.input:
        if value.name in constants:
            continue
        tokens = entry["inputs"][value.name].split(";")[0].split()
        for axis, (dim, token) in enumerate(zip(value.type.tensor_type.shape.dim, tokens)):
            at = lambda pick: answers.number(token, {name: pick(pair) for name, pair in found.items()})
            low, high, typical = at(min), at(max), answers.number(token, entry["at"][0])
            if dim.dim_value <= 0 and low < high:
                named = dim.dim_param.strip() not in ("", "?")
                options[dim.dim_param if named else f"{value.name}_{axis}"] = f"{low}..{high}:{typical}"
    return [word for name, text in options.items() for word in ("--dim", f"{name}={text}")]


def sirius(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"`sirius {command[1]}` exits with {done.returncode}: {done.stderr.strip().splitlines()[-6:]}")


def read(path):
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def difference(got, wanted, tolerance):
    """The largest distance of two elements, and the largest share of the tolerance."""
    if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
        raise Failure(f"got {got.dtype}{list(got.shape)}, wanted {wanted.dtype}{list(wanted.shape)}")
    if not np.issubdtype(wanted.dtype, np.floating):
        equal = np.array_equal(got, wanted)
        return 0.0 if equal else 1.0, 0.0 if equal else np.inf
    relative, absolute = tolerance or USUAL.get(wanted.dtype, (1e-3, 1e-5))
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b))
        share = np.where(same, 0.0, np.where(np.isfinite(b), distance / (absolute + relative * np.abs(b)), np.inf))
    share = np.where(np.isnan(share), np.inf, share)
    return distance.max(initial=0.0), share.max(initial=0.0)


def run(command, artifact, session, feed, folder, tolerance):
    wanted = session.run(None, feed)
    data, out = folder / "data", folder / "out"
    for part in (data, out):
        part.mkdir(parents=True)
    answers.write(data, "input", feed.items())
    sirius(command, "run", artifact, "--data", data, "--out", out)
    pairs = [difference(read(out / f"output_{n}.pb"), value, tolerance) for n, value in enumerate(wanted)]
    return max(error for error, _ in pairs), max(share for _, share in pairs)


def check(args, model, entry, tolerance, folder):
    """Sizes, and error and share for each of them."""
    file, found = model / "model.onnx", ranges(entry)
    artifact = folder / "artifact"
    sirius(args.sirius, "compile", file, "-o", artifact, *bounds(file, entry, found))
    rng = np.random.default_rng([args.seed, zlib.crc32(model.name.encode())])
    session = answers.open_session(file)
    for n, dims in enumerate(draw(found, args.shapes, rng)):
        feed = answers.feed(session, entry, dims, rng)
        yield dims, *run(args.sirius, artifact, session, feed, folder / str(n), tolerance)


def text(dims):
    return ", ".join(f"{name}={value}" for name, value in dims.items())


def row(args, model, entry, tolerance, folder):
    shown = text({name: f"{low}..{high}" for name, (low, high) in ranges(entry).items()})
    try:
        sizes, errors, shares = zip(*check(args, model, entry, tolerance, folder))
    except Failure as failure:
        print(f"| {model.name} | {shown} | | | FAILS: {failure} | |", flush=True)
        return False
    allowed = "%g, %g" % (tolerance or (1e-3, 1e-5))
    if not tolerance and any("float16" in i.type for i in answers.open_session(model / "model.onnx").get_outputs()):
        allowed = "%g, %g" % USUAL[np.dtype(np.float16)]
    fails = " FAILS" if max(shares) > 1 else ""
    print(f"| {model.name} | {shown} | {'<br>'.join(map(text, sizes))} | {max(errors):.1e} | {max(shares):.0%}{fails} | "
          f"{allowed} |", flush=True)
    return not fails


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sirius")
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--models", help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="keep artifacts, inputs and outputs here")
    args = parser.parse_args()
    examples = tomllib.loads((answers.HERE / "examples.toml").read_text())
    lines = (line.split(None, 3) for line in TOLERANCES.read_text().splitlines() if not line.startswith("#"))
    widened = {name: (float(relative), float(absolute)) for name, relative, absolute, _ in lines}
    wanted = [model for model in args.folders if not args.models or model.name in args.models.split(",")]
    symbolic = [model for model in wanted if examples.get(model.name, {}).get("dims")]
    print(HEAD.format(seed=args.seed, version=onnxruntime.__version__))
    good = True
    for model in symbolic:
        with tempfile.TemporaryDirectory() as folder:
            kept = args.out / model.name if args.out else pathlib.Path(folder)
            good &= row(args, model, examples[model.name], widened.get(model.name), kept)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
