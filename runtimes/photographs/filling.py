"""What the network sees where a photograph is invisible: colours from the visible surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.image import Pixels

Mask = NDArray[np.bool_]
Planes = NDArray[np.floating[Any]]


def filled(pixels: Pixels, visible: Mask) -> Pixels:
    """Replace invisible pixels by the mean of the visible ones near them; all stays where none is visible.

    The picture is halved until every pixel has a visible one below it, and enlarged again (Gortler et al., "The
    Lumigraph", 1996: pull and push).

    visible: bool H x W.
    """
    if visible.all() or not visible.any():
        return pixels
    surroundings = np.rint(_filled(pixels.astype(np.float32), visible)).astype(np.uint8)
    return np.where(visible[..., None], pixels, surroundings)


def _filled(planes: Planes, visible: Mask) -> Planes:
    if visible.all():
        return planes
    height, width = visible.shape
    even = ((0, height % 2), (0, width % 2))
    weights = _sums(np.pad(visible, even)[..., None].astype(np.float32))
    sums = _sums(np.pad(planes * visible[..., None], (*even, (0, 0))))
    coarse = _filled(sums / np.maximum(weights, 1), weights[..., 0] > 0)
    return np.where(visible[..., None], planes, _enlarged(coarse, height, width))


def _sums(planes: Planes) -> Planes:
    """Sums of 2 x 2 pixels: h x w x k -> h/2 x w/2 x k."""
    return planes[::2, ::2] + planes[1::2, ::2] + planes[::2, 1::2] + planes[1::2, 1::2]


def _enlarged(planes: Planes, height: int, width: int) -> Planes:
    box = (0, 0, width / 2, height / 2)
    channels = [Image.fromarray(channel) for channel in planes.transpose(2, 0, 1)]
    return np.dstack([np.asarray(c.resize((width, height), Image.Resampling.BILINEAR, box)) for c in channels])
