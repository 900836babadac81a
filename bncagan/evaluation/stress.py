"""Stress tests of an enhancer without references: colour casts, halos, falling ramps, changes that do not stop.

Lightness L* and chroma are CIELAB's (CIE 15:2018), computed from sRGB with D65 by scikit-image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from bncagan.evaluation.stress_pictures import BAND, Edge, Ramp, edges, greys, ramps
from runtimes.errors import InputError
from runtimes.image import Pixels, thumbnail

FORMAT = "bncagan-stress-1"

# Limits; every number must be smaller.
CHROMA_MEAN = 3.0  # from about here a whole grey picture looks tinted
CHROMA_P99 = 5.0  # from about here a tint of small areas is visible, even beside true grey
HALO = 3.0  # L*; three times what is just visible on a flat area, because an edge hides part of a halo
FALL = 1.0  # L*; just visible between wide areas
GOOD_CHANGE = 6.0  # CIEDE2000; half the difference between the originals and expert C's versions in FiveK (12 to 15)
RATIO = 1.0  # a second enhancement should change less than the first
BRIGHTENING = 6.0  # L*; the second and third enhancement together; as much as GOOD_CHANGE allows for one

VISIBLE = 1.0  # CIEDE2000; smaller changes are invisible and count as this much in a denominator
TIMES = 3  # enhancements in a row
WORST = 3  # number of photographs that are named and shown
TILE_SIDE = 384  # px

Lab = NDArray[np.float64]
Enhancer = Callable[[Pixels], Pixels]  # sRGB, uint8 H x W x 3; returns the same size and type


@dataclass(frozen=True)
class Measure:
    """A number that must be below its limit."""

    name: str
    """What is measured, with its unit."""
    value: float
    """The number."""
    limit: float
    """Its limit."""
    detail: str
    """The worst pictures, or the numbers from which the value is computed."""

    @property
    def passed(self) -> bool:
        return self.value < self.limit


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    check: str
    """Name of the check."""
    measures: tuple[Measure, ...]
    """Its numbers; all must pass."""
    pictures: Mapping[str, Mapping[str, float]]
    """The numbers of each picture, by the name of the picture and of the number."""

    @property
    def passed(self) -> bool:
        return all(measure.passed for measure in self.measures)


class Strip(NamedTuple):
    """One column of the picture of results."""

    title: str
    """Name of the input and its numbers."""
    tiles: Sequence[Pixels]
    """The input and its enhancement; for a photograph also the third enhancement."""


class Repeated(NamedTuple):
    """A photograph that was enhanced three times in a row."""

    tiles: tuple[Pixels, ...]
    """The input, the first and the last enhancement."""
    changes: tuple[float, ...]
    """Mean CIEDE2000 from each picture to the next, 3 numbers."""
    lightness: tuple[float, ...]
    """Mean L* of the input and of each enhancement, 4 numbers."""


def enhancements(photographs: int) -> int:
    """The number of times that `stress` calls the enhancer for this number of photographs."""
    return len(ramps()) + len(edges()) + len(greys()) + TIMES * photographs


def stress(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> tuple[list[Outcome], list[Strip]]:
    """Run all five checks; returns their results and examples: the worst drawn pictures and most changed photographs.

    `photographs` are good photographs by name, uint8 H x W x 3. InputError if there is none, or if the enhancer returns
    another shape or type.
    """
    if not photographs:
        raise InputError("good photographs to enhance should be at least one but are none; name a folder with --photos")
    drawn_ramps, drawn_edges = ramps(), edges()
    inputs = {name: ramp.pixels for name, ramp in drawn_ramps.items()}
    inputs |= {name: edge.pixels for name, edge in drawn_edges.items()} | greys()
    outputs = {name: enhanced(enhancer, pixels, name) for name, pixels in inputs.items()}
    labs = {name: rgb2lab(pixels) for name, pixels in outputs.items()}
    repeats = {name: repeat(enhancer, pixels, name) for name, pixels in photographs.items()}
    outcomes = [
        colour_cast(labs),
        halos({name: (labs[name], edge) for name, edge in drawn_edges.items()}),
        monotony({name: (labs[name], ramp) for name, ramp in drawn_ramps.items()}),
        already_good(repeats),
        enhancing_again(repeats),
    ]
    shown: dict[str, list[str]] = {}
    for outcome in outcomes[:3]:
        for measure in outcome.measures:
            shown.setdefault(measure.detail, []).append(f"{measure.name} {measure.value:.1f}")
    examples = [Strip("\n".join([name, *said]), (inputs[name], outputs[name])) for name, said in shown.items()]
    most = _most_changed(repeats)
    return outcomes, examples + [Strip(f"{name}\n{_said(repeats[name])}", repeats[name].tiles) for name in most]


def enhanced(enhancer: Enhancer, pixels: Pixels, name: str) -> Pixels:
    """Enhance a picture; InputError if the output has another shape or type."""
    output = enhancer(pixels)
    if (output.shape, output.dtype) != (pixels.shape, pixels.dtype):
        raise InputError(
            f"{name} should be enhanced to {pixels.dtype} {pixels.shape} but became {output.dtype} {output.shape}; "
            "convert what the enhancer returns"
        )
    return output


def repeat(enhancer: Enhancer, pixels: Pixels, name: str = "photograph") -> Repeated:
    """Enhance a photograph three times in a row; InputError as in `enhanced`."""
    pictures = [pixels]
    for _ in range(TIMES):
        pictures.append(enhanced(enhancer, pictures[-1], name))
    labs = [rgb2lab(picture) for picture in pictures]
    changes = tuple(float(deltaE_ciede2000(*pair).mean()) for pair in pairwise(labs))
    lightness = tuple(float(lab[..., 0].mean()) for lab in labs)
    tiles = tuple(thumbnail(picture, TILE_SIDE) for picture in (pictures[0], pictures[1], pictures[-1]))
    return Repeated(tiles, changes, lightness)


def colour_cast(labs: Mapping[str, Lab]) -> Outcome:
    """1. Grey stays grey: mean and 99th percentile of the chroma of each output (CIELAB, H x W x 3, by name)."""
    found = {}
    for name, lab in labs.items():
        chroma = np.hypot(lab[..., 1], lab[..., 2])
        found[name] = {"mean chroma": float(chroma.mean()), "p99 chroma": float(np.percentile(chroma, 99))}
    limits = {"mean chroma": CHROMA_MEAN, "p99 chroma": CHROMA_P99}
    return _outcome("colour cast", limits, found)


def halos(drawn: Mapping[str, tuple[Lab, Edge]]) -> Outcome:
    """2. No halos: how much L* near an edge goes beyond L* of the two areas far from it."""
    found = {}
    for name, (lab, edge) in drawn.items():
        found[name] = {
            "overshoot, L*": beyond(lab[..., 0], edge.distance),
            "undershoot, L*": beyond(-lab[..., 0], -edge.distance),
        }
    return _outcome("halo", {"overshoot, L*": HALO, "undershoot, L*": HALO}, found)


def beyond(values: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    """How much the values within 32 px of the edge exceed the median of those beyond 64 px, on one side of it.

    `values` and `distance` (px to the edge, positive on that side) are H x W. The values at the same distance, in whole
    px, are averaged first, so that noise along the edge does not count.
    """
    plateau = np.median(values[distance > 2 * BAND])
    near = (distance > 0) & (distance < BAND)
    steps = distance[near].astype(int)
    profile = np.bincount(steps, values[near]) / np.bincount(steps)
    return max(0.0, float(profile.max() - plateau))


def monotony(drawn: Mapping[str, tuple[Lab, Ramp]]) -> Outcome:
    """3. Ramps keep rising: the largest fall of L* along each ramp, after averaging across the ramp."""
    found = {name: {"fall, L*": fall(lab[..., 0].mean(1 - ramp.axis))} for name, (lab, ramp) in drawn.items()}
    return _outcome("monotony", {"fall, L*": FALL}, found)


def fall(profile: NDArray[np.float64]) -> float:
    """The largest difference of a value to a higher value before it; 0 if the profile never falls."""
    return float((np.maximum.accumulate(profile) - profile).max())


def already_good(repeats: Mapping[str, Repeated]) -> Outcome:
    """4. Good photographs change little: mean CIEDE2000 of one enhancement."""
    found = {name: {"CIEDE2000": each.changes[0]} for name, each in repeats.items()}
    mean = float(np.mean([each.changes[0] for each in repeats.values()]))
    detail = ", ".join(f"{name} {repeats[name].changes[0]:.1f}" for name in _most_changed(repeats))
    return Outcome("already good", (Measure("mean CIEDE2000", mean, GOOD_CHANGE, detail),), found)


def enhancing_again(repeats: Mapping[str, Repeated]) -> Outcome:
    """5. Enhancing again changes less each time, and photographs do not drift to white.

    From means over the photographs: the change of each enhancement divided by the change before it (at least 1), and
    how much the second and third enhancement raise L*.
    """
    first, second, third = np.mean([each.changes for each in repeats.values()], axis=0).tolist()
    lightness = np.mean([each.lightness for each in repeats.values()], axis=0).tolist()
    changes = f"CIEDE2000 {first:.2f}, {second:.2f}, {third:.2f}"
    measures = (
        Measure("second change / first", second / max(first, VISIBLE), RATIO, changes),
        Measure("third change / second", third / max(second, VISIBLE), RATIO, changes),
        Measure(
            "brightening after first, L*",
            lightness[-1] - lightness[1],
            BRIGHTENING,
            "mean L* " + ", ".join(f"{value:.1f}" for value in lightness),
        ),
    )
    found = {}
    for name, each in repeats.items():
        numbers = {f"CIEDE2000 {i + 1}": value for i, value in enumerate(each.changes)}
        found[name] = numbers | {f"mean L* {i}": value for i, value in enumerate(each.lightness)}
    return Outcome("enhancing again", measures, found)


def summary_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The results as JSON values: format, passed, and for each check its measures and the numbers of every picture."""
    checks = {
        outcome.check: {
            "passed": outcome.passed,
            "measures": [vars(measure) | {"passed": measure.passed} for measure in outcome.measures],
            "pictures": outcome.pictures,
        }
        for outcome in outcomes
    }
    return {"format": FORMAT, "passed": all(outcome.passed for outcome in outcomes), "checks": checks}


def _outcome(check: str, limits: Mapping[str, float], found: Mapping[str, Mapping[str, float]]) -> Outcome:
    """The result of a check; each measure takes the picture with the largest number."""
    worst = {name: max(found, key=lambda picture: found[picture][name]) for name in limits}
    measures = [Measure(name, found[worst[name]][name], limit, worst[name]) for name, limit in limits.items()]
    return Outcome(check, tuple(measures), found)


def _most_changed(repeats: Mapping[str, Repeated]) -> list[str]:
    return sorted(repeats, key=lambda name: repeats[name].changes[0], reverse=True)[:WORST]


def _said(each: Repeated) -> str:
    return f"CIEDE2000 {each.changes[0]:.1f}, L* {each.lightness[0]:.0f} to {each.lightness[1]:.0f}"
