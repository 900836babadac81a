"""`python -m bncagan`, the same as the `bncagan` command."""

import sys

from bncagan.cli import main

if __name__ == "__main__":
    sys.exit(main())
