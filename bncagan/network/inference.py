"""Conversion between 8-bit pictures and tensors, and enhancement by PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bncagan.config import ModelConfig
from bncagan.network.folded import FoldedGenerator
from bncagan.network.model import Generator
from runtimes.image import Pixels, to_uint8
from runtimes.shape_choice import pad, padded_size


def to_signed(pixels: Pixels) -> Tensor:
    """Convert a picture, H x W x 3 of 0..255, to 3 x H x W in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).div(127.5).sub(1)


def from_signed(image: Tensor) -> Pixels:
    """Convert 3 x H x W in [-1, 1] to a picture, H x W x 3, rounded to the nearest of 0..255; clamps first."""
    codes = (image.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return (codes + 0.5).floor().byte().permute(1, 2, 0).numpy()


def to_unit(picture: Pixels) -> Tensor:
    """Convert a picture, H x W x 3 of 0..255, to 1 x 3 x H x W in [0, 1]."""
    return torch.from_numpy(picture.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous()


@torch.no_grad()
def enhance(generator: Generator, pixels: Pixels) -> Pixels:
    """Enhance a photograph (uint8, H x W x 3, any size) by the unfolded generator; returns the same size."""
    height, width = pixels.shape[:2]
    padded = pad(pixels, *padded_size(height, width))
    device = next(generator.parameters()).device
    return from_signed(generator(to_signed(padded)[None].to(device))[0, :, :height, :width])


def head_alone(generator: Generator) -> Generator | None:
    """The tone head of a generator as a generator of its own; None if it has no head, or nothing else."""
    if generator.tone is None or not generator.width:
        return None
    alone = Generator(ModelConfig(width=0, tone=True))
    alone.tone = generator.tone
    return alone.eval()


@torch.no_grad()
def enhance_exactly(model: FoldedGenerator, image: Pixels) -> Pixels:
    """Enhance a picture (uint8, H x W x 3, sides multiples of 8) by the folded generator in float32."""
    return to_uint8(model(to_unit(image))[0].permute(1, 2, 0).numpy())
