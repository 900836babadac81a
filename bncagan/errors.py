"""The one error that a user of the command line can mend."""


class InputError(ValueError):
    """A file, folder or option cannot be used; one sentence: what was expected, what came, what to do."""


class DivergedError(RuntimeError):
    """Training met a loss that is not finite; the last good checkpoint is kept."""
