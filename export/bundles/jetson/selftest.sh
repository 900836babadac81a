#!/usr/bin/env bash
# Run the golden pictures on this device and print the verdict as JSON. Exit code 0: the pictures are right; 1: they are not.
#   ./selftest.sh [fp16|int8]
set -euo pipefail
# shellcheck source=environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

find_bncagan
find_artifact "${1:-$PRECISION}"
exec "$BNCAGAN" selftest "$ARTIFACT"
