"""Command lines made from dataclasses: fields become options, and errors are printed as one sentence."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import tyro

from runtimes.errors import BackendMissingError, InputError, UserError
from runtimes.installation import EXTRAS, install_hint

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
STOPPED, CLOSED = 128 + 2, 128 + 13  # a shell's exit codes for programs ended by SIGINT and by SIGPIPE
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Command(Protocol):
    """A dataclass whose fields are options."""

    def run(self) -> int:
        """Execute the command and return the exit code."""


def parse(kind: Any, arguments: Sequence[str], **about: Any) -> Command:
    """Parse the arguments into an instance of `kind`, a dataclass or a union of dataclasses.

    The help of an option that may be None shows only what it takes, and None cannot be typed.

    Errors: SystemExit with code 2 when the arguments do not fit.
    """
    command: Command = tyro.cli(kind, args=arguments, config=(tyro.conf.DisallowNone,), **about)
    return command


def run_command(name: str, kind: Any, argv: Sequence[str] | None = None, **about: Any) -> int:
    """Parse the arguments, run the command and return the exit code.

    An error is printed as one sentence after the program's name; with `--debug` it is raised instead.

    Exit codes:
        0: success.
        1: the command ran, but a check failed.
        2: the input or the options cannot be used.
        130: Ctrl-C was pressed.
        141: the reader of the output, such as `head`, closed the pipe.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _flushed(lambda: parse(kind, arguments, **about).run())
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at exit
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
    """Do the work and flush stdout, so that a closed pipe raises its error here and not at exit."""
    try:
        return work()
    finally:
        if sys.stdout is not None:  # closed, as some daemons do
            sys.stdout.flush()


def _explained(error: UserError | ModuleNotFoundError | OSError) -> UserError | None:
    """Return the error as one sentence for the user, or None if it is a bug of the program."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").split(".")[0]
        if library not in EXTRAS:
            return None
        return BackendMissingError(
            f"{library}, which this command needs, should be installed but is not; "
            f"install it with: {install_hint(EXTRAS[library])}"
        )
    if error.errno in FULL:
        return InputError(f"the disk should have room for the output but has not ({error.strerror}); free some space")
    if error.filename is None:
        return None
    return InputError(
        f"{error.filename} should be usable but is not ({error.strerror}); "
        "check the path, its permissions and the space on its disk"
    )
