"""Samples for training: crops of photographs of both domains, and renderings of good photographs.

All random choices depend on the seed and the number of the sample alone. Any number of reading processes, and any
interruption, therefore gives the same samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from bncagan.config import TrainConfig
from bncagan.data.camera import Code
from bncagan.data.drawing import dead_leaves
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, training_folder
from bncagan.data.rendering import grey, render
from bncagan.data.uneven import under_tones_of
from bncagan.network.inference import to_signed, to_unit
from bncagan.network.tone import CURVE, ToneHead, area_mean, luma
from runtimes.errors import InputError
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
    before: Tensor
    """The luma of the low-quality pictures before the tone head, N x 1 x S x S in [-1, 1]."""
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
        low, original, before = self._cropped(frame, whole, rng)
        good = self._good(kind, number, 1, rng, skipped)
        high = to_signed(Square.of(good, config.size, rng).cut(good))
        return Samples(low, high, original, before, torch.tensor(rendered), tuple(skipped))

    def _good(self, kind: Kind, number: int, domain: int, rng: np.random.Generator, skipped: list[str]) -> Pixels:
        """A good picture; of one kind in both domains, because the discriminator would ask for colour in grey ones."""
        if kind == "drawn":
            return dead_leaves(self.config.size, rng)
        photograph = self._scaled(self.high, number, domain, rng, skipped)
        return grey(photograph) if kind == "grey" else photograph

    def _cropped(self, low: Pixels, original: Pixels, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A crop of what the generator gets, of its original, and of its luma before the head; C x S x S in [-1, 1]."""
        cut = Square.of(low, self.config.size, rng).cut
        crop = to_signed(cut(low))
        before = luma(crop[None])[0]
        if self.head is None:
            return crop, to_signed(cut(original)), before
        after = toned(self.head, low, rng)
        aim = after if original is low else under_tones_of(original / np.float32(255), after)
        return _signed(cut(after)), _signed(cut(aim)), before

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
            except InputError as error:
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
