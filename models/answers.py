#!/usr/bin/env python3
"""Records ONNX Runtime's answers: models/answers.py [--models DIR] [--into DIR] NAME..

For every model DIR/NAME/model.onnx (DIR is models/fetched unless given) the inputs of examples.toml are made, from
NAME as the seed, and DIR/NAME/test_data_set_K/{input,output}_J.pb written: first the fixed sizes, then three random
ones. `--into` writes the data sets under another folder, with a link to the model. Needs onnx, onnxruntime, numpy.

ONNX Runtime runs on one thread: with more, it quantizes the parts of a batch apart.
"""

import argparse
import pathlib
import re
import sys
import tomllib
import zlib

import numpy as np
import onnxruntime
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "int32": np.int32, "int64": np.int64}
RANDOM_SETS = 3


def number(token, dims):
    """`3`, `t`, `32h`, or `t+1`."""
    factor, name, more = re.fullmatch(r"(-?[0-9.]*)([a-z]*)(?:\+([0-9]+))?", token).groups()
    value = float(factor or 1) * dims.get(name, 1) + int(more or 0)
    return int(value) if value == int(value) else value


def fill(recipe, shape, dims, rng):
    kind, *numbers = recipe.split()
    numbers = [number(n, dims) for n in numbers]
    match kind:
        case "normal":
            return rng.normal(size=shape)
        case "uniform":
            return rng.uniform(*numbers, size=shape)
        case "int":
            return rng.integers(*numbers, size=shape)
        case "const":
            return np.full(shape, numbers[0])
        case "prefix":
            lengths = rng.integers(1, shape[-1] + 1, size=shape[:-1])
            return np.arange(shape[-1]) < lengths[..., None]
    sys.exit(f"examples.toml: no fill is named {kind}")


def feed(session, entry, dims, rng):
    values = {}
    for info in session.get_inputs():
        extents, recipe = entry["inputs"][info.name].split(";")
        shape = [number(token, dims) for token in extents.split()]
        dtype = TYPES[info.type.removeprefix("tensor(").removesuffix(")")]
        values[info.name] = np.asarray(fill(recipe, shape, dims, rng)).astype(dtype)
    return values


def sizes(entry, rng):
    ranges = entry.get("dims", {})
    drawn = [{name: int(rng.integers(low, high + 1)) for name, (low, high) in ranges.items()} for _ in range(RANDOM_SETS)]
    return entry["at"] + (drawn if ranges else [])


def write(folder, kind, values):
    for n, (name, value) in enumerate(values):
        (folder / f"{kind}_{n}.pb").write_bytes(numpy_helper.from_array(np.asarray(value), name).SerializeToString())


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def record(model, target, entry, seed):
    session = open_session(model)
    rng = np.random.default_rng(seed)
    for k, dims in enumerate(sizes(entry, rng)):
        values = feed(session, entry, dims, rng)
        answers = session.run(None, values)
        folder = target / f"test_data_set_{k}"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, "input", values.items())
        write(folder, "output", zip((output.name for output in session.get_outputs()), answers))
        print(f"{target.name} {k}: {dims}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=HERE / "fetched")
    parser.add_argument("--into", type=pathlib.Path)
    parser.add_argument("names", nargs="+", metavar="NAME")
    args = parser.parse_args()
    examples = tomllib.loads((HERE / "examples.toml").read_text())
    for name in args.names:
        model = (args.models / name / "model.onnx").resolve()
        target = (args.into or args.models) / name
        target.mkdir(parents=True, exist_ok=True)
        if args.into and not (target / "model.onnx").exists():
            (target / "model.onnx").symlink_to(model)
        record(model, target, examples[name], zlib.crc32(name.encode()))


if __name__ == "__main__":
    main()
