"""Scores of a picture against its reference, by scikit-image. Pictures are RGB, H x W x 3 of 0..255."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from runtimes.image import Pixels

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

Enhancer = Callable[[Pixels], Pixels]  # sRGB, uint8 H x W x 3; returns the same size and type


class Scores(NamedTuple):
    """The scores of one picture."""

    psnr: float
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""
    ssim: float
    """Structural similarity, in [-1, 1]."""
    ciede2000: float
    """Mean CIEDE2000 colour difference; about 1 is just visible."""


def psnr(picture: Pixels, reference: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, with peak 255; infinite for equal pictures."""
    error = np.mean((picture.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(picture: Pixels, reference: Pixels) -> float:
    """Structural similarity with a window of 7 x 7, mean of the channels (Wang et al. 2004)."""
    return float(structural_similarity(picture, reference, channel_axis=2, data_range=255))


def ciede2000(picture: Pixels, reference: Pixels) -> float:
    """Mean CIEDE2000 colour difference over all pixels (Sharma, Wu, Dalal 2005)."""
    return float(deltaE_ciede2000(rgb2lab(reference), rgb2lab(picture)).mean())


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
