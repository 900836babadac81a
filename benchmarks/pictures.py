"""The input pictures of a measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtimes.image import Pixels, resize
from runtimes.photographs import read_rgb

DARK_STOPS = 3


def synthetic(height: int, width: int, seed: int = 0) -> Pixels:
    """Make a picture that resembles a photograph, uint8 height x width x 3.

    The amplitude of its spectrum falls as f^-1.5, and it has a gradient of light and some grain. It is the same on
    every machine, except for rounding in the FFT.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency**1.5
    detail = np.fft.irfft2(spectrum, s=(height, width))
    shared = detail.mean(axis=0)  # the channels of photographs are strongly correlated
    detail = 0.8 * shared / shared.std() + 0.2 * detail / detail.std()
    light = np.linspace(0.62, 0.30, height)[:, None] + 0.15 * detail
    grain = 0.01 * rng.standard_normal((3, height, width))
    picture: Pixels = np.clip((light + grain) * 255, 0, 255).transpose(1, 2, 0).astype(np.uint8)
    return picture


def input_picture(photo: Path | None, height: int, width: int) -> Pixels:
    """Return the photograph resampled to height x width px, or a synthetic picture if `photo` is None.

    Errors: InputError when the file cannot be read as a photograph.
    """
    return synthetic(height, width) if photo is None else resize(read_rgb(photo), height, width)


def darkened(picture: Pixels) -> Pixels:
    """Return the picture three stops darker; 8-bit arithmetic is least accurate on dark pictures."""
    darker: Pixels = (picture // 2**DARK_STOPS).astype(np.uint8)
    return darker
