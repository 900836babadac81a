"""What a stress check finds: numbers with limits, the pictures behind them, and examples to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bncagan.evaluation.metrics import Enhancer
from runtimes.errors import InputError
from runtimes.image import Pixels

FORMAT = "bncagan-stress-2"
WORST = 3  # number of photographs that a check names and shows
TILE_SIDE = 384  # px
PROFILE = "profile"

Lab = NDArray[np.float64]  # CIELAB, H x W x 3
Found = Mapping[str, Mapping[str, float]]  # numbers by the name of the picture, then of the number


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
    pictures: Found
    """The numbers of each picture."""
    left_out: str = ""
    """What the check could not look at, and why; empty if nothing."""

    @property
    def passed(self) -> bool:
        return all(measure.passed for measure in self.measures)


class Strip(NamedTuple):
    """One column of the picture of results."""

    title: str
    """Name of the input and its numbers."""
    tiles: Sequence[Pixels]
    """The input and its enhancement, and a third picture to compare with."""
    third: str = ""
    """What the third picture is; PROFILE draws the profile of the two in its place, and "" nothing."""


class Result(NamedTuple):
    """What a part of the stress test returns."""

    outcomes: Sequence[Outcome]
    """One for each check."""
    examples: Sequence[Strip]
    """Its worst pictures."""


def enhanced(enhancer: Enhancer, pixels: Pixels, name: str) -> Pixels:
    """Enhance a picture; InputError if the output has another shape or type."""
    output = enhancer(pixels)
    if (output.shape, output.dtype) != (pixels.shape, pixels.dtype):
        raise InputError(
            f"{name} should be enhanced to {pixels.dtype} {pixels.shape} but became {output.dtype} {output.shape}; "
            "convert what the enhancer returns"
        )
    return output


def largest(found: Found, limits: Mapping[str, float]) -> tuple[Measure, ...]:
    """A measure for each limit, by the name of the number: the largest one of any picture, which the detail names."""
    worst = {name: worst_of(found, name)[0] for name in limits}
    return tuple(Measure(name, found[worst[name]][name], limit, worst[name]) for name, limit in limits.items())


def means(found: Found, limits: Mapping[str, float]) -> tuple[Measure, ...]:
    """A measure for each limit, by the name of the number: its mean over the pictures; the detail names the worst."""
    return tuple(
        Measure(
            name,
            float(np.mean([numbers[name] for numbers in found.values()])),
            limit,
            ", ".join(f"{picture} {found[picture][name]:.1f}" for picture in worst_of(found, name)),
        )
        for name, limit in limits.items()
    )


def worst_of(found: Found, name: str) -> list[str]:
    """The pictures with the largest numbers of this name, the largest first, at most three."""
    return sorted(found, key=lambda picture: found[picture][name], reverse=True)[:WORST]


def titles(measures: Sequence[Measure]) -> dict[str, str]:
    """A title for each picture that is the detail of a measure: its name, and the numbers in which it is worst."""
    said: dict[str, list[str]] = {}
    for measure in measures:
        said.setdefault(measure.detail, [measure.detail]).append(f"{measure.name} {measure.value:.1f}")
    return {picture: "\n".join(lines) for picture, lines in said.items()}


def summary_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The results as JSON values: format, passed, and for each check its measures and the numbers of every picture."""
    checks = {
        outcome.check: {
            "passed": outcome.passed,
            "measures": [vars(measure) | {"passed": measure.passed} for measure in outcome.measures],
            "left_out": outcome.left_out,
            "pictures": outcome.pictures,
        }
        for outcome in outcomes
    }
    return {"format": FORMAT, "passed": all(outcome.passed for outcome in outcomes), "checks": checks}
