"""A look from examples: the mean style of chosen photographs, to fold in instead of the trained style."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional as F

from bncagan.network.inference import to_signed
from bncagan.network.layers import Style
from bncagan.network.model import Generator
from runtimes.errors import InputError
from runtimes.image import Pixels

MULTIPLE = 8


@torch.no_grad()
def style_of(generator: Generator, photographs: Iterable[Pixels]) -> Style:
    """The mean high-quality style of photographs (H x W x 3 of 0..255), for `fold`; gamma and beta are 1 x 8w x 1 x 1.

    Training takes the style of its high-quality batches in the same way (Fig. 2). InputError if there is no photograph.
    """
    styles = [torch.stack(generator.high_style(generator.encode(_padded(pixels)).pooled)) for pixels in photographs]
    if not styles:
        raise InputError("photographs for --style-from should be at least one but are none; name a folder of them")
    gamma, beta = torch.stack(styles).mean(0)
    return Style(gamma, beta)


def _padded(pixels: Pixels) -> torch.Tensor:
    """A picture as 1 x 3 x H x W in [-1, 1], padded at the bottom and right to multiples of 8 by reflection."""
    image = to_signed(pixels)[None]
    bottom, right = (-side % MULTIPLE for side in pixels.shape[:2])
    return F.pad(image, (0, right, 0, bottom), mode="reflect")
