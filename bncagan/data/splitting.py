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
    """Copy photographs into OUT/train/{raw,exp} and OUT/{val,test}/{raw,label}; returns the number in each.

    `counts` are those of train/raw, train/exp, val and test. Scenes are shuffled by the seed and none stands in two
    of the four, so that training is unpaired. InputError if the folders do not pair by name, hold too few, or `out`
    exists.
    """
    sources, labels = (by_stem(folder) for folder in (raw, expert))
    alone = sorted(set(sources) ^ set(labels))
    if alone:
        raise InputError(f"{raw} and {expert}: {alone[0]} (and {len(alone) - 1} more) is only in one; add its partner")
    if len(sources) < sum(counts) or min(counts) < 1:
        raise InputError(
            f"{raw}: expected at least {sum(counts)} photographs, got {len(sources)}; pass smaller --counts"
        )
    if out.exists():
        raise InputError(f"{out}: expected a folder that does not exist yet; choose another")
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
