#!/usr/bin/env python3
"""Makes models of the compiler papers whole again: models/restore.py NAME.. -> models/fetched/NAME/model.onnx

exported/NAME.onnx.xz is a PyTorch export (.ts: TorchScript exporter, .dynamo: torch.export) without its large float
weights. Its metadata entry `synthetic_weights` lists them with shape, mean, standard deviation and seed; here they get
uniform pseudo-random values of that mean and deviation, the same on every machine. Needs onnx and numpy.
Without names, or with --list, it lists them.
"""

import json
import lzma
import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = "synthetic_weights"


def random_bits(seed, count):
    """Numbers `count` outputs of the splitmix64 generator (Steele et al., OOPSLA 2014), all at once."""
    step = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = np.uint64((seed + 1) << 32) + np.arange(count, dtype=np.uint64) + step
        state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return state ^ state >> np.uint64(31)


def weight(entry):
    """24 random bits per element, spread over mean +- sqrt(3) * deviation."""
    count = int(np.prod(entry["shape"]))
    unit = (random_bits(entry["seed"], count) >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    reach = np.float32(entry["std"] * 3**0.5)
    values = np.float32(entry["mean"]) + reach * (2 * unit - 1)
    return numpy_helper.from_array(values.astype(entry["dtype"]).reshape(entry["shape"]), entry["name"])


def restore(name):
    target = HERE / "fetched" / name / "model.onnx"
    if target.exists():
        return target
    model = onnx.load_from_string(lzma.decompress((HERE / "exported" / f"{name}.onnx.xz").read_bytes()))
    recipes = [entry for entry in model.metadata_props if entry.key == RECIPE]
    for recipe in recipes:
        model.graph.initializer.extend(map(weight, json.loads(recipe.value)))
        model.metadata_props.remove(recipe)
    made = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in made]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    onnx.save(model, partial)
    partial.rename(target)
    return target


def main():
    known = sorted(path.name.removesuffix(".onnx.xz") for path in (HERE / "exported").glob("*.onnx.xz"))
    names = sys.argv[1:]
    if not names or names == ["--list"]:
        print("\n".join(known))
        return
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no such model: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        print(restore(name))


main()
