"""A command line out of dataclasses: options, errors as one sentence, and an end without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import tyro

from runtimes.errors import BackendMissingError, InputError, UserError
from runtimes.installation import EXTRAS, install_hint

STOPPED, CLOSED = 128 + 2, 128 + 13  # exit codes of a program that SIGINT or SIGPIPE ended
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Command(Protocol):
    """A dataclass whose fields are options."""

    def run(self) -> int:
        """Do it; returns the exit code."""


def parse(kind: Any, arguments: Sequence[str], **about: Any) -> Command:
    """The command that the arguments ask for, of a dataclass or a union of them; SystemExit, code 2, if of none.

    An option that may be left out is left out, and shown as what it takes when it is given.
    """
    command: Command = tyro.cli(kind, args=arguments, config=(tyro.conf.DisallowNone,), **about)
    return command


def run_command(name: str, kind: Any, argv: Sequence[str] | None = None, **about: Any) -> int:
    """Parse and run; what goes wrong becomes one sentence after the program's name. Returns the exit code.

    0: done. 1: done, but a check failed. 2: the input or the options cannot be used. 130: stopped by Ctrl-C. 141: who
    read the output, such as `head`, wants no more. `--debug` lets errors through with their traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _flushed(lambda: parse(kind, arguments, **about).run())
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its exit
        return CLOSED
    except (UserError, ModuleNotFoundError, OSError) as error:
        if "--debug" in arguments:
            raise
        explained = _explained(error)
        if explained is None:
            raise
        print(f"{name}: {explained}", file=sys.stderr)
        return explained.exit_code


def _flushed(work: Callable[[], int]) -> int:
    """Do the work and write out what it printed, so that a closed pipe is noticed here and not at exit."""
    try:
        return work()
    finally:
        sys.stdout.flush()


def _explained(error: UserError | ModuleNotFoundError | OSError) -> UserError | None:
    """The error in one sentence for the user; None if it is a fault of the program."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").split(".")[0]
        if library not in EXTRAS:
            return None
        return BackendMissingError(f"this command needs {library}; install it with: {install_hint(EXTRAS[library])}")
    if error.filename is None:
        return None
    return InputError(f"{error.filename}: {error.strerror}; check the path, its permissions and the space on its disk")
