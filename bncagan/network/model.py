"""The generator and the discriminator of BNCAGAN, Fig. 1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from bncagan.config import ModelConfig
from bncagan.network.layers import (
    BNR,
    CAM,
    UNKNOWN_LICENCE,
    AttentionMask,
    Contrast,
    RhoNorm,
    Style,
    StyleHead,
    conv,
    pool,
)
from bncagan.network.tone import ToneHead, luma

SLOPE = 0.2  # negative slope of every LeakyReLU


class Skips(NamedTuple):
    """Features of the encoder that the decoder uses again."""

    full: Tensor
    """N x w x H x W."""
    half: Tensor
    """N x 2w x H/2 x W/2."""
    quarter: Tensor
    """N x 4w x H/4 x W/4."""


class Features(NamedTuple):
    """The result of `Generator.encode`."""

    skips: Skips
    """Features at higher resolutions."""
    attended: Tensor
    """u^ of eq. 2, N x 8w x H/8 x W/8."""
    pooled: Tensor
    """F_gp(u^), N x 16w; the input of the style heads and of the domain classifier."""


class Encoder(nn.Module):
    """Takes an image, N x 3 x H x W in [-1, 1]; returns its skips and u, N x 8w x H/8 x W/8.

    With `untoned`, the luma of the image before the tone head is the fourth channel. It is beyond the paper: after the
    head, a frame that was lifted by four stops looks like one in poor light, but what is noise in it is not the same.
    """

    def __init__(self, width: int, *, untoned: bool = False) -> None:
        super().__init__()
        self.conv1 = conv(4 if untoned else 3, width, 7)
        self.conv2 = conv(width, 2 * width, 3, stride=2)
        self.conv3 = conv(2 * width, 4 * width, 3, stride=2)
        self.conv4 = conv(4 * width, 8 * width, 3, stride=2)

    def forward(self, image: Tensor) -> tuple[Skips, Tensor]:
        full = F.leaky_relu(self.conv1(image), SLOPE)
        half = F.leaky_relu(self.conv2(full), SLOPE)
        quarter = F.leaky_relu(self.conv3(half), SLOPE)
        return Skips(full, half, quarter), F.leaky_relu(self.conv4(quarter), SLOPE)


class UpConv(nn.Module):
    """Doubles height and width by bilinear interpolation, then applies a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.conv(upsample(x))
        return enlarged


def upsample(x: Tensor) -> Tensor:
    """Double height and width by bilinear interpolation, aligned at pixel centres (`align_corners=False`)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class DecoderStage(nn.Module):
    """Doubles height and width, halves the channels, and merges the encoder's features of that size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = UpConv(2 * channels, channels)
        self.merge = conv(2 * channels, channels, 3)
        self.norm: nn.Module = RhoNorm(channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined = torch.cat([self.up(x), skip], dim=1)
        return F.leaky_relu(self.norm(self.merge(joined)), SLOPE)


class Tail(nn.Module):
    """The last two convolutions, with one reflection padding before both and nothing in between.

    N x w x H x W -> N x 3 x H x W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3)
        self.conv2 = nn.Conv2d(width, 3, 7)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(self.conv1(F.pad(x, (4, 4, 4, 4), mode="reflect")))
        return change


class Decoder(nn.Module):
    """Takes the features of the BNR and the skips; returns the change of each pixel, N x 3 x H x W in (-1, 1)."""

    def __init__(self, width: int, *, detail: bool = False) -> None:
        super().__init__()
        self.stage1 = DecoderStage(4 * width)
        self.stage2 = DecoderStage(2 * width)
        self.up = UpConv(2 * width, width)
        self.detail: nn.Module | None = UpConv(2 * width, width) if detail else None
        if isinstance(self.detail, UpConv) and self.detail.conv.bias is not None:
            nn.init.ones_(self.detail.conv.bias)  # at first the tail sees the full-size features as they are
        self.tail: nn.Module = Tail(width)

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        x = self.stage2(self.stage1(x, skips.quarter), skips.half)
        gate = skips.full.mean(1, keepdim=True) + skips.full.amax(1, keepdim=True)
        gated = self.up(x) * gate
        if self.detail is not None:  # beyond the paper, whose single gate shows the tail no colours at full size
            gated = gated + self.detail(x) * skips.full
        return torch.tanh(self.tail(gated))


class Generator(nn.Module):
    """G of eq. 1: translates an image to the other quality domain.

    `forward` enhances with the running mean of the high-quality style, because at inference there is no high-quality
    partner. Training calls `encode`, a style head and `decode`, with the styles exchanged. Images are RGB,
    N x 3 x H x W in [-1, 1]; H and W are multiples of 8, at least 16.

    With `config.tone`, `forward` applies the tone head T first: G(T(x)). `config.width` 0 leaves T alone, and the other
    parts do not exist.
    """

    licence = UNKNOWN_LICENCE  # licence of the weights; not in the state dict
    style_mean: Tensor
    style_updates: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.width
        self.tone = ToneHead() if config.tone else None
        if config.width == 0:
            return
        channels = 8 * config.width
        self.untoned = config.untoned
        self.encoder = Encoder(config.width, untoned=config.untoned)
        self.mask = AttentionMask(channels) if config.use_aac else None
        self.classifier = nn.Linear(2 * channels, 1) if config.use_aac else None
        self.high_style = StyleHead(channels)
        self.low_style = StyleHead(channels)
        self.bnr = BNR(channels, use_bnm=config.use_bnm)
        self.decoder = Decoder(config.width, detail=config.detail)
        self.contrast = Contrast()
        start = torch.stack([torch.ones(channels), torch.zeros(channels)])
        self.register_buffer("style_mean", start[:, None, :, None, None])  # gamma, beta: 2 x 1 x 8w x 1 x 1
        self.register_buffer("style_updates", torch.zeros((), dtype=torch.int64))

    def encode(self, image: Tensor, before: Tensor | None = None) -> Features:
        """The skips, the attended features of eq. 2 and their pooling.

        `before` is the luma before the tone head, N x 1 x H x W in [-1, 1]; that of `image` if not given.
        """
        # Pooling u once is enough: a positive factor per channel can be applied after average and max pooling.
        if self.untoned:
            image = torch.cat([image, luma(image) if before is None else before], 1)
        skips, u = self.encoder(image)
        pooled = pool(u)
        if self.mask is None:
            return Features(skips, u, pooled)
        mask = self.mask(pooled)
        return Features(skips, u * mask[:, :, None, None], pooled * mask.repeat(1, 2))

    def decode(self, image: Tensor, features: Features, style: Style) -> Tensor:
        """The image plus the change that BNR with `style` and the decoder compute, clamped to [-1, 1].

        A picture with hardly any contrast receives less of the change, and one of a single colour none; see `Contrast`.
        """
        change = self.decoder(self.bnr(features.attended, style), features.skips)
        enhanced: Tensor = (image + change * self.contrast(image / 2)).clamp(-1, 1)
        return enhanced

    def forward(self, image: Tensor) -> Tensor:
        before = image
        if self.tone is not None:
            image = 2 * self.tone((image + 1) / 2) - 1
        if self.width == 0:
            return image
        features = self.encode(image, luma(before) if self.untoned else None)
        return self.decode(image, features, self.running_style)

    @property
    def running_style(self) -> Style:
        """The running mean of the high-quality style; each part is 1 x 8w x 1 x 1."""
        return Style(self.style_mean[0], self.style_mean[1])

    @torch.no_grad()
    def update_running_style(self, style: Tensor) -> None:
        """Update the running style with the mean style of a batch, 2 x 1 x 8w x 1 x 1.

        It is the plain mean of the first 100 batches; after that, each batch counts 1 %.
        """
        self.style_updates += 1
        self.style_mean.lerp_(style, (1 / self.style_updates).clamp(min=0.01).to(style.dtype))


class Discriminator(nn.Module):
    """D, Fig. 1(b): scores an image at scales 1, 3 and 5 and from the colour attention of scale 2.

    Takes N x 3 x H x W in [-1, 1]; returns a list of score maps, each N x 1 x h x w. All convolutions except those of
    CAM are spectrally normalized. Predictions have no bias, because eqs. 4 and 5 use only differences of scores.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        w = config.width
        self.scale1 = _spectral_conv(3, w, 7)
        self.scale2 = _spectral_conv(w, 2 * w, 7)
        self.scale3 = _spectral_conv(2 * w, 4 * w, 7)
        self.scale4 = _spectral_conv(4 * w, 8 * w, 5)
        self.scale5 = _spectral_conv(8 * w, 16 * w, 5)
        self.cam = CAM(2 * w) if config.use_cam else None
        self.predict1 = _prediction(w)
        self.predict_colour = _prediction(3) if config.use_cam else None
        self.predict3 = _prediction(4 * w)
        self.predict5 = _prediction(16 * w)

    def forward(self, image: Tensor) -> list[Tensor]:
        x1 = F.leaky_relu(self.scale1(image), SLOPE)
        x2 = F.leaky_relu(self.scale2(x1), SLOPE)
        x3 = F.leaky_relu(self.scale3(x2), SLOPE)
        x4 = F.leaky_relu(self.scale4(x3), SLOPE)
        x5 = F.leaky_relu(self.scale5(x4), SLOPE)
        scores = [self.predict1(x1), self.predict3(x3), self.predict5(x5)]
        if self.cam is not None and self.predict_colour is not None:
            scores.append(self.predict_colour(self.cam(x2)))
        return scores


def _spectral_conv(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel, stride=2, padding=kernel // 2))


def _prediction(in_channels: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(in_channels, 1, 3, padding=1, bias=False))
