"""The command line of the two scripts, for machines where only this folder and `runtimes` were copied to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro

from runtimes.errors import UserError

REFUSED = 2
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Command(Protocol):
    """A dataclass whose fields are options."""

    def run(self) -> int:
        """Do it; returns the exit code."""


def run_command(kind: type[Command], argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors that a user can mend into one sentence and an exit code.

    `--debug` lets every error through with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return tyro.cli(kind, args=arguments).run()
    except (UserError, OSError) as error:
        if "--debug" in arguments:
            raise
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, UserError) else REFUSED
