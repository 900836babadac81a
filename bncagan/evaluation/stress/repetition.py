"""Good photographs change little when they are enhanced, and less each time they are enhanced again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from bncagan.evaluation.metrics import Enhancer
from bncagan.evaluation.stress.outcome import TILE_SIDE, Measure, Outcome, Result, Strip, enhanced, means, worst_of
from runtimes.image import Pixels, thumbnail

# Limits; every number must be smaller.
GOOD_CHANGE = 6.0  # CIEDE2000; half the difference between the originals and expert C's versions in FiveK (12 to 15)
RATIO = 1.0  # a second enhancement should change less than the first
BRIGHTENING = 6.0  # L*; the second and third enhancement together; as much as GOOD_CHANGE allows for one

VISIBLE = 1.0  # CIEDE2000; smaller changes are invisible and count as this much in a denominator
TIMES = 3  # enhancements in a row


class Repeated(NamedTuple):
    """A photograph that was enhanced three times in a row."""

    tiles: tuple[Pixels, ...]
    """The input, the first and the last enhancement."""
    changes: tuple[float, ...]
    """Mean CIEDE2000 from each picture to the next, 3 numbers."""
    lightness: tuple[float, ...]
    """Mean L* of the input and of each enhancement, 4 numbers."""


def calls(photographs: Mapping[str, Pixels]) -> int:
    """The number of times that `check` enhances."""
    return TIMES * len(photographs)


def check(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> Result:
    """Enhance each photograph, by name, three times in a row."""
    repeats = {name: repeat(enhancer, pixels, name) for name, pixels in photographs.items()}
    good = already_good(repeats)
    most = worst_of(good.pictures, "mean CIEDE2000")
    examples = [Strip(f"{name}\n{_said(repeats[name])}", repeats[name].tiles, "enhanced three times") for name in most]
    return Result([good, enhancing_again(repeats)], examples)


def repeat(enhancer: Enhancer, pixels: Pixels, name: str = "photograph") -> Repeated:
    """Enhance a photograph three times in a row; InputError as in `enhanced`."""
    pictures = [pixels]
    for _ in range(TIMES):
        pictures.append(enhanced(enhancer, pictures[-1], name))
    labs = [rgb2lab(picture) for picture in pictures]
    changes = tuple(float(deltaE_ciede2000(*pair).mean()) for pair in pairwise(labs))
    lightness = tuple(float(lab[..., 0].mean()) for lab in labs)
    tiles = tuple(thumbnail(picture, TILE_SIDE) for picture in (pictures[0], pictures[1], pictures[-1]))
    return Repeated(tiles, changes, lightness)


def already_good(repeats: Mapping[str, Repeated]) -> Outcome:
    """4. Good photographs change little: mean CIEDE2000 of one enhancement."""
    found = {name: {"mean CIEDE2000": each.changes[0]} for name, each in repeats.items()}
    return Outcome("already good", means(found, {"mean CIEDE2000": GOOD_CHANGE}), found)


def enhancing_again(repeats: Mapping[str, Repeated]) -> Outcome:
    """5. Enhancing again changes less each time, and photographs do not drift to white.

    From means over the photographs: the change of each enhancement divided by the change before it (at least 1), and
    how much the second and third enhancement raise L*.
    """
    first, second, third = np.mean([each.changes for each in repeats.values()], axis=0).tolist()
    lightness = np.mean([each.lightness for each in repeats.values()], axis=0).tolist()
    changes = f"CIEDE2000 {first:.2f}, {second:.2f}, {third:.2f}"
    measures = (
        Measure("second change / first", second / max(first, VISIBLE), RATIO, changes),
        Measure("third change / second", third / max(second, VISIBLE), RATIO, changes),
        Measure(
            "brightening after first, L*",
            lightness[-1] - lightness[1],
            BRIGHTENING,
            "mean L* " + ", ".join(f"{value:.1f}" for value in lightness),
        ),
    )
    found = {}
    for name, each in repeats.items():
        numbers = {f"CIEDE2000 {i + 1}": value for i, value in enumerate(each.changes)}
        found[name] = numbers | {f"mean L* {i}": value for i, value in enumerate(each.lightness)}
    return Outcome("enhancing again", measures, found)


def _said(each: Repeated) -> str:
    return f"CIEDE2000 {each.changes[0]:.1f}, L* {each.lightness[0]:.0f} to {each.lightness[1]:.0f}"
