"""The plan of a run: one output for each photograph, checked before any work, so that nothing is destroyed."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import tempfile
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from runtimes.errors import InputError
from runtimes.files import PARTIAL, sweep
from runtimes.folders.listing import Found
from runtimes.folders.naming import Naming, backup_of

EXISTS = "the result exists"
EARLIER = "an earlier result"
KEPT = "the original of a photograph enhanced in place"
LINK = "a link, with --in-place"

Status = Literal["done", "skipped", "failed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """A photograph before and after, as JPEG data of one reduced size."""

    before: bytes
    after: bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What became of one file."""

    file: Path
    status: Status
    output: Path | None = None
    """The file that was written, or that exists already."""
    why: str | None = None
    """Why the file was skipped or failed; of one that is done, what could not be kept."""
    look: Look | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """One photograph to enhance."""

    file: Path
    output: Path
    overwrite: bool
    """Whether `output` may be replaced."""
    backup: Path | None = None
    """Where the photograph is kept, if `output` takes its place."""


def plan(found: Sequence[Found], naming: Naming) -> list[Job | Result]:
    """Decide for each file where its result goes or why it has none, in the order of `found`. Nothing is written.

    Errors: InputError when a result would overwrite a photograph of this run, when it exists and may not be replaced,
    or when two photographs would have one result.
    """
    steps = [_step(one, naming) for one in found]
    jobs = [step for step in steps if isinstance(step, Job)]
    photographs = {_identity(step.file): step.file for step in steps if step.output is not None}
    photographs.pop(None, None)  # deleted meanwhile
    for step in steps if not naming.in_place else ():
        if step.output is not None and (photograph := photographs.get(_identity(step.output))) is not None:
            raise InputError(
                f"{step.output}, the result of {step.file}, should be no photograph that is to be enhanced but is "
                f"{photograph}; choose another --out, add --suffix, or use --in-place"
            )
    _require_names_of_their_own([(job.output, job.file) for job in jobs])
    existing = [job.output for job in jobs if not job.overwrite and os.path.lexists(job.output)]
    if existing:
        more = f", as do {len(existing) - 1} more" if len(existing) > 1 else ""
        raise InputError(
            f"{existing[0]} should not exist yet but does{more}; --skip-existing goes on where a run stopped, "
            "--overwrite replaces results"
        )
    return steps


def require_free(extra: Sequence[tuple[Path, bool]], of_run: Collection[Path]) -> None:
    """Check that the further files of a run, such as its report, destroy nothing.

    extra: their paths, and whether each may replace a file that is none of the run's.
    of_run: the files of the run that must stay, its photographs and their results.

    Errors: InputError.
    """
    names, identities = set(map(_folded, of_run)), set(map(_identity, of_run)) - {None}
    for path, overwrite in extra:
        if _folded(path) in names or _identity(path) in identities:
            raise InputError(f"{path} should be a file of its own but is one of this run's; choose another name")
        if os.path.lexists(path) and not overwrite:
            raise InputError(f"{path} should not exist yet but does; choose another name, or add --overwrite")
        names.add(_folded(path))


def prepare(steps: Iterable[Job | Result], out: Path | None) -> None:
    """Create the folder of the results, and delete what killed runs left unfinished.

    Errors: InputError when the folder cannot be created or written to.
    """
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=PARTIAL, dir=out):
                pass
        except OSError as error:
            raise InputError(
                f"{out} should be a folder that can be written to but is not ({error.strerror}); "
                "check the path, its permissions and the space on its disk"
            ) from error
    for folder in {step.output.parent for step in steps if step.output is not None}:
        sweep(folder)


def _step(one: Found, naming: Naming) -> Job | Result:
    if one.failed is not None:
        return Result(one.file, "failed", why=one.failed)
    reason = one.skipped
    if reason is None and naming.is_result(one.file):
        reason = KEPT if naming.in_place else EARLIER
    if reason is None and naming.in_place and one.file.is_symlink():
        reason = LINK
    if reason is not None:
        return Result(one.file, "skipped", why=reason)
    return _job_in_place(one.file, naming) if naming.out is None else _job(one, naming, naming.out)


def _job(one: Found, naming: Naming, out: Path) -> Job | Result:
    output = out / naming.name(one.below)
    link = next((folder for folder in output.parents if out in folder.parents and folder.is_symlink()), None)
    if link is not None:
        why = f"{output} should be inside {out} but {link} is a link to another folder; remove the link"
        return Result(one.file, "failed", why=why)
    if naming.skip_existing and os.path.lexists(output):
        return Result(one.file, "skipped", output, EXISTS)
    return Job(one.file, output, naming.overwrite)


def _job_in_place(file: Path, naming: Naming) -> Job | Result:
    output = file.with_name(naming.name(Path(file.name)).name)
    if output != file:
        why = f"{file} should be of a format that can be written, to be enhanced in place, but is not; use --out"
        return Result(file, "failed", why=why)
    if not naming.backup:
        return Job(file, file, overwrite=True)
    backup = backup_of(file)
    # A run that was killed between the backup and the result leaves two equal files
    if os.path.lexists(backup) and not filecmp.cmp(file, backup, shallow=False):
        if naming.skip_existing:
            return Result(file, "skipped", file, EXISTS)
        raise InputError(
            f"{backup} should not exist yet but does, so {file} is enhanced already; --skip-existing leaves it out"
        )
    return Job(file, file, overwrite=True, backup=backup)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode, which tell a file by whatever name or link; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _folded(path: Path) -> str:
    """Return the path as a file system sees it that ignores case and Unicode's forms."""
    return unicodedata.normalize("NFC", str(path.absolute())).casefold()


def _require_names_of_their_own(outputs: Sequence[tuple[Path, Path]]) -> None:
    """Refuse two photographs (second of each pair) with one output (first), on this file system."""
    seen: dict[str, tuple[Path, Path]] = {}
    for output, file in outputs:
        other, its_file = seen.setdefault(_folded(output), (output, file))
        if its_file != file and (other == output or _ignores_case(output.parent)):
            raise InputError(
                f"{file} should have a result of its own but {output} is also that of {its_file}; "
                "enhance them into two folders"
            )


def _ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder, or of the nearest folder above that exists, ignores case."""
    while not folder.is_dir():
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=f"{PARTIAL}case-", dir=folder) as probe:
            path = Path(probe.name)
            return path.with_name(path.name.upper()).exists()
    except OSError:
        return True  # nothing can be written there anyway
