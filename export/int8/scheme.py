"""INT8 convolutions: their ranges, and their arithmetic in PyTorch.

Only convolutions are rounded. Of what else there is, the statistics must not be: 8 bits of a variance are 0 for dark
pictures, which are then divided by almost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bncagan.network.folded import FoldedGenerator
from bncagan.network.inference import to_unit
from runtimes.image import Pixels


@dataclasses.dataclass(frozen=True)
class Scheme:
    """How a runtime wants its int8 convolutions; weights are signed, a scale per output channel, in all of them.

    signed: inputs are -127..127 around 0, not 0..255 around a zero point. outputs: results are rounded to 8 bits too.
    weight_limit: the largest weight.
    """

    signed: bool
    outputs: bool
    weight_limit: int


# Weights up to 64: without VNNI, CPUs add pairs of products in 16 bits, which 255 * 127 * 2 would not fit.
ONNX_RUNTIME = Scheme(signed=False, outputs=True, weight_limit=64)  # it fuses no convolution with a float result
OPENVINO = Scheme(signed=False, outputs=False, weight_limit=64)
TENSORRT = Scheme(signed=True, outputs=False, weight_limit=127)  # its parser refuses a zero point other than 0


class Range(NamedTuple):
    """The smallest and the largest value of a tensor."""

    low: float
    high: float

    def union(self, x: Tensor) -> Range:
        """Widened to hold the values of x."""
        low, high = torch.aminmax(x)
        return Range(min(self.low, low.item()), max(self.high, high.item()))


NOTHING = Range(0.0, 0.0)  # every range holds 0, which has to be exact


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One use of a convolution, in the order of the graph: the shared block's are six.

    share: of the network's multiply-adds, those of linear layers aside. input, output: ranges over the calibration.
    """

    name: str
    share: float
    input: Range
    output: Range


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes int8: the convolutions, those of them by index that stay float, and how.

    offsets: per convolution and output channel, what int8 is short of on the average, to be added to the bias.
    """

    scheme: Scheme
    convolutions: tuple[Convolution, ...]
    offsets: tuple[Tensor, ...]
    kept: frozenset[int]

    @property
    def share(self) -> float:
        """Of the multiply-adds, those in int8."""
        return sum(c.share for i, c in enumerate(self.convolutions) if i not in self.kept)

    @property
    def details(self) -> dict[str, str]:
        """For the spec."""
        kept = ", ".join(self.convolutions[i].name for i in sorted(self.kept))
        return {
            "int8 share of multiply-adds": f"{self.share:.1%}",
            "int8 inputs": "signed" if self.scheme.signed else "unsigned",
            "kept in float": kept or "none",
        }


Convolve = Callable[[Tensor, Tensor], Tensor]
Visit = Callable[[int, Tensor, Tensor, Convolve], Tensor]


class EachConvolution(TorchFunctionMode):
    """Within it, each convolution is what `visit(index, x, weight, convolve)` returns."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit, self.index = visit, -1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        self.index += 1
        x, weight, *others = args
        return self.visit(self.index, x, weight, lambda x, weight: func(x, weight, *others, **(kwargs or {})))


@torch.no_grad()
def observe(model: FoldedGenerator, pictures: Iterable[Pixels]) -> tuple[Convolution, ...]:
    """The convolutions with their ranges over the pictures, H x W x 3, H and W multiples of 8."""
    names = {id(part.weight): name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    uses: list[str] = []
    found: dict[int, tuple[int, Range, Range]] = {}  # by index: multiply-adds, range of inputs, range of outputs

    def visit(i: int, x: Tensor, weight: Tensor, convolve: Convolve) -> Tensor:
        y = convolve(x, weight)
        if i not in found:
            uses.append(names[id(weight)])
        macs, before, after = found.get(i, (0, NOTHING, NOTHING))
        found[i] = macs + y.numel() * weight[0].numel(), before.union(x), after.union(y)
        return y

    for picture in pictures:
        with EachConvolution(visit):
            model(to_unit(picture))
    total = sum(macs for macs, _, _ in found.values())
    return tuple(
        Convolution(_nth_use(uses, i), macs / total, before, after) for i, (macs, before, after) in found.items()
    )


def _nth_use(names: Sequence[str], i: int) -> str:
    """The name at i, with the number of its use where it has several."""
    name = names[i]
    return name if names.count(name) == 1 else f"{name} use {names[: i + 1].count(name)}"


@torch.no_grad()
def draw(model: FoldedGenerator, picture: Pixels, plan: Plan) -> Tensor:
    """The picture, 1 x 3 x H x W in [0, 1], that the network draws with the plan's convolutions in int8."""
    scheme = plan.scheme

    def visit(i: int, x: Tensor, weight: Tensor, convolve: Convolve) -> Tensor:
        if i in plan.kept:
            return convolve(x, weight)
        ranges = plan.convolutions[i]
        y = in_int8(x, weight, convolve, ranges, scheme) + plan.offsets[i]
        return round_activations(y, ranges.output, scheme) if scheme.outputs else y

    with EachConvolution(visit):
        enhanced: Tensor = model(to_unit(picture))
    return enhanced


@torch.no_grad()
def find_offsets(
    model: FoldedGenerator, pictures: Iterable[Pixels], convolutions: Sequence[Convolution], scheme: Scheme
) -> tuple[Tensor, ...]:
    """Per convolution the mean over pictures and positions of what int8 loses: C x 1 x 1.

    Rounding an input has no mean error to speak of; rounding a weight has one, in proportion to the mean of its input.
    """
    totals = [torch.zeros(())] * len(convolutions)
    count = 0

    def visit(i: int, x: Tensor, weight: Tensor, convolve: Convolve) -> Tensor:
        y = convolve(x, weight)
        lost = y - in_int8(x, weight, convolve, convolutions[i], scheme)
        totals[i] = totals[i] + lost.mean((0, 2, 3))[:, None, None]
        return y

    for picture in pictures:
        count += 1
        with EachConvolution(visit):
            model(to_unit(picture))
    return tuple(total / count for total in totals)


def in_int8(x: Tensor, weight: Tensor, convolve: Convolve, ranges: Convolution, scheme: Scheme) -> Tensor:
    """The convolution of rounded inputs and weights, before its output is rounded."""
    return convolve(round_activations(x, ranges.input, scheme), round_weights(weight, scheme))


def step_of(span: Range, scheme: Scheme) -> tuple[float, int]:
    """The step, and the code of 0, of the 255 or 256 codes that the scheme lays over the range."""
    if scheme.signed:
        return float(np.float32(max(-span.low, span.high) / 127)) or 1.0, 0
    step = float(np.float32((span.high - span.low) / 255)) or 1.0
    return step, round(-span.low / step)


def round_activations(x: Tensor, span: Range, scheme: Scheme) -> Tensor:
    """x on the steps over the range, clipped to it."""
    step, zero = step_of(span, scheme)
    lowest, highest = (-128, 127) if scheme.signed else (0, 255)
    return ((torch.round(x / step) + zero).clamp(lowest, highest) - zero) * step


def weight_steps(weight: Tensor, scheme: Scheme) -> Tensor:
    """A step per output channel: C x 1 x 1 x 1."""
    largest = weight.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / scheme.weight_limit


def round_weights(weight: Tensor, scheme: Scheme) -> Tensor:
    """The weights on their channel's steps, symmetric around 0."""
    steps = weight_steps(weight, scheme)
    return torch.round(weight / steps) * steps
