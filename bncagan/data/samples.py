"""Samples for training: crops of photographs of both domains, and renderings of good photographs.

All random choices depend on the seed and the number of the sample alone. Any number of reading processes, and any
interruption, therefore gives the same samples.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bncagan.config import TrainConfig
from bncagan.data.camera import Code
from bncagan.data.drawing import dead_leaves
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, training_folder
from bncagan.data.rendering import grey, render
from bncagan.data.uneven import under_tones_of
from bncagan.network.inference import to_signed, to_unit
from bncagan.network.tone import CURVE, ToneHead, area_mean
from runtimes.errors import ArtifactError, InputError
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb

Picture = TypeVar("Picture", Pixels, Code)
Kind = Literal["photograph", "grey", "drawn"]
# Kinds of renderings and their shares
KINDS: tuple[Kind, ...] = ("photograph", "grey", "drawn")
KIND_SHARES = (0.73, 0.07, 0.2)
VARIED = 0.1  # standard deviation of the random changes of a tone head's decision


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


def scaled(pixels: Pixels, crop: int, size: int, rng: np.random.Generator, smallest: float = 1.0) -> Pixels:
    """Resize a photograph so that a square of `crop` px of it, or of its short side if that is smaller, has `size` px.

    If `smallest` is below 1, the side of the square is drawn evenly between that share of it and the whole.
    """
    height, width = pixels.shape[:2]
    side = min(crop, height, width)
    if smallest < 1:
        side = max(1, int(side * rng.uniform(smallest, 1)))
    if side == size:
        return pixels
    shape = (max(size, round(width * size / side)), max(size, round(height * size / side)))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC))


class Square(NamedTuple):
    """A random square of a picture, mirrored in half of the cases."""

    top: int
    left: int
    size: int
    mirrored: bool

    @classmethod
    def of(cls, pixels: Pixels, size: int, rng: np.random.Generator) -> Square:
        """A square of `size` px in a picture at least as large."""
        height, width = pixels.shape[:2]
        top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
        return cls(int(top), int(left), size, bool(rng.random() < 0.5))

    def cut(self, picture: Picture) -> Picture:
        """The square of a picture, size x size x 3."""
        part = picture[self.top : self.top + self.size, self.left : self.left + self.size]
        return np.ascontiguousarray(part[:, ::-1]) if self.mirrored else part


@torch.no_grad()
def toned(head: ToneHead, pixels: Pixels, rng: np.random.Generator) -> Code:
    """What a tone head makes of a whole photograph, with its decision varied a little; H x W x 3 in [0, 1].

    The generator should not depend on the exact head, because another may replace it.
    """
    image = to_unit(pixels)
    decided = head.decide(area_mean(image))
    spread, shift = torch.from_numpy(VARIED * rng.standard_normal((2, 1, CURVE)).astype(np.float32))
    varied = decided * (1 + spread) + shift / 2
    picture: Code = head.changed(image, varied)[0].permute(1, 2, 0).numpy()
    return picture


class UnpairedDataset(Dataset[Samples]):
    """An endless series of unpaired samples from two folders; sample n depends on the seed and n alone.

    Each domain has its own shuffled epochs: the folders need not have equal numbers or names, and are never paired by
    index. If a photograph cannot be decoded, its error is noted in the sample and the next one is taken.

    With a tone head, low-quality samples are what it makes of the whole photograph, as at inference, and are cropped
    afterwards. The originals of renderings get the same luma quantiles.
    """

    def __init__(self, config: TrainConfig, head: ToneHead | None = None) -> None:
        self.high = find_photographs(training_folder(config.data, HIGH_NAMES))
        only_rendered = config.low_from_high == 1
        self.low = self.high if only_rendered else find_photographs(training_folder(config.data, LOW_NAMES))
        self.config, self.head = config, head
        self.kept: dict[Path, Pixels] = {}  # decoded photographs, at most config.cache MiB in each reading process
        self.kept_bytes = 0

    def __getitem__(self, number: int) -> Samples:
        config = self.config
        skipped: list[str] = []
        rng = np.random.default_rng((config.seed, number))
        rendered = rng.random() < config.low_from_high
        kind: Kind = KINDS[rng.choice(len(KINDS), p=KIND_SHARES)] if rendered else "photograph"
        if rendered:
            whole = self._good(kind, number, 2, rng, skipped)
            # Drawn pictures stay as they are: they show what halos and tints cost
            frame = whole if kind == "drawn" else render(whole, rng)
        else:
            frame = whole = self._scaled(self.low, number, 0, rng, skipped)
        low, original = self._cropped(frame, whole, rng)
        good = self._good(kind, number, 1, rng, skipped)
        high = to_signed(Square.of(good, config.size, rng).cut(good))
        return Samples(low, high, original, torch.tensor(rendered), tuple(skipped))

    def _good(self, kind: Kind, number: int, domain: int, rng: np.random.Generator, skipped: list[str]) -> Pixels:
        """A good picture; of one kind in both domains, because the discriminator would ask for colour in grey ones."""
        if kind == "drawn":
            return dead_leaves(self.config.size, rng)
        photograph = self._scaled(self.high, number, domain, rng, skipped)
        return grey(photograph) if kind == "grey" else photograph

    def _cropped(self, low: Pixels, original: Pixels, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A crop of what the generator gets and of its original, each 3 x S x S in [-1, 1]."""
        cut = Square.of(low, self.config.size, rng).cut
        if self.head is None:
            return to_signed(cut(low)), to_signed(cut(original))
        after = toned(self.head, low, rng)
        aim = after if original is low else under_tones_of(original / np.float32(255), after)
        return _signed(cut(after)), _signed(cut(aim))

    def _scaled(
        self, paths: list[Path], number: int, domain: int, rng: np.random.Generator, skipped: list[str]
    ) -> Pixels:
        """The sample's photograph, or the next in the epoch that can be decoded, reduced so that a crop becomes `size`.

        InputError if none can be decoded.
        """
        config = self.config
        epoch, place = divmod(number, len(paths))
        order = np.random.default_rng((config.seed, domain, epoch)).permutation(len(paths))
        for offset in range(len(paths)):
            try:
                pixels = self._read(paths[order[(place + offset) % len(paths)]])
            except ArtifactError as error:
                skipped.append(str(error))
                continue
            return scaled(pixels, config.crop, config.size, rng, config.smallest_crop)
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


def _signed(picture: Code) -> Tensor:
    """H x W x 3 in [0, 1] to 3 x H x W in [-1, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).mul(2).sub(1)


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
