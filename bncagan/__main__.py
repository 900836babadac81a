"""`python -m bncagan`, the same as the `bncagan` command."""

from __future__ import annotations

import importlib
import sys


def main() -> int:
    """Run the command; Ctrl-C while it is still being loaded ends it without a traceback, too."""
    try:
        code: int = importlib.import_module("bncagan.cli").main()
    except KeyboardInterrupt:
        print("bncagan: stopped", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
