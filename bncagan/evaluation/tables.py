"""What rows of scores say: means with their intervals, as in the paper's Table 1, and the files that hold them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bncagan.evaluation.intervals import INTERVAL, t_interval
from bncagan.evaluation.scores import INPUT, Example, Row
from runtimes.files import replacing, write_json

FORMAT = "bncagan-evaluation-1"


def summarize(rows: Sequence[Row], groups: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A table per data set, group of its pictures and protocol; a group that matches nothing in it has none.

    Each has data, group (null for all pictures), protocol, pictures (their number) and rows: by method, Input first,
    psnr, ssim, ciede2000 and, where it was asked for, nima; of each the mean over the pictures and the ends of its
    interval, low and high. Methods also have gain, the PSNR over the input's in dB: an interval of paired differences.
    Of one picture there is no interval, and its ends are null. A PSNR or gain that is not finite, because a picture
    equals its reference, is null at all three, as JSON has no infinity.
    """
    tables = []
    for data in dict.fromkeys(row.data for row in rows):
        for group in (None, *dict.fromkeys(groups)):
            chosen = [row for row in rows if row.data == data and (group is None or fnmatchcase(row.picture, group))]
            for protocol in dict.fromkeys(row.protocol for row in chosen):
                found = _by_method([row for row in chosen if row.protocol == protocol])
                about = {"data": data, "group": group, "protocol": protocol, "pictures": len(found[INPUT]["psnr"])}
                tables.append({**about, "rows": {name: _summary(scores) for name, scores in found.items()}})
    return tables


def _by_method(rows: Sequence[Row]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """By method the values of each score, the pictures in the order of the rows, with the gain over the input."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row.scores)
    scores = {
        method: {name: np.array([each[name] for each in scored]) for name in scored[0]}
        for method, scored in found.items()
    }
    with np.errstate(invalid="ignore"):  # the gain over an input that equals its reference
        for method in scores.keys() - {INPUT}:
            scores[method]["gain"] = scores[method]["psnr"] - scores[INPUT]["psnr"]
    return scores


def _summary(scores: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float | None]]:
    return {name: _estimate(values) for name, values in scores.items()}


def _estimate(values: NDArray[np.float64]) -> dict[str, float | None]:
    if not np.isfinite(values).all():
        return {"mean": None, "low": None, "high": None}
    low, high = t_interval(values) if values.size > 1 else (None, None)
    return {"mean": float(values.mean()), "low": low, "high": high}


def write_results(
    out: Path, rows: Sequence[Row], examples: Sequence[Example], about: Mapping[str, Any], groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Write scores.csv, summary.json and examples.jpg into `out`; returns the summary.

    The summary: format; what `about` holds; interval: method, share; tables, as `summarize` describes them.
    scores.csv has a line per picture, method, data set and protocol; there an infinite PSNR is inf.
    """
    out.mkdir(parents=True, exist_ok=True)
    summary = {"format": FORMAT, **about, "interval": INTERVAL, "tables": summarize(rows, groups)}
    with replacing(out / "scores.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "protocol", "picture", "method", *rows[0].scores])
        writer.writerows([*row[:-1], *row.scores.values()] for row in rows)
    write_json(out / "summary.json", summary)
    write_picture(out / "examples.jpg", examples)
    return summary


def write_picture(path: Path, examples: Sequence[Example]) -> None:
    """The tiles of each example side by side under their titles."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (a second to import, and only needed here)

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
