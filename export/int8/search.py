"""What each convolution costs in int8, and the choice of those that stay float."""

from __future__ import annotations

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
from export.int8.scheme import ONNX_RUNTIME, Plan, Scheme, draw, find_offsets, observe
from runtimes import ArtifactError, ShapeSet
from runtimes.console import tracked
from runtimes.golden import Case
from runtimes.image import Pixels
from runtimes.likeness import compare

# What the search asks, more than the gate does: other pictures than those it judges do worse.
PSNR, BIAS, DE = 41.0, 0.25, 0.75
NOISE = 255 * 10 ** (-PSNR / 20)  # codes


def plan_int8(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels] | None, scheme: Scheme) -> Plan:
    """What `choose` makes of `photos` (scikit-image's if None) at the sizes that `shapes` is used at."""
    return choose(model, scheme, calibration_pictures(shapes, photos))


def choose(model: FoldedGenerator, scheme: Scheme, calibration: Calibration) -> Plan:
    """All convolutions in int8 but for the first, the last, and what the judged pictures need to keep a margin.

    The error of the last is in the picture as it is, and pictures to come may be unlike those judged. While a picture
    is out of the margin, the convolution that, for its size, costs the worst one most when it alone is in int8 goes
    back to float. In the end, those that turn out not to be needed there, the largest first, are int8 after all.

    Errors: ArtifactError when no convolution can be int8.
    """
    full = full_plan(model, calibration.ranged, scheme)
    cases = exact_cases(model, calibration.judged)
    every = range(len(full.convolutions))
    ends = frozenset({every[0], every[-1]})
    plan = dataclasses.replace(full, kept=ends)
    costs: dict[str, list[float]] = {}
    for _ in tracked(every, "layers kept in float"):
        errors = [excess(model, plan, case) for case in cases]
        if max(errors) <= 1 or len(plan.kept) == len(every):
            break
        worst = cases[errors.index(max(errors))]
        if worst.name not in costs:
            costs[worst.name] = [cost(model, only(plan, i), worst.image) for i in every]
        moved = max(set(every) - plan.kept, key=lambda i: costs[worst.name][i] / plan.convolutions[i].share)
        plan = dataclasses.replace(plan, kept=plan.kept | {moved})
    for i in sorted(plan.kept - ends, key=lambda i: -plan.convolutions[i].share):
        fewer = dataclasses.replace(plan, kept=plan.kept - {i})
        if all(excess(model, fewer, case) <= 1 for case in cases):
            plan = fewer
    if len(plan.kept) == len(every):
        raise ArtifactError(
            "int8 should hold for some convolution of this network but costs too much in each; export fp16 or fp32"
        )
    return plan


def full_plan(model: FoldedGenerator, pictures: Mapping[str, Pixels], scheme: Scheme) -> Plan:
    """Every convolution in int8, with ranges and offsets of these pictures."""
    convolutions = observe(model, tracked(pictures.values(), "ranges of int8"))
    offsets = find_offsets(model, tracked(pictures.values(), "offsets of int8"), convolutions, scheme)
    return Plan(scheme, convolutions, offsets, frozenset())


def only(plan: Plan, i: int) -> Plan:
    """The plan with one convolution alone in int8."""
    return dataclasses.replace(plan, kept=frozenset(range(len(plan.convolutions))) - {i})


@torch.no_grad()
def cost(model: FoldedGenerator, plan: Plan, picture: Pixels) -> float:
    """As `excess`, of the noise and the bias before rounding to codes, which tells smaller errors apart."""
    error = 255 * (draw(model, picture, plan) - model(to_unit(picture)))
    noise, bias = error.square().mean().sqrt(), error.mean((0, 2, 3)).abs().max()
    return max(float(noise) / NOISE, float(bias) / BIAS)


@torch.no_grad()
def excess(model: FoldedGenerator, plan: Plan, case: Case) -> float:
    """How far the picture under the plan is out of the margin: the largest ratio of an error to what it may be."""
    score = compare(case, picture_of(draw(model, case.image, plan)))
    if not score.finite:
        return math.inf
    if score.psnr is None:
        return 0.0
    return max(10 ** ((PSNR - score.psnr) / 20), score.bias_max / BIAS, score.de_mean / DE)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one convolution costs when it alone is in int8, of the worst picture for each number.

    share: of the network's multiply-adds. psnr: dB, None when no picture differs. bias: of a channel, codes.
    """

    name: str
    share: float
    psnr: float | None
    bias: float


def sensitivity(
    model: FoldedGenerator, pictures: Mapping[str, Pixels], scheme: Scheme = ONNX_RUNTIME
) -> tuple[LayerCost, ...]:
    """A row per convolution, the costliest first; pictures: uint8 H x W x 3 by name, H and W multiples of 8."""
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
    """The rows, for the terminal."""
    table = Table(title="each convolution alone in int8, worst picture")
    table.add_column("convolution")
    for column in ("multiply-adds", "PSNR dB", "bias codes"):
        table.add_column(column, justify="right")
    for row in rows:
        psnr = "identical" if row.psnr is None else f"{row.psnr:.2f}"
        table.add_row(row.name, f"{row.share:.1%}", psnr, f"{row.bias:.3f}")
    return table


def exact_cases(model: FoldedGenerator, pictures: Mapping[str, Pixels]) -> list[Case]:
    """The pictures with the float32 network's answers."""
    return [Case(name, picture, enhance_exactly(model, picture)) for name, picture in pictures.items()]


def picture_of(enhanced: Tensor) -> NDArray[np.float32]:
    """1 x 3 x H x W to H x W x 3."""
    picture: NDArray[np.float32] = enhanced[0].permute(1, 2, 0).numpy()
    return picture
