"""Scores of enhancement methods on the paired photographs of one or more data sets, under two protocols."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bncagan.data.folders import KEEP_NAME, Pair, find_pairs
from bncagan.evaluation.baselines import BASELINES
from bncagan.evaluation.methods import DataSets, Method, Outputs
from bncagan.evaluation.metrics import score
from bncagan.evaluation.protocols import Protocol, prepared, read_pair, refuse_other_size, scored_part
from bncagan.evaluation.validation import brightness, change_of
from runtimes.console import tracked
from runtimes.errors import InputError
from runtimes.image import Pixels, thumbnail
from runtimes.photographs import read_rgb

Measure = Callable[[Pixels, Pixels, Pixels], float]  # takes the input, the output and the reference

INPUT = "Input"  # name of the row for the unenhanced photographs
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


def check_pictures(
    sets: DataSets,
    methods: Mapping[str, Method],
    protocols: Sequence[Protocol],
    keep: Sequence[Path],
    kept: Mapping[str, Method],
) -> None:
    """Read every picture that will be needed, so that none is found to be bad after hours of work.

    `keep` are the photographs to leave alone, and `kept` the methods for them. UserError names a picture that cannot be
    decoded or, at native size, does not have the size of its input.
    """
    native = "native" in protocols
    pairs = [pair for each in sets.values() for pair in each]
    for pair in tracked(pairs, "checking the pairs"):
        low, _ = read_pair(pair, "native" if native else "paper")
        _check_outputs(pair, low if native else None, methods)
    for path in tracked(keep, "checking the photographs to leave alone"):
        _check_outputs(Pair(path, path), read_rgb(path), kept)


def _check_outputs(pair: Pair, low: Pixels | None, methods: Mapping[str, Method]) -> None:
    """Read other programs' pictures of a photograph, which must have the size of `low` if it is given."""
    for name, method in methods.items():
        if isinstance(method, Outputs):
            picture = read_rgb(method.found[pair.low])
            if low is not None:
                refuse_other_size(picture, low, f"{name}: {pair.low.stem}")


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

    The examples are of the last protocol. `nima` rates a picture (H x W x 3) without its reference, and
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
            refuse_other_size(output, photograph, f"{name}: {path.stem}")
            kept = change_of(photograph, output)
            found[name] = {"psnr": kept.psnr, "ciede2000": kept.ciede2000, "luma": kept.luma, "rise": kept.rise}
        rows += [Result(KEEP_NAME, "native", path.stem, name, scores) for name, scores in found.items()]
        advance()
    return rows


def _pictures(pair: Pair, methods: Mapping[str, Method], protocol: Protocol) -> tuple[dict[str, Pixels], Pixels]:
    """The input and the output of each method by name, and the reference; all have one size."""
    low, label = read_pair(pair, protocol)
    pictures = {INPUT: low}
    for name, method in methods.items():
        pictures[name] = prepared(method(pair, low), protocol)
        refuse_other_size(pictures[name], low, f"{name}: {pair.low.stem}")
    return pictures, label


def _scores(
    pictures: tuple[Pixels, Pixels, Pixels], protocol: Protocol, more: Mapping[str, Measure]
) -> dict[str, float]:
    """The scores of an input, its output and its reference."""
    low, picture, label = (scored_part(each, protocol) for each in pictures)
    return {
        **score(picture, label)._asdict(),
        **{name: measure(low, picture, label) for name, measure in more.items()},
    }


def _example(name: str, pictures: Mapping[str, Pixels], label: Pixels, rows: Sequence[Result]) -> Comparison:
    shown = [row for row in rows if row.method not in BASELINES][: 1 + PICTURE_METHODS]
    titles = [f"{name}\n{row.method}: {row.scores['psnr']:.1f} dB" for row in shown]
    tiles = [thumbnail(picture, TILE_SIDE) for picture in (*(pictures[row.method] for row in shown), label)]
    return Comparison([*titles, f"{name}\nreference"], tiles)
