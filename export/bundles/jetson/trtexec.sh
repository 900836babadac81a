#!/usr/bin/env bash
# The same with NVIDIA's own tool. It does not check the pictures, so ship what build.sh makes.
#   ./trtexec.sh build [fp16|int8]
#   ./trtexec.sh time [fp16|int8]    of the engine of build.sh if there is one, or else of its own
set -euo pipefail
# shellcheck source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

TRTEXEC=${TRTEXEC:-/usr/src/tensorrt/bin/trtexec}
find_model "${2:-$PRECISION}"
case ${1:-} in
    build) # TensorRT 11 always types strongly and takes the option all the same
        mkdir -p "$HERE/cache"
        exec "$TRTEXEC" --onnx="$ONNX" --stronglyTyped --saveEngine="$ENGINE.trtexec" --skipInference \
            --memPoolSize=workspace:"${WORKSPACE_MIB:-1024}" --timingCacheFile="$HERE/cache/trtexec.timings"
        ;;
    time)
        [ -f "$ENGINE" ] || ENGINE=$ENGINE.trtexec
        exec "$TRTEXEC" --loadEngine="$ENGINE" --useCudaGraph --useSpinWait --warmUp=500 --iterations=200
        ;;
    *) fail "the first argument should be build or time but is ${1:-missing}; see the lines at the top of this file" ;;
esac
