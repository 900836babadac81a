"""Inputs of the stress tests: grey pictures that are drawn here, and photographs that need no enhancement."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
from numpy.typing import NDArray

from runtimes.errors import InputError
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb

SIDE = 256  # px of every drawn picture
BAND = 32  # px on each side of an edge in which a halo is measured
RADIUS = 96  # px of the disc; leaves room for the band and for a flat area inside it

SHORT_SIDE = 512  # px to which photographs are reduced; at full size three enhancements would take minutes
RANKED_AT = 128  # px of short side at which the exposure of photographs is compared
MIDDLE = 118  # of 255: a grey card of 18 % reflectance in sRGB
DARKEST, BRIGHTEST = 2, 253  # luma at which a pixel counts as clipped, these values included
SPOILT = 0.1  # share of clipped pixels from which the exposure of a photograph is 0
WIDE = 64  # of 255: standard deviation of luma above which more contrast is not better


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


def _grey(levels: NDArray[np.generic]) -> Pixels:
    """H x W -> H x W x 3."""
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


def bundled_photographs() -> dict[str, Pixels]:
    """Well-exposed photographs that come with scikit-image, H x W x 3, by name."""
    return {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee")}


def best_exposed(folder: Path, count: int) -> dict[str, Pixels]:
    """The `count` photographs of a folder with the highest `exposure`, best first, by name; all if there are fewer.

    Each is H x W x 3 with a short side of at most 512 px. InputError if `count` is below 1; ArtifactError if
    there is no photograph, or one cannot be decoded.
    """
    if count < 1:
        raise InputError(f"--count should be at least 1 but is {count}; raise it")
    paths = find_photographs(folder)
    rank = {path: exposure(read_rgb(path, RANKED_AT)) for path in paths}
    best = sorted(paths, key=lambda path: rank[path], reverse=True)[:count]
    return {path.name: read_rgb(path, SHORT_SIDE) for path in best}


def exposure(pixels: Pixels) -> float:
    """How well a photograph (H x W x 3) is exposed, from 0 to 1, judged only by its luma (Rec. 601, 0 to 255).

    The product of three factors. The first is 1 at a mean of 118 and falls to 0 at black and at white. The second is 1
    without clipped pixels (at most 2 or at least 253) and falls to 0 if they are a tenth. The third is the standard
    deviation divided by 64, at most 1.
    """
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    mean = float(luma.mean())
    middle = min(mean / MIDDLE, (255 - mean) / (255 - MIDDLE))
    clipped = float(((luma <= DARKEST) | (luma >= BRIGHTEST)).mean())
    return middle * max(0.0, 1 - clipped / SPOILT) * min(1.0, float(luma.std()) / WIDE)
