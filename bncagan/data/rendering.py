"""Poor renderings of good photographs, for training with a known original: two recipes, dull and dark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.image import Pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Ranges of `render_dark`:
DARK_GAMMA = (1.0, 4.0)  # power of the tone curve
DARK_SATURATION = (0.65, 1.15)  # factor of the difference to each pixel's luma
DARK_CAST = 0.05  # standard deviation of the gain of each channel


def grey(pixels: Pixels) -> Pixels:
    """A grey version of a photograph, H x W x 3: its luma in all three channels."""
    luma = np.rint(pixels @ LUMA).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


@dataclass(frozen=True)
class Dull:
    """Ranges of the random changes that `render_dull` makes."""

    stops: tuple[float, float] = (-1.6, -0.1)
    """Change of the exposure, in stops (of linear light)."""
    cast: float = 0.04
    """Standard deviation of the gain of each channel, in linear light."""
    contrast: tuple[float, float] = (0.65, 1.0)
    """Factor of the difference to the mean luma."""
    saturation: tuple[float, float] = (0.5, 1.0)
    """Factor of the difference to each pixel's luma."""
    wander: float = 0.0
    """Strength of the random tone curve and noise that are added, 0 to 1."""


def render_dull(pixels: Pixels, rng: np.random.Generator, dull: Dull = Dull()) -> Pixels:
    """Make a photograph look like a camera's flat rendering: darker, with less contrast and less colour."""
    code = pixels.astype(np.float32) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    linear *= 2 ** rng.uniform(*dull.stops) * (1 + dull.cast * rng.standard_normal(3))
    linear = linear.clip(0, 1)
    code = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    luma = code @ LUMA
    code = luma.mean() + (code - luma.mean()) * rng.uniform(*dull.contrast)
    luma = (code @ LUMA)[..., None]
    code = luma + (code - luma) * rng.uniform(*dull.saturation)
    return _finished(code, rng, dull.wander)


def _finished(code: NDArray[np.floating], rng: np.random.Generator, wander: float) -> Pixels:
    """Convert values in [0, 1] to pixels, after a random tone curve and noise of strength `wander`.

    Without these a network learns to invert the recipe, which it recognizes by black level and mean: renderings then
    get better and real photographs get worse. The curve is monotone: a power, an S and a raised black level.
    """
    if wander:
        code = code.clip(0, 1) ** np.exp(wander * 0.2 * rng.standard_normal())
        code = code + np.clip(wander * 0.25 * rng.standard_normal(), -0.8, 0.8) * np.sin(2 * np.pi * code) / (2 * np.pi)
        black = wander * max(0.0, rng.uniform(-0.08, 0.08))
        code = black + (1 - black - wander * rng.uniform(0, 0.1)) * code
        code = code + wander * rng.uniform(0, 0.01) * rng.standard_normal(code.shape)
    return np.asarray((code * 255 + 0.5).clip(0, 255), dtype=np.uint8)


def mean_luma(pixels: Pixels) -> float:
    """Mean luma of a picture, in [0, 1]."""
    return float((pixels @ LUMA).mean() / 255)


def tones(pixels: Pixels) -> tuple[float, float]:
    """Median and 95 % quantile of the luma of a picture, in [0, 1]."""
    median, bright = np.quantile(pixels @ (LUMA / 255), (0.5, 0.95))
    return float(median), float(bright)


def render_dark(pixels: Pixels, like: Pixels, rng: np.random.Generator, wander: float = 0.0) -> Pixels:
    """Give a good photograph the tones of an under-exposed one, `like`.

    The luma l becomes a l^g with g in [1, 4]; a and g are chosen so that its median and its 95 % quantile become those
    of `like`. Colours keep their ratios. Then saturation, the gain of each channel and, with `wander`, the tone curve
    are varied at random.
    """
    (median, bright), (dark_median, dark_bright) = tones(pixels), tones(like)
    bright = max(bright, 0.1)
    median = float(np.clip(median, 0.02, 0.9 * bright))
    dark_median, dark_bright = max(dark_median, 0.01), max(dark_bright, 0.05)
    gamma = float(np.clip(np.log(dark_median / dark_bright) / np.log(median / bright), *DARK_GAMMA))
    code = pixels.astype(np.float32) / 255
    luma = np.maximum(code @ LUMA, 1e-4)[..., None]
    code = code * (dark_bright * (luma / bright) ** gamma / luma)
    luma = (code @ LUMA)[..., None]
    code = luma + (code - luma) * rng.uniform(*DARK_SATURATION)
    return _finished(code * (1 + DARK_CAST * rng.standard_normal(3)), rng, wander)
