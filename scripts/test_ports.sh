#!/usr/bin/env bash
# Tests the exports to JAX, MindSpore and Jittor, each in a throwaway environment of its own.
#
#   scripts/test_ports.sh [jax] [mindspore] [jittor]      (all three where none is named)
#
# Needs a network for pip, some minutes, and 3 GB; Jittor compiles itself with g++. Set
# DOTS_PORTS to keep the environments between calls (default: a temporary directory), and
# PYTHON to the interpreter that makes them. DOTS itself and PyTorch go into one more.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
if [ $# -eq 0 ]; then set -- jax mindspore jittor; fi
if [ -n "${DOTS_PORTS:-}" ]; then
    place=$DOTS_PORTS
    mkdir -p "$place"
else
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
fi

environment() { # name, packages...
    local name=$1
    shift
    if [ ! -x "$place/$name/bin/python" ]; then
        "$python" -m venv "$place/$name"
    fi
    "$place/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

environment dots --editable "$root[test]"
for port in "$@"; do
    case $port in
        jax) environment jax jax "flax>=0.12" safetensors pillow ;;
        mindspore) environment mindspore "mindspore>=2.5" "numpy<2" safetensors pillow setuptools ;;
        jittor) environment jittor "jittor>=1.3.11" safetensors pillow setuptools ;;
        *)
            echo "no port '$port': choose jax, mindspore, jittor" >&2
            exit 2
            ;;
    esac
    name=DOTS_PORT_$(echo "$port" | tr '[:lower:]' '[:upper:]')
    export "$name=$place/$port/bin/python"
done

cd "$root"
"$place/dots/bin/python" -m pytest tests/export/test_ports.py -m "slow or not slow" -rs -s
