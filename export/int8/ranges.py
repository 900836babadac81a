"""What int8 is calibrated on: photographs at several exposures, and extreme pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import skimage.data

from export.artifact import OBLONG
from runtimes import ShapeSet
from runtimes.golden import extreme_images
from runtimes.image import Pixels, resize

STOPS = (0, -2, -4, 1)  # dark pictures use few codes of a range that bright ones set, so both are judged
LARGEST = 256  # px a side of a picture that ranges are taken from: they hardly grow with the size
LARGEST_JUDGED = 128  # px a side of a judged one: the search draws it hundreds of times
MOST = 32  # photographs that ranges are taken from
JUDGED = 12  # exposures of photographs that the search judges at each size, besides the extreme pictures

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Pictures by name: those that ranges are taken from, and the part of them that the search judges."""

    ranged: dict[str, Pixels]
    judged: dict[str, Pixels]


def calibration_pictures(shapes: ShapeSet, photos: Mapping[str, Pixels] | None) -> Calibration:
    """`photos` (scikit-image's if None) at each of `STOPS`, and extreme pictures, at the sizes of `shapes`.

    photos: uint8 H x W x 3 of any size, by name; of many, `MOST` are taken, evenly.
    """
    photos = photographs() if photos is None else photos
    chosen = {name: photos[name] for name in spread(sorted(photos), MOST)}
    ranged: dict[str, Pixels] = {}
    judged: dict[str, Pixels] = {}
    for h, w in calibration_sizes(shapes, LARGEST):
        ranged |= exposures(chosen, h, w) | extremes(h, w)
    for h, w in calibration_sizes(shapes, LARGEST_JUDGED):
        exposed = exposures(chosen, h, w)
        judged |= {name: exposed[name] for name in spread(list(exposed), JUDGED)} | varied(extremes(h, w))
    return Calibration(ranged, judged)


def exposures(photos: Mapping[str, Pixels], h: int, w: int) -> dict[str, Pixels]:
    """Each photograph at h x w px and at each of `STOPS`, by name."""
    small = {name: resize(photo, h, w) for name, photo in photos.items()}
    return {f"{name} {stops:+d} at {h}x{w}": expose(small[name], stops) for name in small for stops in STOPS}


def extremes(h: int, w: int) -> dict[str, Pixels]:
    """The extreme pictures of the parity check, flat colours at the ends of every range among them."""
    return {f"{name} at {h}x{w}": picture for name, picture in extreme_images(h, w).items()}


def varied(pictures: Mapping[str, Pixels]) -> dict[str, Pixels]:
    """Those of more than one colour: the others come back as they are, whatever is in int8."""
    return {name: picture for name, picture in pictures.items() if (picture != picture[0, 0]).any()}


def calibration_sizes(shapes: ShapeSet, largest: int) -> list[tuple[int, int]]:
    """H, W in px of every fixed shape; of a range, its smallest, an oblong and its optimum; no side above `largest`."""
    if shapes.bounds is None or shapes.optimum is None:
        sizes = [(h, w) for _, h, w in shapes.fixed]
    else:
        (n, h, w), _ = shapes.bounds
        sizes = [(h, w), *([OBLONG] if shapes.accepts(n, *OBLONG) else []), shapes.optimum[1:]]
    return list(dict.fromkeys((min(h, largest), min(w, largest)) for h, w in sizes))


def photographs() -> dict[str, Pixels]:
    """Photographs that scikit-image ships and that no artifact is checked on, H x W x 3 by name."""
    found = {name: getattr(skimage.data, name)() for name in ("rocket", "retina", "immunohistochemistry")}
    return found | {"hubble": skimage.data.hubble_deep_field(), "motorcycle": skimage.data.stereo_motorcycle()[0]}


def expose(picture: Pixels, stops: float) -> Pixels:
    """The picture as if exposed by `stops` more, in light, of which codes are the power 1 / 2.2."""
    codes: Pixels = np.round(np.clip(np.arange(256) * 2 ** (stops / 2.2), 0, 255)).astype(np.uint8)
    return codes[picture]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most that many of them, evenly spaced, the first among them."""
    return [items[i * len(items) // most] for i in range(most)] if len(items) > most else list(items)
