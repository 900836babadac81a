"""Grey pictures that are drawn: no colour casts, no halos, no falling ramps.

Lightness L* and chroma are CIELAB's (CIE 15:2018), computed from sRGB with D65 by scikit-image.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

from bncagan.evaluation.metrics import Enhancer
from bncagan.evaluation.stress.outcome import PROFILE, Lab, Outcome, Result, Strip, enhanced, largest, titles
from bncagan.evaluation.stress.pictures import BAND, Edge, Ramp, edges, greys, ramps

# Limits; every number must be smaller.
CHROMA_MEAN = 3.0  # from about here a whole grey picture looks tinted
CHROMA_P99 = 5.0  # from about here a tint of small areas is visible, even beside true grey
HALO = 3.0  # L*; three times what is just visible on a flat area, because an edge hides part of a halo
FALL = 1.0  # L*; just visible between wide areas


def calls() -> int:
    """The number of times that `check` enhances."""
    return len(ramps()) + len(edges()) + len(greys())


def check(enhancer: Enhancer) -> Result:
    """Enhance ramps, edges and greys."""
    drawn_ramps, drawn_edges = ramps(), edges()
    inputs = {name: ramp.pixels for name, ramp in drawn_ramps.items()}
    inputs |= {name: edge.pixels for name, edge in drawn_edges.items()} | greys()
    outputs = {name: enhanced(enhancer, pixels, name) for name, pixels in inputs.items()}
    labs = {name: rgb2lab(pixels) for name, pixels in outputs.items()}
    outcomes = [
        colour_cast(labs),
        halos({name: (labs[name], edge) for name, edge in drawn_edges.items()}),
        monotony({name: (labs[name], ramp) for name, ramp in drawn_ramps.items()}),
    ]
    shown = titles([measure for outcome in outcomes for measure in outcome.measures])
    return Result(outcomes, [Strip(title, (inputs[name], outputs[name]), PROFILE) for name, title in shown.items()])


def colour_cast(labs: Mapping[str, Lab]) -> Outcome:
    """1. Grey stays grey: mean and 99th percentile of the chroma of each output (CIELAB, H x W x 3, by name)."""
    found = {}
    for name, lab in labs.items():
        chroma = np.hypot(lab[..., 1], lab[..., 2])
        found[name] = {"mean chroma": float(chroma.mean()), "p99 chroma": float(np.percentile(chroma, 99))}
    return Outcome("colour cast", largest(found, {"mean chroma": CHROMA_MEAN, "p99 chroma": CHROMA_P99}), found)


def halos(drawn: Mapping[str, tuple[Lab, Edge]]) -> Outcome:
    """2. No halos: how much L* near an edge goes beyond L* of the two areas far from it."""
    found = {}
    for name, (lab, edge) in drawn.items():
        found[name] = {
            "overshoot, L*": beyond(lab[..., 0], edge.distance),
            "undershoot, L*": beyond(-lab[..., 0], -edge.distance),
        }
    return Outcome("halo", largest(found, {"overshoot, L*": HALO, "undershoot, L*": HALO}), found)


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
    return Outcome("monotony", largest(found, {"fall, L*": FALL}), found)


def fall(profile: NDArray[np.float64]) -> float:
    """The largest difference of a value to a higher value before it; 0 if the profile never falls."""
    return float((np.maximum.accumulate(profile) - profile).max())
