"""What one line of code makes of a photograph: a network that does no better is not worth its time."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from bncagan.evaluation.metrics import LUMA
from runtimes.image import Pixels, to_uint8

CUTOFF = 0.5  # per cent of the pixels of each channel that become black, and as many white
MIDDLE = 0.45  # mean luma, of 0 to 1
POWERS = (2.0**-6, 2.0**6)
HALVINGS = 50  # of the interval of log2(power), to about 1e-14


def autocontrast(picture: Pixels) -> Pixels:
    """Stretch each channel to the whole range, as Pillow does, but for the darkest and the brightest 0.5 %."""
    return np.asarray(ImageOps.autocontrast(Image.fromarray(picture), cutoff=CUTOFF))


def middle_gamma(picture: Pixels) -> Pixels:
    """Raise the values, in [0, 1], to the power from 1/64 to 64 that gives a mean luma of 0.45, before rounding.

    The mean falls as the power rises, so the power is found by bisection. If no power is enough, as for a black
    picture, the nearest of this range is used.
    """
    values = np.arange(256) / 255
    shares = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(picture, 2, 0)])
    weights = LUMA @ shares / (picture.size / 3)  # of each value in the mean luma
    low, high = np.log2(POWERS)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if weights @ values**2.0**middle > MIDDLE else (low, middle)
    return to_uint8(values**2.0**high)[picture]


BASELINES = {"Autocontrast": autocontrast, "Gamma to mean 0.45": middle_gamma}  # by the name of their row
