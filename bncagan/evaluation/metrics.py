"""Scores of a picture against its reference, by scikit-image. Pictures are RGB, H x W x 3 of 0..255.

Large pictures are scored a band of rows at a time, so that 12 megapixels take no more memory than one: in float64, with
all that scikit-image keeps, they would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from runtimes.image import LUMA_WEIGHTS, Pixels

LUMA = np.array(LUMA_WEIGHTS)
BAND = 2**19  # pixels that are scored together
REACH = 3  # rows above and below that a window of 7 x 7 reaches

Enhancer = Callable[[Pixels], Pixels]  # sRGB, uint8 H x W x 3; returns the same size and type


class Scores(NamedTuple):
    """The scores of one picture."""

    psnr: float
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    ssim: float
    """Structural similarity, in [-1, 1]."""
    ciede2000: float
    """Mean CIEDE2000 colour difference; about 1 is just visible."""


def bands(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture in bands of about equal height, each of at most 2^19 pixels if a row has no more."""
    count = max(1, -(-height * width // BAND))
    ends = np.linspace(0, height, max(1, min(count, height)) + 1, dtype=int).tolist()
    return (slice(start, stop) for start, stop in pairwise(ends))


def squared_error(picture: Pixels, reference: Pixels) -> float:
    """The sum of the squared differences of all values."""
    return float(((picture.astype(np.float64) - reference) ** 2).sum())


def psnr_of(error: float, values: int) -> float:
    """PSNR in dB, with peak 255, from the sum of the squared differences of so many values; infinite for 0."""
    return float(10 * np.log10(255**2 / (error / values))) if error else float("inf")


def psnr(picture: Pixels, reference: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, with peak 255; infinite for equal pictures."""
    error = sum(squared_error(picture[rows], reference[rows]) for rows in bands(*picture.shape[:2]))
    return psnr_of(error, picture.size)


def ssim(picture: Pixels, reference: Pixels) -> float:
    """Structural similarity with a window of 7 x 7, mean of the channels (Wang et al. 2004).

    It is the mean over the windows that lie inside the picture, so every band reaches 3 px beyond its rows.
    """
    height, width = picture.shape[:2]
    total = 0.0
    for rows in bands(height - 2 * REACH, width):
        part = slice(rows.start, rows.stop + 2 * REACH)
        mean = structural_similarity(picture[part], reference[part], channel_axis=2, data_range=255)
        total += float(mean) * ((rows.stop - rows.start) / (height - 2 * REACH))
    return total


def ciede2000(picture: Pixels, reference: Pixels) -> float:
    """Mean CIEDE2000 colour difference over all pixels (Sharma, Wu, Dalal 2005)."""
    height, width = picture.shape[:2]
    total = 0.0
    for rows in bands(height, width):
        mean = deltaE_ciede2000(rgb2lab(reference[rows]), rgb2lab(picture[rows])).mean()
        total += float(mean) * ((rows.stop - rows.start) / height)
    return total


def luma(picture: Pixels) -> NDArray[np.float64]:
    """Luma of every pixel, H x W of 0..255."""
    values: NDArray[np.float64] = picture @ LUMA
    return values


def mean_luma(picture: Pixels) -> float:
    """Mean luma, from 0 to 255."""
    return float(luma(picture).mean())


def score(picture: Pixels, reference: Pixels) -> Scores:
    """All scores of a picture against its reference."""
    return Scores(psnr(picture, reference), ssim(picture, reference), ciede2000(picture, reference))
