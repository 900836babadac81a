"""The folders of a data set, its pairs, and its photographs that cannot be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtimes.errors import ArtifactError, InputError
from runtimes.photographs import find_photographs, read_rgb

LOW_NAMES = ("low", "raw", "iphone")
HIGH_NAMES = ("high", "exp", "canon")
LABEL_NAMES = ("label", "high", "exp", "canon")
TRAIN_NAMES = ("train", "training_data")
KEEP_NAME = "keep"


class Pair(NamedTuple):
    """A photograph and its reference, which have the same name without suffix."""

    low: Path
    label: Path


def subfolder(parent: Path, names: Sequence[str]) -> Path:
    """The first folder in `parent` with one of these names; InputError if there is none."""
    for name in names:
        if (parent / name).is_dir():
            return parent / name
    raise InputError(
        f"{parent} should hold a folder named {' or '.join(names)} but holds none; add it or check the path"
    )


def training_folder(data: Path, names: Sequence[str]) -> Path:
    """The training folder of a domain: DATA/train/NAME, DATA/training_data/NAME or DATA/NAME, for one of `names`."""
    if not data.is_dir():
        raise InputError(f"{data} should be a folder with train/low and train/high but is no folder; check the path")
    parent = subfolder(data, TRAIN_NAMES) if any((data / name).is_dir() for name in TRAIN_NAMES) else data
    return subfolder(parent, names)


def find_pairs(data: Path) -> list[Pair]:
    """Pair the photographs in low (raw, iphone) with the references in label (high, exp, canon) by name.

    The names are compared without suffix. InputError if a file has no partner, or if a folder has one name twice.
    """
    if not data.is_dir():
        raise InputError(f"{data} should be a folder with low and label in it but is no folder; check the path")
    low, label = (by_stem(subfolder(data, names)) for names in (LOW_NAMES, LABEL_NAMES))
    alone = sorted(set(low) ^ set(label))
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise InputError(
            f"{data} should hold pairs of photographs with the same name but {len(alone)} have no partner ({shown}); "
            "add the partners or remove these"
        )
    return [Pair(low[stem], label[stem]) for stem in sorted(low)]


def keep_photographs(data: Path, given: Path | None = None) -> list[Path]:
    """The photographs that an enhancer should leave alone: those in `given`, else in DATA/keep, else none.

    ArtifactError if the folder has no photographs, or if `given` does not exist.
    """
    if given is None and not (data / KEEP_NAME).is_dir():
        return []
    return find_photographs(data / KEEP_NAME if given is None else given)


def by_stem(folder: Path) -> dict[str, Path]:
    """The photographs of a folder by their names without suffix; InputError if two have the same name."""
    found: dict[str, Path] = {}
    for path in find_photographs(folder):
        if path.stem in found:
            raise InputError(
                f"{folder} should hold one photograph of each name but holds {found[path.stem].name} and {path.name}; "
                "keep one of them"
            )
        found[path.stem] = path
    return found


class Photographs(NamedTuple):
    """What `check` finds in a folder."""

    total: int
    """Number of photographs."""
    smallest: int
    """Shortest side of any photograph in px; 0 if none can be decoded."""
    broken: list[str]
    """The error message of each photograph that cannot be decoded."""


def check(data: Path) -> dict[Path, Photographs]:
    """Decode every photograph of a data set: both training folders and, where they exist, val, test and keep."""
    folders = [training_folder(data, names) for names in (LOW_NAMES, HIGH_NAMES)]
    for name in ("val", "test"):
        if (data / name).is_dir():
            find_pairs(data / name)
            folders += [subfolder(data / name, LOW_NAMES), subfolder(data / name, LABEL_NAMES)]
    if (data / KEEP_NAME).is_dir():
        folders.append(data / KEEP_NAME)
    return {folder: _look_through(find_photographs(folder)) for folder in folders}


def _look_through(paths: list[Path]) -> Photographs:
    sides, broken = [], []
    for path in paths:
        try:
            sides.append(min(read_rgb(path).shape[:2]))
        except ArtifactError as error:
            broken.append(str(error))
    return Photographs(len(paths), min(sides, default=0), broken)
