"""Drawn pictures: the flat areas, hard edges and even ramps of which photographs show few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bncagan.data.rendering import LUMA
from runtimes.image import Pixels

MOST_LEAVES = 64  # 0 to 63 of them, few as often as many
SMALLEST = 1 / 16  # radius of a disc, of the picture's side; the largest is the whole side
STRAIGHT = 0.25  # share of leaves that are half-planes: one straight edge
SHADED = 0.5  # share of leaves that are brighter on one side
GREY = 0.5  # share of pictures without colours
GRAIN = (0.2, 2.0)  # of 255: a flat picture comes back as it is (`layers.Contrast`) and would teach nothing


def dead_leaves(side: int, rng: np.random.Generator) -> Pixels:
    """Discs and half-planes of random colours over one another, side x side x 3: occlusion without any content.

    The dead leaves model (Lee, Mumford and Huang, Occlusion models for natural images, 2001) as training pictures
    (Baradad et al., Learning to see by looking at noise, 2021), with ramps; without a leaf it is one flat colour.
    """
    saturation = 0.0 if rng.random() < GREY else rng.uniform(0, 0.5)
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = _paint(side, side, saturation, rng)
    for _ in range(int(MOST_LEAVES ** rng.random()) - 1):
        if rng.random() < STRAIGHT:
            box, covered = _half_plane(side, rng)
        else:
            box, covered = _disc(side, rng)
        part = canvas[box]
        height, width, _ = part.shape
        part[covered] = np.broadcast_to(_paint(height, width, saturation, rng), part.shape)[covered]
    grain = rng.uniform(*GRAIN) * rng.standard_normal((side, side, 1))
    return np.asarray((canvas * 255 + grain + 0.5).clip(0, 255), dtype=np.uint8)


Box = tuple[slice, slice]


def _half_plane(side: int, rng: np.random.Generator) -> tuple[Box, NDArray[np.bool_]]:
    """What lies on one side of a straight line through the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    row, column = rng.uniform(0, side, 2)
    rows, columns = np.ogrid[:side, :side]
    return (slice(None), slice(None)), (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle) > 0


def _disc(side: int, rng: np.random.Generator) -> tuple[Box, NDArray[np.bool_]]:
    """A disc, of radii r with a density of 1 / r, with its centre in the picture."""
    radius = side * SMALLEST ** rng.random()
    row, column = rng.uniform(0, side, 2)
    top, bottom, left, right = (
        int(np.clip(place, 0, side)) for place in (row - radius, row + radius + 1, column - radius, column + radius + 1)
    )
    rows, columns = np.ogrid[top:bottom, left:right]
    return (slice(top, bottom), slice(left, right)), (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def _paint(height: int, width: int, saturation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour in [0, 1], 1 x 1 x 3, or a ramp from one luma to another along either axis."""
    hue = saturation * rng.standard_normal(3).astype(np.float32)
    hue -= hue @ LUMA
    first, last = rng.uniform(0, 1, 2)
    if rng.random() >= SHADED:
        return np.asarray(first + hue, np.float32).clip(0, 1)[None, None]
    across = rng.random() < 0.5
    ramp = np.linspace(first, last, width if across else height)
    return np.asarray((ramp[None, :, None] if across else ramp[:, None, None]) + hue, np.float32).clip(0, 1)
