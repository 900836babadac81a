"""Errors that a user can fix. Each message is one sentence: "SUBJECT should be X but is Y; do Z"."""


class UserError(Exception):
    """Base class: the command line prints the message without a traceback and exits with `exit_code`."""

    exit_code = 2


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
