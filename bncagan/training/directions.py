"""The directions of a training step: low to high quality and back, with the styles crossed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bncagan.network.layers import Style
from bncagan.network.model import Features, Generator, Skips


class Translated(NamedTuple):
    """What one pass over a pair of batches yields."""

    enhanced: Tensor  # G(x_l), N x 3 x H x W in [-1, 1]
    degraded: Tensor  # G(x_h); none (0 x 3 x H x W) where no loss asks for it
    logits: Tensor  # C before its sigmoid, low-quality images first, 2N x 1
    high_style: Style


class Translations(nn.Module):
    """Both directions in one pass: the module that is wrapped for distributed training.

    Low and high images, each N x 3 x H x W in [-1, 1]; `domain`, N booleans, says which low images take the running
    high-quality style instead of their partner's.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, low: Tensor, high: Tensor, domain: Tensor) -> Translated:
        g, n = self.generator, len(low)
        images = torch.cat([low, high])
        features = g.encode(images)
        high_style = g.high_style(features.pooled[n:])
        chosen = [
            torch.where(domain[:, None, None, None], running, own)
            for running, own in zip(g.running_style, high_style, strict=True)
        ]
        translated = self.decoded(images, features, Style(*chosen))
        logits = features.pooled.new_zeros(2 * n, 1) if g.classifier is None else g.classifier(features.pooled)
        return Translated(translated[:n], translated[n:], logits, high_style)

    def decoded(self, images: Tensor, features: Features, high_style: Style) -> Tensor:
        """G(x_l) under the high-quality style, then G(x_h) under its partner's low-quality one: Fig. 2's crossing."""
        low_style = self.generator.low_style(features.pooled[: len(images) // 2])
        crossed = [torch.cat(styles) for styles in zip(high_style, low_style, strict=True)]
        return self.generator.decode(images, features, Style(*crossed))


class Enhancements(Translations):
    """The direction from low to high quality alone, for losses that need no other."""

    def decoded(self, images: Tensor, features: Features, high_style: Style) -> Tensor:
        """G(x_l) alone."""
        n = len(images) // 2
        of_low = Features(Skips(*(skip[:n] for skip in features.skips)), features.attended[:n], features.pooled[:n])
        return self.generator.decode(images[:n], of_low, high_style)
