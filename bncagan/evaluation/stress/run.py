"""All stress checks of an enhancer."""

from __future__ import annotations

from bncagan.evaluation.metrics import Enhancer
from bncagan.evaluation.stress import amplification, grey, intent, ladder, repetition, size
from bncagan.evaluation.stress.outcome import Outcome, Strip
from bncagan.evaluation.stress.photographs import Photographs
from runtimes.errors import InputError


def enhancements(photographs: Photographs) -> int:
    """The number of times that `stress` calls the enhancer for these photographs."""
    return (
        grey.calls()
        + repetition.calls(photographs.good)
        + intent.calls(photographs.keep)
        + ladder.calls(photographs.exposed)
        + amplification.calls()
        + size.calls(photographs.sized)
    )


def stress(enhancer: Enhancer, photographs: Photographs) -> tuple[list[Outcome], list[Strip]]:
    """Run all nine checks; returns their results and the worst pictures.

    InputError if there is no good photograph, or if the enhancer returns another shape or type.
    """
    if not photographs.good:
        raise InputError("good photographs to enhance should be at least one but are none; name a folder with --photos")
    results = [
        grey.check(enhancer),
        repetition.check(enhancer, photographs.good),
        intent.check(enhancer, photographs.keep),
        ladder.check(enhancer, photographs.exposed),
        amplification.check(enhancer),
        size.check(enhancer, photographs.sized),
    ]
    outcomes = [outcome for result in results for outcome in result.outcomes]
    return outcomes, [strip for result in results for strip in result.examples]
