"""Errors that a user can fix. Each message is one sentence: "SUBJECT should be X but is Y; do Z"."""


class UserError(Exception):
    """Base class: the command line prints the message without a traceback and exits with `exit_code`."""

    exit_code = 2


class InputError(UserError, ValueError):
    """A file, a folder or an option cannot be used."""


class ArtifactError(UserError, ValueError):
    """An artifact, a photograph or a batch cannot be used."""


class BackendMissingError(UserError, ImportError):
    """A library is not installed; the message gives the command that installs it."""


class DivergedError(UserError, RuntimeError):
    """A training loss is not finite; the last good checkpoint is kept."""

    exit_code = 1
