"""The parts that the paper names: BNM, BNR, AAC (eqs. 2, 3) and CAM."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
RESIDUALS = 6  # applications of the one shared residual block
CONTRAST = 0.01  # of a range of 1, 2.55 codes: standard deviation below which a picture is changed less (`Contrast`)

UNKNOWN_LICENCE = "see the weights' card"  # of weights that nobody said more of


class Style(NamedTuple):
    """Normalization parameters of a domain: gamma and beta, each N x C x 1 x 1."""

    gamma: Tensor
    beta: Tensor


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size (divided by the stride) by reflection padding."""
    padding = kernel // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias, padding_mode="reflect")


def instance_norm(x: Tensor) -> Tensor:
    """IN of eq. 3: each channel of each image to mean 0, biased variance 1. N x C x H x W."""
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS)


def layer_norm(x: Tensor) -> Tensor:
    """LN of eq. 3: each whole image to mean 0, biased variance 1. N x C x H x W."""
    mean = x.mean((1, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((1, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + EPS)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Sums over an image need at least float32; float64 stays."""
    return torch.promote_types(x.dtype, torch.float32)


class BNM(nn.Module):
    """Bi-directional normalization module, eq. 3: gamma * (rho * IN + (1 - rho) * LN) + beta.

    rho, one per channel, starts in the middle and is clipped to [0, 1] after each optimizer step
    (`clip_rho`). Statistics are taken in float32 whatever the input. N x C x H x W in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))

    def forward(self, x: Tensor, style: Style) -> Tensor:
        z = x.to(statistics_dtype(x))
        mixed = self.rho * instance_norm(z) + (1 - self.rho) * layer_norm(z)
        return (style.gamma * mixed + style.beta).to(x.dtype)


class StyledInstanceNorm(nn.Module):
    """The ablation of BNM: instance normalization alone under the same style, gamma * IN + beta."""

    def forward(self, x: Tensor, style: Style) -> Tensor:
        return (style.gamma * instance_norm(x.to(statistics_dtype(x))) + style.beta).to(x.dtype)


class RhoNorm(nn.Module):
    """Normalization of the decoder: a BNM with learned gamma and beta of its own; rho starts at 0, all LN."""

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
    """The second line of eq. 3: after an optimizer step, clip every rho to [0, 1]."""
    for part in module.modules():
        if isinstance(part, BNM):
            part.rho.clamp_(0, 1)


class Contrast(nn.Module):
    """The share of its change that a picture gets: min(1, v / CONTRAST^2), v its variance over 8 x 8 means.

    N x 3 x H x W in a range of 1 -> N x 1 x 1 x 1 in [0, 1]; v is the mean of the three channels.

    This is beyond the paper. Of a picture of one colour each instance-normalized channel is rounding noise, divided by
    sqrt(EPS) fourteen times in a row: float32 then differed from float64 by up to 127 of 255, and noise of 1e-6 moved
    the picture as far. Such a picture has nothing to repair, so it comes back as it is. Patterns that repeat every 8
    pixels or less (a checkerboard, ordered dithering) are as flat to an encoder of stride 8, hence the means; their
    windows overlap by half, so that no pattern of 16 pixels hides between them. Below CONTRAST the error shrinks with
    v faster than it grows, and photographs have more: of 966, the least had a deviation of 0.02, and are not changed
    at all.
    """

    def forward(self, image: Tensor) -> Tensor:
        v = deviations(image.to(statistics_dtype(image))).square().mean(3, keepdim=True).mean(2, keepdim=True)
        return (v.mean(1, keepdim=True) / CONTRAST**2).clamp(0, 1)


def deviations(image: Tensor) -> Tensor:
    """What the 8 x 8 means, 4 pixels apart, differ by from their mean. N x 3 x H x W -> N x 3 x H/4 - 1 x W/4 - 1.

    Taken from the first of them, which makes them 0 exactly where they are all alike, in half precision too.
    """
    means = F.avg_pool2d(image, 8, 4)
    d = means - means[:, :, :1, :1]
    return d - d.mean(3, keepdim=True).mean(2, keepdim=True)


def pool(u: Tensor) -> Tensor:
    """F_gp of eq. 2: global average and global max pooling, concatenated. N x C x H x W -> N x 2C."""
    return torch.cat([u.mean(3).mean(2), u.amax((2, 3))], dim=1)


class AttentionMask(nn.Module):
    """u_mask of eq. 2: sigmoid(F_fc(F_gp(u))), the significance of each channel. N x 2C -> N x C in (0, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * channels, channels)

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(pooled))


class StyleHead(nn.Module):
    """One domain's gamma and beta, from the pooled attended features by a fully connected layer. N x 2C -> Style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * channels, 2 * channels)
        with torch.no_grad():
            self.fc.bias[:channels] = 1  # gamma starts around 1, beta around 0
            self.fc.bias[channels:] = 0

    def forward(self, pooled: Tensor) -> Style:
        gamma, beta = self.fc(pooled)[:, :, None, None].chunk(2, dim=1)
        return Style(gamma, beta)


class ResidualBlock(nn.Module):
    """Fig. 2(a): conv3x3 - BNM - ReLU - conv3x3 - BNM, added to its input. N x C x H x W in and out.

    Under instance normalization alone the convolutions have no bias: it would be subtracted with the mean.
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
    """Bi-directional normalization residual module: the shared block six times, its outputs fused, plus the input."""

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
    """Colour attention module, Fig. 1(c): attention between the three colour channels of a projected map.

    I = 1x1 of the features; A = softmax(Q K^T) in R^{3x3}; out = gate * A^T V + I, the gate starting at 0.
    N x C x H x W -> N x 3 x H x W. Q K^T is divided by the H W positions: the paper's plain sum over them grows with
    the image and saturates the softmax, so that Q and K would stop learning.
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
        scale = q.shape[2] ** -0.5  # on both factors, so that the sum stays in the range of float16
        attention = torch.softmax((q * scale) @ (k * scale).transpose(1, 2), dim=2)  # N x 3 x 3
        attended = (attention.transpose(1, 2) @ v).view_as(image)
        combined: Tensor = self.gate * attended + image
        return combined
