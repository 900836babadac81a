"""Opening an artifact with the wrapper of its format, and the steps that all wrappers share."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from runtimes.base import Runtime
from runtimes.errors import ArtifactError, BackendMissingError, failing
from runtimes.formats import BY_SUFFIX, Format
from runtimes.installation import install_hint
from runtimes.packaged import locate
from runtimes.schema import say_once
from runtimes.spec import ImageSpec


def load(path: str | Path, **options: Any) -> Runtime:
    """Open an artifact. Its suffix selects the wrapper; `options` are the keyword arguments of that wrapper.

    A name without a suffix, such as "small", is that of a model that the package carries. For an artifact without a
    seal, one line on stderr says so.

    Example:
        runtime = runtimes.load("small", threads=2)
        enhanced = runtime.enhance(runtimes.open_photograph("photo.jpg").seen)
        runtime.close()

    Errors: BackendMissingError when the library is not installed. ArtifactError when the file is missing, damaged,
    of an unknown format, not written by bncagan or refused by its parity check, or when an option is unknown or has
    a value that cannot be used.
    """
    runtime = open_artifact(path, **options)
    if runtime.spec.seal is None:
        say_once(f"{runtime.path} is not sealed, so a change of it would go unnoticed; export it again")
    return runtime


def open_artifact(path: str | Path, **options: Any) -> Runtime:
    """Open an artifact as `load` does, without a word about its seal."""
    path = locate(path)
    if path.suffix == ".rejected":
        raise ArtifactError(
            f"{path} should be a checked artifact but was refused by its parity check; "
            "export it again, and read in the report of the export which limit it broke"
        )
    kind = BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ArtifactError(
            f"{path} should be an artifact, one of {', '.join(BY_SUFFIX)}, but ends in {path.suffix or 'no suffix'}; "
            "export one, or rename it"
        )
    if not path.exists():
        raise ArtifactError(f"{path} should be an artifact but does not exist; check the name, or export it")
    wrapper = kind.wrapper()
    known = sorted(wrapper.__init__.__kwdefaults__)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ArtifactError(
            f"{path} should be opened with no other options than {', '.join(known)} "
            f"but is given {', '.join(unknown)}; leave them out"
        )
    with failing(path, f"open in {kind.library}", "export it again"):
        runtime: Runtime = wrapper(path, **options)
    return runtime


def import_backend(suffix: str) -> ModuleType:
    """Import the library that runs files with this suffix.

    Errors: BackendMissingError when it is not installed or cannot be imported; the message names the extra.
    """
    kind = BY_SUFFIX[suffix]
    try:
        return importlib.import_module(kind.library)
    except ModuleNotFoundError as error:
        if error.name != kind.library:
            raise _broken(kind, error) from error
        raise BackendMissingError(
            f"{kind.library}, which runs {suffix} files, should be installed but is not; "
            f"install it with: {install_hint(kind.extra)}"
        ) from error
    except ImportError as error:
        raise _broken(kind, error) from error


def _broken(kind: Format, error: ImportError) -> BackendMissingError:
    return BackendMissingError(
        f"{kind.library}, which runs {kind.suffix} files, should be importable but is not ({error}); "
        f"install it again, or run: {install_hint(kind.extra)}"
    )


def read_spec(text: str | None, path: Path) -> ImageSpec:
    """Parse the spec in an artifact's metadata; a `text` of None means that the metadata holds no spec.

    Errors: ArtifactError, naming the file, when there is no spec, when it cannot be used, or when it says that the
    parity check failed.
    """
    if text is None:
        raise ArtifactError(f"{path} should have a bncagan spec in its metadata but has none; export it with bncagan")
    spec = ImageSpec.from_json(text, f"{path}: the spec")
    if spec.parity is not None and spec.parity.label != "not run" and not spec.parity.passed:
        raise ArtifactError(f"{path} should have passed its parity check but failed it; export it again")
    return spec


def require_threads(threads: int) -> int:
    """Return the number of threads; ArtifactError when it is not a whole number from 1."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ArtifactError(f"threads should be a whole number from 1 but is {threads!r}; leave it out for the default")
    return threads
