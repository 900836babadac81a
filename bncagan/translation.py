"""The directions of a training step: low to high quality and back, with the styles crossed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bncagan.layers import Style
from bncagan.model import Features, Generator, Skips


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
        low_style, high_style = g.low_style(features.pooled[:n]), g.high_style(features.pooled[n:])
        chosen = [  # the crossing of Fig. 2: low-quality features under a high-quality style, and the reverse
            torch.cat([torch.where(domain[:, None, None, None], running, own), crossed])
            for running, own, crossed in zip(g.running_style, high_style, low_style, strict=True)
        ]
        translated = g.decode(images, features, Style(*chosen))
        logits = features.pooled.new_zeros(2 * n, 1) if g.classifier is None else g.classifier(features.pooled)
        return Translated(translated[:n], translated[n:], logits, high_style)


class Enhancements(nn.Module):
    """The direction from low to high quality alone, like `Translations`, for losses that need no other."""

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
        of_low = Features(Skips(*(skip[:n] for skip in features.skips)), features.attended[:n], features.pooled[:n])
        enhanced = g.decode(low, of_low, Style(*chosen))
        logits = features.pooled.new_zeros(2 * n, 1) if g.classifier is None else g.classifier(features.pooled)
        return Translated(enhanced, high[:0], logits, high_style)
