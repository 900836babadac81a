"""Past enhanced images to train the discriminator on."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Past fakes for the discriminator (Shrivastava et al. 2017): half of the new fakes are exchanged for stored ones.

    Images are stored as float16, so that the pool takes little memory and little of a checkpoint.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor, rng: torch.Generator) -> Tensor:
        """Replace some of the fakes, N x 3 x H x W, by stored ones; the replaced ones are stored in their place."""
        drawn = []
        for fake in fakes.half():
            if len(self.images) < self.size:
                self.images.append(fake.clone())
            elif self.size and torch.rand((), generator=rng) < 0.5:
                place = int(torch.randint(self.size, (), generator=rng))
                fake, self.images[place] = self.images[place], fake.clone()  # noqa: PLW2901 (the swap)
            drawn.append(fake)
        return torch.stack(drawn).to(fakes.dtype)
