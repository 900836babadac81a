"""The folded generator and its parts: the network for inference, with a fixed style.

The arithmetic is chosen so that no converter rewrites it: a division by `torch.sqrt`, biased variances, means in two
stages, and no normalization nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.layers import (
    EPS,
    RESIDUALS,
    UNKNOWN_LICENCE,
    AttentionMask,
    Contrast,
    instance_norm,
    layer_norm,
    statistics_dtype,
)
from bncagan.network.model import Decoder, Encoder, upsample
from bncagan.network.tone import ToneHead, luma


class ConstantNorm(nn.Module):
    """Eq. 3 with a fixed style: gamma * (rho * IN + (1 - rho) * LN) + beta; parameters are 1 x C x 1 x 1."""

    def __init__(self, rho: Tensor, gamma: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.rho, self.gamma, self.beta = (nn.Parameter(t.clone(), requires_grad=False) for t in (rho, gamma, beta))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * (self.rho * instance_norm(x) + (1 - self.rho) * layer_norm(x)) + self.beta


class FoldedNorm(nn.Module):
    """Eq. 3 with a fixed style as one multiply-add on the image, with statistics in float32. N x C x H x W in and out.

    m and v are the mean and the variance of each channel. The mean and the variance of the whole image follow from
    them, M = mean(m) and V = mean(v) + mean((m - M)^2), so they need no further pass over the image.
    """

    def __init__(self, instance_gain: Tensor, layer_gain: Tensor, beta: Tensor) -> None:
        super().__init__()
        constants = (instance_gain, layer_gain, beta)
        self.instance_gain, self.layer_gain, self.beta = (nn.Parameter(t, requires_grad=False) for t in constants)

    def forward(self, x: Tensor) -> Tensor:
        # Plain means, because TensorRT's strong typing rejects normalization nodes: NVIDIA/TensorRT#2691
        z = x.to(statistics_dtype(x))
        # In two stages, because one sum over H x W overflows in half precision: microsoft/onnxruntime#10079
        m = z.mean(3, keepdim=True).mean(2, keepdim=True)  # N x C x 1 x 1
        d = z - m
        v = (d * d).mean(3, keepdim=True).mean(2, keepdim=True)
        M = m.mean(1, keepdim=True)  # N x 1 x 1 x 1
        m_minus_M = m - M
        V = v.mean(1, keepdim=True) + (m_minus_M * m_minus_M).mean(1, keepdim=True)
        # Converters turn `rsqrt` and 1 / x into a reciprocal, to whose argument some add 1e-4: apple/coremltools#2773
        layer_gain = self.layer_gain / torch.sqrt(V + EPS)
        A = self.instance_gain / torch.sqrt(v + EPS) + layer_gain
        B = self.beta + layer_gain * m_minus_M
        return (d * A + B).to(x.dtype)


class FixedResidualBlock(nn.Module):
    """The shared residual block with a fixed style. N x C x H x W in and out."""

    def __init__(self, conv1: nn.Module, norm1: nn.Module, conv2: nn.Module, norm2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.norm1, self.conv2, self.norm2 = conv1, norm1, conv2, norm2

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return added


class FixedBNR(nn.Module):
    """BNR with a fixed style: six residuals, concatenated and fused by a 1x1 convolution, plus the input."""

    def __init__(self, block: FixedResidualBlock, fuse: nn.Conv2d) -> None:
        super().__init__()
        self.block, self.fuse = block, fuse

    def forward(self, u: Tensor) -> Tensor:
        x, residuals = u, []
        for _ in range(RESIDUALS):
            x = self.block(x)
            residuals.append(x)
        fused: Tensor = self.fuse(torch.cat(residuals, dim=1)) + u
        return fused


class SummedBNR(nn.Module):
    """FixedBNR with the 1x1 convolution split into six whose results are added up; only the first has a bias."""

    def __init__(self, block: FixedResidualBlock, parts: list[nn.Conv2d]) -> None:
        super().__init__()
        self.block, self.parts = block, nn.ModuleList(parts)

    def forward(self, u: Tensor) -> Tensor:
        x, total = u, u
        for part in self.parts:
            x = self.block(x)
            total = total + part(x)
        return total


class ConvUp(nn.Module):
    """Applies a 1x1 convolution, then doubles height and width by bilinear interpolation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return upsample(self.conv(x))


class MergedTail(nn.Module):
    """The tail as one 9x9 convolution after the same reflection padding, computed for four pixels at a time.

    A convolution with only 3 output channels leaves most of a vector unit idle. So `conv`, which is 10x10 with stride
    2, computes each block of 2 x 2 pixels as 12 channels, every pixel from its own 9x9 window.
    N x w x H x W -> N x 3 x H x W; H and W are even.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = F.pixel_shuffle(self.conv(F.pad(x, (4, 4, 4, 4), mode="reflect")), 2)
        return change


class SignedRange(nn.Module):
    """Converts an image from [0, 1] to [-1, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        return 2 * image - 1


class SignedOutput(nn.Module):
    """Adds the change, in (-1, 1) for a range of [-1, 1], to an image in [0, 1]; returns [0, 1]."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return ((2 * image - 1 + change).clamp(-1, 1) + 1) / 2


class UnitOutput(nn.Module):
    """Does the same as SignedOutput without leaving the range [0, 1]."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return (image + 0.5 * change).clamp(0, 1)


class Parts(NamedTuple):
    """The convolutional network of a folded generator."""

    encoder: Encoder
    mask: AttentionMask | None
    bnr: nn.Module
    decoder: Decoder


class FoldedGenerator(nn.Module):
    """The generator for inference, with a fixed style; takes and returns RGB, N x 3 x H x W, float32 in [0, 1].

    H and W are multiples of 8, at least 16. The tone head comes first, if there is one; it stays in float32. The other
    parts, which are missing at width 0, compute in the dtype of their weights (see `to_half`), but the image is never
    converted: the change is added to it in its own dtype.
    """

    def __init__(self, width: int, tone: ToneHead | None, parts: Parts | None, *, untoned: bool = False) -> None:
        super().__init__()
        self.untoned = untoned
        self.licence = UNKNOWN_LICENCE
        self.width = width
        self.tone = tone
        if parts is None:
            return
        self.to_network: nn.Module = SignedRange()
        self.encoder, self.mask, self.bnr, self.decoder = parts
        self.contrast: nn.Module = Contrast()
        self.output: nn.Module = SignedOutput()

    def forward(self, image: Tensor) -> Tensor:
        toned = image if self.tone is None else self.tone(image)
        if self.width == 0:
            return toned
        enhanced: Tensor = self.output(toned, self.change(toned, image))
        return enhanced

    def change(self, toned: Tensor, image: Tensor) -> Tensor:
        """The generator's change of a picture after the tone head, in (-1, 1): half of it is added in [0, 1].

        image: the picture before the tone head.
        """
        seen = torch.cat([toned, luma(image)], 1) if self.untoned else toned
        skips, u = self.encoder(self.to_network(seen).to(self.encoder.conv1.weight.dtype))
        if self.mask is not None:
            u = u * self.mask(pool_for_inference(u))[:, :, None, None]
        changed: Tensor = self.decoder(self.bnr(u), skips).to(toned.dtype) * self.contrast(toned)
        return changed


def pool_for_inference(u: Tensor) -> Tensor:
    """F_gp of eq. 2 as `pool`, with the mean computed in float32. N x C x H x W -> N x 2C."""
    z = u.to(statistics_dtype(u))
    return torch.cat([z.mean(3).mean(2).to(u.dtype), u.amax((2, 3))], dim=1)
