#!/usr/bin/env bash
# Install bncagan into .venv in this folder. On a Jetson it finds the TensorRT that comes with JetPack.
#   ./install.sh                             with python3
#   PYTHON=/usr/bin/python3.10 ./install.sh  with another one
set -euo pipefail
# shellcheck source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

PYTHON=${PYTHON:-python3}
WHEELS=("$HERE"/bncagan-*.whl)

ask() {
    "$PYTHON" -c "$1"
}

# Not `import tensorrt`: while a container is built, the driver's libraries are missing.
has_tensorrt() {
    ask 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorrt") is None)'
}

is_jetson() {
    [ "$(uname -m)" = aarch64 ] && { [ -e /etc/nv_tegra_release ] || has_tensorrt; }
}

if is_jetson; then
    version=$(ask 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$version" = "$PYTHON_VERSION" ] ||
        fail "Python should be $PYTHON_VERSION, the one of JetPack $JETPACK, but is $version;" \
            "name it with PYTHON=, or make the bundle with another --jetpack"
    has_tensorrt ||
        fail "Python should find TensorRT but does not; install it: sudo apt-get install python3-libnvinfer"
    extras=tensorrt,onnx
    options=(--constraint "$HERE/constraints.txt")
else
    say "install.sh: this is no Jetson with TensorRT, so the models will run with ONNX Runtime on the CPU," \
        "in the versions that this machine has or its package index offers"
    extras=onnx
    options=()
fi

"$PYTHON" -m venv --system-site-packages "$HERE/.venv" ||
    fail "Python should be able to make a virtual environment but is not; install it: sudo apt-get install python3-venv"
"$HERE/.venv/bin/python" -m pip install --disable-pip-version-check --quiet ${options[@]+"${options[@]}"} \
    "${WHEELS[0]}[$extras]"
"$HERE/.venv/bin/bncagan" doctor
