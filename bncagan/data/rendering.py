"""Good photographs rendered poor, of which the original is therefore known: two recipes, and what they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtimes.image import Pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Of dark renderings: the power of the tone curve, the factor of the distance to each pixel's luma, and the standard
# deviation of the gain of each channel.
DARK_GAMMA = (1.0, 4.0)
DARK_SATURATION = (0.65, 1.15)
DARK_CAST = 0.05


def grey(pixels: Pixels) -> Pixels:
    """The luma of a photograph as a picture of three equal channels."""
    luma = np.rint(pixels @ LUMA).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


@dataclass(frozen=True)
class Dull:
    """The range of `render_dull`: what separates a flat, dark rendering from a finished photograph."""

    stops: tuple[float, float] = (-1.6, -0.1)
    """Exposure, in stops of linear light."""
    cast: float = 0.04
    """Standard deviation of the gain of each channel, in linear light."""
    contrast: tuple[float, float] = (0.65, 1.0)
    """Factor of the distance to the mean luma."""
    saturation: tuple[float, float] = (0.5, 1.0)
    """Factor of the distance to each pixel's luma."""
    wander: float = 0.0
    """Strength of a random tone curve and of noise on top."""


def render_dull(pixels: Pixels, rng: np.random.Generator, dull: Dull = Dull()) -> Pixels:
    """A good photograph as a camera's flat rendering of the scene would show it: darker, flatter, greyer."""
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
    """Code values, 1 being white, to pixels, after a random tone curve and noise of the strength `wander`.

    Without them a network learns to invert the recipe, by its black level and its mean: renderings then gain and real
    photographs lose. The curve is monotone: a power, an S, and a lifted black.
    """
    if wander:
        code = code.clip(0, 1) ** np.exp(wander * 0.2 * rng.standard_normal())
        code = code + np.clip(wander * 0.25 * rng.standard_normal(), -0.8, 0.8) * np.sin(2 * np.pi * code) / (2 * np.pi)
        black = wander * max(0.0, rng.uniform(-0.08, 0.08))
        code = black + (1 - black - wander * rng.uniform(0, 0.1)) * code
        code = code + wander * rng.uniform(0, 0.01) * rng.standard_normal(code.shape)
    return np.asarray((code * 255 + 0.5).clip(0, 255), dtype=np.uint8)


def mean_luma(pixels: Pixels) -> float:
    """Mean of the luma, in [0, 1]."""
    return float((pixels @ LUMA).mean() / 255)


def tones(pixels: Pixels) -> tuple[float, float]:
    """Median and 95 % quantile of the luma, in [0, 1]."""
    median, bright = np.quantile(pixels @ (LUMA / 255), (0.5, 0.95))
    return float(median), float(bright)


def render_dark(pixels: Pixels, like: Pixels, rng: np.random.Generator, wander: float = 0.0) -> Pixels:
    """A good photograph under the tones of an under-exposed one: what an unpaired low domain tells about darkness.

    The luma l becomes a l^g, the curve that takes its median and its 95 % quantile to those of `like`, with g in
    [1, 4]; colours keep their ratios, then saturation and the gain of each channel vary, and with `wander` the curve.
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
