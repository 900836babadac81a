"""A look from examples: the mean style of chosen photographs, to fold in instead of the trained style."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from bncagan.network.inference import to_signed
from bncagan.network.layers import Style
from bncagan.network.model import Generator
from runtimes.errors import InputError
from runtimes.image import Pixels
from runtimes.shape_choice import pad, padded_size


@torch.no_grad()
def style_of(generator: Generator, photographs: Iterable[Pixels]) -> Style:
    """The mean high-quality style of photographs (H x W x 3 of 0..255), for `fold`; gamma and beta are 1 x 8w x 1 x 1.

    Training takes the style of its high-quality batches in the same way (Fig. 2). InputError if there is no photograph.
    """
    padded = (to_signed(pad(pixels, *padded_size(*pixels.shape[:2])))[None] for pixels in photographs)
    styles = [torch.stack(generator.high_style(generator.encode(image).pooled)) for image in padded]
    if not styles:
        raise InputError("photographs for --style-from should be at least one but are none; name a folder of them")
    gamma, beta = torch.stack(styles).mean(0)
    return Style(gamma, beta)
