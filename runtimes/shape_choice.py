"""The choice of the shape that an artifact runs for a photograph of a given size."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from runtimes.errors import ArtifactError
from runtimes.image import Pixels
from runtimes.spec import ImageSpec, Shape

MAX_SIDE = 1024  # px: what a network sees of a photograph with a longer side if nothing is said; docs/applying.md
CURVE_SIDE = 512  # px: the same without a generator, whose curve comes out alike


@dataclasses.dataclass(frozen=True)
class Fit:
    """The shape to run for a photograph, and how the photograph is brought to it."""

    batch: int
    """Size of the batch."""
    height: int
    """Height to run, in px."""
    width: int
    """Width to run, in px."""
    resample: bool
    """False: pad by reflection, run, crop. True: resample, run, transfer the change to the full-size photograph."""


def fit(spec: ImageSpec, h: int, w: int, max_side: int | None) -> Fit:
    """Choose the shape to run for an image of h x w px.

    If the artifact allows it, no side is longer than `max_side` px; None for `MAX_SIDE`, and for `CURVE_SIDE` without a
    generator.

    Errors: ArtifactError when `max_side` is below the artifact's smallest side.
    """
    if max_side is None:
        max_side = MAX_SIDE if spec.width else CURVE_SIDE
    bounds = spec.shapes.bounds
    return _fit_fixed(spec, h, w, max_side) if bounds is None else _fit_range(spec, (h, w), max_side, bounds)


def _fit_fixed(spec: ImageSpec, h: int, w: int, max_side: int) -> Fit:
    """Choose the fixed shape of the padded image or, if there is none, the nearest in aspect ratio and size."""
    _require_side(max_side, spec.minimum)
    padded = padded_size(h, w, spec.multiple, spec.minimum)
    shapes = sorted(spec.shapes.fixed)  # smallest batch first
    for n, height, width in shapes:
        if (height, width) == padded:
            return Fit(n, height, width, resample=False)
    scale = min(1.0, max_side / max(h, w))

    def distance(shape: Shape) -> float:
        _, height, width = shape
        aspect = math.log(width / height) - math.log(w / h)
        size = math.log(height * width) - math.log(h * w * scale * scale)
        return abs(aspect) + 0.25 * abs(size)

    n, height, width = min(shapes, key=distance)
    return Fit(n, height, width, resample=True)


def _fit_range(spec: ImageSpec, size: tuple[int, int], max_side: int, bounds: tuple[Shape, Shape]) -> Fit:
    """Choose the padded size or, if it is not allowed, the largest allowed size of nearly the same aspect ratio."""
    (h, w), (low, high) = size, bounds
    _require_side(max_side, max(low[1:]))
    padded = (max(_up(h, spec.multiple), low[1]), max(_up(w, spec.multiple), low[2]))
    if max(h, w) <= max_side and spec.shapes.accepts(low[0], *padded):
        return Fit(low[0], *padded, resample=False)
    scale = min(1.0, max_side / max(h, w), high[1] / h, high[2] / w)
    height, width = (
        min(max(side, least), most)
        for side, least, most in zip(
            scaled_size(h, w, scale, spec.multiple, spec.minimum), low[1:], high[1:], strict=True
        )
    )
    return Fit(low[0], height, width, resample=True)


def padded_size(h: int, w: int, multiple: int = 8, least: int = 16) -> tuple[int, int]:
    """Round both sides, in px, up to a multiple, and to at least the network's minimum."""
    return max(_up(h, multiple), least), max(_up(w, multiple), least)


def scaled_size(h: int, w: int, scale: float, multiple: int = 8, least: int = 16) -> tuple[int, int]:
    """Multiply both sides, in px, and round to the nearest multiple, and to at least the network's minimum."""
    height, width = (max(multiple * round(side * scale / multiple), least) for side in (h, w))
    return height, width


def pad(image: Pixels, height: int, width: int) -> Pixels:
    """Pad H x W x 3 to height x width x 3 by reflection at the bottom and at the right."""
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="reflect")


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _require_side(max_side: int, least: int) -> None:
    if max_side < least:
        raise ArtifactError(f"max_side should be at least {least} px for this artifact but is {max_side} px; raise it")
