"""The pictures that int8 is calibrated on: photographs at several exposures, and extreme pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import skimage.data

from export.artifact import OBLONG
from runtimes import ShapeSet
from runtimes.golden import extreme_images, is_flat
from runtimes.image import Pixels, resize

# Exposures. Bright pictures set the ranges, and dark ones then use only a few of the codes, so both are judged.
STOPS = (0, -2, -4, 1)
LARGEST = 256  # px; longest side of the pictures for the ranges, which hardly grow with the size
LARGEST_JUDGED = 128  # px; longest side of the judged pictures, which the search may draw a hundred times
LARGEST_FLAT = 64  # px; longest side of pictures of one colour, whose values are the same at every position
MOST = 32  # photographs for the ranges, at most
JUDGED = 12  # exposed photographs that the search judges at each size, at most

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Calibration pictures by name."""

    ranged: dict[str, Pixels]
    """Pictures from which the ranges of values are taken."""
    judged: dict[str, Pixels]
    """Pictures on which the search measures the errors of int8."""


def calibration_pictures(shapes: ShapeSet, photos: Mapping[str, Pixels] | None) -> Calibration:
    """Photographs at every exposure of `STOPS`, and extreme pictures, at the sizes of `shapes`.

    photos: uint8 H x W x 3 of any size, by name; at most `MOST` of them are used, evenly chosen. None for
    scikit-image's.
    """
    photos = photographs() if photos is None else photos
    chosen = {name: photos[name] for name in spread(sorted(photos), MOST)}
    ranged: dict[str, Pixels] = {}
    judged: dict[str, Pixels] = {}
    for h, w in calibration_sizes(shapes, LARGEST):
        ranged |= exposures(chosen, h, w) | varied(extremes(h, w))
    for h, w in calibration_sizes(shapes, LARGEST_FLAT):
        ranged |= {name: picture for name, picture in extremes(h, w).items() if is_flat(picture)}
    for h, w in calibration_sizes(shapes, LARGEST_JUDGED):
        exposed = exposures(chosen, h, w)
        judged |= {name: exposed[name] for name in spread(list(exposed), JUDGED)} | varied(extremes(h, w))
    return Calibration(ranged, judged)


def exposures(photos: Mapping[str, Pixels], h: int, w: int) -> dict[str, Pixels]:
    """Every photograph, resized to h x w px, at every exposure of `STOPS`, by name."""
    small = {name: resize(photo, h, w) for name, photo in photos.items()}
    return {f"{name} {stops:+d} at {h}x{w}": expose(small[name], stops) for name in small for stops in STOPS}


def extremes(h: int, w: int) -> dict[str, Pixels]:
    """The extreme pictures of the parity check; flat colours among them reach the ends of the ranges."""
    return {f"{name} at {h}x{w}": picture for name, picture in extreme_images(h, w).items()}


def varied(pictures: Mapping[str, Pixels]) -> dict[str, Pixels]:
    """The pictures that have more than one colour; the network returns all others unchanged, in int8 too."""
    return {name: picture for name, picture in pictures.items() if not is_flat(picture)}


def calibration_sizes(shapes: ShapeSet, largest: int) -> list[tuple[int, int]]:
    """Sizes (H, W in px) of the calibration pictures, without repetitions; no side is longer than `largest` px.

    Fixed shapes: the size of each. A range: its smallest size, `OBLONG` and its optimum.
    """
    if shapes.bounds is None or shapes.optimum is None:
        sizes = [(h, w) for _, h, w in shapes.fixed]
    else:
        (n, h, w), _ = shapes.bounds
        sizes = [(h, w), *([OBLONG] if shapes.accepts(n, *OBLONG) else []), shapes.optimum[1:]]
    return list(dict.fromkeys((min(h, largest), min(w, largest)) for h, w in sizes))


def photographs() -> dict[str, Pixels]:
    """Photographs from scikit-image that the parity check does not use, each H x W x 3, by name."""
    found = {name: getattr(skimage.data, name)() for name in ("rocket", "retina", "immunohistochemistry")}
    return found | {"hubble": skimage.data.hubble_deep_field(), "motorcycle": skimage.data.stereo_motorcycle()[0]}


def expose(picture: Pixels, stops: float) -> Pixels:
    """The picture with its exposure raised by `stops`; assumes a gamma of 2.2."""
    codes: Pixels = np.round(np.clip(np.arange(256) * 2 ** (stops / 2.2), 0, 255)).astype(np.uint8)
    return codes[picture]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spaced; the first is always among them."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else list(items)
