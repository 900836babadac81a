"""What `train`, `evaluate` and `ablate` would refuse in a data set, and what they would do without a word."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bncagan.config import TrainConfig
from bncagan.data.folders import (
    HIGH_NAMES,
    KEEP_NAME,
    LABEL_NAMES,
    LOW_NAMES,
    PAIR_FOLDERS,
    SMALLEST,
    Pair,
    find_pairs,
    pair_folder,
    subfolder,
    training_folder,
)
from runtimes.console import tracked
from runtimes.errors import InputError, UserError
from runtimes.photographs import find_photographs, read_rgb

SIMILAR = {"val": {"valid", "validation", "vali", "dev"}, "test": {"tests", "testing", "eval"}, KEEP_NAME: {"keeps"}}
FOLDERS = ("train", *SIMILAR)

Size = tuple[int, int]  # height and width in px


class Photographs(NamedTuple):
    """The photographs of a folder."""

    sizes: dict[Path, Size]
    """The size of each one that can be decoded."""
    broken: list[str]
    """The error message of each one that cannot."""

    @property
    def total(self) -> int:
        """Number of photographs."""
        return len(self.sizes) + len(self.broken)

    @property
    def smallest(self) -> int:
        """Shortest side of any photograph in px; 0 if none can be decoded."""
        return min((min(size) for size in self.sizes.values()), default=0)


class Report(NamedTuple):
    """What `check` finds in a data set."""

    folders: dict[Path, Photographs]
    """The photographs of each folder."""
    refused: list[str]
    """What a command would refuse; each begins with its name."""
    notes: list[str]
    """What they would accept, and a user may not have meant."""

    @property
    def broken(self) -> list[str]:
        """The error messages of all photographs that cannot be decoded."""
        return [message for photographs in self.folders.values() for message in photographs.broken]


def check(data: Path) -> Report:
    """Decode every photograph of a data set and try what the commands need of it, at their default options.

    InputError if `data` is no folder.
    """
    if not data.is_dir():
        raise InputError(f"{data} should be a folder with train/low and train/high but is no folder; check the path")
    report = Report({}, [], [])
    _check_training(data, report)
    for name in PAIR_FOLDERS:
        _check_pairs(data, name, report)
    if (data / KEEP_NAME).is_dir():
        _check_keep(data, report)
    _note_similar_names(data, report)
    return report


def _check_training(data: Path, report: Report) -> None:
    for names in (LOW_NAMES, HIGH_NAMES):
        try:
            folder = training_folder(data, names)
            photographs = _look_through(folder, report)
        except UserError as error:
            if names is LOW_NAMES and _has_training(data, HIGH_NAMES):
                report.notes.append("no low-quality photographs: train with --low-from-high 1, which makes them")
            else:
                report.refused.append(f"train: {error}")
            continue
        if not photographs.sizes:
            report.refused.append(f"train: {folder} holds no photograph that can be decoded; replace them")
        small = [min(size) for size in photographs.sizes.values() if min(size) < TrainConfig.size]
        if small:
            side = max(64, min(small) // 8 * 8)
            report.notes.append(
                f"{folder}: {len(small)} of {photographs.total} photographs are smaller than --size "
                f"({TrainConfig.size} px) and are enlarged up to {TrainConfig.size / min(small):.3g} times; "
                f"--size {side} --crop {side} leaves them as they are"
            )


def _has_training(data: Path, names: tuple[str, ...]) -> bool:
    try:
        return bool(find_photographs(training_folder(data, names)))
    except UserError:
        return False


def _check_pairs(data: Path, name: str, report: Report) -> None:
    folder = pair_folder(data, name)
    if folder is None:
        without_test = "ablate scores on val" if pair_folder(data, "val") else "ablate has nothing to score on"
        what = {"val": "train scores no checkpoint and writes no best.safetensors", "test": without_test}
        report.notes.append(f"no {data / name}: {what[name]}")
        return
    command = "train, evaluate" if name == "val" else "evaluate"
    try:
        pairs = find_pairs(folder)
        found = [_look_through(subfolder(folder, names), report) for names in (LOW_NAMES, LABEL_NAMES)]
    except UserError as error:
        report.refused.append(f"{command}: {error}")
        return
    sizes = found[0].sizes | found[1].sizes
    report.refused.extend(f"{command}: {message}" for photographs in found for message in photographs.broken)
    for pair in (pair for pair in pairs if set(pair) <= sizes.keys()):
        report.refused.extend(_refusals(pair, name, sizes))
    if len(pairs) < 2:
        report.notes.append(f"{folder} holds one pair: it has no interval, and ablate needs two")


def _refusals(pair: Pair, name: str, sizes: dict[Path, Size]) -> list[str]:
    """What the commands would refuse of a pair that can be decoded."""
    low, label = sizes[pair.low], sizes[pair.label]
    if min(low) < SMALLEST:
        command = "train, evaluate" if name == "val" else "evaluate"
        least = f"{SMALLEST} x {SMALLEST}"
        return [f"{command}: {pair.low} should have at least {least} px but has {_shown(low)}; remove the pair"]
    if low == label:
        return []
    refused = [
        f"evaluate --protocol native: {pair.label} has {_shown(label)} px but its input {_shown(low)}; crop one, or "
        "use --protocol paper"
    ]
    short_side = TrainConfig.short_side
    if name == "val" and len({read_rgb(path, short_side).shape for path in pair}) > 1:
        refused.append(
            f"train: {pair.label} has {_shown(label)} px but its input {_shown(low)}, which differ when reduced to "
            f"--short-side {short_side}, too; crop or resize one"
        )
    return refused


def _check_keep(data: Path, report: Report) -> None:
    try:
        photographs = _look_through(data / KEEP_NAME, report)
    except UserError as error:
        report.refused.append(f"train, evaluate: {error}")
        return
    if pair_folder(data, "val") is None:
        report.notes.append(f"{data / KEEP_NAME} counts for train only together with pairs in {data / 'val'}")
    report.refused.extend(f"train, evaluate: {message}" for message in photographs.broken)


def _note_similar_names(data: Path, report: Report) -> None:
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        name = folder.name.lower()
        meant = next((known for known, others in SIMILAR.items() if name in others), name)
        if meant in FOLDERS and folder.name not in FOLDERS:
            report.notes.append(f"{folder} is not read; if it holds such photographs, name it {data / meant}")


def _look_through(folder: Path, report: Report) -> Photographs:
    """Decode the photographs of a folder and add it to the report; UserError if there are none."""
    sizes: dict[Path, Size] = {}
    broken: list[str] = []
    for path in tracked(find_photographs(folder), f"reading {folder}"):
        try:
            height, width, _ = read_rgb(path).shape
            sizes[path] = (height, width)
        except UserError as error:
            broken.append(str(error))
    report.folders[folder] = Photographs(sizes, broken)
    return report.folders[folder]


def _shown(size: Size) -> str:
    """Width x height, for messages."""
    return f"{size[1]} x {size[0]}"
