"""A look from exemplars: the style that good photographs have, to fold in instead of the trained one."""

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
    """The mean high-quality style of photographs, H x W x 3 each; each part 1 x 8w x 1 x 1, for `fold`.

    It is what training takes from its high-quality batches (Fig. 2), here from photographs of one's own choice.

    Errors: InputError when there is none.
    """
    styles = [torch.stack(generator.high_style(generator.encode(_padded(pixels)).pooled)) for pixels in photographs]
    if not styles:
        raise InputError("expected at least one photograph to take the style from, got none; name a folder of them")
    gamma, beta = torch.stack(styles).mean(0)
    return Style(gamma, beta)


def _padded(pixels: Pixels) -> torch.Tensor:
    """1 x 3 x H x W in [-1, 1], reflected at the bottom and right to multiples of 8."""
    image = to_signed(pixels)[None]
    bottom, right = (-side % MULTIPLE for side in pixels.shape[:2])
    return F.pad(image, (0, right, 0, bottom), mode="reflect")
