"""The files below the paths that a user names, each with what becomes of it: nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runtimes.errors import InputError
from runtimes.photographs import READABLE
from runtimes.video.reading import VIDEO_SUFFIXES

# Why a file or a folder is left out; the summary counts each.
NO_PHOTOGRAPH = "no photograph by its suffix"
VIDEO = "a video, which has to be named itself"
HIDDEN = "hidden"
NO_FILE = "neither a file nor a folder"
SUBFOLDER = "a sub-folder, without --recursive"
LINKED_FOLDER = "a link to a folder"
SYSTEM = "a folder of the system"
RESULTS = "the folder of the results"

_SYSTEM = {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"}  # thumbnails, deleted files


class Found(NamedTuple):
    """A file below a path that the user named, or a folder that is left out."""

    file: Path
    """Its path, as the user would write it."""
    below: Path
    """Its path below the folder that the user named; the name of a file that was named itself."""
    skipped: str | None = None
    """Why it is left out; None for a photograph."""
    failed: str | None = None
    """Why it cannot be listed, in one sentence; None for anything else."""

    @property
    def wanted(self) -> bool:
        """Whether it is to be enhanced."""
        return self.skipped is None and self.failed is None


def find(given: Sequence[Path], *, recursive: bool = False, results: Path | None = None) -> list[Found]:
    """List every file at the given paths, in the order given and in a folder by name, each file before the sub-folders.

    A file that is named itself is always wanted; in a folder the suffix decides. Links to files are followed, links to
    folders are not. Of a file that was named twice the first stays.

    recursive: list sub-folders as well.
    results: a folder that is left out, because the results go there.

    Errors: InputError when a given path does not exist, or when there is no photograph at all.
    """
    walk = _Walk(recursive, None if results is None else results.resolve())
    found: dict[tuple[str, Path], Found] = {}
    for path in given:
        if path.is_dir():
            listed: Iterator[Found] = walk.folder(path, Path())
        elif os.path.lexists(path):
            listed = iter([_file(path, Path(path.name), named=True)])
        else:
            raise InputError(f"{path} should be a photograph or a folder of them but does not exist; check the name")
        for one in listed:
            found.setdefault((os.path.realpath(one.file), one.below), one)
    if not any(one.wanted or one.failed for one in found.values()):
        shown = ", ".join(map(str, given)) or "the arguments"
        mend = "point at others"
        if any(one.skipped == SUBFOLDER for one in found.values()):
            mend = "add --recursive to go into the sub-folders"
        raise InputError(f"{shown} should hold photographs ({', '.join(READABLE)}) but holds none; {mend}")
    return list(found.values())


class _Walk(NamedTuple):
    recursive: bool
    results: Path | None

    def folder(self, folder: Path, below: Path) -> Iterator[Found]:
        """List a folder; `below` is its path below the one that the user named."""
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(
                folder,
                below,
                failed=f"{folder} should be a folder that can be listed but is not ({error.strerror}); "
                "check its permissions",
            )
            return
        folders = []
        for entry in entries:
            file, place = folder / entry.name, below / entry.name
            if not entry.is_dir():
                yield _file(file, place)
            elif (reason := self._left_out(file, is_link=entry.is_symlink())) is not None:
                yield Found(file, place, skipped=reason)
            else:
                folders.append((file, place))
        for file, place in folders:
            yield from self.folder(file, place)

    def _left_out(self, folder: Path, *, is_link: bool) -> str | None:
        """Say why a sub-folder is left out; None if it is listed."""
        if self.results is not None and folder.resolve() == self.results:
            return RESULTS
        if folder.name.startswith("."):
            return HIDDEN
        if folder.name in _SYSTEM:
            return SYSTEM
        if is_link:
            return LINKED_FOLDER  # it may lead back up
        return None if self.recursive else SUBFOLDER


def _file(file: Path, below: Path, *, named: bool = False) -> Found:
    """Judge a file. `named`: the user named it, so that its suffix does not matter."""
    reason = failed = None
    if not named and file.name.startswith("."):
        reason = HIDDEN
    elif not named and file.suffix.lower() not in READABLE:
        reason = VIDEO if file.suffix.lower() in VIDEO_SUFFIXES else NO_PHOTOGRAPH
    elif not file.exists():
        failed = f"{file} should be a photograph but is a link to a file that does not exist; mend the link"
    elif not file.is_file():  # a pipe would never end
        reason = NO_FILE
    return Found(file, below, reason, failed)
