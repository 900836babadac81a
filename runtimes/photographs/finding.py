"""Which files of a folder are photographs."""

from __future__ import annotations

from pathlib import Path

from runtimes.errors import InputError
from runtimes.photographs.encoding import SUFFIXES
from runtimes.photographs.foreign import HEIF_SUFFIXES, RAW_SUFFIXES

READABLE = tuple(dict.fromkeys((*SUFFIXES, ".gif", *HEIF_SUFFIXES, *RAW_SUFFIXES)))
DEVELOPED = tuple(suffix for suffix in READABLE if suffix not in RAW_SUFFIXES)


def find_photographs(path: str | Path) -> list[Path]:
    """List the photographs at a path: the file itself, or the files in a folder with a known suffix, sorted by name.

    Subfolders and hidden files are skipped, and so are cameras' raw files, which often lie beside their JPEG.

    Errors: InputError when the path does not exist or the folder has no photographs.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} should be a photograph or a folder of them but does not exist; check the name")
    found = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in DEVELOPED and file.is_file() and not file.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{path} should hold photographs ({', '.join(DEVELOPED[:8])}, ...) but holds none; point at another folder"
        )
    return found
