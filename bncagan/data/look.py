"""What finished photographs have in common, and how they would be without it.

A look is learned from renderings of the photographs. Rendered as they are, bright photographs make bright frames, and
from these a head learns to leave bright frames alone. So what a folder has on average, its tones, saturation and
warmth, is first brought to the averages of ordinary photographs, and the renderings are made from that. What differs
between the photographs stays as it is: it belongs to what they show.

Pictures are RGB code values of sRGB, float32 H x W x 3 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bncagan.data.camera import LUMA, Code, colourfulness, saturated

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
GREY = 0.15  # span of a pixel's channels up to which its colour is that of the light rather than of a thing
GREY_SHARE = 0.01  # of a photograph's pixels that must be so grey before they tell its warmth
COLOURLESS = 0.01  # mean span of the channels below which a photograph is black and white
MOST_SATURATION = 2.0  # largest factor by which a saturation is changed
WARMTH_ROUNDS = 6  # each finds about half of the warmth that is left
Curve = NDArray[np.float64]  # code values that rise from 0 to 1


class Averages(NamedTuple):
    """Means over photographs, or their standard deviations between photographs."""

    tones: NDArray[np.float64]
    """Quantiles of luma at LEVELS, in [0, 1]."""
    saturation: float
    """Logarithm of the colourfulness."""
    warmth: float
    """Half the logarithm of red over blue in pixels of little colour; the median, not the mean, of the photographs."""


# Of the photographs that `nano` is trained on, reduced to a short side of 128 px: means, and standard deviations
ORDINARY = Averages(np.array([0.092, 0.143, 0.182, 0.267, 0.413, 0.580, 0.700, 0.758, 0.846]), -0.875, 0.003)
SPREAD = Averages(np.array([0.100, 0.128, 0.147, 0.164, 0.171, 0.180, 0.164, 0.150, 0.116]), 0.52, 0.11)


def is_colourless(code: Code) -> bool:
    """Whether a photograph is black and white."""
    return bool(_span(code).mean() < COLOURLESS)


def averages(photographs: Sequence[Code]) -> Averages:
    """The averages of photographs."""
    tones = np.mean([np.quantile(each @ LUMA, LEVELS) for each in photographs], axis=0)
    return Averages(tones, _saturation(photographs), _warmth(photographs))


@dataclass(frozen=True, eq=False)
class Look:
    """How photographs differ from ordinary ones on average: a tone curve, a saturation and a warmth."""

    ordinary: Curve
    """Code values of ordinary photographs."""
    finished: Curve
    """What these become under the look."""
    saturation: float
    """Factor of the difference to the luma."""
    warmth: float
    """Logarithm of the gain of red, and of the loss of blue."""

    def undone(self, code: Code) -> Code:
        """A finished photograph as it would be without the look."""
        code = mapped(warmed(code, -self.warmth), self.finished, self.ordinary)
        return saturated(code, 1 / self.saturation).clip(0, 1)

    def given(self, code: Code) -> Code:
        """A photograph with the look: the inverse of `undone`, but for values that are clamped."""
        code = saturated(code, self.saturation).clip(0, 1)
        return warmed(mapped(code, self.ordinary, self.finished), self.warmth)


def look_of(photographs: Sequence[Code]) -> Look:
    """The look of finished photographs.

    A difference d that could be chance counts d^2 / (d^2 + e^2), where e is its standard error for so many photographs.
    """
    chance = 1 / np.sqrt(len(photographs))
    found = averages(photographs)
    warmth = float(_beyond_chance(found.warmth - ORDINARY.warmth, SPREAD.warmth * chance))
    tones = ORDINARY.tones + _beyond_chance(found.tones - ORDINARY.tones, SPREAD.tones * chance)
    ordinary = np.concatenate([[0.0], ORDINARY.tones, [1.0]])
    finished = np.concatenate([[0.0], np.maximum.accumulate(tones.clip(0, 1)), [1.0]])
    plain = [mapped(warmed(each, -warmth), finished, ordinary) for each in photographs]
    more = _beyond_chance(_saturation(plain) - ORDINARY.saturation, SPREAD.saturation * chance)
    saturation = float(np.exp(more).clip(1 / MOST_SATURATION, MOST_SATURATION))
    return Look(ordinary, finished, saturation, warmth)


def warmed(code: Code, warmth: float) -> Code:
    """The picture with red times exp(warmth) and blue times exp(-warmth), clamped."""
    gain = np.exp(np.array([warmth, 0, -warmth], np.float32))
    return np.asarray((code * gain).clip(0, 1), np.float32)


def mapped(code: Code, before: Curve, after: Curve) -> Code:
    """The picture with each value moved along the curve from `before` to `after`."""
    return np.interp(code, before, after).astype(np.float32)


def _beyond_chance(difference: NDArray[np.float64] | float, error: NDArray[np.float64] | float) -> NDArray[np.float64]:
    square = np.square(difference)
    return np.asarray(difference * square / (square + np.square(error)))


def _span(code: Code) -> NDArray[np.float32]:
    return np.asarray(code.max(-1) - code.min(-1), np.float32)


def _saturation(photographs: Sequence[Code]) -> float:
    return float(np.mean([np.log(colourfulness(each) + 0.02) for each in photographs]))


def _warmth(photographs: Sequence[Code]) -> float:
    """The warmth without which the grey pixels have as much red as blue; 0 if no photograph has enough of them.

    Which pixels are grey is judged after the warmth found so far is taken away. A quarter of the pixels is enough.
    """
    found = 0.0
    for _ in range(WARMTH_ROUNDS):
        ratios = [_red_over_blue(warmed(each[::2, ::2], -found)) for each in photographs]
        told = [ratio for ratio in ratios if ratio is not None]
        found += float(np.median(told)) / 2 if told else 0.0
    return found


def _red_over_blue(code: Code) -> float | None:
    luma = code @ LUMA
    grey = (_span(code) < GREY) & (luma > 0.1) & (luma < 0.95)
    if grey.mean() < GREY_SHARE:
        return None
    red, _, blue = code[grey].mean(0)
    return float(np.log((red + 1e-3) / (blue + 1e-3)))
