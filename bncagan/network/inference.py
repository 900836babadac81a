"""Pictures of 8-bit codes into the network and out of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bncagan.network.folded import FoldedGenerator
from bncagan.network.model import Generator
from runtimes.image import Pixels, to_uint8
from runtimes.shape_choice import pad, padded_size


def to_signed(pixels: Pixels) -> Tensor:
    """H x W x 3 of 0..255 to 3 x H x W in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).div(127.5).sub(1)


def from_signed(image: Tensor) -> Pixels:
    """3 x H x W in [-1, 1] to H x W x 3 of 0..255, rounded to the nearest code."""
    codes = (image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return (codes + 0.5).floor().byte().permute(1, 2, 0).numpy()


def to_unit(picture: Pixels) -> Tensor:
    """H x W x 3 codes to 1 x 3 x H x W in [0, 1]."""
    return torch.from_numpy(picture.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous()


@torch.no_grad()
def enhance(generator: Generator, pixels: Pixels) -> Pixels:
    """A photograph of any size, H x W x 3, through the unfolded generator, reflection-padded to a multiple of 8."""
    height, width = pixels.shape[:2]
    padded = pad(pixels, *padded_size(height, width))
    device = next(generator.parameters()).device
    return from_signed(generator(to_signed(padded)[None].to(device))[0, :, :height, :width])


@torch.no_grad()
def enhance_exactly(model: FoldedGenerator, image: Pixels) -> Pixels:
    """The float32 network's picture of an H x W x 3 image whose sides are multiples of 8."""
    return to_uint8(model(to_unit(image))[0].permute(1, 2, 0).numpy())
