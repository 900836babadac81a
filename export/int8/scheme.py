"""INT8 convolutions: the ranges of their values, and their arithmetic simulated in PyTorch.

Only convolutions become int8. The statistics of the normalizations must stay in float: the variance of a dark picture
would be rounded to 0, and the picture would then be divided by almost 0.
"""

# Upstream: OpenPPL/ppq#480, wang-xinyu/tensorrtx#1336 (int8 darkens pictures).

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
    """The layout of int8 convolutions for one runtime; weights are always signed, with one step per output channel."""

    signed: bool
    """Inputs are codes -128..127 without a zero point, instead of 0..255 with one."""
    outputs: bool
    """Results are rounded to 8 bits too."""
    weight_limit: int
    """Largest code of a weight."""


# Weights up to 64: CPUs without VNNI add pairs of products in 16 bits, and 255 * 127 * 2 does not fit.
ONNX_RUNTIME = Scheme(signed=False, outputs=True, weight_limit=64)  # does not fuse convolutions with a float result
OPENVINO = Scheme(signed=False, outputs=False, weight_limit=64)
TENSORRT = Scheme(signed=True, outputs=False, weight_limit=127)  # its parser refuses a zero point other than 0


class Range(NamedTuple):
    """The smallest and the largest value of a tensor."""

    low: float
    high: float

    def union(self, x: Tensor) -> Range:
        """The range widened to include all values of x."""
        low, high = torch.aminmax(x)
        return Range(min(self.low, low.item()), max(self.high, high.item()))


NOTHING = Range(0.0, 0.0)  # start of every range: 0 must be in it, because 0 has to be exact


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One use of a convolution; the convolutions of the shared block are used six times each."""

    name: str
    """Name of the module, with the number of the use if there are several."""
    share: float
    """Share of the multiply-adds of all convolutions, 0 to 1."""
    input: Range
    """Range of its inputs over the calibration pictures."""
    output: Range
    """Range of its results over the calibration pictures."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which convolutions become int8, and how."""

    scheme: Scheme
    """Layout for the runtime."""
    convolutions: tuple[Convolution, ...]
    """All uses of convolutions, in the order of the graph."""
    offsets: tuple[Tensor, ...]
    """Mean error of int8 for each convolution, C x 1 x 1; it is added to the bias."""
    kept: frozenset[int]
    """Indices of the convolutions that stay in float."""

    @property
    def share(self) -> float:
        """Share of the multiply-adds that run in int8, 0 to 1."""
        return sum(c.share for i, c in enumerate(self.convolutions) if i not in self.kept)

    @property
    def details(self) -> dict[str, str]:
        """The facts about the plan that go into the spec's details."""
        kept = ", ".join(self.convolutions[i].name for i in sorted(self.kept))
        return {
            "int8 share of multiply-adds": f"{self.share:.1%}",
            "int8 inputs": "signed" if self.scheme.signed else "unsigned",
            "kept in float": kept or "none",
        }


class Convolve(NamedTuple):
    """A convolution with the bias and the options of the model."""

    function: Callable[..., Tensor]
    others: Sequence[Any]
    stride: tuple[int, int]

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.function(x, weight, *self.others)


Visit = Callable[[int, Tensor, Tensor, Convolve], Tensor]


class EachConvolution(TorchFunctionMode):
    """A context in which `visit(index, x, weight, convolve)` computes every convolution."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit, self.index = visit, -1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        self.index += 1
        x, weight, bias, stride, *others = args  # as nn.Conv2d passes them
        return self.visit(self.index, x, weight, Convolve(func, (bias, stride, *others), stride))


@dataclasses.dataclass(frozen=True)
class Observed:
    """What the calibration pictures tell about all uses of convolutions, in the order of the graph; for any scheme."""

    convolutions: tuple[Convolution, ...]
    """The uses with their ranges."""
    weights: tuple[Tensor, ...]
    """Their weights, out x in x h x w."""
    means: tuple[Tensor, ...]
    """The mean of the inputs that each weight is multiplied with, over pictures and positions: in x h x w."""

    def plan(self, scheme: Scheme) -> Plan:
        """The plan with every convolution in int8.

        Rounded weights change the mean of a result in proportion to the means of the inputs, and the offsets undo that;
        rounded inputs hardly change it.
        """
        offsets = (
            ((weight - round_weights(weight, scheme)) * mean).sum((1, 2, 3))[:, None, None]
            for weight, mean in zip(self.weights, self.means, strict=True)
        )
        return Plan(scheme, self.convolutions, tuple(offsets), frozenset())


@dataclasses.dataclass
class _Seen:
    """The sums over the pictures for one use of a convolution."""

    weight: Tensor
    macs: int = 0
    input: Range = NOTHING
    output: Range = NOTHING
    means: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(()))


@torch.no_grad()
def observe(model: FoldedGenerator, pictures: Iterable[Pixels]) -> Observed:
    """Draw the pictures (H x W x 3, sides multiples of 8) in float and look at the convolutions' inputs and results."""
    names = {id(part.weight): name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    found: list[_Seen] = []
    count = 0

    def visit(i: int, x: Tensor, weight: Tensor, convolve: Convolve) -> Tensor:
        if i == len(found):
            found.append(_Seen(weight))
        y, seen = convolve(x, weight), found[i]
        seen.macs += y.numel() * weight[0].numel()
        seen.input, seen.output = seen.input.union(x), seen.output.union(y)
        seen.means = seen.means + means_at(x, weight.shape[2:], convolve.stride, y.shape[2:])
        return y

    for picture in pictures:
        count += 1
        with EachConvolution(visit):
            model(to_unit(picture))
    total = sum(seen.macs for seen in found)
    uses = [names[id(seen.weight)] for seen in found]
    return Observed(
        tuple(Convolution(_nth_use(uses, i), s.macs / total, s.input, s.output) for i, s in enumerate(found)),
        tuple(seen.weight for seen in found),
        tuple(seen.means / count for seen in found),
    )


def means_at(x: Tensor, kernel: Sequence[int], stride: Sequence[int], result: Sequence[int]) -> Tensor:
    """The means of the padded inputs (1 x C x H x W) that meet each weight of a kernel (h, w): C x h x w.

    result: height and width of the convolution's result.
    """
    (h, w), (down, across), (rows, columns) = kernel, stride, result
    strips = torch.stack([x[0, :, :, j : j + across * columns : across].mean(2) for j in range(w)], 2)  # C x H x w
    return torch.stack([strips[:, i : i + down * rows : down].mean(1) for i in range(h)], 1)


def _nth_use(names: Sequence[str], i: int) -> str:
    """The name at index i, followed by the number of the use if the name occurs several times."""
    name = names[i]
    return name if names.count(name) == 1 else f"{name} use {names[: i + 1].count(name)}"


@torch.no_grad()
def draw(model: FoldedGenerator, picture: Pixels, plan: Plan) -> Tensor:
    """Enhance a picture (H x W x 3) with the plan's convolutions in int8; returns 1 x 3 x H x W in [0, 1]."""
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


def in_int8(x: Tensor, weight: Tensor, convolve: Convolve, ranges: Convolution, scheme: Scheme) -> Tensor:
    """The convolution of rounded inputs with rounded weights; the result is not rounded."""
    return convolve(round_activations(x, ranges.input, scheme), round_weights(weight, scheme))


def step_of(span: Range, scheme: Scheme) -> tuple[float, int]:
    """The distance between two codes, and the code of 0, when the scheme's codes cover the range."""
    if scheme.signed:
        return float(np.float32(max(-span.low, span.high) / 127)) or 1.0, 0
    step = float(np.float32((span.high - span.low) / 255)) or 1.0
    return step, round(-span.low / step)


def round_activations(x: Tensor, span: Range, scheme: Scheme) -> Tensor:
    """x clipped to the range and rounded to the values that the codes stand for."""
    step, zero = step_of(span, scheme)
    lowest, highest = (-128, 127) if scheme.signed else (0, 255)
    return ((torch.round(x / step) + zero).clamp(lowest, highest) - zero) * step


def weight_steps(weight: Tensor, scheme: Scheme) -> Tensor:
    """The distance between two codes for each output channel: C x 1 x 1 x 1."""
    largest = weight.abs().amax((1, 2, 3), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / scheme.weight_limit


def round_weights(weight: Tensor, scheme: Scheme) -> Tensor:
    """The weights rounded to multiples of their channel's step."""
    steps = weight_steps(weight, scheme)
    return torch.round(weight / steps) * steps
