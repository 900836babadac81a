"""The folded generator and its parts: a network under a fixed style, for inference.

Its arithmetic is what converters keep: `torch.sqrt` and a division, biased variances, means in two stages, no
normalization nodes (each of the alternatives is rewritten into something else by some converter).
"""

from __future__ import annotations

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


class ConstantNorm(nn.Module):
    """Eq. 3 under a fixed style: gamma * (rho * IN + (1 - rho) * LN) + beta; parameters 1 x C x 1 x 1."""

    def __init__(self, rho: Tensor, gamma: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.rho, self.gamma, self.beta = (nn.Parameter(t.clone(), requires_grad=False) for t in (rho, gamma, beta))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * (self.rho * instance_norm(x) + (1 - self.rho) * layer_norm(x)) + self.beta


class FoldedNorm(nn.Module):
    """Eq. 3 under a fixed style as one multiply-add on the image, the statistics in float32.

    m and v are the mean and variance of each channel. Those of the whole image follow from them,
    M = mean(m) and V = mean(v) + mean((m - M)^2), so one pass over the image finds both.
    """

    def __init__(self, instance_gain: Tensor, layer_gain: Tensor, beta: Tensor) -> None:
        super().__init__()
        constants = (instance_gain, layer_gain, beta)
        self.instance_gain, self.layer_gain, self.beta = (nn.Parameter(t, requires_grad=False) for t in constants)

    def forward(self, x: Tensor) -> Tensor:
        z = x.to(statistics_dtype(x))
        m = z.mean(3, keepdim=True).mean(2, keepdim=True)  # N x C x 1 x 1
        d = z - m
        v = (d * d).mean(3, keepdim=True).mean(2, keepdim=True)
        M = m.mean(1, keepdim=True)  # N x 1 x 1 x 1
        m_minus_M = m - M
        V = v.mean(1, keepdim=True) + (m_minus_M * m_minus_M).mean(1, keepdim=True)
        layer_gain = self.layer_gain / torch.sqrt(V + EPS)
        A = self.instance_gain / torch.sqrt(v + EPS) + layer_gain
        B = self.beta + layer_gain * m_minus_M
        return (d * A + B).to(x.dtype)


class FixedResidualBlock(nn.Module):
    """The shared residual block under a fixed style. N x C x H x W in and out."""

    def __init__(self, conv1: nn.Module, norm1: nn.Module, conv2: nn.Module, norm2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.norm1, self.conv2, self.norm2 = conv1, norm1, conv2, norm2

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return added


class FixedBNR(nn.Module):
    """BNR under a fixed style: six residuals concatenated and fused by a 1x1, plus the input."""

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
    """FixedBNR as a running sum of six 1x1 convolutions; only the first has a bias."""

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
    """A 1x1 convolution, then twice the size by bilinear interpolation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return upsample(self.conv(x))


class MergedTail(nn.Module):
    """The tail as one 9x9 convolution on the same reflection padding, four neighbouring pixels at a time.

    A convolution to 3 channels leaves most of a vector unit idle. So `conv`, 10x10 with stride 2, makes the 2 x 2
    pixels of a block as 12 channels, each from its own 9x9 window. N x w x H x W -> N x 3 x H x W, H and W even.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = F.pixel_shuffle(self.conv(F.pad(x, (4, 4, 4, 4), mode="reflect")), 2)
        return change


class SignedRange(nn.Module):
    """[0, 1] to the network's [-1, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        return 2 * image - 1


class SignedOutput(nn.Module):
    """Image and change in [-1, 1] to the enhanced image in [0, 1]."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return ((2 * image - 1 + change).clamp(-1, 1) + 1) / 2


class UnitOutput(nn.Module):
    """Image in [0, 1] and change in (-1, 1) to the enhanced image in [0, 1]."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return (image + 0.5 * change).clamp(0, 1)


class FoldedGenerator(nn.Module):
    """The generator for inference: `image` to `enhanced`, both RGB N x 3 x H x W, float32 in [0, 1].

    H and W are multiples of 8, at least 16. The style is fixed. The parts compute in the dtype of their weights
    (`to_half`); the image itself stays in its own dtype from input to output.
    """

    def __init__(
        self, width: int, encoder: Encoder, mask: AttentionMask | None, bnr: nn.Module, decoder: Decoder
    ) -> None:
        super().__init__()
        self.licence = UNKNOWN_LICENCE
        self.width = width
        self.to_network: nn.Module = SignedRange()
        self.encoder = encoder
        self.mask = mask
        self.bnr = bnr
        self.decoder = decoder
        self.contrast: nn.Module = Contrast()
        self.output: nn.Module = SignedOutput()

    def forward(self, image: Tensor) -> Tensor:
        skips, u = self.encoder(self.to_network(image).to(self.encoder.conv1.weight.dtype))
        if self.mask is not None:
            u = u * self.mask(pool_for_inference(u))[:, :, None, None]
        change = self.decoder(self.bnr(u), skips).to(image.dtype) * self.contrast(image)
        enhanced: Tensor = self.output(image, change)
        return enhanced


def pool_for_inference(u: Tensor) -> Tensor:
    """F_gp of eq. 2 with the mean taken in float32. N x C x H x W -> N x 2C."""
    z = u.to(statistics_dtype(u))
    return torch.cat([z.mean(3).mean(2).to(u.dtype), u.amax((2, 3))], dim=1)
