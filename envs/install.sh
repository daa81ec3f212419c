#!/usr/bin/env bash
# Install the lock into the environment of a Python: envs/install.sh .venv/bin/python.  No file without its hash.
set -euo pipefail
python=$(command -v "$1")
[[ $python = /* ]] || python=$PWD/$python
cd "$(dirname "$0")"
install=("$python" -m pip install --quiet --quiet --require-hashes --no-deps)
# First torch's build for CPUs alone, where pip finds it: of files in a folder it would take the other.
"${install[@]}" -r requirements-cpu.txt 2> /dev/null || true
"${install[@]}" -r requirements.txt
# torch's build with CUDA lacks its libraries now.
"$python" -m pip check > /dev/null || "${install[@]}" -r requirements-cuda.txt
"$python" -m pip check > /dev/null || { "$python" -m pip check; exit 1; }
