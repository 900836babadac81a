"""The controls of a result, strength and exposure, inside a graph; `runtimes.controls` is the same formula in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from runtimes.controls import GAMMA, KNEE, OFFSET, SLOPE

Outputs = Tensor | tuple[Tensor, ...]


class Controlled(nn.Module):
    """A network with the second input `controls`, N x 2: strength and exposure (stops) of each picture.

    They change the picture, which is the first of its outputs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, controls: Tensor) -> Outputs:
        return changed_first(self.model(image), lambda enhanced: adjust(image, enhanced, controls))


def changed_first(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """The outputs of a network with the first one changed."""
    return change(outputs) if isinstance(outputs, Tensor) else (change(outputs[0]), *outputs[1:])


def adjust(image: Tensor, enhanced: Tensor, controls: Tensor) -> Tensor:
    """Apply the controls, N x 2, to pictures and the network's answers to them, N x 3 x H x W in [0, 1]."""
    strength, exposure = controls[:, 0:1, None, None], controls[:, 1:2, None, None]  # N x 1 x 1 x 1
    y = strength * enhanced + (1 - strength) * image  # exact at 0 and at 1
    return expose(y, exposure).clamp(0, 1)


def expose(y: Tensor, stops: Tensor) -> Tensor:
    """Multiply the linear light of sRGB codes by 2^stops. y is N x 3 x H x W, stops is N x 1 x 1 x 1.

    sRGB has a straight part and a power part. In codes the result is a function of three pieces: straight as long as
    both codes are on the straight part, a power while one of them is, and straight again when none is, because the
    powers cancel. The pieces are added up, each with y clamped to its range. So it is cheap, no power of a number near
    or below 0 is taken, and without exposure y is returned but for rounding.
    """
    gain, root = torch.exp(math.log(2) * stops), torch.exp(math.log(2) / GAMMA * stops)
    brighter = (stops > 0).to(stops.dtype)
    darker = 1 - brighter
    first = brighter * KNEE / gain + darker * KNEE
    last = brighter * KNEE + darker * ((KNEE + OFFSET) / root - OFFSET)
    factor = brighter * gain / SLOPE + darker / (1 + OFFSET)
    summand = darker * (OFFSET / (1 + OFFSET))
    exponent = brighter / GAMMA + darker * GAMMA
    scale = brighter * (1 + OFFSET) + darker * SLOPE * gain

    def power(code: Tensor) -> Tensor:
        return scale * torch.exp(exponent * torch.log(factor * code + summand))

    middle = power(torch.minimum(torch.maximum(y, first), last)) - power(first)
    # relu, because coremltools writes clamp(min=0) with an upper bound that overflows in half precision
    exposed: Tensor = gain * torch.minimum(y, first) + middle + root * torch.relu(y - last)
    return exposed
