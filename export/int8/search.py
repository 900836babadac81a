"""Measure how much error each convolution causes in int8, and choose those that stay in float."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from bncagan.network.folded import FoldedGenerator
from bncagan.network.inference import enhance_exactly, to_unit
from export.int8.ranges import Calibration, calibration_pictures
from export.int8.scheme import ONNX_RUNTIME, Plan, Scheme, draw, observe
from runtimes import ArtifactError, ShapeSet
from runtimes.console import tracked
from runtimes.golden import Case
from runtimes.image import Pixels
from runtimes.likeness import compare

# Limits of the search: PSNR in dB, bias of a channel in codes, mean CIEDE2000. They are stricter than those of the
# parity check, because other pictures do worse than the ones that the search judges.
PSNR, BIAS, DE = 41.0, 0.25, 0.75
NOISE = 255 * 10 ** (-PSNR / 20)  # codes; root mean square error at that PSNR


def plan_int8(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels] | None, scheme: Scheme) -> Plan:
    """Choose the int8 convolutions by calibrating on `photos` (None: scikit-image's) at the sizes of `shapes`."""
    return choose(model, scheme, calibration_pictures(shapes, photos))


def choose(model: FoldedGenerator, scheme: Scheme, calibration: Calibration) -> Plan:
    """A plan with as many convolutions in int8 as the limits of the judged pictures allow.

    The first and the last convolution always stay in float: they touch the pixels, so their errors are visible in
    pictures unlike those judged. All others start in int8. As long as a picture exceeds the limits, as few more go back
    to float as the worst picture needs, those with the largest error per multiply-add first; the error of each is
    measured on that picture with only that convolution in int8. At the end, each convolution that went back, the
    largest first, returns to int8 if all pictures then still keep the limits.

    Errors: ArtifactError if no convolution can be int8.
    """
    full = full_plan(model, calibration.ranged, scheme)
    cases = exact_cases(model, calibration.judged)
    every = frozenset(range(len(full.convolutions)))
    ends = frozenset({0, len(every) - 1})
    plan = dataclasses.replace(full, kept=ends)
    while plan.kept != every:
        errors = [excess(model, plan, case) for case in tracked(cases, "pictures in int8")]
        if max(errors) <= 1:
            break
        worst = cases.pop(errors.index(max(errors)))
        cases.insert(0, worst)  # probably the first to fail in later rounds, too
        plan = _mended(model, plan, worst)
    for i in sorted(plan.kept - ends, key=lambda i: -plan.convolutions[i].share):
        fewer = dataclasses.replace(plan, kept=plan.kept - {i})
        if all(excess(model, fewer, case) <= 1 for case in cases):
            plan = fewer
    if plan.kept == every:
        raise ArtifactError(
            f"int8 should keep every picture within {PSNR:g} dB for some convolution but has larger errors in each; "
            "export fp16 or fp32"
        )
    return plan


def _mended(model: FoldedGenerator, plan: Plan, case: Case) -> Plan:
    """The plan with as few more convolutions in float as the picture needs, found by bisection of their order."""
    movable = [i for i in range(len(plan.convolutions)) if i not in plan.kept]
    gains = {
        i: cost(model, only(plan, i), case.image) / plan.convolutions[i].share
        for i in tracked(movable, "errors of layers in int8")
    }
    order = sorted(movable, key=lambda i: -gains[i])
    plans = [dataclasses.replace(plan, kept=plan.kept.union(order[:count])) for count in range(1, len(order) + 1)]
    return plans[min(bisect.bisect_left(plans, -1.0, key=lambda each: -excess(model, each, case)), len(plans) - 1)]


def full_plan(model: FoldedGenerator, pictures: Mapping[str, Pixels], scheme: Scheme) -> Plan:
    """A plan with every convolution in int8, and with the ranges and offsets of these pictures."""
    return observe(model, tracked(pictures.values(), "ranges of int8")).plan(scheme)


def only(plan: Plan, i: int) -> Plan:
    """The plan with convolution i as the only one in int8."""
    return dataclasses.replace(plan, kept=frozenset(range(len(plan.convolutions))) - {i})


@torch.no_grad()
def cost(model: FoldedGenerator, plan: Plan, picture: Pixels) -> float:
    """Like `excess`, but of noise and bias before pixels are rounded to codes, so small errors can be compared too."""
    error = 255 * (draw(model, picture, plan) - model(to_unit(picture)))
    noise, bias = error.square().mean().sqrt(), error.mean((0, 2, 3)).abs().max()
    return max(float(noise) / NOISE, float(bias) / BIAS)


@torch.no_grad()
def excess(model: FoldedGenerator, plan: Plan, case: Case) -> float:
    """The largest ratio of an error of the case's picture under the plan to its limit; above 1 a limit is exceeded."""
    score = compare(case, picture_of(draw(model, case.image, plan)))
    if not score.finite:
        return math.inf
    if score.psnr is None:
        return 0.0
    return max(10 ** ((PSNR - score.psnr) / 20), score.bias_max / BIAS, score.de_mean / DE)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The error when one convolution alone is in int8; each number is that of its worst picture."""

    name: str
    """Name of the convolution."""
    share: float
    """Share of the multiply-adds of all convolutions, 0 to 1."""
    psnr: float | None
    """Lowest PSNR, dB; None if no picture differs."""
    bias: float
    """Largest bias of a colour channel, codes."""


def sensitivity(
    model: FoldedGenerator, pictures: Mapping[str, Pixels], scheme: Scheme = ONNX_RUNTIME
) -> tuple[LayerCost, ...]:
    """One row per convolution, those with the largest errors first.

    pictures: uint8 H x W x 3 by name, sides multiples of 8.
    """
    plan = full_plan(model, pictures, scheme)
    cases = exact_cases(model, pictures)
    rows = []
    for i, convolution in enumerate(tracked(plan.convolutions, "sensitivity to int8")):
        alone = only(plan, i)
        scores = [compare(case, picture_of(draw(model, case.image, alone))) for case in cases]
        psnr = min((score.psnr for score in scores if score.psnr is not None), default=None)
        rows.append(LayerCost(convolution.name, convolution.share, psnr, max(score.bias_max for score in scores)))
    return tuple(sorted(rows, key=lambda row: math.inf if row.psnr is None else row.psnr))


def sensitivity_table(rows: Iterable[LayerCost]) -> Table:
    """The rows as a table for the terminal."""
    table = Table(title="each convolution alone in int8, worst picture")
    table.add_column("convolution")
    for column in ("multiply-adds", "PSNR dB", "bias codes"):
        table.add_column(column, justify="right")
    for row in rows:
        psnr = "identical" if row.psnr is None else f"{row.psnr:.2f}"
        table.add_row(row.name, f"{row.share:.1%}", psnr, f"{row.bias:.3f}")
    return table


def exact_cases(model: FoldedGenerator, pictures: Mapping[str, Pixels]) -> list[Case]:
    """The pictures with the answers of the float32 network."""
    return [Case(name, picture, enhance_exactly(model, picture)) for name, picture in pictures.items()]


def picture_of(enhanced: Tensor) -> NDArray[np.float32]:
    """Convert a batch of one, 1 x 3 x H x W, to a picture, H x W x 3."""
    picture: NDArray[np.float32] = enhanced[0].permute(1, 2, 0).numpy()
    return picture
