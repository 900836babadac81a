"""The paper's FiveK split, section 4.1."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bncagan.data.folders import by_stem
from runtimes.errors import InputError


def split(raw: Path, expert: Path, out: Path, counts: Sequence[int], seed: int) -> dict[str, int]:
    """Copy photographs into OUT/train/{raw,exp} and OUT/{val,test}/{raw,label}; returns the number in each folder.

    `counts` are the numbers for train/raw, train/exp, val and test. The scenes are shuffled by the seed, and no scene
    is in two of the four, so that training is unpaired. InputError if the two folders do not hold the same names or
    hold too few photographs, or if `out` exists.
    """
    sources, labels = (by_stem(folder) for folder in (raw, expert))
    alone = sorted(set(sources) ^ set(labels))
    if alone:
        raise InputError(
            f"{raw} and {expert} should hold photographs of the same names but {len(alone)} are in one only, such as "
            f"{alone[0]}; add the partners or remove these"
        )
    if min(counts) < 1:
        raise InputError(f"--counts should be at least 1 each but are {' '.join(map(str, counts))}; raise them")
    if len(sources) < sum(counts):
        raise InputError(
            f"{raw} should hold at least {sum(counts)} photographs, the sum of --counts, but holds {len(sources)}; "
            "pass smaller --counts"
        )
    if out.exists():
        raise InputError(f"{out} should be a new folder but exists; choose another --out")
    stems = np.random.default_rng(seed).permutation(sorted(sources))
    train_raw, train_exp, val, test = np.split(stems[: sum(counts)], np.cumsum(counts)[:-1])
    plan = {
        "train/raw": [sources[s] for s in train_raw],
        "train/exp": [labels[s] for s in train_exp],
        "val/raw": [sources[s] for s in val],
        "val/label": [labels[s] for s in val],
        "test/raw": [sources[s] for s in test],
        "test/label": [labels[s] for s in test],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        partial = Path(temporary) / out.name
        for name, paths in plan.items():
            folder = partial / name
            folder.mkdir(parents=True)
            for path in paths:
                shutil.copy2(path, folder / path.name)
        partial.rename(out)
    return {name: len(paths) for name, paths in plan.items()}
