#!/usr/bin/env bash
# Measure latency and memory, and write a report that `bncagan compare` reads.
#   ./bench.sh [fp16|int8] [options of bncagan benchmark, such as --runs 20]
# Times can be compared only between the same power modes and clocks: sudo nvpmodel -m 0; sudo jetson_clocks
set -euo pipefail
# shellcheck source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

find_bncagan
if [[ ${1:-} =~ ^[a-z] ]]; then
    find_artifact "$1"
    shift
else
    find_artifact "$PRECISION"
fi
exec "$BNCAGAN" benchmark "$ARTIFACT" --runs 200 --out "$ARTIFACT.bench.json" "$@"
