"""Scores of enhancement methods on the paired photographs of one or more data sets, under two protocols."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from bncagan.data.folders import KEEP_NAME, Pair, by_stem, find_pairs
from bncagan.evaluation.baselines import BASELINES
from bncagan.evaluation.metrics import score
from bncagan.evaluation.validation import brightness, change_of
from runtimes.errors import InputError
from runtimes.image import Pixels, thumbnail
from runtimes.photographs import read_rgb

Protocol = Literal["paper", "native"]
# Takes the pair and its input as the protocol prepares it, H x W x 3. Returns the enhanced picture of the same size;
# under the paper's protocol any size will do.
Method = Callable[[Pair, Pixels], Pixels]
DataSets = Mapping[str, Sequence[Pair]]
Measure = Callable[[Pixels, Pixels, Pixels], float]  # takes the input, the output and the reference

INPUT = "Input"  # name of the row for the unenhanced photographs
PAPER_SIDE = 512  # px; the paper's protocol resizes every picture to 512 x 512
PAPER_BORDER = 4  # px; the paper's protocol leaves this border out of the scores
SMALLEST = 8  # px; SSIM needs more than its window of 7
PICTURE_ROWS = 6
PICTURE_METHODS = 4
TILE_SIDE = 512  # px; keeping full photographs would take too much memory


class Result(NamedTuple):
    """The scores of one method on one photograph."""

    data: str
    """Name of the data set."""
    protocol: Protocol
    """Protocol of the scores."""
    picture: str
    """Name of the photograph, without suffix."""
    method: str
    """Name of the method; INPUT for the photograph itself."""
    scores: Mapping[str, float]
    """psnr, ssim, ciede2000 and, if asked for, best and nima; of a photograph to leave alone, see `evaluate_keep`."""


class Comparison(NamedTuple):
    """One line of the example picture."""

    titles: Sequence[str]
    """Title of each tile."""
    tiles: Sequence[Pixels]
    """Input, outputs of the first methods, reference."""


def find_data_sets(folders: Sequence[Path]) -> dict[str, list[Pair]]:
    """The pairs of each folder, by the name of the data set.

    A name is the end of the folder's path, as short as possible but different from the others: test alone, but
    FIVEK/test and SICE/test together. InputError if no folder is given, if one is given twice, or as in `find_pairs`.
    """
    paths = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100 (`resolve` would replace the names of links)
    if not paths or len(set(paths)) < len(paths):
        given = " ".join(map(str, folders)) or "nothing"
        raise InputError(
            f"--data should name one or more folders, each once, but names {given}; name each data set once"
        )
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    names = ["/".join(path.parts[-depth:]).lstrip("/") for path in paths]
    return {name: find_pairs(folder) for name, folder in zip(names, folders, strict=True)}


def refuse_empty_groups(sets: DataSets, groups: Sequence[str]) -> None:
    """InputError if a pattern matches no photograph of any data set."""
    stems = [pair.low.stem for pairs in sets.values() for pair in pairs]
    for group in groups:
        if not any(fnmatchcase(stem, group) for stem in stems):
            raise InputError(
                f"--groups {group!r} should match names of photographs but matches none of {len(stems)}; "
                f"write a pattern for names without suffix, such as {stems[0]}"
            )


def evaluate(
    sets: DataSets,
    methods: Mapping[str, Method],
    protocols: Sequence[Protocol],
    *,
    nima: Callable[[Pixels], float] | None = None,
    best: Measure | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[Result], list[Comparison]]:
    """Score every method on every pair; returns the scores and a few evenly chosen examples.

    Protocol paper resizes pictures to 512 x 512 before, and crops 4 px of border before scoring; native changes
    nothing. The examples are of the last protocol. `nima` rates a picture (H x W x 3) without its reference, and
    `best` gives the PSNR at the best setting of the controls. `advance` is called after each pair and protocol, for
    progress. InputError if a reference or an output does not have the size of its input.
    """
    more: dict[str, Measure] = {} if best is None else {"best": best}
    if nima is not None:
        more["nima"] = lambda _low, picture, _label: nima(picture)
    rows: list[Result] = []
    examples: list[Comparison] = []
    for data, pairs in sets.items():
        shown = set(np.linspace(0, len(pairs) - 1, max(1, PICTURE_ROWS // len(sets)), dtype=int).tolist())
        for protocol in protocols:
            for number, pair in enumerate(pairs):
                pictures, label = _pictures(pair, methods, protocol)
                found = [
                    Result(
                        data,
                        protocol,
                        pair.low.stem,
                        method,
                        _scores((pictures[INPUT], picture, label), protocol, more),
                    )
                    for method, picture in pictures.items()
                ]
                rows += found
                if number in shown and protocol == protocols[-1]:
                    examples.append(_example(pair.low.stem, pictures, label, found))
                advance()
    return rows, examples


def evaluate_keep(
    photographs: Sequence[Path], methods: Mapping[str, Method], *, advance: Callable[[], None] = lambda: None
) -> list[Result]:
    """Measure how every method changes photographs that it should leave alone, at native size.

    The scores are psnr and ciede2000 to the photograph itself, luma (mean, in codes) and rise (of the 5 % quantile of
    luma, in codes); of the photograph itself, luma alone. `advance` is called after each photograph. InputError if an
    output does not have the size of its input.
    """
    rows: list[Result] = []
    for path in photographs:
        photograph = read_rgb(path)
        found: dict[str, dict[str, float]] = {INPUT: {"luma": brightness(photograph).mean}}
        for name, method in methods.items():
            output = method(Pair(path, path), photograph)
            _refuse_other_size(output, photograph, f"{name}: {path.stem}")
            kept = change_of(photograph, output)
            found[name] = {"psnr": kept.psnr, "ciede2000": kept.ciede2000, "luma": kept.luma, "rise": kept.rise}
        rows += [Result(KEEP_NAME, "native", path.stem, name, scores) for name, scores in found.items()]
        advance()
    return rows


def _pictures(pair: Pair, methods: Mapping[str, Method], protocol: Protocol) -> tuple[dict[str, Pixels], Pixels]:
    """The input and the output of each method by name, and the reference; all have one size."""
    low, label = (prepared(read_rgb(path), protocol) for path in pair)
    if min(low.shape[:2]) < SMALLEST:
        raise InputError(
            f"{pair.low} should have at least {SMALLEST} x {SMALLEST} px but has {size_of(low)}; remove the pair"
        )
    _refuse_other_size(label, low, str(pair.label))
    pictures = {INPUT: low}
    for name, method in methods.items():
        pictures[name] = prepared(method(pair, low), protocol)
        _refuse_other_size(pictures[name], low, f"{name}: {pair.low.stem}")
    return pictures, label


def _refuse_other_size(picture: Pixels, low: Pixels, name: str) -> None:
    if picture.shape != low.shape:
        raise InputError(
            f"{name} should have the size of its input, {size_of(low)} px, but has {size_of(picture)}; "
            "resize it, or use --protocol paper"
        )


def size_of(picture: Pixels) -> str:
    """Width x height in px, for messages."""
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _scores(
    pictures: tuple[Pixels, Pixels, Pixels], protocol: Protocol, more: Mapping[str, Measure]
) -> dict[str, float]:
    """The scores of an input, its output and its reference."""
    border = PAPER_BORDER if protocol == "paper" else 0
    height, width, _ = pictures[0].shape
    low, picture, label = (each[border : height - border, border : width - border] for each in pictures)
    return {
        **score(picture, label)._asdict(),
        **{name: measure(low, picture, label) for name, measure in more.items()},
    }


def _example(name: str, pictures: Mapping[str, Pixels], label: Pixels, rows: Sequence[Result]) -> Comparison:
    shown = [row for row in rows if row.method not in BASELINES][: 1 + PICTURE_METHODS]
    titles = [f"{name}\n{row.method}: {row.scores['psnr']:.1f} dB" for row in shown]
    tiles = [thumbnail(picture, TILE_SIDE) for picture in (*(pictures[row.method] for row in shown), label)]
    return Comparison([*titles, f"{name}\nreference"], tiles)


def prepared(pixels: Pixels, protocol: Protocol) -> Pixels:
    """Prepare a picture for a method: the paper's protocol resizes it to 512 x 512, native does not change it."""
    if protocol == "native" or pixels.shape[:2] == (PAPER_SIDE, PAPER_SIDE):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BICUBIC))


def outputs_of(folder: Path, sets: DataSets) -> Method:
    """A method that reads another program's pictures, which have the names of the inputs.

    The pictures of a data set are in `folder`/NAME, with the name of the data set, if that folder exists; otherwise in
    `folder`. InputError if a picture is missing, or if one picture would be used for two data sets.
    """
    found: dict[Path, Path] = {}
    for name, pairs in sets.items():
        inner = folder / name if (folder / name).is_dir() else folder
        pictures = by_stem(inner)
        missing = [pair.low.stem for pair in pairs if pair.low.stem not in pictures]
        if missing:
            raise InputError(
                f"{inner} should hold a picture for each of {len(pairs)} photographs of {name} but holds none named "
                f"{missing[0]}; add it"
            )
        taken = [pair.low.stem for pair in pairs if pictures[pair.low.stem] in found.values()]
        if taken:
            raise InputError(
                f"{inner} should hold pictures of one data set but {taken[0]} is a photograph of two; put the pictures "
                f"of each into a folder of its name: {', '.join(str(folder / each) for each in sets)}"
            )
        found |= {pair.low: pictures[pair.low.stem] for pair in pairs}
    return lambda pair, _: read_rgb(found[pair.low])
