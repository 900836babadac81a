"""Contact sheets: photographs before and after, side by side, some on each page."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from runtimes.folders.plan import Look, Result
from runtimes.folders.report import Add
from runtimes.image import Pixels, resize, side_by_side
from runtimes.photographs import Photograph

ROWS = 6  # photographs on a page
HEIGHT, CAPTION, GAP = 384, 24, 16  # px: of a photograph, of its name below, and between rows


def page_paths(first: Path, photographs: int) -> list[Path]:
    """Return the paths of the pages: NAME.EXT, NAME-2.EXT, NAME-3.EXT and so on."""
    more = range(2, -(-photographs // ROWS) + 1)
    return [first, *(first.with_name(f"{first.stem}-{number}{first.suffix}") for number in more)]


@contextlib.contextmanager
def writing_sheets(first: Path | None) -> Iterator[Add]:
    """Yield a function that adds a result with its look; a page is written as soon as it is full. None for no pages."""
    strips: list[Pixels] = []
    pages = 0

    def add(result: Result) -> None:
        if result.look is not None:
            strips.append(strip(result.look, result.file.name))
        if len(strips) == ROWS:
            write()

    def write() -> None:
        nonlocal pages
        if first is not None and strips:
            pages += 1
            first.parent.mkdir(parents=True, exist_ok=True)
            Photograph(page(strips)).write(page_paths(first, pages * ROWS)[-1])
            strips.clear()

    yield add if first is not None else lambda _: None
    write()


def strip(look: Look, name: str) -> Pixels:
    """Draw a photograph and its result side by side at one height, with its name below."""
    pair = []
    for data in (look.before, look.after):
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            pixels = np.asarray(image)
        pair.append(resize(pixels, HEIGHT, max(1, round(pixels.shape[1] * HEIGHT / pixels.shape[0]))))
    pictures = side_by_side(pair[0], pair[1])
    caption = Image.new("RGB", (pictures.shape[1], CAPTION), "white")
    shown = name.encode("utf-8", "replace").decode()
    ImageDraw.Draw(caption).text((2, 3), shown, fill=(64, 64, 64), font=ImageFont.load_default(15))
    return np.concatenate([pictures, np.asarray(caption)])


def page(strips: list[Pixels]) -> Pixels:
    """Put strips below each other on white."""
    widest = max(one.shape[1] for one in strips)
    padded = [np.pad(one, ((0, GAP), (0, widest - one.shape[1]), (0, 0)), constant_values=255) for one in strips]
    return np.concatenate(padded)[:-GAP]
