"""The discriminator's memory of past fakes."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Past fakes for the discriminator (Shrivastava et al. 2017): each fake is swapped for a stored one half the time.

    Images are kept as float16, so that the pool is small in memory and in checkpoints.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor, rng: torch.Generator) -> Tensor:
        """N x 3 x H x W of new and past fakes."""
        drawn = []
        for fake in fakes.half():
            if len(self.images) < self.size:
                self.images.append(fake.clone())
            elif self.size and torch.rand((), generator=rng) < 0.5:
                place = int(torch.randint(self.size, (), generator=rng))
                fake, self.images[place] = self.images[place], fake.clone()  # noqa: PLW2901 (the swap)
            drawn.append(fake)
        return torch.stack(drawn).to(fakes.dtype)
