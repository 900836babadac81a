"""The splits of FiveK: the paper's, section 4.1, by chance; by number, as the authors' folders are; or by a list."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from bncagan.data.folders import by_stem
from runtimes.errors import InputError, UserError
from runtimes.photographs import SUFFIXES

RANDOM, NUMBER = "random", "number"


class Parts(NamedTuple):
    """The names of the photographs in each part of a split."""

    raw: list[str]
    """Unedited photographs for training."""
    expert: list[str]
    """Edited ones for training; none of them is of a scene in `raw`."""
    val: list[str]
    """Pairs for validation."""
    test: list[str]
    """Pairs for the test."""


def split(
    raw: Path, expert: Path, out: Path, counts: Sequence[int], *, seed: int = 0, order: str = RANDOM
) -> dict[str, int]:
    """Copy photographs into OUT/train/{raw,exp} and OUT/{val,test}/{raw,label}; returns the number in each folder.

    `counts` are the numbers for train/raw, train/exp, val and test. No scene is in two of the four, so that training is
    unpaired. `order` is random (shuffled by the seed), number (see `by_number`) or a text file (see `by_list`).
    InputError if the two folders do not hold the same names or hold too few photographs, if `order` does not fit them,
    or if `out` exists.
    """
    _refuse_options(counts, seed)
    sources, labels = (_photographs(folder) for folder in (raw, expert))
    alone = sorted(set(sources) ^ set(labels))
    if alone:
        raise InputError(
            f"{raw} and {expert} should hold photographs of the same names but {len(alone)} are in one only, such as "
            f"{alone[0]}; add the partners or remove these"
        )
    if len(sources) < sum(counts):
        raise InputError(
            f"{raw} should hold at least {sum(counts)} photographs, the sum of --counts, but holds {len(sources)}; "
            "pass smaller --counts"
        )
    if out.exists():
        raise InputError(f"{out} should be a new folder but exists; choose another --out")
    if order == NUMBER:
        parts = by_number(sorted(sources), counts)
    elif order == RANDOM:
        parts = _cut(np.random.default_rng(seed).permutation(sorted(sources)).tolist(), counts)
    else:
        parts = by_list(Path(order), sources.keys(), counts)
    plan = {
        "train/raw": [sources[s] for s in parts.raw],
        "train/exp": [labels[s] for s in parts.expert],
        "val/raw": [sources[s] for s in parts.val],
        "val/label": [labels[s] for s in parts.val],
        "test/raw": [sources[s] for s in parts.test],
        "test/label": [labels[s] for s in parts.test],
    }
    _copy(plan, out)
    return {name: len(paths) for name, paths in plan.items()}


def by_number(stems: Sequence[str], counts: Sequence[int]) -> Parts:
    """The authors' split: numbers from 1 on are expert, then raw, test and validation.

    With the paper's counts: a0001 to a2250, a2251 to a4500, a4501 to a4900, a4901 to a5000. InputError if a number is
    missing or occurs twice, because then other scenes would be tested than in a published table.
    """
    numbered: dict[int, str] = {}
    for stem in stems:
        match = re.match(r"\D*(\d+)", stem)
        if match is None:
            raise InputError(
                f"{stem} should have a number in its name for --order number but has none; use --order random or a file"
            )
        number = int(match[1])
        if number in numbered:
            raise InputError(
                f"{stem} should have a number of its own but has that of {numbered[number]}; remove one of them"
            )
        numbered[number] = stem
    missing = next((number for number in range(1, sum(counts) + 1) if number not in numbered), None)
    if missing is not None:
        raise InputError(
            f"--order number should find the numbers 1 to {sum(counts)}, the sum of --counts, but {missing} is "
            "missing; add it, or use --order random or a file"
        )
    raw, expert, val, test = counts
    ordered = [numbered[number] for number in range(1, sum(counts) + 1)]
    parts = _cut(ordered, (expert, raw, test, val))
    return Parts(raw=parts.expert, expert=parts.raw, val=parts.test, test=parts.val)


def by_list(file: Path, stems: Collection[str], counts: Sequence[int]) -> Parts:
    """The names in a text file, one a line, with or without suffix; as many as `counts` says go to each part in turn.

    Empty lines and those that begin with # do not count. InputError if the file cannot be read, or if it names too few
    photographs, unknown ones, or one twice.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--order should be number, random or a text file but {file} cannot be read ({error}); check the path"
        ) from error
    chosen: list[str] = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name = line if line in stems or Path(line).suffix.lower() not in SUFFIXES else Path(line).stem
        if name not in stems or name in chosen:
            what = "is no photograph of the two folders" if name not in stems else "is named twice"
            raise InputError(f"{file} should name photographs, each once, but {line} {what}; correct the line")
        chosen.append(name)
    if len(chosen) < sum(counts):
        raise InputError(
            f"{file} should name at least {sum(counts)} photographs, the sum of --counts, but names {len(chosen)}; "
            "pass smaller --counts"
        )
    return _cut(chosen, counts)


def _cut(stems: Sequence[str], counts: Sequence[int]) -> Parts:
    """As many names as `counts` says for each part in turn."""
    ends = np.cumsum(counts).tolist()
    return Parts(*(list(stems[end - count : end]) for end, count in zip(ends, counts, strict=True)))


def _refuse_options(counts: Sequence[int], seed: int) -> None:
    if min(counts) < 1:
        raise InputError(f"--counts should be at least 1 each but are {' '.join(map(str, counts))}; raise them")
    if seed < 0:
        raise InputError(f"--seed should be at least 0 but is {seed}; choose another")


def _photographs(folder: Path) -> dict[str, Path]:
    """The photographs of a folder by name; InputError says what to do with an archive as it comes."""
    try:
        return by_stem(folder)
    except UserError:
        if folder.is_dir() and any(path.suffix.lower() == ".dng" for path in folder.rglob("*")):
            raise InputError(
                f"{folder} should hold photographs but holds a camera's DNG files, here or in sub-folders; make "
                "pictures of them by `bncagan data fivek`"
            ) from None
        raise


def _copy(plan: dict[str, list[Path]], out: Path) -> None:
    """Copy the photographs of each folder into OUT, which appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        partial = Path(temporary) / out.name
        for name, paths in plan.items():
            folder = partial / name
            folder.mkdir(parents=True)
            for path in paths:
                shutil.copy2(path, folder / path.name)
        partial.rename(out)
