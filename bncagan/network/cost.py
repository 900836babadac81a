"""The cost of a network: parameters, multiply-adds and peak memory of the activations."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from bncagan.network.folding import REWRITES, drop_training_parts
from bncagan.network.model import Generator


class Cost(NamedTuple):
    """What one image costs."""

    parameters: int
    macs: int
    """Multiply-adds of convolutions, linear layers and other matrix products."""
    peak_bytes: int
    """Largest total size of the activations that exist at one time."""


class FoldingRow(NamedTuple):
    """One line of the folding report."""

    name: str
    """Name of the rewrite."""
    cost: Cost
    """Cost of the network after it."""
    error: float
    """Largest difference to the trained generator after it, in float64, for pictures in [0, 1]."""


class _PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of the tensors that operations create, from creation to release."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self.seen:
            return
        self.seen.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self.live -= size


@torch.no_grad()
def cost(model: nn.Module, height: int, width: int) -> Cost:
    """The cost of one height x width image; runs on the meta device, so nothing is computed."""
    model = copy.deepcopy(model).to("meta")
    image = torch.empty(1, 3, height, width, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        model(image)
    memory = _PeakMemory()
    with memory:
        model(image)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2, memory.peak)


@torch.no_grad()
def folding_report(generator: Generator, height: int = 512, width: int = 512) -> list[FoldingRow]:
    """Cost of the trained generator and after each rewrite of folding, with the errors on two random 64 x 96 images.

    A tone head alone has nothing to rewrite.
    """
    exact = copy.deepcopy(generator).double().eval()
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (exact(2 * image - 1) + 1) / 2
    rows = [FoldingRow("trained generator", cost(generator, height, width), 0.0)]
    model = drop_training_parts(exact)
    rows.append(_row("drop_training_parts", model, image, expected, (height, width)))
    for rewrite in REWRITES if model.width else ():
        model = rewrite(model)
        rows.append(_row(rewrite.__name__, model, image, expected, (height, width)))
    return rows


def _row(name: str, model: nn.Module, image: Tensor, expected: Tensor, size: tuple[int, int]) -> FoldingRow:
    error = (model(image) - expected).abs().max().item()
    return FoldingRow(name, cost(copy.deepcopy(model).float(), *size), error)
