"""Finished photographs rendered as the unfinished frames that a camera would give, and night made from day.

Pictures are RGB code values of sRGB, float32 H x W x 3 in [0, 1]. `rng` makes all random choices. Stops are factors of
2 of linear light. The ranges were chosen by validation; those of `render_deep` follow the tones of real
under-exposed frames: there the middle lies 3.4 +- 1.3 stops below the finished photograph, the lights 2.2 stops less.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bncagan.data import under_exposed
from runtimes.image import LUMA_WEIGHTS, Pixels, to_uint8

LUMA = np.array(LUMA_WEIGHTS, np.float32)
Code = NDArray[np.float32]  # H x W x 3 in [0, 1]
Light = NDArray[np.float32]  # H x W x 3, linear, at least 0
# Where on the luma of a picture `render_deep` sets its tones: black, the middle at index 4, white
QUANTILES = np.array([0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 1])


@dataclass(frozen=True)
class Camera:
    """Ranges of what a camera adds; each frame draws its own values."""

    cast: float = 0.06
    """Standard deviation of the logarithmic gain of each channel; a common gain of red against blue comes on top."""
    flare: float = 0.012
    """Largest veil of stray light, as a share of ten times the mean light."""
    noise: tuple[float, float] = (-4.2, -2.6)
    """Power of ten of the shot noise."""
    gamma: float = 0.12
    """Standard deviation of the logarithm of the power of the tone curve."""
    black: float = 0.05
    """The black level is drawn from minus this to twice this; negative draws mean none."""
    saturation: tuple[float, float] = (0.55, 1.05)
    """Factor of the difference to luma."""


Numbers = NDArray[np.floating[Any]]


def to_linear(code: Numbers) -> Light:
    """Linear light of sRGB code values (IEC 61966-2-1)."""
    linear = np.where(code <= 0.04045, code / 12.92, ((np.maximum(code, 0) + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def to_code(light: Numbers) -> Code:
    """The sRGB code values of linear light; light outside [0, 1] is clamped."""
    light = light.clip(0, 1)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return code.astype(np.float32)


def rounded(code: Numbers) -> Code:
    """The picture as 8 bits keep it."""
    return np.asarray(to_uint8(code) / np.float32(255), np.float32)


def saturated(code: Numbers, factor: float) -> Code:
    """The picture with the difference to each pixel's luma multiplied by `factor`; not clamped."""
    luma = (code @ LUMA)[..., None]
    return np.asarray(luma + (code - luma) * np.float32(factor), np.float32)


def colourfulness(code: Code) -> float:
    """The mean spread of the three channels relative to the mean."""
    return float(np.mean(code.max(-1) - code.min(-1)) / (code.mean() + 0.01))


def smooth(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """A step from 0 at t = 0 to 1 at t = 1 without corners."""
    t = t.clip(0, 1)
    return t * t * (3 - 2 * t)


def scene(code: Code, headroom: float, flatness: float) -> Light:
    """The light before the picture was finished: the S-curve undone by the share `flatness`, and lights given back.

    `headroom` is how many stops brighter the brightest parts were than the picture shows.
    """
    flat = 0.5 - np.sin(np.arcsin((1 - 2 * code).clip(-1, 1)) / 3)  # the inverse of 3 t^2 - 2 t^3
    code = (1 - flatness) * code + flatness * flat
    return np.asarray(to_linear(code) * 2.0 ** (headroom * smooth(((code @ LUMA)[..., None] - 0.45) / 0.5)), np.float32)


def develop(light: Light, rng: np.random.Generator, camera: Camera = Camera()) -> Code:
    """Cast, flare, shot and read noise, a flat curve, black level, saturation and 8 bits, in this order."""
    warm = 0.056 * rng.standard_normal()
    light = light * np.exp(camera.cast * rng.standard_normal(3) + np.array([warm, 0, -warm])).astype(np.float32)
    light = light + rng.uniform(0, camera.flare) * rng.random() * float(light.mean()) / 0.1
    shot = 10 ** rng.uniform(*camera.noise)
    read = shot**1.2 * 10 ** rng.uniform(-1.5, -0.5)
    light = light + rng.standard_normal(light.shape) * np.sqrt(np.maximum(0.1 * shot * light, 0) + read**2)
    code = to_code(light) ** np.exp(camera.gamma * rng.standard_normal())
    black = max(0.0, rng.uniform(-camera.black, 2 * camera.black))
    return rounded(saturated(black + (1 - black) * code, rng.uniform(*camera.saturation)))


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The picture after it was a JPEG file of this quality, 1 to 95."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def render_mild(code: Code, rng: np.random.Generator, darkest: float = -1.6) -> Code:
    """A dull frame, as most people have it: up to `darkest` stops too dark, flat, with highlights still to be had."""
    light = scene(code, rng.uniform(0, 0.7), rng.random())
    return develop(light * np.float32(2 ** rng.uniform(darkest, darkest / 16)), rng)


def render_deep(code: Code, rng: np.random.Generator) -> Code:
    """An under-exposed frame of a scene of high contrast: each quantile of luma lies its own stops lower."""
    middle = min(-abs(rng.normal(3.9, 1.1)), -0.7)
    scale = -middle / 3.4
    low, upper, top = (max(0.0, rng.normal(*each)) * scale for each in ((0.75, 0.5), (0.5, 0.35), (2.2, 1.0)))
    above = np.array([low, low, 0.7 * low, 0.3 * low, 0, upper, max(upper, 0.5 * top), 0.9 * top, 1.05 * top])
    before = _light_at(code, QUANTILES)
    code = _retoned(code, before, before + np.minimum(middle + above, 0))
    wanted = np.exp(rng.normal(-1.3, 0.45))
    code = saturated(code, float(np.clip(wanted / (colourfulness(code) + 0.02), 0.4, 1.3)))
    noise = rng.uniform(0, 0.006) * rng.standard_normal(code.shape)
    return rounded(code * np.exp(0.05 * rng.standard_normal(3)) + noise + max(0.0, rng.normal(0, 0.012)))


def render_dim(code: Code, rng: np.random.Generator) -> Code:
    """An under-exposed frame with tones and colourfulness drawn anew, whatever those of the photograph are.

    The luma at 17 quantiles and the colourfulness are drawn from a normal distribution; see `under_exposed`.
    """
    drawn = under_exposed.MEAN + rng.standard_normal(len(under_exposed.DIRECTIONS)) @ under_exposed.DIRECTIONS
    code = _retoned(code, _light_at(code, np.linspace(0, 1, len(drawn) - 1)), np.minimum(drawn[:-1], 0))
    wanted = np.exp(drawn[-1]) - 0.02
    factor = float(np.clip(wanted / (colourfulness(code) + 0.02), 0.4, 1.3)) * np.exp(0.15 * rng.standard_normal())
    noise = rng.uniform(0, 0.006) * rng.standard_normal(code.shape)
    return rounded(saturated(code, factor) * np.exp(0.05 * rng.standard_normal(3)) + noise)


def _light_at(code: Code, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The light at these quantiles of luma, in stops; it always rises."""
    light: NDArray[np.float64] = np.quantile(to_linear(code @ LUMA), ranks)
    return np.log2(light + 1e-5 * np.arange(1, len(ranks) + 1))


def _retoned(code: Code, before: NDArray[np.float64], after: NDArray[np.float64]) -> Code:
    """The picture with the luma moved from the light `before` to `after`, both in stops; `after` is made to rise."""
    luma = code @ LUMA
    light = np.log2(np.maximum(to_linear(luma), 1e-4))
    moved = to_code(2.0 ** np.interp(light, before, np.maximum.accumulate(after)))
    retoned: Code = code * (moved / np.maximum(luma, 1e-3))[..., None]
    return retoned


def exposed(code: Code, stops: float) -> Code:
    """The finished picture with nothing but its light multiplied by 2^stops, in 8 bits."""
    return rounded(to_code(to_linear(code) * np.float32(2**stops)))


def render_night(code: Code, rng: np.random.Generator) -> Code:
    """A night from a day: as little light as an under-exposed frame, but black at 0, lamps at white, strong colours."""
    light = _moonlight(code, rng, rng.uniform(-4, -1.3), 1.0)
    low, high = np.quantile(light @ LUMA, (0.01, 0.998))
    code = (light - low * rng.random()) / max(high, 0.25) * rng.uniform(0.7, 1)
    return rounded(saturated(code, rng.uniform(1, 2.2)))


def render_low_key(code: Code, rng: np.random.Generator) -> Code:
    """A picture that is dark on purpose and has no lamps: a matte, tinted black and strong colours."""
    code = _moonlight(code, rng, rng.uniform(-3.5, -1), 0.5)
    low, high = np.quantile(code @ LUMA, (0.01, 0.995))
    code = (code - low) / max(high - low, 0.1) * rng.uniform(0.3, 0.8)
    black = rng.uniform(0, 0.1)
    tint = (1 + 0.25 * rng.standard_normal() * np.array([-1, 0.2, 1])).clip(0.3, 2)
    return rounded(saturated(black * tint + (1 - black) * code, rng.uniform(0.9, 2)))


def render_covered_lens(code: Code, rng: np.random.Generator) -> Code:
    """A frame with the lens cap on, as large as the picture: grains of noise on black."""
    height, width, _ = code.shape
    grain = int(rng.integers(1, 9))
    noise = rng.standard_normal((-(-height // grain), -(-width // grain), 3)).repeat(grain, 0).repeat(grain, 1)
    return rounded(rng.uniform(0, 0.02) + rng.uniform(0.004, 0.03) * noise[:height, :width])


def _moonlight(code: Code, rng: np.random.Generator, stops: float, headroom: float) -> Code:
    """The picture `stops` darker under a warm or a cold light; bright parts keep up to `headroom` of the loss."""
    light = scene(code, rng.uniform(0, headroom) * -stops, rng.uniform(0, 0.5)) * np.float32(2**stops)
    return to_code(light * np.exp(0.25 * rng.standard_normal() * np.array([1, 0.1, -1])).astype(np.float32))


def part_of(code: Code, rng: np.random.Generator, share: tuple[float, float]) -> Code:
    """A part of a picture in its proportions, whose sides are a random `share` of the whole."""
    height, width = code.shape[:2]
    drawn = rng.uniform(*share)
    tall, wide = max(1, int(height * drawn)), max(1, int(width * drawn))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    return code[top : top + tall, left : left + wide]


def render_varied(code: Code, rng: np.random.Generator) -> Code:
    """Another finished picture made from one: a part, perhaps mirrored, in slightly other brightness and colours."""
    if rng.random() < 0.7:
        code = part_of(code, rng, (0.6, 1))
    code = code[:, ::-1] if rng.random() < 0.5 else code
    return rounded(
        saturated(to_code(to_linear(code) * np.float32(2 ** rng.uniform(-0.5, 0.3))), rng.uniform(0.8, 1.25))
    )
