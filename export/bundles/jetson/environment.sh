# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for the scripts
# What the scripts share: the settings of this bundle, and where bncagan is. They source this file.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$HERE/bundle.env"

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "${0##*/}: $*"
    exit 2
}

# BNCAGAN: the command that install.sh put here, or else the one on the PATH.
find_bncagan() {
    BNCAGAN=$HERE/.venv/bin/bncagan
    [ -x "$BNCAGAN" ] || BNCAGAN=$(command -v bncagan) || fail "bncagan should be installed but is not; run ./install.sh"
}

# ONNX: the model of a precision. ENGINE: what build.sh makes of it.
find_model() {
    ONNX=$HERE/$MODEL-$1.onnx
    ENGINE=$HERE/$MODEL-$1.engine
    [ -f "$ONNX" ] || fail "the precision should be one of this bundle, $PRECISIONS, but is $1; choose another"
}

# ARTIFACT: the engine if there is one, or else the ONNX file.
find_artifact() {
    find_model "$1"
    ARTIFACT=$ENGINE
    [ -f "$ENGINE" ] && return
    ARTIFACT=$ONNX
    say "${0##*/}: ./build.sh has made no engine of $MODEL-$1, so ONNX Runtime takes the place of TensorRT"
}
