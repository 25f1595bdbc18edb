#!/bin/sh
# Puts NVIDIA's PTX assembler into the cache folder and prints its path. The tests of the NVPTX back end use it
# when it is there. It may not be redistributed, so it comes from the package index, pinned by its SHA-256.
# usage: models/fetch_ptxas.sh [FOLDER]
set -eu

version=12.9.86
package=nvidia-cuda-nvcc-cu12==$version
sha256=5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sirius/ptxas-$version}

if [ -x "$folder/ptxas" ]; then
    echo "$folder/ptxas"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "fetching $package (40 MB)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --platform manylinux2010_x86_64 --dest "$work" "$package" >&2
wheel=$(ls "$work"/*.whl)
echo "$sha256  $wheel" | sha256sum --check --quiet >&2

mkdir -p "$folder"
python3 -m zipfile -e "$wheel" "$work/unpacked"
cp "$work/unpacked/nvidia/cuda_nvcc/bin/ptxas" "$folder/ptxas.part"
chmod +x "$folder/ptxas.part"
mv "$folder/ptxas.part" "$folder/ptxas"
echo "$folder/ptxas"
