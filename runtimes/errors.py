"""Errors that a user can fix. Each message is one sentence: "SUBJECT should be X but is Y; do Z"."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # numbers of an OSError on a full disk


class UserError(Exception):
    """Base class: the command line prints the message without a traceback and exits with `exit_code`."""

    exit_code = 2

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # what a library said, and names of files, may have several


class InputError(UserError):
    """A photograph, another file, a folder or an option cannot be used.

    No ValueError, into which tyro would put names of its own.
    """


class ArtifactError(UserError, ValueError):
    """An artifact or a batch cannot be used."""


class BackendMissingError(UserError, ImportError):
    """A library is not installed; the message gives the command that installs it."""


class DivergedError(UserError, RuntimeError):
    """A training loss is not finite; the last good checkpoint is kept."""

    exit_code = 1


class StoppedError(UserError, RuntimeError):
    """A training run ended before its last step, by a signal or because it could not go on; its state is kept."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextlib.contextmanager
def failing(
    subject: object,
    wanted: str,
    mend: str,
    *,
    but: str = "does not",
    kind: type[UserError] = ArtifactError,
    keep: tuple[type[Exception], ...] = (UserError, MemoryError),
) -> Iterator[None]:
    """Turn whatever a library raises, which no list of exceptions covers, into an error of one sentence.

    subject, wanted, but, mend: its parts, such as a file, "open in onnxruntime", "does not" and "export it again".
    kind: the error to raise; those of `keep` are raised as they are.
    """
    try:
        yield
    except keep:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{subject} should {wanted} but {but} ({reason}); {mend}") from error
