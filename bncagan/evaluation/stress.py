"""What an enhancer must not do, measured without references: casts, halos, folds in ramps, and never being done.

Lightness L* and chroma are those of CIELAB (CIE 15:2018), from sRGB with D65 by scikit-image.
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

# What every number must stay below.
CHROMA_MEAN = 3.0  # a whole picture of grey looks tinted from about there
CHROMA_P99 = 5.0  # smaller areas, even beside true grey, are seen from about there
HALO = 3.0  # L*; three times what is just visible on a flat area, because an edge hides some of it
FALL = 1.0  # L*; just visible between wide areas
GOOD_CHANGE = 6.0  # CIEDE2000; half of what separates FiveK's originals from expert C's versions of them (12 to 15)
RATIO = 1.0  # a second enhancement has less to do than the first
BRIGHTENING = 6.0  # L*; two further enhancements may together brighten by what one may change a good photograph

VISIBLE = 1.0  # CIEDE2000; changes below cannot be seen and count as this much where they are divided by
TIMES = 3  # enhancements in a row
WORST = 3  # photographs that are named and shown
TILE_SIDE = 384  # px

Lab = NDArray[np.float64]
Enhancer = Callable[[Pixels], Pixels]  # uint8 H x W x 3 to the same, sRGB


@dataclass(frozen=True)
class Measure:
    """A number that must be below its limit, and what it is of: the worst pictures, or the numbers behind it."""

    name: str
    value: float
    limit: float
    detail: str

    @property
    def passed(self) -> bool:
        return self.value < self.limit


@dataclass(frozen=True)
class Outcome:
    """One check: its measures, of which each must pass, and the numbers of each picture by its name."""

    check: str
    measures: tuple[Measure, ...]
    pictures: Mapping[str, Mapping[str, float]]

    @property
    def passed(self) -> bool:
        return all(measure.passed for measure in self.measures)


class Strip(NamedTuple):
    """What the picture shows of one input: itself and its enhancement, of a photograph also the third one."""

    title: str
    tiles: Sequence[Pixels]


class Repeated(NamedTuple):
    """A photograph enhanced again and again.

    tiles: input, first and last enhancement. changes: mean CIEDE2000 from each picture to the next, 3 numbers.
    lightness: mean L* of the input and of each enhancement, 4 numbers.
    """

    tiles: tuple[Pixels, ...]
    changes: tuple[float, ...]
    lightness: tuple[float, ...]


def enhancements(photographs: int) -> int:
    """How often `stress` calls the enhancer."""
    return len(ramps()) + len(edges()) + len(greys()) + TIMES * photographs


def stress(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> tuple[list[Outcome], list[Strip]]:
    """All five checks, with what the picture shows: the worst drawn pictures and the most changed photographs.

    `photographs`: good ones, uint8 H x W x 3 by name. InputError if there is none, or if the enhancer returns
    another shape or type.
    """
    if not photographs:
        raise InputError("expected at least one good photograph to enhance, got none; name a folder of them")
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
    """The enhancer's answer; InputError if it is not of the picture's shape and type."""
    output = enhancer(pixels)
    if (output.shape, output.dtype) != (pixels.shape, pixels.dtype):
        raise InputError(
            f"{name}: expected the enhancer to return {pixels.dtype} {pixels.shape}, got {output.dtype} "
            f"{output.shape}; convert what it returns"
        )
    return output


def repeat(enhancer: Enhancer, pixels: Pixels, name: str = "photograph") -> Repeated:
    """Enhance a photograph, its enhancement, and the enhancement of that. InputError as `enhanced`."""
    pictures = [pixels]
    for _ in range(TIMES):
        pictures.append(enhanced(enhancer, pictures[-1], name))
    labs = [rgb2lab(picture) for picture in pictures]
    changes = tuple(float(deltaE_ciede2000(*pair).mean()) for pair in pairwise(labs))
    lightness = tuple(float(lab[..., 0].mean()) for lab in labs)
    tiles = tuple(thumbnail(picture, TILE_SIDE) for picture in (pictures[0], pictures[1], pictures[-1]))
    return Repeated(tiles, changes, lightness)


def colour_cast(labs: Mapping[str, Lab]) -> Outcome:
    """1. Grey stays grey: mean and 99th percentile of the chroma of each output, H x W x 3 in CIELAB by name."""
    found = {}
    for name, lab in labs.items():
        chroma = np.hypot(lab[..., 1], lab[..., 2])
        found[name] = {"mean chroma": float(chroma.mean()), "p99 chroma": float(np.percentile(chroma, 99))}
    limits = {"mean chroma": CHROMA_MEAN, "p99 chroma": CHROMA_P99}
    return _outcome("colour cast", limits, found)


def halos(drawn: Mapping[str, tuple[Lab, Edge]]) -> Outcome:
    """2. No halos: how far the output's L* goes beyond the plateaus of the two areas near their edge."""
    found = {}
    for name, (lab, edge) in drawn.items():
        found[name] = {
            "overshoot, L*": beyond(lab[..., 0], edge.distance),
            "undershoot, L*": beyond(-lab[..., 0], -edge.distance),
        }
    return _outcome("halo", {"overshoot, L*": HALO, "undershoot, L*": HALO}, found)


def beyond(values: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    """How far H x W values exceed, within 32 px of the edge, their median beyond 64 px, where `distance` is positive.

    The mean of each px of distance is taken first, so that noise along the edge does not count.
    """
    plateau = np.median(values[distance > 2 * BAND])
    near = (distance > 0) & (distance < BAND)
    steps = distance[near].astype(int)
    profile = np.bincount(steps, values[near]) / np.bincount(steps)
    return max(0.0, float(profile.max() - plateau))


def monotony(drawn: Mapping[str, tuple[Lab, Ramp]]) -> Outcome:
    """3. Ramps keep rising: the deepest fall of the output's L* along each, averaged across it."""
    found = {name: {"fall, L*": fall(lab[..., 0].mean(1 - ramp.axis))} for name, (lab, ramp) in drawn.items()}
    return _outcome("monotony", {"fall, L*": FALL}, found)


def fall(profile: NDArray[np.float64]) -> float:
    """The most by which a value is below any earlier one, however far back; 0 of a profile that never falls."""
    return float((np.maximum.accumulate(profile) - profile).max())


def already_good(repeats: Mapping[str, Repeated]) -> Outcome:
    """4. Good photographs stay nearly as they are: mean CIEDE2000 of one enhancement."""
    found = {name: {"CIEDE2000": each.changes[0]} for name, each in repeats.items()}
    mean = float(np.mean([each.changes[0] for each in repeats.values()]))
    detail = ", ".join(f"{name} {repeats[name].changes[0]:.1f}" for name in _most_changed(repeats))
    return Outcome("already good", (Measure("mean CIEDE2000", mean, GOOD_CHANGE, detail),), found)


def enhancing_again(repeats: Mapping[str, Repeated]) -> Outcome:
    """5. It comes to rest: each further enhancement changes less, and the photographs do not run to white.

    Of the means over the photographs: the change of each enhancement over that of the one before (an invisible one
    counts as 1), and how much the second and the third add to L*.
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
    """For JSON: format, passed, and of each check its measures with their limits and the numbers of every picture."""
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
    """Of each number the worst picture."""
    worst = {name: max(found, key=lambda picture: found[picture][name]) for name in limits}
    measures = [Measure(name, found[worst[name]][name], limit, worst[name]) for name, limit in limits.items()]
    return Outcome(check, tuple(measures), found)


def _most_changed(repeats: Mapping[str, Repeated]) -> list[str]:
    return sorted(repeats, key=lambda name: repeats[name].changes[0], reverse=True)[:WORST]


def _said(each: Repeated) -> str:
    return f"CIEDE2000 {each.changes[0]:.1f}, L* {each.lightness[0]:.0f} to {each.lightness[1]:.0f}"
