"""Normalization in half precision throughout, as the Neural Engine computes: no value leaves the range of halves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bncagan.network.folded import FoldedGenerator, FoldedNorm
from bncagan.network.folding import replaced
from bncagan.network.layers import CONTRAST, EPS, Contrast, deviations

PEAK = 8.0  # the largest |u|: a row of 1023 such u * u still sums to a half, and one among 512 x 512 zeros still counts
LEAST = 2.0**-8  # keeps the unit of a flat channel or picture from 0


class HalfNorm(nn.Module):
    """FoldedNorm with each channel's deviations d measured in a unit of its own, u = d / unit. N x C x H x W.

    A half squares to infinity from 256 on, and EPS is subnormal, which the Neural Engine may take for 0: of a trained
    network, both ends are reached. The units cancel, so this is exact: with v, the mean of u * u, and V, the variance
    of the image, in the image's unit,

        A = instance_gain / sqrt(v + EPS / unit^2) + layer_gain * r / sqrt(V + EPS / image_unit^2), y = u * A + B.
    """

    epsilon_root: Tensor

    def __init__(self, norm: FoldedNorm) -> None:
        super().__init__()
        self.instance_gain, self.layer_gain, self.beta = norm.instance_gain, norm.layer_gain, norm.beta
        # A tensor: a number divided by a tensor is converted to a reciprocal, to whose argument Core ML adds 1e-4.
        self.register_buffer("epsilon_root", torch.full_like(norm.beta, EPS**0.5))

    def forward(self, x: Tensor) -> Tensor:
        rough = x.mean(3, keepdim=True).mean(2, keepdim=True)  # N x C x 1 x 1
        d = x - rough
        rest = d.mean(3, keepdim=True).mean(2, keepdim=True)  # what rounding left: a flat channel must come out as 0
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
    """Contrast with the deviations measured in a unit of the picture's own; the same share. N x 3 x H x W."""

    def forward(self, image: Tensor) -> Tensor:
        d = deviations(image)
        unit = (d.abs().amax((1, 2, 3), keepdim=True) + LEAST) / PEAK  # N x 1 x 1 x 1
        u = d / unit
        v = (u * u).mean(3, keepdim=True).mean(2, keepdim=True).mean(1, keepdim=True)
        return (v * (unit / CONTRAST).square()).clamp(0, 1)


def in_halves(model: FoldedGenerator) -> FoldedGenerator:
    """A copy whose statistics keep to the range of halves; the same function of the image."""
    return replaced(replaced(model, FoldedNorm, HalfNorm), Contrast, lambda _: HalfContrast())
