"""What is dark or pale on purpose stays so: photographs, frames without light, flat colours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bncagan.evaluation.metrics import LUMA, Enhancer, ciede2000, mean_luma
from bncagan.evaluation.stress.outcome import (
    PROFILE,
    TILE_SIDE,
    Found,
    Outcome,
    Result,
    Strip,
    enhanced,
    largest,
    means,
    titles,
    worst_of,
)
from bncagan.evaluation.stress.pictures import dark_frames, flat_colours
from runtimes.image import Pixels, thumbnail

# Limits; every number must be smaller.
CHANGE = 7.0  # CIEDE2000; a little more than a good photograph may change, because taste differs more about these
SHADOWS = 12.0  # codes by which the 5 % quantile of luma rises; from about here night looks like day with haze
LIGHT = 4.0  # codes by which the mean luma of a dark frame rises; at black, about 1 L*
COLOUR = 1.0  # codes; below it, no channel of a flat colour changes

NO_PHOTOGRAPHS = "no photographs that are dark or pale on purpose; name a folder with --keep"


def calls(photographs: Mapping[str, Pixels]) -> int:
    """The number of times that `check` enhances."""
    return len(photographs) + len(dark_frames()) + len(flat_colours())


def check(enhancer: Enhancer, photographs: Mapping[str, Pixels]) -> Result:
    """6. Photographs that are dark or pale on purpose hardly change, dark frames stay black and flat colours equal."""
    inputs = {**dark_frames(), **flat_colours(), **photographs}
    outputs = {name: enhanced(enhancer, pixels, name) for name, pixels in inputs.items()}
    frames = {name: brightening(inputs[name], outputs[name]) for name in dark_frames()}
    colours = {name: largest_change(inputs[name], outputs[name]) for name in flat_colours()}
    kept = {name: changes(pixels, outputs[name]) for name, pixels in photographs.items()}
    of_drawn = largest(frames, {"light in a dark frame, codes": LIGHT})
    of_drawn += largest(colours, {"change of a flat colour, codes": COLOUR})
    of_kept = means(kept, {"mean CIEDE2000": CHANGE, "5 % quantile raised, codes": SHADOWS}) if kept else ()
    examples = [Strip(title, (inputs[name], outputs[name]), PROFILE) for name, title in titles(of_drawn).items()]
    examples += [_strip(kept, name, inputs[name], outputs[name]) for name in worst_of(kept, "mean CIEDE2000")]
    left_out = "" if photographs else NO_PHOTOGRAPHS
    return Result([Outcome("intent", (*of_drawn, *of_kept), frames | colours | kept, left_out)], examples)


def brightening(before: Pixels, after: Pixels) -> dict[str, float]:
    """How much the mean luma of a dark frame rises, in codes."""
    return {"light in a dark frame, codes": mean_luma(after) - mean_luma(before)}


def largest_change(before: Pixels, after: Pixels) -> dict[str, float]:
    """The largest change of a channel of a flat colour, in codes."""
    return {"change of a flat colour, codes": float(np.abs(after.astype(int) - before).max())}


def changes(before: Pixels, after: Pixels) -> dict[str, float]:
    """Mean CIEDE2000 of a photograph, and how much the 5 % quantile and the mean of its luma rise, in codes."""
    old, new = (float(np.quantile(pixels @ LUMA, 0.05)) for pixels in (before, after))
    return {
        "mean CIEDE2000": ciede2000(after, before),
        "5 % quantile raised, codes": new - old,
        "mean luma raised, codes": mean_luma(after) - mean_luma(before),
    }


def _strip(kept: Found, name: str, before: Pixels, after: Pixels) -> Strip:
    change, shadows = (kept[name][key] for key in ("mean CIEDE2000", "5 % quantile raised, codes"))
    tiles = (thumbnail(before, TILE_SIDE), thumbnail(after, TILE_SIDE))
    return Strip(f"{name}\nCIEDE2000 {change:.1f}, 5 % quantile {shadows:+.0f}", tiles)
