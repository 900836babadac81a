"""Scores on paired photographs under two protocols, as a table, CSV, JSON and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from bncagan.data import Pair
from bncagan.errors import InputError
from bncagan.metrics import Scores, score
from bncagan.photographs import Pixels, images_in, read_rgb

Protocol = Literal["paper", "native"]
# Takes the pair and its input as the protocol presents it, H x W x 3; returns the enhanced picture of that size.
Method = Callable[[Pair, Pixels], Pixels]

PAPER_SIDE = 512  # the paper's protocol: 512 x 512 RGB ...
PAPER_BORDER = 4  # ... with 4 px of border left out of the scores
PICTURE_ROWS = 6


@dataclass(frozen=True)
class Row:
    """One photograph's scores against its reference, before and after enhancement."""

    name: str
    protocol: Protocol
    before: Scores
    after: Scores


@dataclass(frozen=True)
class Example:
    """What the picture shows of one pair."""

    row: Row
    tiles: tuple[Pixels, Pixels, Pixels]  # input, enhanced, reference


def evaluate(
    pairs: Sequence[Pair], method: Method, protocol: Protocol, advance: Callable[[], None]
) -> tuple[list[Row], list[Example]]:
    """Score every pair; `advance` is called after each. A few examples, evenly chosen, are kept for the picture.

    paper: both pictures resized to 512 x 512 first, 4 px of border cropped from the scores. native: as they are.
    InputError if a reference or an output differs in size from its input.
    """
    rows: list[Row] = []
    examples: list[Example] = []
    every = max(1, len(pairs) // PICTURE_ROWS)
    for number, pair in enumerate(pairs):
        low, label = (prepared(read_rgb(path), protocol) for path in pair)
        enhanced = method(pair, low)
        for path, picture in ((pair.label, label), (pair.low, enhanced)):
            if picture.shape != low.shape:
                raise InputError(
                    f"{path}: expected {low.shape[1]} x {low.shape[0]} px like its input, got "
                    f"{picture.shape[1]} x {picture.shape[0]}; use the paper protocol, which resizes"
                )
        border = PAPER_BORDER if protocol == "paper" else 0
        inner = (slice(border, low.shape[0] - border), slice(border, low.shape[1] - border))
        before, after = score(low[inner], label[inner]), score(enhanced[inner], label[inner])
        rows.append(Row(pair.low.stem, protocol, before, after))
        if number % every == 0 and len(examples) < PICTURE_ROWS:
            examples.append(Example(rows[-1], (low, enhanced, label)))
        advance()
    return rows, examples


def prepared(pixels: Pixels, protocol: Protocol) -> Pixels:
    """A picture as the protocol presents it to the method."""
    if protocol == "native" or pixels.shape[:2] == (PAPER_SIDE, PAPER_SIDE):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BICUBIC))


def outputs_of(folder: Path, protocol: Protocol) -> Method:
    """The method that returns another program's pictures, found in `folder` by the stem of the input."""
    found = {path.stem: path for path in images_in(folder)}

    def method(pair: Pair, low: Pixels) -> Pixels:
        if pair.low.stem not in found:
            raise InputError(f"{folder}: expected a picture named {pair.low.stem}, but there is none; add it")
        return prepared(read_rgb(found[pair.low.stem]), protocol)

    return method


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Per protocol: the number of pictures, and the mean of each score before and after."""
    summary: dict[str, Any] = {}
    for protocol in dict.fromkeys(row.protocol for row in rows):
        chosen = [row for row in rows if row.protocol == protocol]
        summary[protocol] = {
            "pictures": len(chosen),
            "input": _mean([row.before for row in chosen]),
            "output": _mean([row.after for row in chosen]),
        }
    return summary


def _mean(scores: Sequence[Scores]) -> dict[str, float | None]:
    """Means by name; None for the PSNR where a picture equals its reference, as JSON has no infinity."""
    means = np.mean(scores, axis=0).tolist()
    return {name: mean if np.isfinite(mean) else None for name, mean in zip(Scores._fields, means, strict=True)}


def write_results(out: Path, rows: Sequence[Row], examples: Sequence[Example], about: dict[str, Any]) -> dict[str, Any]:
    """Write scores.csv, summary.json and examples.jpg into `out`; returns the summary."""
    out.mkdir(parents=True, exist_ok=True)
    summary = {**about, "protocols": summarize(rows)}
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = Scores._fields
        writer.writerow(["name", "protocol", *(f"{name}_input" for name in names), *names])
        writer.writerows([row.name, row.protocol, *row.before, *row.after] for row in rows)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    write_picture(out / "examples.jpg", examples)
    return summary


def write_picture(path: Path, examples: Sequence[Example]) -> None:
    """Input, output and reference of each example side by side, with the PSNR of the first two."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (a second to import, and only needed here)

    figure = Figure(figsize=(12, 3.1 * len(examples)), layout="compressed")
    axes = figure.subplots(len(examples), 3, squeeze=False)
    for line, example in zip(axes, examples, strict=True):
        row = example.row
        titles = (f"{row.name}: {row.before.psnr:.1f} dB", f"enhanced: {row.after.psnr:.1f} dB", "reference")
        for axis, title, tile in zip(line, titles, example.tiles, strict=True):
            axis.imshow(tile)
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    figure.savefig(path, dpi=110)
