"""One photograph at several sizes: how bright it becomes must not depend on the number of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bncagan.evaluation.metrics import Enhancer, ciede2000, mean_luma
from bncagan.evaluation.stress.outcome import TILE_SIDE, Outcome, Result, Strip, enhanced, largest, worst_of
from runtimes.image import Pixels, resize, thumbnail

SIZES = (256, 512, 1024, 2048)  # px of the long side

# Limits; every number must be smaller.
LUMA_CHANGE = 2.0  # codes of mean luma; invisible
COLOUR_CHANGE = 1.5  # CIEDE2000; just visible, side by side

LUMA_NAME, COLOUR_NAME = "mean luma, codes", "CIEDE2000"


def sizes_of(pixels: Pixels) -> list[int]:
    """The long sides in px at which a photograph is enhanced: those of SIZES up to its own, and its own up to 2048."""
    own = min(max(pixels.shape), SIZES[-1])
    return sorted({own, *(size for size in SIZES if size < own)})


def calls(photographs: Mapping[str, Pixels]) -> int:
    """The number of times that `check` enhances."""
    return sum(len(sizes_of(pixels)) for pixels in photographs.values() if len(sizes_of(pixels)) > 1)


def check(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> Result:
    """9. The same photograph at several sizes comes back alike.

    Each enhanced picture is reduced to the smallest size and compared with the one that was enhanced at that size. The
    measures are those of the worst photograph and size. Photographs are not enlarged.
    """
    found, tiles = {}, {}
    for name, pixels in photographs.items():
        if len(sizes := sizes_of(pixels)) > 1:
            outputs = [enhanced(enhancer, reduced(pixels, size), f"{name}, {size} px") for size in sizes]
            found[name] = differences(outputs)
            tiles[name] = [thumbnail(each, TILE_SIDE) for each in (pixels, outputs[-1], outputs[0])]
    measures = largest(found, {LUMA_NAME: LUMA_CHANGE, COLOUR_NAME: COLOUR_CHANGE}) if found else ()
    examples = [
        Strip(
            f"{name}, {sizes_of(photographs[name])[-1]} px\n{_said(found[name])}",
            tiles[name],
            f"enhanced at {SIZES[0]} px",
        )
        for name in worst_of(found, COLOUR_NAME)
    ]
    return Result([Outcome("size", measures, found, left_out(photographs))], examples)


def reduced(pixels: Pixels, long_side: int) -> Pixels:
    """A photograph reduced to a long side in px; its proportion stays."""
    height, width = (max(1, round(side * long_side / max(pixels.shape))) for side in pixels.shape[:2])
    return resize(pixels, height, width)


def differences(outputs: Sequence[Pixels]) -> dict[str, float]:
    """The largest differences of pictures to the first and smallest one, after reduction to its size."""
    small = outputs[0]
    others = [resize(output, *small.shape[:2]) for output in outputs[1:]]
    return {
        LUMA_NAME: max(abs(mean_luma(other) - mean_luma(small)) for other in others),
        COLOUR_NAME: max(ciede2000(other, small) for other in others),
    }


def left_out(photographs: Mapping[str, Pixels]) -> str:
    """The sizes at which some photographs are too small to be seen, in words; empty if there are none."""
    sides = [max(pixels.shape) for pixels in photographs.values()]
    few = [(size, count) for size in SIZES if (count := sum(side >= size for side in sides)) < len(sides)]
    if not few:
        return ""
    (size, count), *others = few
    said = [f"{size} px was reached by {count} of {len(sides)}", *(f"{size} px by {count}" for size, count in others)]
    return f"photographs are not enlarged: {', '.join(said)}"


def _said(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in numbers.items())
