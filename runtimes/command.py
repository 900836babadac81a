"""Command lines made from dataclasses: fields become options, and errors are printed as one sentence."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Annotated, Any, Protocol

import tyro

from runtimes.errors import NO_ROOM, BackendMissingError, InputError, UserError
from runtimes.installation import EXTRAS, install_hint
from runtimes.usage import usage_error

# A shell's exit codes for programs ended by SIGINT and SIGPIPE
STOPPED, CLOSED = 128 + 2, 128 + 13
ANY_NAME = "bncagan-any-name"  # of the error handler `_any_name`
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Command(Protocol):
    """A dataclass whose fields are options."""

    def run(self) -> int:
        """Execute the command and return the exit code."""


def parse(kind: Any, arguments: Sequence[str], **about: Any) -> Command:
    """Parse the arguments into an instance of `kind`, a dataclass or a union of dataclasses.

    The help of an option that may be None shows only what it takes, and None cannot be typed.

    Errors: InputError when the arguments do not fit; SystemExit with code 0 when the help was asked for.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            command: Command = tyro.cli(kind, args=arguments, config=(tyro.conf.DisallowNone,), **about)
    except SystemExit as ended:
        if ended.code != InputError.exit_code:
            raise
        typed = [*about.get("prog", "").split()[1:], *arguments]
        raise InputError(usage_error(said.getvalue(), typed)) from None
    return command


def run_command(name: str, kind: Any, argv: Sequence[str] | None = None, **about: Any) -> int:
    """Parse the arguments by `parse`, run the command and return the exit code of `run`."""
    return run(name, lambda arguments: parse(kind, arguments, **about), argv)


def run(name: str, read: Callable[[Sequence[str]], Command], argv: Sequence[str] | None = None) -> int:
    """Read the arguments, run the command and return the exit code.

    An error is printed as one sentence after the program's name; with `--debug` it is raised instead. Characters that
    the output's encoding lacks are printed as escapes; on stdout, bytes of names that are no text as they are. After
    Ctrl-C or SIGTERM any error counts as the stop: a library that is stopped in the middle of its work, such as an
    import, may raise one of its own.

    Exit codes:
        0: done.
        1: done, but a check failed or some photographs could not be done; or training could not go on.
        2: nothing done, because the input or the options cannot be used.
        130: Ctrl-C was pressed.
        141: the reader of the output, such as `head`, closed the pipe.
        143: SIGTERM was received.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    codecs.register_error(ANY_NAME, _any_name)
    for stream, errors in ((sys.stdout, ANY_NAME), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    came: list[int] = []
    try:
        with _stoppable(came):
            return _flushed(lambda: read(arguments).run())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at exit
        return CLOSED
    except (Exception, KeyboardInterrupt) as error:
        if came or isinstance(error, KeyboardInterrupt):
            print(f"{name}: stopped", file=sys.stderr)
            return 128 + came[0] if came else STOPPED
        if "--debug" in arguments:
            raise
        explained = _explained(error)
        if explained is None:
            raise
        print(f"{name}: {explained}", file=sys.stderr)
        return explained.exit_code


@contextlib.contextmanager
def stopping(stop: threading.Event) -> Iterator[list[int]]:
    """Set an event on the first Ctrl-C or SIGTERM, so that the work can end in order; yield the signals that came.

    A second one ends the process as usual.
    """
    came: list[int] = []

    def take(number: int) -> None:
        came.append(number)
        stop.set()

    with on_first_signal(take):
        yield came


@contextlib.contextmanager
def on_first_signal(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of the first Ctrl-C or SIGTERM; a second one does what it did before.

    Signals that are ignored, as under nohup, stay so.
    """
    before: dict[int, Any] = {}

    def take(number: int, _: object) -> None:
        restore()
        act(number)

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in {signal.SIG_IGN, None}:
                before[number] = handler
                signal.signal(number, take)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def _stoppable(came: list[int]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt, so that temporary files and processes are cleared away.

    The signals are noted in `came`. Other handlers, and signals that are ignored, stay so.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    before = {number: handler for number, handler in usual.items() if main and signal.getsignal(number) is handler}

    def stop(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _any_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode one character that an encoding lacks: the byte that it stands for in a name, or an escape."""
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
        with contextlib.suppress(UnicodeError):
            return codecs.lookup_error("surrogateescape")(error)
    return codecs.lookup_error("backslashreplace")(error)


def _flushed(work: Callable[[], int]) -> int:
    """Do the work and flush stdout, so that a closed pipe raises its error here and not at exit."""
    try:
        return work()
    finally:
        if sys.stdout is not None:  # closed, as some daemons do
            sys.stdout.flush()


def _explained(error: BaseException) -> UserError | None:
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
    nameless = {errno.EIO, *NO_ROOM}  # EIO is also what a closed terminal gives
    if not isinstance(error, OSError) or (error.filename is None and error.errno not in nameless):
        return None
    if error.errno in NO_ROOM:
        return InputError(f"the disk should have room for the output but has not ({error.strerror}); free some space")
    return InputError(
        f"{error.filename or 'the output'} should be usable but is not ({error.strerror}); "
        "check the path, its permissions and the space on its disk"
    )
