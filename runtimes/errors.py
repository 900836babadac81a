"""The errors that a user of an artifact can mend; each message is one sentence: expected, came, what to do."""


class ArtifactError(ValueError):
    """An artifact, a photograph or an option cannot be used."""


class BackendMissingError(ImportError):
    """The library that runs this format is not installed; the message names the extra that installs it."""
