"""The two directions of a training step: from low to high quality and back, each with the style of the other side."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bncagan.network.layers import Style
from bncagan.network.model import Features, Generator, Skips
from bncagan.network.tone import luma


class Translated(NamedTuple):
    """What a pass over a batch of each domain returns."""

    enhanced: Tensor
    """G(x_l), N x 3 x H x W in [-1, 1]."""
    degraded: Tensor
    """G(x_h), like `enhanced`; empty (0 x 3 x H x W) if no loss needs it."""
    logits: Tensor
    """Logits of the domain classifier C, 2N x 1: low-quality images first, then high-quality ones."""
    high_style: Style
    """Style of the high-quality images, each part N x 8w x 1 x 1."""


class Translations(nn.Module):
    """Both directions in one pass; this module is what distributed training wraps.

    Takes low- and high-quality images, each N x 3 x H x W in [-1, 1]; the luma of the low-quality ones before the tone
    head, N x 1 x H x W; and `domain`, N booleans: which low-quality images use the running mean of the high-quality
    style instead of the style of their partner in the batch.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, low: Tensor, high: Tensor, before: Tensor, domain: Tensor) -> Translated:
        g, n = self.generator, len(low)
        images = torch.cat([low, high])
        features = g.encode(images, torch.cat([before, luma(high)]))
        high_style = g.high_style(features.pooled[n:])
        chosen = [
            torch.where(domain[:, None, None, None], running, own)
            for running, own in zip(g.running_style, high_style, strict=True)
        ]
        translated = self.decoded(images, features, Style(*chosen))
        logits = features.pooled.new_zeros(2 * n, 1) if g.classifier is None else g.classifier(features.pooled)
        return Translated(translated[:n], translated[n:], logits, high_style)

    def decoded(self, images: Tensor, features: Features, high_style: Style) -> Tensor:
        """G(x_l) with the high-quality style, followed by G(x_h) with the low-quality style of its partner (Fig. 2)."""
        low_style = self.generator.low_style(features.pooled[: len(images) // 2])
        crossed = [torch.cat(styles) for styles in zip(high_style, low_style, strict=True)]
        return self.generator.decode(images, features, Style(*crossed))


class Enhancements(Translations):
    """Only the direction from low to high quality, if no loss needs the other."""

    def decoded(self, images: Tensor, features: Features, high_style: Style) -> Tensor:
        """G(x_l) with the high-quality style."""
        n = len(images) // 2
        of_low = Features(Skips(*(skip[:n] for skip in features.skips)), features.attended[:n], features.pooled[:n])
        return self.generator.decode(images[:n], of_low, high_style)


class Inference(Translations):
    """What `Generator` does at inference, if nothing needs the high-quality images: their running style is kept."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        for part in (generator.high_style, generator.low_style, generator.classifier):
            if part is not None:
                part.requires_grad_(False)

    def forward(self, low: Tensor, high: Tensor, before: Tensor, domain: Tensor) -> Translated:
        """G(x_l) with the running style."""
        g = self.generator
        enhanced = g.decode(low, g.encode(low, before), g.running_style)
        return Translated(enhanced, enhanced[:0], enhanced.new_zeros(0, 1), g.running_style)
