"""Small data sets for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(seed: int, height: int = 80, width: int = 96) -> NDArray[np.uint8]:
    """A smooth random picture, H x W x 3."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def write_pictures(folder: Path, names: list[str], *, seed: int = 0, dim: int = 1) -> None:
    """Write a picture for each name; its values are divided by `dim`."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(seed + number) // dim).save(folder / name)


def make_data(root: Path, low: str = "low", high: str = "high", label: str = "label") -> Path:
    """Write a training set with different numbers and names in its two folders, and two validation pairs."""
    write_pictures(root / "train" / low, [f"a{i}.png" for i in range(5)], dim=3)
    write_pictures(root / "train" / high, [f"b{i}.jpg" for i in range(7)], seed=50)
    write_pictures(root / "val" / low, ["x.png", "y.png"], seed=90, dim=3)
    write_pictures(root / "val" / label, ["x.png", "y.png"], seed=90)
    return root
