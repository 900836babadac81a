"""How a look differs from the shipped head: colours of their pictures, likeness to finished photographs, a sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from skimage.color import rgb2lab

from bncagan.evaluation.metrics import psnr
from bncagan.evaluation.scores import Comparison
from runtimes.image import Pixels

DULL, FINISHED = "dull rendering", "finished photograph"
SHEET_ROWS = 8
LONGEST_NAME = 30  # characters of a name that fit over a picture


class Colours(NamedTuple):
    """Means over a picture, or over pictures, in CIELAB."""

    lightness: float
    """L*, 0 to 100."""
    chroma: float
    """Distance from grey."""
    warmth: float
    """b*: blue below 0, yellow above."""


class Row(NamedTuple):
    """The means of one method over photographs."""

    psnr: float | None
    """PSNR to the finished photographs in dB; None for these themselves."""
    colours: Colours
    """Colours of the method's pictures."""


def colours_of(picture: Pixels) -> Colours:
    """The mean colours of a picture, H x W x 3."""
    lightness, a, b = np.moveaxis(rgb2lab(picture), 2, 0)
    return Colours(float(lightness.mean()), float(np.hypot(a, b).mean()), float(b.mean()))


def compare_looks(
    names: Sequence[str],
    dull: Sequence[Pixels],
    finished: Sequence[Pixels],
    methods: Mapping[str, Callable[[Pixels], Pixels]],
) -> tuple[dict[str, Row], list[Comparison]]:
    """Enhance dull renderings of finished photographs by each method; returns a row for each, and a sheet's lines.

    The rows are those of the dull renderings, of the methods and of the finished photographs, by name.
    """
    columns: dict[str, list[Pixels]] = {DULL: list(dull)}
    columns |= {method: [enhance(each) for each in dull] for method, enhance in methods.items()}
    rows = {
        method: Row(float(np.mean([psnr(*both) for both in zip(pictures, finished, strict=True)])), _mean(pictures))
        for method, pictures in columns.items()
    }
    rows[FINISHED], columns[FINISHED] = Row(None, _mean(finished)), list(finished)
    shown = np.linspace(0, len(finished) - 1, min(SHEET_ROWS, len(finished)), dtype=int)
    return rows, [_line(names[i], {column: pictures[i] for column, pictures in columns.items()}) for i in shown]


def _line(name: str, pictures: Mapping[str, Pixels]) -> Comparison:
    """A line of the sheet: the middle square of each picture, with the photograph's name over the first."""
    named = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...", *[""] * (len(pictures) - 1)]
    titles = [f"{above}\n{column}" for above, column in zip(named, pictures, strict=True)]
    return Comparison(titles, [_square(picture) for picture in pictures.values()])


def _square(picture: Pixels) -> Pixels:
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def _mean(pictures: Sequence[Pixels]) -> Colours:
    return Colours(*np.mean([colours_of(each) for each in pictures], axis=0).tolist())
