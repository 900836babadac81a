"""Sixteen photographs before and after: python examples/gallery.py PICTURE CHECKPOINT...

Public photographs of scikit-image and matplotlib: as they are, dull, in uneven light, deeply under-exposed with noise
and JPEG blocks (crops of 1:1), and nights. A line of PICTURE shows one of them, what each generator (a file, or the
name of shipped weights) makes of it, and the original if it was rendered; what should stay as it is has none.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import skimage.data
from matplotlib.figure import Figure
from numpy.random import Generator as Rng
from PIL import Image

from bncagan.data.camera import Code, render_mild, render_night
from bncagan.data.rendering import render_frame, render_lit
from bncagan.evaluation.metrics import psnr
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from runtimes.image import Pixels, to_uint8

SIDE = 256  # of a tile, px
SMALL = 384  # short side of photographs that are shown whole, px
PER_LINE = 2  # pictures side by side


def loaded(name: str) -> Pixels:
    """A photograph, H x W x 3."""
    if name == "hopper":
        path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
        return np.asarray(Image.open(path).convert("RGB"))
    picture = getattr(skimage.data, name)()
    return np.asarray(picture[0] if isinstance(picture, tuple) else picture)[..., :3]


def reduced(pixels: Pixels) -> Pixels:
    """The photograph with a short side of SMALL px at most."""
    scale = min(1, SMALL / min(pixels.shape[:2]))
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def square(pixels: Pixels, *, whole: bool) -> Pixels:
    """The middle of a photograph as a tile: all of its short side, or SIDE px as they are."""
    side = min(pixels.shape[:2]) if whole else SIDE
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    cut = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(cut.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) if whole else np.asarray(cut)


Render = Callable[[Code, Rng], Any]  # returns Pixels or Code
AS_IT_IS = ("coffee", "hopper")
NIGHTS = ("hubble_deep_field", "rocket")
RENDERED: tuple[tuple[str, str, Render], ...] = (
    ("chelsea", "dull", render_mild),
    ("hopper", "dull", render_mild),
    ("astronaut", "dull", render_mild),
    ("coffee", "uneven light", render_lit),
    ("chelsea", "uneven light", render_lit),
    ("hopper", "against the light", lambda code, rng: render_lit(code, rng, (-1.5, -1))),
    ("coffee", "-3 stops, 1:1", lambda code, rng: render_frame(code, -3, rng)),
    ("astronaut", "-3 stops, 1:1", lambda code, rng: render_frame(code, -3, rng)),
    ("stereo_motorcycle", "-4 stops, 1:1", lambda code, rng: render_frame(code, -4, rng)),
    ("chelsea", "-4 stops, 1:1", lambda code, rng: render_frame(code, -4, rng)),
    ("coffee", "night made from day", render_night),
    ("astronaut", "night made from day", render_night),
)


def pictures() -> Iterator[tuple[str, Pixels, Pixels | None, bool]]:
    """Name, picture, the original if it was rendered, and whether it is shown whole."""
    for name in AS_IT_IS:
        yield f"{name}, as it is", reduced(loaded(name)), None, True
    for name in NIGHTS:
        yield f"{name}, as it is", reduced(loaded(name)), None, True
    for number, (name, title, render) in enumerate(RENDERED):
        whole = "1:1" not in title
        original = reduced(loaded(name)) if whole else loaded(name)
        frame = render(original / np.float32(255), np.random.default_rng((7, number)))
        pixels = frame if frame.dtype == np.uint8 else to_uint8(frame)
        yield f"{name}, {title}", pixels, None if render is render_night else original, whole


target, checkpoints = sys.argv[1], sys.argv[2:]
generators = {Path(name).stem: load_generator(name)[0] for name in checkpoints}
shown = list(pictures())
columns = len(generators) + 2
lines = -(-len(shown) // PER_LINE)
figure = Figure(figsize=(1.9 * PER_LINE * columns, 2.1 * lines), layout="tight")
axes = figure.subplots(lines, PER_LINE * columns)
for axis in axes.flat:
    axis.axis("off")
for number, (title, before, original, whole) in enumerate(shown):
    line, place = divmod(number, PER_LINE)
    tiles = [(title, before)]
    for name, generator in generators.items():
        after = enhance(generator, before)
        tiles.append((name if original is None else f"{name}: {psnr(after, original):.1f} dB", after))
    if original is not None:
        tiles.append(("original", original))
    for column, (text, tile) in enumerate(tiles):
        axis = axes[line, place * columns + column]
        axis.imshow(square(tile, whole=whole))
        axis.set_title(text, fontsize=8)
figure.savefig(target, dpi=100)
