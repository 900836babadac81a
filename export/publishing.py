"""Write an artifact and give it its final name only after it passed its parity check; needs no torch."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from export.parity import Report, check, require
from export.sealing import sealed
from runtimes import ArtifactError, ImageSpec, Runtime, ShapeSet, backends
from runtimes.errors import InputError, UserError, failing
from runtimes.files import locked, workshop
from runtimes.formats import Format
from runtimes.golden import Golden, golden_path
from runtimes.verdict import Fidelity

Writer = Callable[[Path, ImageSpec], None]
Opener = Callable[[Path], Runtime]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file that passed its parity check."""

    path: Path
    """The file, or the folder of a Core ML package."""
    spec: ImageSpec
    """What the file says about itself."""
    report: Report
    """Result of its parity check."""
    beside: tuple[Path, ...] = ()
    """Further files that it needs to run."""

    @property
    def size(self) -> int:
        """Bytes of all files that a device needs to run it; the golden pictures are not counted."""
        return sum(size_of(path) for path in (self.path, *self.beside))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder together."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def publish(
    path: Path,
    spec: ImageSpec,
    golden: Golden,
    write: Writer,
    *,
    beside: Sequence[str] = (),
    load: Opener | None = None,
    label: str = "measured",
    measure: Callable[[Runtime], Fidelity] | None = None,
) -> Artifact:
    """Write the artifact under a temporary name, check it through its runtime, and rename it to `path` if it passes.

    The golden pictures are stored beside it. An artifact that fails is kept as PATH.rejected.

    write: writes the artifact, a file or a folder, with the given spec to the given path. It is called twice, the
    second time to store the verdict and the seal.
    beside: suffixes of further files that `write` puts next to the artifact, with the same stem. They are renamed
    together with it and just before it; an older artifact at `path` is removed first.
    load: opens the artifact for the check; None for `runtimes.backends.open_artifact`.
    measure: measures an artifact with maps that passed against the network at full size.
    label: label of the verdict; "predicted" if `load` does not open the runtime that users get.

    Errors: ParityError if a picture differs too much; ArtifactError if the artifact cannot be opened.
    """
    spec = dataclasses.replace(spec, parity=None, seal=None)
    with workshop(path.parent) as place:
        partial = place / path.name
        files = {partial.with_suffix(suffix): path.with_suffix(suffix) for suffix in (*beside, path.suffix)}
        with _writing(path):
            write(partial, spec)
        with (load or backends.open_artifact)(partial) as runtime:
            report = check(runtime, golden, label=label)
            content = runtime.content_sha256()
            if measure is not None and report.verdict.passed and spec.output != "picture":
                spec = dataclasses.replace(spec, fidelity=measure(runtime))
        spec = sealed(dataclasses.replace(spec, parity=report.verdict), content, golden, report.thresholds)
        with _writing(path):
            write(partial, spec)
        golden.save(golden_path(partial))
        with locked(path.parent):  # so that file and golden pictures are of one export
            if report.verdict.passed:
                _rename(golden_path(partial), golden_path(path))
                if beside:
                    remove(path)
                for temporary, final in files.items():
                    _rename(temporary, final)
                    remove(_rejected(final))
            else:
                for temporary, final in files.items():
                    _rename(temporary, _rejected(final))
    require(report, _rejected(path))
    return Artifact(path, spec, report, tuple(path.with_suffix(suffix) for suffix in beside))


def remove(path: Path) -> None:
    """Delete a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _rename(path: Path, target: Path) -> None:
    """Rename a file or a folder in a workshop; replaces what had the name before."""
    if path.is_dir() and target.exists():  # the system does not let a folder replace one that is not empty
        target.rename(path.with_name(f"{path.name}.old"))
    path.replace(target)


def _writing(path: Path) -> AbstractContextManager[None]:
    """Turn what a library raises on a full disk into one sentence; an OSError says it by itself."""
    mend = "check the folder, its permissions and its disk"
    return failing(path, "be written", mend, but="cannot be", kind=InputError, keep=(UserError, MemoryError, OSError))


def _rejected(path: Path) -> Path:
    """The name under which a file that failed its parity check is kept."""
    return path.with_name(path.name + ".rejected")


def require_target(path: Path, form: Format, *, precision: str, io: str, shapes: ShapeSet) -> None:
    """Refuse options that the format does not support, a missing folder, and a suffix of another format.

    Errors: ArtifactError that names the option or the file.
    """
    form.require(precision=precision, io=io, shapes=shapes)
    if not path.parent.is_dir():
        raise ArtifactError(f"{path} should be in an existing folder but {path.parent} is none; create it first")
    if path.suffix.lower() != form.suffix:
        raise ArtifactError(f"{path} should end in {form.suffix} but ends in {path.suffix or 'nothing'}; rename it")
