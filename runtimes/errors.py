"""Errors that a user can mend. Each message is one sentence: what was expected, what came, what to do."""


class UserError(Exception):
    """The family: the command line prints the message without a traceback and ends with `exit_code`."""

    exit_code = 2


class InputError(UserError, ValueError):
    """A file, a folder or an option cannot be used."""


class ArtifactError(UserError, ValueError):
    """An artifact, a photograph or a batch cannot be used."""


class BackendMissingError(UserError, ImportError):
    """A library is not installed; the message names the extra that installs it."""


class DivergedError(UserError, RuntimeError):
    """Training met a loss that is not finite; the last good checkpoint is kept."""

    exit_code = 1
