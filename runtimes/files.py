"""Atomic writing: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PARTIAL = ".bncagan-"  # how the names of unfinished files begin


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` on success and is deleted on any error.

    overwrite: False refuses to replace a file, even one that appeared in the meantime.

    Errors: FileExistsError when `path` exists and may not be replaced.
    """
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


def sweep(folder: Path) -> None:
    """Delete the unfinished files that killed processes left in a folder; those of running processes stay."""
    if sys.platform == "win32":
        return
    for leftover in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError), leftover.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError if another process holds it
            leftover.unlink()


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
