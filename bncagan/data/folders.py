"""A data set's folders, its pairs, and which of its photographs cannot be decoded."""

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


class Pair(NamedTuple):
    """A photograph and its reference, paired by stem."""

    low: Path
    label: Path


def subfolder(parent: Path, names: Sequence[str]) -> Path:
    """The first of `names` that is a folder in `parent`; InputError if none is."""
    for name in names:
        if (parent / name).is_dir():
            return parent / name
    raise InputError(f"{parent}: expected a folder named {' or '.join(names)} in it, but there is none")


def training_folder(data: Path, names: Sequence[str]) -> Path:
    """A domain's training photographs: DATA/train/NAME, DATA/training_data/NAME or DATA/NAME, for one of `names`."""
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder with train/low and train/high, but there is no such folder")
    parent = subfolder(data, TRAIN_NAMES) if any((data / name).is_dir() for name in TRAIN_NAMES) else data
    return subfolder(parent, names)


def find_pairs(data: Path) -> list[Pair]:
    """Photographs and references of a folder with low (raw, iphone) and label (high, exp, canon), paired by stem.

    InputError names the files that have no partner, and stems that stand twice.
    """
    if not data.is_dir():
        raise InputError(f"{data}: expected a folder with low and label in it, but there is no such folder")
    low, label = (by_stem(subfolder(data, names)) for names in (LOW_NAMES, LABEL_NAMES))
    alone = sorted(set(low) ^ set(label))
    if alone:
        shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
        raise InputError(f"{data}: {len(alone)} photographs have no partner of the same name ({shown}); add or remove")
    return [Pair(low[stem], label[stem]) for stem in sorted(low)]


def by_stem(folder: Path) -> dict[str, Path]:
    """A folder's photographs by name without suffix; InputError if a name stands twice."""
    found: dict[str, Path] = {}
    for path in find_photographs(folder):
        if path.stem in found:
            raise InputError(f"{folder}: {path.name} and {found[path.stem].name} share a name; keep one of them")
        found[path.stem] = path
    return found


class Photographs(NamedTuple):
    """What `check` finds in a folder."""

    total: int
    smallest: int  # shortest side of any, px; 0 if none can be decoded
    broken: list[str]  # a sentence for each that cannot be decoded


def check(data: Path) -> dict[Path, Photographs]:
    """Decode every photograph of a data set's training folders and of its val and test pairs, where there are."""
    folders = [training_folder(data, names) for names in (LOW_NAMES, HIGH_NAMES)]
    for name in ("val", "test"):
        if (data / name).is_dir():
            find_pairs(data / name)
            folders += [subfolder(data / name, LOW_NAMES), subfolder(data / name, LABEL_NAMES)]
    return {folder: _look_through(find_photographs(folder)) for folder in folders}


def _look_through(paths: list[Path]) -> Photographs:
    sides, broken = [], []
    for path in paths:
        try:
            sides.append(min(read_rgb(path).shape[:2]))
        except ArtifactError as error:
            broken.append(str(error))
    return Photographs(len(paths), min(sides, default=0), broken)
