"""One photograph at many exposures: the enhanced pictures should be about equally bright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bncagan.evaluation.metrics import Enhancer, mean_luma
from bncagan.evaluation.stress.outcome import (
    TILE_SIDE,
    Found,
    Measure,
    Outcome,
    Result,
    Strip,
    enhanced,
    means,
    worst_of,
)
from runtimes.image import Pixels, thumbnail, to_uint8
from runtimes.photographs.profiles import srgb_light

STOPS = (1, 0, -1, -2, -3, -4)
RISE_NAME = "rise as stops fall, codes"

# Limits, in codes of mean luma; every number must be smaller.
OFF = {-1: 12.0, -2: 12.0, -3: 12.0}  # stops against 0 stops; 12 codes are what a third of a stop makes of mid-grey
OFF |= {-4: 20.0}  # here 72 of the 256 codes are left
RISE = 2.0  # less light must not give a brighter picture; this much is invisible


def calls(photographs: Mapping[str, Pixels]) -> int:
    """The number of times that `check` enhances."""
    return len(STOPS) * len(photographs)


def check(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> Result:
    """7. Exposure ladder: photographs rendered from +1 to -4 stops come back about equally bright.

    The differences of mean luma to that at 0 stops, without their signs, in means over the photographs; and how much
    the mean luma of all photographs together rises as stops fall.
    """
    found, tiles = {}, {}
    for name, pixels in photographs.items():
        inputs = {stops: rendered(pixels, stops) for stops in STOPS}
        outputs = {stops: enhanced(enhancer, exposed, f"{name}, {stops} stops") for stops, exposed in inputs.items()}
        found[name] = numbers_of([mean_luma(output) for output in outputs.values()])
        tiles[name] = [thumbnail(each, TILE_SIDE) for each in (inputs[-3], outputs[-3], outputs[0])]
    measures = means(found, {off_name(stops): limit for stops, limit in OFF.items()})
    examples = [
        Strip(f"{name}, -3 stops\n{off_name(-3)} {found[name][off_name(-3)]:.0f}", tiles[name], "enhanced at 0 stops")
        for name in worst_of(found, off_name(-3))
    ]
    return Result([Outcome("exposure ladder", (*measures, rise_of(found)), found)], examples)


def rendered(pixels: Pixels, stops: float) -> Pixels:
    """A picture with its light times 2^stops, highlights clipped, in 8 bits. H x W x 3, sRGB (IEC 61966-2-1)."""
    codes = np.arange(256) / 255
    light = srgb_light(codes) * 2.0**stops
    exposed = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return to_uint8(exposed)[pixels]


def numbers_of(lumas: Sequence[float]) -> dict[str, float]:
    """The numbers of a photograph, from its mean luma at each of STOPS."""
    at = dict(zip(STOPS, lumas, strict=True))
    numbers = {luma_name(stops): luma for stops, luma in at.items()}
    return numbers | {off_name(stops): abs(at[stops] - at[0]) for stops in OFF} | {RISE_NAME: rise(lumas)}


def rise_of(found: Found) -> Measure:
    """How much mean luma, averaged over the photographs, rises; the detail names the photograph that rises most."""
    lumas = [float(np.mean([numbers[luma_name(stops)] for numbers in found.values()])) for stops in STOPS]
    most = worst_of(found, RISE_NAME)[0]
    said = f"mean luma {', '.join(f'{luma:.0f}' for luma in lumas)}; most {most} {found[most][RISE_NAME]:.1f}"
    return Measure(RISE_NAME, rise(lumas), RISE, said)


def rise(lumas: Sequence[float]) -> float:
    """The largest difference of a value to a lower value before it; 0 if the values never rise."""
    return float((np.array(lumas) - np.minimum.accumulate(lumas)).max())


def luma_name(stops: int) -> str:
    """The name of the mean luma at an exposure."""
    return f"mean luma at {stops:+d}"


def off_name(stops: int) -> str:
    """The name of the difference between an exposure and 0 stops."""
    return f"{stops} stops against 0, codes"
