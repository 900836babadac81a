"""Open an artifact with the wrapper of its format, and what every wrapper does while opening one."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from runtimes.base import Runtime
from runtimes.errors import ArtifactError, BackendMissingError
from runtimes.formats import BY_SUFFIX, Format
from runtimes.installation import install_hint
from runtimes.spec import ImageSpec


def load(path: str | Path, **options: Any) -> Runtime:
    """Open an artifact with the wrapper that its suffix names; `options` are that wrapper's keyword arguments.

    Errors: BackendMissingError when the library is not installed; ArtifactError when the file is missing, damaged,
    refused by its parity check, of an unknown format or not one of ours, or when an option is unknown or unusable.
    """
    path = Path(path)
    if path.suffix == ".rejected":
        raise ArtifactError(
            f"{path} should be a checked artifact but its parity check refused it; "
            "export it again, and read the export's report for the input and the number"
        )
    kind = BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ArtifactError(f"{path} should be an artifact, one of {', '.join(BY_SUFFIX)}; export one, or rename it")
    if not path.exists():
        raise ArtifactError(f"{path} should be an artifact but does not exist; check the name, or export it")
    wrapper = kind.wrapper()
    known = sorted(wrapper.__init__.__kwdefaults__)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ArtifactError(
            f"{path} can be opened with the options {', '.join(known)} but not {', '.join(unknown)}; drop it"
        )
    runtime: Runtime = wrapper(path, **options)
    return runtime


def import_backend(suffix: str) -> ModuleType:
    """Import the library that runs files of this suffix.

    Errors: BackendMissingError, naming the extra, when it is not installed.
    """
    kind = BY_SUFFIX[suffix]
    try:
        return importlib.import_module(kind.library)
    except ModuleNotFoundError as error:
        if error.name != kind.library:
            raise _broken(kind, error) from error
        raise BackendMissingError(
            f"Running {suffix} files needs {kind.library}; install it with: {install_hint(kind.extra)}"
        ) from error
    except ImportError as error:
        raise _broken(kind, error) from error


def _broken(kind: Format, error: ImportError) -> BackendMissingError:
    return BackendMissingError(
        f"Running {kind.suffix} files needs {kind.library}, which is installed but cannot be imported "
        f"({error}); reinstall it, or: {install_hint(kind.extra)}"
    )


def read_spec(text: str | None, path: Path) -> ImageSpec:
    """The spec in an artifact's metadata string; None stands for metadata without one.

    Errors: ArtifactError, naming the file, when there is none or it is not usable.
    """
    if text is None:
        raise ArtifactError(f"{path} should carry a bncagan spec in its metadata but has none; export it with bncagan")
    spec = ImageSpec.from_json(text, f"{path}: the spec")
    if spec.parity is not None and spec.parity.label != "not run" and not spec.parity.passed:
        raise ArtifactError(f"{path} should have passed its parity check but failed it; export it again")
    return spec


def require_threads(threads: int) -> int:
    """The number itself; ArtifactError when it is not a whole number from 1."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ArtifactError(f"threads should be a whole number from 1 but is {threads!r}; leave it out for the default")
    return threads
