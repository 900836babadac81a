"""Half precision (fp16), in which the Neural Engine computes: safe normalization, and what has to stay in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bncagan.network.folded import FoldedGenerator, FoldedNorm
from bncagan.network.folding import replaced
from bncagan.network.layers import CONTRAST, EPS, Contrast, deviations
from bncagan.network.maps import PLANES
from runtimes.apply.change import TONE_CONSTANTS

# The largest |u|. The squares of a row of 1023 such values still sum to less than the largest half, and the square of
# a single one among 512 x 512 zeros is still not lost in the mean.
PEAK = 8.0
LEAST = 2.0**-8  # keeps the unit of a flat channel or picture above 0
HEAD = "tone_"  # part of the names of the tone head's weights


class HalfNorm(nn.Module):
    """FoldedNorm for half precision: computes the same function without overflow or underflow. N x C x H x W in, out.

    The square of a half overflows from 256 on, and EPS is a subnormal half, which the Neural Engine may replace by 0;
    trained networks reach both ends. So the deviations d of each channel are divided by a unit of the channel,
    u = d / unit, and those of the channel means by a unit of the whole image. With v the mean of u * u, V the variance
    of the image in its unit, and r = unit / image_unit, the units cancel:

        A = instance_gain / sqrt(v + EPS / unit^2) + layer_gain * r / sqrt(V + EPS / image_unit^2), y = u * A + B.
    """

    # Upstream: the overflow is ml-explore/mlx#4228, apple/ml-stable-diffusion#304 and NVIDIA/TensorRT#3921. EPS has to
    # be divided by the square of the unit, which apple/coremltools#2821 forgets.

    epsilon_root: Tensor

    def __init__(self, norm: FoldedNorm) -> None:
        super().__init__()
        self.instance_gain, self.layer_gain, self.beta = norm.instance_gain, norm.layer_gain, norm.beta
        # A tensor, because a number divided by a tensor is converted to a reciprocal, and Core ML adds 1e-4 to the
        # argument of a reciprocal: apple/coremltools#2773
        self.register_buffer("epsilon_root", torch.full_like(norm.beta, EPS**0.5))

    def forward(self, x: Tensor) -> Tensor:
        # All means are taken in two stages: one sum over H x W halves overflows (microsoft/onnxruntime#10079).
        rough = x.mean(3, keepdim=True).mean(2, keepdim=True)  # N x C x 1 x 1
        d = x - rough
        rest = d.mean(3, keepdim=True).mean(2, keepdim=True)  # rounding error of the mean; a flat channel must give 0
        d, m = d - rest, rough + rest
        unit = (d.abs().amax((2, 3), keepdim=True) + LEAST) / PEAK
        u = d / unit
        v = (u * u).mean(3, keepdim=True).mean(2, keepdim=True)
        m_minus_M = m - m.mean(1, keepdim=True)
        image_unit = torch.maximum(unit, m_minus_M.abs()).amax(1, keepdim=True)  # N x 1 x 1 x 1
        r, p = unit / image_unit, m_minus_M / image_unit
        V = (v * r * r).mean(1, keepdim=True) + (p * p).mean(1, keepdim=True)
        layer_gain = self.layer_gain / torch.sqrt(V + (self.epsilon_root / image_unit).square())
        A = self.instance_gain / torch.sqrt(v + (self.epsilon_root / unit).square()) + layer_gain * r
        return u * A + (self.beta + layer_gain * p)


class HalfContrast(nn.Module):
    """Contrast for half precision: the same share, with the deviations divided by a unit of the picture.

    N x 3 x H x W -> N x 1 x 1 x 1 in [0, 1].
    """

    def forward(self, image: Tensor) -> Tensor:
        d = deviations(image)
        unit = (d.abs().amax((1, 2, 3), keepdim=True) + LEAST) / PEAK  # N x 1 x 1 x 1
        u = d / unit
        v = (u * u).mean(3, keepdim=True).mean(2, keepdim=True).mean(1, keepdim=True)
        return (v * (unit / CONTRAST).square()).clamp(0, 1)


def in_halves(model: FoldedGenerator) -> FoldedGenerator:
    """A copy of the model that computes the same function and whose statistics stay in the range of half precision."""
    return replaced(replaced(model, FoldedNorm, HalfNorm), Contrast, lambda _: HalfContrast())


class OutsideTheDecision:
    """Whether coremltools may compute an operation of a program in halves: not if it is part of a decision or a fit.

    The small copy of a dark picture, its statistics and the head's decision would be rounded too coarsely. The curve,
    which applies the decision to the picture, is computed in halves. What maps are fitted from, and the fit, would too.
    """

    def __init__(self) -> None:
        self._kept: set[int] | None = None

    def __call__(self, operation: Any) -> bool:
        if self._kept is None:  # coremltools asks for the first operation before it changes any
            operations = operation.enclosing_block.operations
            self._kept = _deciding(operations) | _fitting(operations)
        return id(operation) not in self._kept


def _deciding(operations: Iterable[Any]) -> set[int]:
    """The ids of the operations of the decision: all that a linear layer of the head needs, and what needs them alone.

    The latter are operations on the few parameters of the curve.
    """
    computing = [operation for operation in operations if operation.op_type != "const"]
    found: set[int] = set()
    needed: set[Any] = set()
    for operation in reversed(computing):
        in_head = operation.op_type == "linear" and HEAD in operation.weight.name
        if in_head or needed.intersection(operation.outputs):
            found.add(id(operation))
            needed.update(_variables(operation))
    decided = {var for operation in computing if id(operation) in found for var in operation.outputs}
    for operation in computing:
        inputs = set(_variables(operation))
        if inputs and inputs <= decided:
            found.add(id(operation))
            decided.update(operation.outputs)
    return found


def _fitting(operations: Iterable[Any]) -> set[int]:
    """The ids of the operations that fit the maps, and of the one that joins the constants of the curve.

    These are the means of the products of channels, all that follows from them, and the products themselves.
    """
    computing = [operation for operation in operations if operation.op_type != "const"]
    means = [each for each in computing if each.op_type == "avg_pool" and each.x.shape[1] == PLANES]
    found = {id(each) for each in computing if each.op_type == "concat" and _is_told(each.outputs[0])}
    joined = {var.op for each in means for var in _variables(each)}
    found |= {id(each) for each in joined} | {id(each) for each in means}
    parts = {var.op for each in joined for var in _variables(each) if var.op is not None}
    found |= {id(each) for each in parts if each.op_type == "mul"}
    fitted = {var for each in means for var in each.outputs}
    for operation in computing:
        if fitted.intersection(_variables(operation)):
            found.add(id(operation))
            fitted.update(operation.outputs)
    return found


def _is_told(var: Any) -> bool:
    """Whether a variable has the shape of the constants of the curve."""
    return len(var.shape) == 2 and var.shape[1] == TONE_CONSTANTS


def _variables(operation: Any) -> Iterator[Any]:
    """The inputs of an operation that are not constants."""
    for given in operation.inputs.values():
        for var in given if isinstance(given, list | tuple) else (given,):
            if var is not None and (var.op is None or var.op.op_type != "const"):
                yield var
