"""The picture of a stress test's worst results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from skimage.color import rgb2lab

from bncagan.evaluation.stress.outcome import PROFILE, Strip
from runtimes.files import replacing
from runtimes.image import Pixels

ROWS = 3  # input, output, and what to compare with
COLUMNS = 8  # examples side by side
WIDTH = 42  # letters of a title's line


def write_picture(path: Path, examples: Sequence[Strip]) -> None:
    """Draw a column for each example, in bands of eight: input, output, and a third picture or a profile."""
    bands = -(-len(examples) // COLUMNS)
    figure = Figure(figsize=(2.7 * COLUMNS, 8.6 * bands), layout="constrained")
    axes = figure.subplots(ROWS * bands, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, example in enumerate(examples):
        band, column = divmod(number, COLUMNS)
        _draw(list(axes[ROWS * band : ROWS * (band + 1), column]), example)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw(column: Sequence[Any], example: Strip) -> None:
    labels = ("input", "enhanced", example.third)
    for axis, tile, label in zip(column, example.tiles, labels, strict=False):
        axis.axis("on")
        axis.imshow(tile)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(label, fontsize=8)
    lines = [wrap(line, WIDTH) for line in example.title.split("\n")]
    column[0].set_title("\n".join(chain(*lines)), fontsize=8, parse_math=False)  # names may hold $
    if example.third == PROFILE:
        column[-1].axis("on")
        _draw_profile(column[-1], example.tiles[0], example.tiles[1])


def _draw_profile(axis: Any, before: Pixels, after: Pixels) -> None:
    """Plot L* of both and the chroma of the output along the middle row, or the middle column of a vertical ramp."""
    middle = before.shape[0] // 2, before.shape[1] // 2
    down = (before == before[:, :1]).all()
    line = (slice(None), middle[1]) if down else (middle[0], slice(None))
    old, new = (rgb2lab(pixels[line]) for pixels in (before, after))
    axis.plot(old[:, 0], color="tab:gray", label="L* before")
    axis.plot(new[:, 0], color="black", label="L* after")
    axis.plot(np.hypot(new[:, 1], new[:, 2]), color="tab:red", label="chroma after")
    axis.set_ylim(-2, 102)
    axis.tick_params(labelsize=7)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=6, frameon=False, columnspacing=1)
