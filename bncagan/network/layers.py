"""The parts of the network that the paper names: BNM, BNR, AAC (eqs. 2 and 3) and CAM."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
RESIDUALS = 6  # how often the shared residual block is applied
CONTRAST = 0.01  # standard deviation below which `Contrast` reduces the change; pixels in a range of 1, so 2.55 codes

UNKNOWN_LICENCE = "see the weights' card"  # for weights that do not state their licence


class Style(NamedTuple):
    """The normalization parameters of a domain."""

    gamma: Tensor
    """Scale, N x C x 1 x 1."""
    beta: Tensor
    """Offset, N x C x 1 x 1."""


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """A convolution with reflection padding; the output is as large as the input, divided by the stride."""
    padding = kernel // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias, padding_mode="reflect")


def instance_norm(x: Tensor) -> Tensor:
    """IN of eq. 3: normalize each channel of each image to mean 0 and biased variance 1. N x C x H x W in and out."""
    # Centre first, then square: E[x^2] - E[x]^2 cancels in low precision (NVIDIA/TensorRT#3897). The variance is biased
    # as in the paper; n / (n - 1) over free shapes would become infinity / infinity in half precision.
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS)


def layer_norm(x: Tensor) -> Tensor:
    """LN of eq. 3: normalize each image as a whole to mean 0 and biased variance 1. N x C x H x W in and out."""
    mean = x.mean((1, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((1, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """The type for sums over an image: float32, or float64 if x is float64."""
    return torch.promote_types(x.dtype, torch.float32)


class BNM(nn.Module):
    """Bi-directional normalization module, eq. 3: gamma * (rho * IN + (1 - rho) * LN) + beta. N x C x H x W in and out.

    Each channel has its own rho, which starts at 0.5 and is clipped to [0, 1] after every optimizer step (`clip_rho`).
    Statistics are computed in float32, also for half-precision input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))

    def forward(self, x: Tensor, style: Style) -> Tensor:
        z = x.to(statistics_dtype(x))
        mixed = self.rho * instance_norm(z) + (1 - self.rho) * layer_norm(z)
        return (style.gamma * mixed + style.beta).to(x.dtype)


class StyledInstanceNorm(nn.Module):
    """Replaces BNM in the ablation without it: instance normalization with the same style, gamma * IN + beta."""

    def forward(self, x: Tensor, style: Style) -> Tensor:
        return (style.gamma * instance_norm(x.to(statistics_dtype(x))) + style.beta).to(x.dtype)


class RhoNorm(nn.Module):
    """The decoder's normalization: a BNM with its own learned gamma and beta; rho starts at 0, which is LN alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bnm = BNM(channels)
        nn.init.zeros_(self.bnm.rho)
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.bnm(x, Style(self.gamma, self.beta))
        return normalized


@torch.no_grad()
def clip_rho(module: nn.Module) -> None:
    """Clip every rho to [0, 1], the second line of eq. 3; called after each optimizer step."""
    for part in module.modules():
        if isinstance(part, BNM):
            part.rho.clamp_(0, 1)


class Contrast(nn.Module):
    """The share of the network's change that a picture receives: min(1, v / CONTRAST^2), with v its variance.

    v is the variance of the means over 8 x 8 pixels, averaged over the three channels. Takes N x 3 x H x W with pixels
    in a range of 1; returns N x 1 x 1 x 1 in [0, 1].

    This is not in the paper. In a picture of one colour, every instance-normalized channel is rounding noise that is
    divided by sqrt(EPS) fourteen times in a row: float32 differed from float64 by up to 127 of 255 codes, and noise of
    1e-6 in the input had the same effect. Such a picture needs no enhancement, so it is returned unchanged. For an
    encoder of stride 8, patterns that repeat every 8 pixels or less (a checkerboard, ordered dithering) are just as
    flat, so v is computed from means; their windows overlap by half, so that they also see patterns of 16 pixels.
    The lower the contrast, the larger the error, but the share falls faster than the error grows. Of 1,796 photographs,
    the lowest standard deviation was 0.02, twice CONTRAST, so that none of them is affected; a photograph that is
    almost black (all codes below about 10) or a crop of an even sky may be.
    """

    def forward(self, image: Tensor) -> Tensor:
        v = deviations(image.to(statistics_dtype(image))).square().mean(3, keepdim=True).mean(2, keepdim=True)
        return (v.mean(1, keepdim=True) / CONTRAST**2).clamp(0, 1)


def deviations(image: Tensor) -> Tensor:
    """The means over 8 x 8 pixels, every 4 pixels, minus their mean. N x 3 x H x W -> N x 3 x (H/4 - 1) x (W/4 - 1)."""
    # Subtracting the first one before the mean makes equal means exactly 0, in half precision too.
    means = F.avg_pool2d(image, 8, 4)
    d = means - means[:, :, :1, :1]
    return d - d.mean(3, keepdim=True).mean(2, keepdim=True)


def pool(u: Tensor) -> Tensor:
    """F_gp of eq. 2: global average and global max pooling, concatenated. N x C x H x W -> N x 2C."""
    # `amax` instead of `adaptive_max_pool2d`, which LiteRT does not support.
    return torch.cat([u.mean(3).mean(2), u.amax((2, 3))], dim=1)


class AttentionMask(nn.Module):
    """u_mask of eq. 2, the weight of each channel: sigmoid(F_fc(F_gp(u))). Pooled N x 2C -> N x C in (0, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * channels, channels)

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(pooled))


class StyleHead(nn.Module):
    """A fully connected layer that computes one domain's style from the pooled attended features. N x 2C -> Style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * channels, 2 * channels)
        with torch.no_grad():
            self.fc.bias[:channels] = 1  # so that gamma starts near 1 and beta near 0
            self.fc.bias[channels:] = 0

    def forward(self, pooled: Tensor) -> Style:
        gamma, beta = self.fc(pooled)[:, :, None, None].chunk(2, dim=1)
        return Style(gamma, beta)


class ResidualBlock(nn.Module):
    """Fig. 2(a): conv3x3 - BNM - ReLU - conv3x3 - BNM, plus the input. N x C x H x W in and out.

    Without BNM the convolutions have no bias, because instance normalization would subtract it with the mean.
    """

    def __init__(self, channels: int, *, use_bnm: bool) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, 3, bias=use_bnm)
        self.norm1 = BNM(channels) if use_bnm else StyledInstanceNorm()
        self.conv2 = conv(channels, channels, 3, bias=use_bnm)
        self.norm2 = BNM(channels) if use_bnm else StyledInstanceNorm()

    def forward(self, x: Tensor, style: Style) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x), style))
        added: Tensor = x + self.norm2(self.conv2(y), style)
        return added


class BNR(nn.Module):
    """Bi-directional normalization residual module: the shared block six times, its outputs fused, plus the input.

    N x C x H x W in and out.
    """

    def __init__(self, channels: int, *, use_bnm: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(channels, use_bnm=use_bnm)
        self.fuse = nn.Conv2d(RESIDUALS * channels, channels, 1)

    def forward(self, u: Tensor, style: Style) -> Tensor:
        x, residuals = u, []
        for _ in range(RESIDUALS):
            x = self.block(x, style)
            residuals.append(x)
        fused: Tensor = self.fuse(torch.cat(residuals, dim=1)) + u
        return fused


class CAM(nn.Module):
    """Colour attention module, Fig. 1(c): attention between the three channels of a colour image.

    The image I is a 1x1 convolution of the features; A = softmax(Q K^T) is 3 x 3; the output is gate * A^T V + I, and
    the gate starts at 0. N x C x H x W -> N x 3 x H x W. Unlike in the paper, Q K^T is divided by the number of
    positions, H W: the plain sum grows with the image and saturates the softmax, so that Q and K would stop learning.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 3, 1)
        self.query = nn.Conv2d(3, 3, 1)
        self.key = nn.Conv2d(3, 3, 1)
        self.value = nn.Conv2d(3, 3, 1)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        image = self.project(features)
        q, k, v = (part(image).flatten(2) for part in (self.query, self.key, self.value))  # each N x 3 x HW
        scale = q.shape[2] ** -0.5  # applied to both factors, so that their product does not overflow in float16
        attention = torch.softmax((q * scale) @ (k * scale).transpose(1, 2), dim=2)  # N x 3 x 3
        attended = (attention.transpose(1, 2) @ v).view_as(image)
        combined: Tensor = self.gate * attended + image
        return combined
