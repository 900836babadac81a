"""Tables of scores: means with their intervals, as in the paper's Table 1, and the files that hold them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncagan.evaluation.intervals import INTERVAL, t_interval
from bncagan.evaluation.protocols import ABOUT
from bncagan.evaluation.scores import INPUT, Comparison, Result
from runtimes.errors import InputError
from runtimes.files import replacing, write_json

FORMAT = "bncagan-evaluation-1"
WRITTEN = ("scores.csv", "summary.json", "table.md", "examples.jpg")


def summarize(rows: Sequence[Result], groups: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Make a table (JSON values) for each data set, group of pictures and protocol, if any picture is in the group.

    data, group (null for all pictures), protocol, pictures (their number)
    rows, by method, Input first: psnr, ssim, ciede2000, best and nima if asked for, and gain (dB) except for Input
        each with mean (over the pictures), low and high (the interval of the mean)
        for photographs to leave alone: psnr, ciede2000, luma and rise; for Input luma only

    The gain is the PSNR minus that of the input; its interval is that of paired differences. If a picture equals its
    reference, PSNR and gain are infinite or undefined: their numbers are those of the other pictures, and identical
    tells how many were left out; mean is null if none is left. A single picture has no interval: low and high are null.
    """
    tables = []
    for data in dict.fromkeys(row.data for row in rows):
        for group in (None, *dict.fromkeys(groups)):
            chosen = [row for row in rows if row.data == data and (group is None or fnmatchcase(row.picture, group))]
            for protocol in dict.fromkeys(row.protocol for row in chosen):
                found = _by_method([row for row in chosen if row.protocol == protocol])
                about = {
                    "data": data,
                    "group": group,
                    "protocol": protocol,
                    "pictures": len(next(iter(found[INPUT].values()))),
                }
                tables.append({**about, "rows": {name: _summary(scores) for name, scores in found.items()}})
    return tables


def _by_method(rows: Sequence[Result]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The values of each score, by method, in the order of the rows; the gain over the input is added."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row.scores)
    scores = {
        method: {name: np.array([each[name] for each in scored]) for name in scored[0]}
        for method, scored in found.items()
    }
    with np.errstate(invalid="ignore"):  # if an input equals its reference
        for method in scores.keys() - {INPUT} if "psnr" in scores[INPUT] else ():
            scores[method]["gain"] = scores[method]["psnr"] - scores[INPUT]["psnr"]
    return scores


def _summary(scores: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float | None]]:
    return {name: _estimate(values) for name, values in scores.items()}


def _estimate(values: NDArray[np.float64]) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    low, high = t_interval(finite) if finite.size > 1 else (None, None)
    estimate = {"mean": float(finite.mean()) if finite.size else None, "low": low, "high": high}
    return estimate if finite.size == values.size else {**estimate, "identical": values.size - finite.size}


def refuse_unwritable(out: Path) -> None:
    """InputError if no files can be written into a folder, or if it cannot be made; leaves nothing behind."""
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    try:
        with TemporaryDirectory(prefix=".bncagan.", dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"--out {out} should be a folder to write into but {place} is none ({error.strerror}); choose another"
        ) from error
    blocked = next((out / name for name in WRITTEN if (out / name).is_dir()), None)
    if blocked is not None:
        raise InputError(f"{blocked} should be a file to write but is a folder; remove it, or choose another --out")


def write_results(
    out: Path,
    rows: Sequence[Result],
    examples: Sequence[Comparison],
    about: Mapping[str, Any],
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """Write scores.csv, summary.json and examples.jpg into `out`; returns the summary.

    The summary holds format, the fields of `about`, interval (method, share), protocols (what each does, by name) and
    tables (see `summarize`).
    scores.csv has a line for each picture, method, data set and protocol; an infinite PSNR is written as inf, and a
    score that a line does not have is empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    protocols = {name: ABOUT[name] for name in dict.fromkeys(row.protocol for row in rows)}
    tables = summarize(rows, groups)
    summary = {"format": FORMAT, **about, "interval": INTERVAL, "protocols": protocols, "tables": tables}
    with replacing(out / "scores.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        names = dict.fromkeys(name for row in rows for name in row.scores)
        writer = csv.writer(file)
        writer.writerow(["data", "protocol", "picture", "method", *names])
        writer.writerows([*row[:-1], *(row.scores.get(name, "") for name in names)] for row in rows)
    write_json(out / "summary.json", summary)
    write_picture(out / "examples.jpg", examples)
    return summary


def write_picture(path: Path, examples: Sequence[Comparison]) -> None:
    """Write a picture with a line for each example: its tiles side by side, each under its title."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes a second, and only this function needs it)

    columns = len(examples[0].tiles)
    figure = Figure(figsize=(4 * columns, 3.2 * len(examples)), layout="compressed")
    axes = figure.subplots(len(examples), columns, squeeze=False)
    for line, example in zip(axes, examples, strict=True):
        for axis, title, tile in zip(line, example.titles, example.tiles, strict=True):
            axis.imshow(tile)
            axis.set_title(title, fontsize=9, parse_math=False)  # names may hold $
            axis.axis("off")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
