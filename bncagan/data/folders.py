"""The folders of a data set, and its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtimes.errors import InputError
from runtimes.photographs import find_photographs

SMALLEST = 8  # px, of a pair: SSIM needs more than its window of 7
PHONES = ("iphone", "blackberry", "sony")  # of DPED
LOW_NAMES = ("low", "raw", *PHONES)
HIGH_NAMES = ("high", "exp", "canon")
LABEL_NAMES = ("label", "high", "exp", "canon")
TRAIN_NAMES = ("train", "training_data")
# Of pairs; DPED's are in test_data/patches
PAIR_FOLDERS = {"val": ("val",), "test": ("test", "test_data/patches")}
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
    """The training folder of a domain: DATA/train/NAME, DATA/training_data/NAME or DATA/NAME, for one of `names`.

    InputError if there is none, or if `data` holds the data sets of DPED's phones.
    """
    if not data.is_dir():
        raise InputError(f"{data} should be a folder with train/low and train/high but is no folder; check the path")
    phones = [str(data / name) for name in PHONES if (data / name / "training_data").is_dir()]
    if phones:
        raise InputError(f"{data} should be one data set but holds one for each phone; name {' or '.join(phones)}")
    parent = subfolder(data, TRAIN_NAMES) if any((data / name).is_dir() for name in TRAIN_NAMES) else data
    return subfolder(parent, names)


def pair_folder(data: Path, name: str) -> Path | None:
    """The folder of the validation or test pairs of a data set, or None; `name` is val or test."""
    return next((data / each for each in PAIR_FOLDERS[name] if (data / each).is_dir()), None)


def find_pairs(data: Path) -> list[Pair]:
    """Pair the photographs in low (raw, or a phone's) with the references in label (high, exp, canon) by name.

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
