"""The pictures that the stress tests draw."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import skimage.data
from numpy.typing import NDArray

from runtimes.image import Pixels

SIDE = 256  # px of every drawn picture
BAND = 32  # px on each side of an edge in which a halo is measured
RADIUS = 96  # px of the disc; leaves room for the band and for a flat area inside it
HOT = 1e-4  # share of hot pixels in a dark frame


class Ramp(NamedTuple):
    """A picture in which grey rises from dark to bright."""

    pixels: Pixels
    """H x W x 3."""
    axis: int
    """Direction of the ramp: 0 down, 1 across."""


class Edge(NamedTuple):
    """A picture of a dark and a bright area."""

    pixels: Pixels
    """H x W x 3."""
    distance: NDArray[np.float64]
    """H x W: distance of each pixel to the edge in px, positive in the bright area."""


def ramps() -> dict[str, Ramp]:
    """Grey ramps over several ranges of brightness, by name."""
    found = {}
    for darkest, brightest in ((0, 255), (0, 128), (0, 64), (128, 255)):
        levels = np.round(np.linspace(darkest, brightest, SIDE))
        across = np.broadcast_to(levels, (SIDE, SIDE))
        found[f"ramp {darkest} to {brightest} across"] = Ramp(_grey(across), 1)
        found[f"ramp {darkest} to {brightest} down"] = Ramp(_grey(across.T), 0)
    return found


def edges() -> dict[str, Edge]:
    """Straight edges between two levels of grey, and a bright disc on a dark area, by name."""
    places = np.arange(SIDE) - (SIDE - 1) / 2
    across = np.broadcast_to(places, (SIDE, SIDE))
    found = {}
    for dark, bright in ((112, 144), (96, 160), (64, 192), (32, 224), (16, 64)):
        found[f"edge {dark} | {bright} across"] = _edge(across, dark, bright)
    found["edge 64 | 192 down"] = _edge(across.T, 64, 192)
    found["disc 192 on 32"] = _edge(RADIUS - np.hypot(across, across.T), 32, 192)
    return found


def _edge(distance: NDArray[np.float64], dark: int, bright: int) -> Edge:
    return Edge(_grey(np.where(distance > 0, bright, dark)), distance)


def greys() -> dict[str, Pixels]:
    """Flat greys, a checkerboard of 8 px, and a grey photograph at two exposures, H x W x 3, by name."""
    found = {f"grey {level}": _grey(np.full((SIDE, SIDE), level)) for level in (16, 64, 128, 192, 240)}
    rows, columns = np.indices((SIDE, SIDE)) // 8
    found["checker 64, 192"] = _grey(np.where((rows + columns) % 2, 192, 64))
    camera = skimage.data.camera()
    return found | {"grey photograph": _grey(camera), "grey photograph, a third": _grey(np.round(camera / 3))}


def flat_colours() -> dict[str, Pixels]:
    """Pictures of one colour, H x W x 3, by name: black, white and 25 colours between them."""
    return {
        "flat {} {} {}".format(*colour): np.full((SIDE, SIDE, 3), colour, np.uint8)
        for colour in product((0, 96, 255), repeat=3)
    }


def dark_frames() -> dict[str, Pixels]:
    """What a camera with its lens cap on takes, H x W x 3, by name: noise of a few codes, and a few hot pixels."""
    return {"lens cap": _dark_frame(2, 1), "lens cap, high sensitivity": _dark_frame(4, 2)}


def _dark_frame(noise: float, grain: int) -> Pixels:
    """Noise of a standard deviation in codes, in grains of some px, on black; one channel in 10,000 is hot."""
    rng = np.random.default_rng(0)
    grains = rng.normal(0, noise, (SIDE // grain, SIDE // grain, 3)).repeat(grain, 0).repeat(grain, 1)
    hot = rng.random((SIDE, SIDE, 3)) < HOT
    return np.where(hot, rng.integers(64, 256, (SIDE, SIDE, 3)), np.round(grains.clip(0))).astype(np.uint8)


def _grey(levels: NDArray[np.generic]) -> Pixels:
    """H x W -> H x W x 3."""
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)
