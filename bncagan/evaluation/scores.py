"""Scores of several methods on paired photographs of one or several data sets, under two protocols."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from bncagan.data.folders import Pair, by_stem, find_pairs
from bncagan.evaluation.metrics import score
from runtimes.errors import InputError
from runtimes.image import Pixels, thumbnail
from runtimes.photographs import read_rgb

Protocol = Literal["paper", "native"]
# Takes the pair and its input as the protocol presents it, H x W x 3; returns the enhanced picture of that size, or of
# any size under the paper's protocol.
Method = Callable[[Pair, Pixels], Pixels]
DataSets = Mapping[str, Sequence[Pair]]

INPUT = "Input"  # the row of the photographs as they were
PAPER_SIDE = 512  # the paper's protocol: 512 x 512 RGB ...
PAPER_BORDER = 4  # ... with 4 px of border left out of the scores
SMALLEST = 8  # px; SSIM has a window of 7
PICTURE_ROWS = 6
PICTURE_METHODS = 4
TILE_SIDE = 512  # px; photographs of a phone's size would fill the memory


class Result(NamedTuple):
    """What one method made of one photograph, or the photograph itself as the method INPUT."""

    data: str
    protocol: Protocol
    picture: str
    method: str
    scores: Mapping[str, float]  # psnr, ssim, ciede2000 and, where it is asked for, nima


class Comparison(NamedTuple):
    """What the picture shows of one pair: input, the first methods, reference, each with its title."""

    titles: Sequence[str]
    tiles: Sequence[Pixels]


def find_data_sets(folders: Sequence[Path]) -> dict[str, list[Pair]]:
    """The pairs of each folder, by the shortest end of its path that no other has: test, or FIVEK/test and SICE/test.

    InputError as `find_pairs`, and if no folder or one folder twice is given.
    """
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100 (`resolve` loses the names of links)
    if not paths or len(set(paths)) < len(paths):
        raise InputError(f"expected at least one data set, each once, got {len(paths)}; name the folders after --data")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    names = ["/".join(path.parts[-depth:]).lstrip("/") for path in paths]
    return {name: find_pairs(folder) for name, folder in zip(names, folders, strict=True)}


def refuse_empty_groups(sets: DataSets, groups: Sequence[str]) -> None:
    """InputError for a pattern that matches no photograph of any data set."""
    stems = [pair.low.stem for pairs in sets.values() for pair in pairs]
    for group in groups:
        if not any(fnmatchcase(stem, group) for stem in stems):
            raise InputError(
                f"--groups {group!r}: expected photographs with such names, but none of {len(stems)} has one; "
                f"write a pattern for names without suffix, such as {stems[0]}"
            )


def evaluate(
    sets: DataSets,
    methods: Mapping[str, Method],
    protocols: Sequence[Protocol],
    *,
    nima: Callable[[Pixels], float] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[Result], list[Comparison]]:
    """Score every pair by every method; `advance` is called after each pair under each protocol.

    paper: pictures resized to 512 x 512 first, 4 px of border cropped from the scores. native: as they are. A few
    examples of each data set, evenly chosen, are kept for the picture, under the last protocol. `nima` rates a
    picture without its reference. InputError if a reference or an output differs in size from its input.
    """
    rows: list[Result] = []
    examples: list[Comparison] = []
    for data, pairs in sets.items():
        shown = set(np.linspace(0, len(pairs) - 1, max(1, PICTURE_ROWS // len(sets)), dtype=int).tolist())
        for protocol in protocols:
            for number, pair in enumerate(pairs):
                pictures, label = _pictures(pair, methods, protocol)
                found = [
                    Result(data, protocol, pair.low.stem, method, _scores(picture, label, protocol, nima))
                    for method, picture in pictures.items()
                ]
                rows += found
                if number in shown and protocol == protocols[-1]:
                    examples.append(_example(pair.low.stem, pictures, label, found))
                advance()
    return rows, examples


def _pictures(pair: Pair, methods: Mapping[str, Method], protocol: Protocol) -> tuple[dict[str, Pixels], Pixels]:
    """The input and what each method makes of it, by name, and the reference, all of one size."""
    low, label = (prepared(read_rgb(path), protocol) for path in pair)
    if min(low.shape[:2]) < SMALLEST:
        raise InputError(f"{pair.low}: expected at least {SMALLEST} x {SMALLEST} px, got {size_of(low)}; take it out")
    _refuse_other_size(label, low, str(pair.label))
    pictures = {INPUT: low}
    for name, method in methods.items():
        pictures[name] = prepared(method(pair, low), protocol)
        _refuse_other_size(pictures[name], low, f"{name}, {pair.low.stem}")
    return pictures, label


def _refuse_other_size(picture: Pixels, low: Pixels, name: str) -> None:
    if picture.shape != low.shape:
        raise InputError(
            f"{name}: expected {size_of(low)} px like its input, got {size_of(picture)}; use the paper protocol, which "
            "resizes"
        )


def size_of(picture: Pixels) -> str:
    """Width x height, for a message."""
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _scores(
    picture: Pixels, label: Pixels, protocol: Protocol, nima: Callable[[Pixels], float] | None
) -> dict[str, float]:
    border = PAPER_BORDER if protocol == "paper" else 0
    inner = (slice(border, label.shape[0] - border), slice(border, label.shape[1] - border))
    scores = score(picture[inner], label[inner])._asdict()
    return scores if nima is None else {**scores, "nima": nima(picture[inner])}


def _example(name: str, pictures: Mapping[str, Pixels], label: Pixels, rows: Sequence[Result]) -> Comparison:
    shown = rows[: 1 + PICTURE_METHODS]
    titles = [f"{name}\n{row.method}: {row.scores['psnr']:.1f} dB" for row in shown]
    tiles = [thumbnail(picture, TILE_SIDE) for picture in (*(pictures[row.method] for row in shown), label)]
    return Comparison([*titles, f"{name}\nreference"], tiles)


def prepared(pixels: Pixels, protocol: Protocol) -> Pixels:
    """A picture as the protocol presents it to the method."""
    if protocol == "native" or pixels.shape[:2] == (PAPER_SIDE, PAPER_SIDE):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BICUBIC))


def outputs_of(folder: Path, sets: DataSets) -> Method:
    """The method that returns another program's pictures, found by the stem of the input.

    Those of a data set are in `folder`/NAME if there is such a folder, NAME being that of the data set, else in
    `folder` itself. InputError if one is missing, or one would stand for photographs of two data sets.
    """
    found: dict[Path, Path] = {}
    for name, pairs in sets.items():
        inner = folder / name if (folder / name).is_dir() else folder
        pictures = by_stem(inner)
        missing = [pair.low.stem for pair in pairs if pair.low.stem not in pictures]
        if missing:
            raise InputError(
                f"{inner}: expected a picture for each of {len(pairs)} photographs of {name}, but there is none named "
                f"{missing[0]}; add it"
            )
        taken = [pair.low.stem for pair in pairs if pictures[pair.low.stem] in found.values()]
        if taken:
            raise InputError(
                f"{inner}: {taken[0]} is a photograph of two data sets; put the pictures of each into a folder named "
                f"like it: {', '.join(str(folder / each) for each in sets)}"
            )
        found |= {pair.low: pictures[pair.low.stem] for pair in pairs}
    return lambda pair, _: read_rgb(found[pair.low])
