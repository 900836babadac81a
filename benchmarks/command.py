"""What the two scripts have of a command line of their own, for machines where only this folder was copied to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro
from rich.console import Console

from runtimes import ArtifactError, BackendMissingError

REFUSED = 2
WIDE = 180  # characters
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Command(Protocol):
    """A dataclass whose fields are options."""

    def run(self) -> int:
        """Do it; returns the exit code."""


def run_command(kind: type[Command], argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors that a user can mend into one sentence and exit code 2.

    `--debug` lets every error through with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return tyro.cli(kind, args=arguments).run()
    except (ArtifactError, BackendMissingError, OSError) as error:
        if "--debug" in arguments:
            raise
        print(error, file=sys.stderr)
        return REFUSED


def terminal(*, stderr: bool = False) -> Console:
    """A console that prints paths and numbers as they are: no markup, no colours of its own, no wrapping of lines.

    Where nobody watches, tables have the room that they need.
    """
    console = Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console
