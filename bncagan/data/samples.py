"""Samples for training: crops of photographs of both domains, and renderings of good photographs.

All random choices depend on the seed and the number of the sample alone. Any number of reading processes, and any
interruption, therefore gives the same samples.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from itertools import count
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bncagan.config import TrainConfig
from bncagan.data.drawing import dead_leaves
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, training_folder
from bncagan.data.rendering import Dull, grey, mean_luma, render_dark, render_dull
from bncagan.network.inference import to_signed
from runtimes.errors import ArtifactError, InputError
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb


class Samples(NamedTuple):
    """A batch of N samples; pictures are N x 3 x S x S in [-1, 1]."""

    low: Tensor
    """Low-quality pictures."""
    high: Tensor
    """High-quality pictures, not paired with `low`."""
    original: Tensor
    """The pictures from which `low` was rendered; equal to `low` where it was not."""
    rendered: Tensor
    """N booleans: whether `low` is a rendering."""
    skipped: tuple[str, ...]
    """The error messages of photographs that could not be decoded."""


def random_crop(pixels: Pixels, crop: int, size: int, rng: np.random.Generator, smallest: float = 1.0) -> Pixels:
    """Cut out a random square, resize it to size x size, and flip it in half of the cases.

    The side of the square is `crop` px, or the short side if that is smaller. If `smallest` is below 1, the side is
    drawn evenly between that share of it and the whole.
    """
    height, width = pixels.shape[:2]
    side = min(crop, height, width)
    if smallest < 1:
        side = max(1, int(side * rng.uniform(smallest, 1)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    cut = pixels[top : top + side, left : left + side]
    if side != size:
        cut = np.asarray(Image.fromarray(cut).resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(cut[:, ::-1]) if rng.random() < 0.5 else cut


Kind = Literal["photograph", "grey", "drawn"]


class UnpairedDataset(Dataset[Samples]):
    """An endless series of unpaired samples from two folders; sample n depends on the seed and n alone.

    Each domain has its own shuffled epochs: the folders need not have equal numbers or names, and are never paired by
    index. If a photograph cannot be decoded, its error is noted in the sample and the next one is taken.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.high = find_photographs(training_folder(config.data, HIGH_NAMES))
        only_rendered = config.renderings.low_from_high == 1 and not config.renderings.dark_share
        self.low = self.high if only_rendered else find_photographs(training_folder(config.data, LOW_NAMES))
        self.config = config
        self.kept: dict[Path, Pixels] = {}  # decoded photographs, at most config.cache MiB in each reading process
        self.kept_bytes = 0

    def __getitem__(self, number: int) -> Samples:
        config = self.config
        skipped: list[str] = []
        rng = np.random.default_rng((config.seed, number))
        dull = rng.random() < config.renderings.low_from_high
        kind = self._kind(rng) if dull else "photograph"
        if dull:
            crops = self._crops(self.high, number, 2, rng, skipped)
            original = self._good(kind, crops, config.renderings.well_exposed, rng)
            low = self._render(original, number, rng, skipped)
        else:
            original = low = self._draw(self.low, number, 0, rng, skipped)
        high = self._good(kind, self._crops(self.high, number, 1, rng, skipped), 0.0, rng)
        return Samples(to_signed(low), to_signed(high), to_signed(original), torch.tensor(dull), tuple(skipped))

    def _kind(self, rng: np.random.Generator) -> Kind:
        """The kind of both pictures of a sample: if only `low` were grey, the discriminator would ask for colour."""
        renderings = self.config.renderings
        if renderings.drawn_share and rng.random() < renderings.drawn_share:
            return "drawn"
        return "grey" if renderings.grey_share and rng.random() < renderings.grey_share else "photograph"

    def _good(self, kind: Kind, crops: Iterator[Pixels], margin: float, rng: np.random.Generator) -> Pixels:
        """The first good picture with a mean luma between `margin` and 1 - `margin`."""
        drawn = (dead_leaves(self.config.size, rng) for _ in count())
        for picture in drawn if kind == "drawn" else crops:
            if not margin or margin <= mean_luma(picture) <= 1 - margin:
                return grey(picture) if kind == "grey" else picture
        raise InputError(
            f"{self.high[0].parent} should give crops with a mean luma from {margin} to {1 - margin} but none of its "
            f"{len(self.high)} photographs does; lower --well-exposed"
        )

    def _render(self, original: Pixels, number: int, rng: np.random.Generator, skipped: list[str]) -> Pixels:
        config = self.config.renderings
        if config.intact_share and rng.random() < config.intact_share:
            return original
        if rng.random() < config.dark_share:
            return render_dark(original, self._draw(self.low, number, 0, rng, skipped), rng, config.wander)
        return render_dull(original, rng, Dull(stops=(-config.darkest_stops, -0.1), wander=config.wander))

    def _draw(
        self, paths: list[Path], number: int, domain: int, rng: np.random.Generator, skipped: list[str]
    ) -> Pixels:
        return next(self._crops(paths, number, domain, rng, skipped))

    def _crops(
        self, paths: list[Path], number: int, domain: int, rng: np.random.Generator, skipped: list[str]
    ) -> Iterator[Pixels]:
        """Crops of the sample's photograph and of the next ones in the epoch, without those that cannot be decoded."""
        decoded = 0
        epoch, place = divmod(number, len(paths))
        order = np.random.default_rng((self.config.seed, domain, epoch)).permutation(len(paths))
        for offset in range(len(paths)):
            path = paths[order[(place + offset) % len(paths)]]
            try:
                pixels = self._read(path)
            except ArtifactError as error:
                skipped.append(str(error))
                continue
            decoded += 1
            yield random_crop(pixels, self.config.crop, self.config.size, rng, self.config.smallest_crop)
        if not decoded:
            raise InputError(
                f"{paths[0].parent} should hold photographs that can be decoded but none of its {len(paths)} can; "
                "replace them"
            )

    def _read(self, path: Path) -> Pixels:
        if path not in self.kept:
            pixels = read_rgb(path, self.config.short_side)
            if self.kept_bytes + pixels.nbytes > self.config.cache * 2**20:
                return pixels
            self.kept[path] = pixels
            self.kept_bytes += pixels.nbytes
        return self.kept[path]


class StepSampler(Sampler[list[int]]):
    """The sample numbers of the steps from `start` to `stop` for process `rank` of `world`."""

    def __init__(self, start: int, stop: int, batch: int, rank: int, world: int) -> None:
        self.steps = range(start, stop)
        self.batch, self.rank, self.world = batch, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch
            yield list(range(first, first + self.batch))

    def __len__(self) -> int:
        return len(self.steps)


def collate(samples: list[Samples]) -> Samples:
    """Make a batch of single samples."""
    *tensors, skipped = zip(*samples, strict=True)
    low, high, original, rendered = (torch.stack(parts) for parts in tensors)
    return Samples(low, high, original, rendered, tuple(message for each in skipped for message in each))


def training_loader(dataset: UnpairedDataset, start: int, stop: int, rank: int, world: int) -> DataLoader[Samples]:
    """The batches of the steps from `start` to `stop`, read in advance by the reading processes."""
    config = dataset.config
    sampler = StepSampler(start, stop, config.batch, rank, world)
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=config.workers, collate_fn=collate,
        pin_memory=torch.cuda.is_available(), prefetch_factor=4 if config.workers else None,
        multiprocessing_context=_context() if config.workers else None, worker_init_fn=_end_with_parent,
    )  # fmt: skip


def _end_with_parent(_worker: int) -> None:
    """End this reading process when the training process is killed: torch watches only the process that forked it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _context() -> BaseContext:
    """How reading processes start: each as a fresh process, not as a fork of this one.

    A fork has the objects of this process without the threads that they wait for: one in which Python frees an
    OpenVINO model hangs. From version 3.14 on, Python does the same by itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that torch is imported once, not by each process
    return context
