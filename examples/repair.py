"""Measure what the generators repair behind their tone head: python examples/repair.py DATA/val/label

Every photograph is rendered with several seeds: in uneven light, and deeply under-exposed with noise and JPEG. The
table has the mean PSNR to the original under the tone that the head chose (its quantiles of luma) and to the original
itself. In the picture, from left to right: the rendering, the head, each generator, the original under the tone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from rich.table import Table

from bncagan.data.camera import Code
from bncagan.data.rendering import render_frame, render_lit
from bncagan.data.uneven import under_tones_of
from bncagan.evaluation.metrics import psnr
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import to_unit
from bncagan.network.model import Generator
from runtimes.console import terminal
from runtimes.image import Pixels, to_uint8
from runtimes.photographs import find_photographs, read_rgb

CROP = 160  # side of the crops in the picture, px
ROWS = 4  # crops of each kind of rendering

RENDERINGS: dict[str, Callable[[Code, np.random.Generator], Pixels]] = {
    "uneven light": lambda code, rng: to_uint8(render_lit(code, rng)),
    "-3 stops": lambda code, rng: render_frame(code, -3.0, rng),
    "-4 stops": lambda code, rng: render_frame(code, -4.0, rng),
}


@dataclass(frozen=True)
class Options:
    """Measure what the generators repair behind their tone head."""

    photographs: tyro.conf.Positional[Path]
    """Folder of finished photographs."""
    checkpoints: tuple[str, ...] = ("small", "base")
    """Generators with a tone head: files or names of shipped weights."""
    seeds: int = 8
    """Renderings of each kind and photograph."""
    out: Path = Path("repair.png")
    """Picture of crops to write."""


@torch.no_grad()
def repaired(generator: Generator, low: Pixels) -> tuple[Pixels, Pixels]:
    """What the head makes of a rendering, and what the generator makes of that."""
    assert generator.tone is not None
    toned = generator.tone(to_unit(low))
    after = (generator(2 * to_unit(low) - 1) + 1) / 2
    head, picture = (to_uint8(image[0].permute(1, 2, 0).numpy()) for image in (toned, after))
    return head, picture


def whole_blocks(pixels: Pixels) -> Pixels:
    """The picture without the rows and columns beyond multiples of 8."""
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    return pixels[:height, :width]


def centre(pixels: Pixels) -> Pixels:
    """The square of CROP px in the middle of a picture."""
    top, left = ((side - CROP) // 2 for side in pixels.shape[:2])
    return pixels[top : top + CROP, left : left + CROP]


def measure(
    generators: dict[str, Generator], low: Pixels, original: Pixels
) -> tuple[dict[str, tuple[float, ...]], list[Pixels]]:
    """PSNR of head and generator to the original under the tone and to the original itself; and the tiles of a row."""
    found, tiles, aim = {}, [low], low
    for name, generator in generators.items():
        pictures = repaired(generator, low)
        aim = to_uint8(under_tones_of(original / np.float32(255), pictures[0] / np.float32(255)))
        found[name] = tuple(psnr(picture, reference) for reference in (aim, original) for picture in pictures)
        tiles += pictures if len(tiles) == 1 else pictures[1:]
    return found, [*tiles, aim]


def rows(options: Options, generators: dict[str, Generator], crops: list[Pixels]) -> Iterator[tuple[str, ...]]:
    """The rows of the table; adds the crops."""
    photographs = [whole_blocks(read_rgb(path)) for path in find_photographs(options.photographs)]
    for kind, render in RENDERINGS.items():
        scores: dict[str, list[tuple[float, ...]]] = {name: [] for name in generators}
        for number, original in enumerate(photographs):
            for seed in range(options.seeds):
                low = render(original / np.float32(255), np.random.default_rng((seed, number)))
                found, tiles = measure(generators, low, original)
                for name, each in found.items():
                    scores[name].append(each)
                if seed == 0 and number % max(1, len(photographs) // ROWS) == 0:
                    crops.append(np.concatenate([centre(tile) for tile in tiles], axis=1))
        for name, values in scores.items():
            head, after, head_itself, after_itself = np.mean(values, axis=0)
            gains = f"{after - head:+.2f}", f"{after_itself - head_itself:+.2f}"
            yield (
                kind,
                name,
                f"{head:.2f}",
                f"{after:.2f}",
                gains[0],
                f"{head_itself:.2f}",
                f"{after_itself:.2f}",
                gains[1],
            )


def main(options: Options) -> None:
    """Print the table and write the picture."""
    generators = {Path(name).stem: load_generator(name)[0] for name in options.checkpoints}
    columns = (
        "rendering",
        "weights",
        "head, dB",
        "generator",
        "gain",
        "to the original itself: head",
        "generator",
        "gain",
    )
    table = Table(*columns)
    crops: list[Pixels] = []
    for row in rows(options, generators, crops):
        table.add_row(*row)
    terminal().print(table)
    Image.fromarray(np.concatenate(crops, axis=0)).save(options.out)


main(tyro.cli(Options))
