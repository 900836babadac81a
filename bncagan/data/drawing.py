"""Drawn pictures with flat areas, hard edges and even ramps, which photographs rarely have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bncagan.data.camera import LUMA
from runtimes.image import Pixels

MOST_LEAVES = 64  # 0 to 63 leaves; the logarithm of the number is drawn evenly, so that few leaves are common
SMALLEST = 1 / 16  # smallest radius of a disc, as a share of the picture's side; the largest is the side
STRAIGHT = 0.25  # share of leaves that are half-planes, with one straight edge
SHADED = 0.5  # share of leaves that are ramps
GREY = 0.5  # share of pictures without colours
# Standard deviation of the noise, of 255. Without noise a flat picture would teach nothing, because the network returns
# it unchanged (`layers.Contrast`).
GRAIN = (0.2, 2.0)


def dead_leaves(side: int, rng: np.random.Generator) -> Pixels:
    """Draw discs and half-planes of random colours over each other; returns side x side x 3.

    The dead leaves model (Lee, Mumford and Huang, Occlusion models for natural images, 2001), used for training
    (Baradad et al., Learning to see by looking at noise, 2021); here some leaves are ramps. A picture without leaves is
    one flat colour.
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
    """The pixels on one side of a random straight line."""
    angle = rng.uniform(0, 2 * np.pi)
    row, column = rng.uniform(0, side, 2)
    rows, columns = np.ogrid[:side, :side]
    return (slice(None), slice(None)), (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle) > 0


def _disc(side: int, rng: np.random.Generator) -> tuple[Box, NDArray[np.bool_]]:
    """The pixels of a disc with its centre in the picture; the density of its radius r is proportional to 1 / r."""
    radius = side * SMALLEST ** rng.random()
    row, column = rng.uniform(0, side, 2)
    top, bottom, left, right = (
        int(np.clip(place, 0, side)) for place in (row - radius, row + radius + 1, column - radius, column + radius + 1)
    )
    rows, columns = np.ogrid[top:bottom, left:right]
    return (slice(top, bottom), slice(left, right)), (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def _paint(height: int, width: int, saturation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random colour in [0, 1], 1 x 1 x 3, or a ramp between two lumas along one of the axes."""
    hue = saturation * rng.standard_normal(3).astype(np.float32)
    hue -= hue @ LUMA
    first, last = rng.uniform(0, 1, 2)
    if rng.random() >= SHADED:
        return np.asarray(first + hue, np.float32).clip(0, 1)[None, None]
    across = rng.random() < 0.5
    ramp = np.linspace(first, last, width if across else height)
    return np.asarray((ramp[None, :, None] if across else ramp[:, None, None]) + hue, np.float32).clip(0, 1)
