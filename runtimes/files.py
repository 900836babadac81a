"""Atomic writing: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runtimes.errors import InputError

if sys.platform != "win32":
    import fcntl

PARTIAL = ".bncagan-"  # how the names of unfinished files begin
LOCK = "lock"  # the file that is held in a folder of unfinished files
NEW_S = 60  # age of a folder without that file up to which it may be about to get it


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` on success and is deleted on any error.

    overwrite: False refuses to replace a file, even one that appeared in the meantime.

    Errors: FileExistsError when `path` exists and may not be replaced.
    """
    _sweep_once(path.absolute().parent)
    temporary = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}{path.suffix}")
    try:
        with _held(temporary):
            yield temporary
            if overwrite:
                temporary.replace(path)
            else:
                _put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """Yield a new folder inside `folder` for unfinished files, which is deleted at the end."""
    _sweep_once(folder.absolute())
    place = folder / f"{PARTIAL}{secrets.token_hex(8)}"
    place.mkdir()
    try:
        with _held(place / LOCK):
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time be here; the others wait. `path` is a folder, or an empty file, which stays."""
    if sys.platform == "win32":
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def require_new(folder: Path) -> None:
    """Refuse a folder that cannot be made or that holds files; InputError names it."""
    if not folder.parent.is_dir():
        raise InputError(f"{folder} should be in an existing folder but {folder.parent} is none; create it first")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} should be a new or empty folder but is not; delete it, or choose another")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; it gets that name on success and is deleted on any error.

    Errors: as `require_new`.
    """
    require_new(folder)
    with workshop(folder.parent) as place:
        made = place / folder.name
        made.mkdir()
        yield made
        if folder.exists():
            folder.rmdir()
        made.rename(folder)


def sweep(folder: Path) -> None:
    """Delete the unfinished files and folders that killed processes left in a folder; those in use stay.

    The first time that a process writes into a folder it does this by itself.
    """
    if sys.platform == "win32":
        return
    for leftover in folder.glob(f"{PARTIAL}*"):
        lock = leftover / LOCK if leftover.is_dir() else leftover
        with contextlib.suppress(OSError):
            if not lock.exists() and time.time() - leftover.stat().st_mtime > NEW_S:
                shutil.rmtree(leftover)
                continue
            with lock.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError if another process holds it
                if lock is leftover:
                    leftover.unlink()
                else:
                    shutil.rmtree(leftover)


@functools.cache
def _sweep_once(folder: Path) -> None:
    sweep(folder)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Create a file and lock it, so that `sweep` sees that it is in use. The lock goes when the process ends."""
    if sys.platform == "win32":  # where no open file can be renamed
        yield
        return
    with path.open("ab") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _put(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless a file of that name exists, which is a FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file; the old file stays if writing fails."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; the old file stays if writing fails."""
    write_text(path, json.dumps(value, indent=2) + "\n")
