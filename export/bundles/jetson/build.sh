#!/usr/bin/env bash
# Build the TensorRT engine on the board that will run it, and check it on the golden pictures.
#   ./build.sh [fp16|int8]
#   WORKSPACE_MIB=512 ./build.sh    less scratch memory for the layers than 1024 MiB
set -euo pipefail
# shellcheck source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

find_bncagan
find_model "${1:-$PRECISION}"
WORKSPACE_MIB=${WORKSPACE_MIB:-1024}
OWN_MIB=1024 # for TensorRT, CUDA and Python themselves

available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' "${MEMINFO:-/proc/meminfo}")
needed=$((WORKSPACE_MIB + OWN_MIB))
[ "$available" -ge "$needed" ] ||
    fail "$needed MiB of memory should be free but $available MiB are;" \
        "stop the desktop (sudo systemctl isolate multi-user.target), or set WORKSPACE_MIB"

# What the timings of the build were taken under.
{
    date -u '+date: %Y-%m-%dT%H:%M:%SZ'
    printf 'memory available: %s MiB\n' "$available"
    if command -v nvpmodel > /dev/null; then
        nvpmodel -q || printf 'power mode: nvpmodel -q failed\n'
    else
        printf 'power mode: there is no nvpmodel\n'
    fi
    for clock in /sys/devices/system/cpu/cpu0/cpufreq/scaling_{governor,cur_freq,max_freq} \
        /sys/class/devfreq/*/{cur_freq,max_freq}; do
        [ -r "$clock" ] && printf '%s: %s\n' "$clock" "$(cat "$clock")"
    done
    true
} | tee "$ENGINE.build.txt" >&2

"$BNCAGAN" export tensorrt --onnx "$ONNX" --out "$ENGINE" --workspace-mib "$WORKSPACE_MIB" \
    --timing-cache "$HERE/cache/timings" --plan-cache "$HERE/cache/plans"
