"""Writing an artifact so that it has its name only once it has proved itself, without torch."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import runtimes
from export.parity import Report, check, require
from runtimes import ArtifactError, ImageSpec, Runtime, ShapeSet
from runtimes.formats import Format
from runtimes.golden import Golden, golden_path

Writer = Callable[[Path, ImageSpec], None]
Opener = Callable[[Path], Runtime]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file that passed its parity check, with what it says about itself and every score.

    beside: files that `path` does not work without.
    """

    path: Path
    spec: ImageSpec
    report: Report
    beside: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that a device needs to run it: of all its files, the golden pictures aside."""
        return sum(size_of(path) for path in (self.path, *self.beside))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
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
) -> Artifact:
    """Write the artifact under a temporary name, run the parity check through its runtime, and only then name it.

    `write` puts the artifact, a file or a folder, with the given spec at the given path; it is called again to put the
    verdict inside. The golden pictures are stored beside the artifact. On failure it is kept as `<path>.rejected`.

    beside: suffixes of further files that `write` puts next to the path it is given, under the same stem. They share
    the artifact's fate, and lie under their names before it does; an artifact that they replace goes first.
    load: what opens it for the check, `runtimes.load` if None. label: of the verdict; "predicted" where `load` opens it
    with something else than the runtime that its users get.

    Errors: ParityError when a picture differs too much; ArtifactError when the file cannot be opened.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    files = {partial.with_suffix(suffix): path.with_suffix(suffix) for suffix in (*beside, path.suffix)}
    try:
        write(partial, spec)
        with (load or runtimes.load)(partial) as runtime:
            report = check(runtime, golden, label=label)
        spec = dataclasses.replace(spec, parity=report.verdict)
        write(partial, spec)
        if report.verdict.passed:
            golden.save(golden_path(path))
            if beside:
                remove(path)
            for temporary, final in files.items():
                _rename(temporary, final)
                remove(_rejected(final))
        else:
            for temporary, final in files.items():
                _rename(temporary, _rejected(final))
    finally:
        for temporary in files:
            remove(temporary)
    require(report, _rejected(path))
    return Artifact(path, spec, report, tuple(path.with_suffix(suffix) for suffix in beside))


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _rename(path: Path, target: Path) -> None:
    """Give a file or a folder another name, in the place of what had it."""
    if path.is_dir():
        remove(target)  # a folder replaces none that has files in it
    path.replace(target)


def _rejected(path: Path) -> Path:
    """Where a file is kept that its parity check refused."""
    return path.with_name(path.name + ".rejected")


def require_target(path: Path, form: Format, *, precision: str, io: str, shapes: ShapeSet) -> None:
    """Refuse what the format cannot hold, a folder that is not there, a name by which no runtime knows the format."""
    form.require(precision=precision, io=io, shapes=shapes)
    if not path.parent.is_dir():
        raise ArtifactError(f"{path} should lie in an existing folder but {path.parent} is none; create it first")
    if path.suffix.lower() != form.suffix:
        raise ArtifactError(f"{path} should end in {form.suffix} but ends in {path.suffix or 'nothing'}; rename it")
