"""A look from exemplars: the style that good photographs have, to fold in instead of the trained one."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from bncagan.data.photographs import Pixels
from bncagan.network.inference import to_signed
from bncagan.network.layers import Style
from bncagan.network.model import Generator
from runtimes.errors import InputError
from runtimes.shape_choice import pad, padded_size


@torch.no_grad()
def style_of(generator: Generator, photographs: Iterable[Pixels]) -> Style:
    """The mean high-quality style of photographs, H x W x 3 each; each part 1 x 8w x 1 x 1, for `fold`.

    It is what training takes from its high-quality batches (Fig. 2), here from photographs of one's own choice.

    Errors: InputError when there is none.
    """
    padded = (to_signed(pad(pixels, *padded_size(*pixels.shape[:2])))[None] for pixels in photographs)
    styles = [torch.stack(generator.high_style(generator.encode(image).pooled)) for image in padded]
    if not styles:
        raise InputError("expected at least one photograph to take the style from, got none; name a folder of them")
    gamma, beta = torch.stack(styles).mean(0)
    return Style(gamma, beta)
