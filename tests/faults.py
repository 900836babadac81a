"""Faults to plant in a converter: each takes the network that is converted and returns a wrong one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.folded import ConvUp, FoldedGenerator, FoldedNorm
from bncagan.network.folding import replaced


def wrong_rho(model: FoldedGenerator, by: float = 0.05) -> FoldedGenerator:
    """rho off by `by` in the second normalization of the shared block: gains move between IN and LN."""
    model = copy.deepcopy(model)
    norm = model.get_submodule("bnr.block.norm2")
    assert isinstance(norm, FoldedNorm)
    moved = by * (norm.instance_gain + norm.layer_gain)
    norm.instance_gain.data += moved
    norm.layer_gain.data -= moved
    return model


class OtherEpsilon(nn.Module):
    """A FoldedNorm with an epsilon of its own."""

    def __init__(self, norm: FoldedNorm, epsilon: float) -> None:
        super().__init__()
        self.norm, self.epsilon = norm, epsilon

    def forward(self, x: Tensor) -> Tensor:
        norm, epsilon = self.norm, self.epsilon
        m = x.mean(3, keepdim=True).mean(2, keepdim=True)
        d = x - m
        v = (d * d).mean(3, keepdim=True).mean(2, keepdim=True)
        M = m.mean(1, keepdim=True)
        V = v.mean(1, keepdim=True) + ((m - M) * (m - M)).mean(1, keepdim=True)
        layer_gain = norm.layer_gain / torch.sqrt(V + epsilon)
        gain = norm.instance_gain / torch.sqrt(v + epsilon) + layer_gain
        return d * gain + norm.beta + layer_gain * (m - M)


def wrong_epsilon(model: FoldedGenerator) -> FoldedGenerator:
    """An epsilon of 1e-2 instead of 1e-5 in every normalization."""
    return replaced(model, FoldedNorm, lambda norm: OtherEpsilon(norm, 1e-2))


class SwappedChannels(nn.Module):
    """A part whose first two output channels come out in each other's place."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        y = self.part(x)
        return torch.cat([y[:, 1:2], y[:, :1], y[:, 2:]], dim=1)


def transposed_channels(model: FoldedGenerator) -> FoldedGenerator:
    """Red and green of the decoder's change in each other's place."""
    model = copy.deepcopy(model)
    model.decoder.tail = SwappedChannels(model.decoder.tail)
    return model


class CornerAlignedUp(nn.Module):
    """A ConvUp that aligns the corners."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=True)


def aligned_corners(model: FoldedGenerator) -> FoldedGenerator:
    """align_corners flipped in every interpolation."""
    return replaced(model, ConvUp, lambda up: CornerAlignedUp(up.conv))


FAULTS: dict[str, Callable[[FoldedGenerator], FoldedGenerator]] = {
    "rho": wrong_rho,
    "epsilon": wrong_epsilon,
    "transposed channel": transposed_channels,
    "align_corners": aligned_corners,
}
