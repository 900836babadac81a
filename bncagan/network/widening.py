"""A wider generator that computes the same: training goes on from a narrow one instead of from nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bncagan.network.model import Generator

CHANNELS_OF_INPUT = 1  # dimension of a convolution's or a matrix's weight along which it sums


@torch.no_grad()
def widen(narrow: Mapping[str, Tensor], wide: Generator, rng: torch.Generator) -> dict[str, Tensor]:
    """The weights for `wide` with which it computes what `narrow` does; its width is a multiple of the other's.

    Every channel becomes several equal ones, next to each other; what sums over them divides its weight among them at
    random, so that their gradients differ. Chen, Goodfellow and Shlens, Net2Net, 2016.
    """
    own = wide.state_dict()
    return {name: _widened(name, weight, own[name], rng) for name, weight in narrow.items()}


def _widened(name: str, weight: Tensor, like: Tensor, rng: torch.Generator) -> Tensor:
    sums = name.endswith("weight") and not name.startswith("tone.")
    for dim, (ours, theirs) in enumerate(zip(weight.shape, like.shape, strict=True)):
        copies = theirs // ours
        weight = weight.repeat_interleave(copies, dim)
        if sums and dim == CHANNELS_OF_INPUT and copies > 1:
            shares = 0.5 + torch.rand(weight.shape[0], ours, copies, generator=rng, dtype=weight.dtype)
            shares = shares / shares.sum(2, keepdim=True)
            weight = weight * shares.view(weight.shape[0], theirs, *[1] * (weight.dim() - 2))
    return weight
