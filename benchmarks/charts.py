"""A report as a picture: every sample, and what size, latency and likeness trade for each other. Needs matplotlib."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Measurement, Report
from benchmarks.statistics import percentile
from runtimes import BackendMissingError
from runtimes.files import replacing
from runtimes.installation import install_hint, installed

COLOURS = {"artifact": "#2c6fbb", "pytorch": "#c2571a", "peer": "#777777"}
CEILING = 100.0  # dB at which identical pictures are drawn: their PSNR is infinite
AREA_PER_MIB = 40.0  # of a mark, in square points


def require_matplotlib() -> None:
    """Do nothing if matplotlib is here; BackendMissingError naming the extra."""
    if not installed("matplotlib"):
        raise BackendMissingError(f"a picture needs matplotlib; install it with: {install_hint('train')}")


def draw(report: Report, path: Path) -> None:
    """Write the picture; its suffix names the format (.png, .svg, .pdf)."""
    require_matplotlib()
    figures: Any = importlib.import_module("matplotlib.figure")
    rows = sorted(report.rows, key=lambda row: percentile(row.inference_ns, 50))
    figure = figures.Figure(figsize=(13, 6.5 + 0.4 * len(rows)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[0.4 * len(rows) + 0.5, 5])
    _distributions(above, rows)
    _trade_off(below, rows)
    figure.suptitle(f"{report.environment.machine}\n{report.created}, {len(rows[0].inference_ns)} interleaved rounds")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def label_of(row: Measurement, rows: Sequence[Measurement]) -> str:
    """Name, arithmetic and size; with shape and threads where those of the rows differ."""
    parts = [row.subject] if row.arithmetic in row.subject else [row.subject, row.arithmetic]
    if len({other.shape for other in rows}) > 1:
        parts.append(row.shape_text)
    if len({other.threads for other in rows}) > 1:
        parts.append(f"{row.threads_text} threads")
    return ", ".join([*parts, f"{row.size_bytes / 2**20:.1f} MiB"])


def _distributions(axes: Any, rows: Sequence[Measurement]) -> None:
    """A line of dots for each row, a dot for each sample; fastest first, numbered."""
    for place, row in enumerate(rows):
        times = [sample / 1e6 for sample in row.inference_ns]
        spread = [place + 0.5 * ((index * 0.618) % 1 - 0.5) for index in range(len(times))]
        axes.scatter(times, spread, s=9, alpha=0.45, linewidths=0, color=COLOURS[row.kind])
        for q, style in ((50, "-"), (99, ":")):
            at = percentile(row.inference_ns, q) / 1e6
            axes.plot([at, at], [place - 0.36, place + 0.36], style, color="black", linewidth=1.4)
    axes.set_yticks(range(len(rows)), [f"{label_of(row, rows)}  {place}" for place, row in enumerate(rows, 1)])
    axes.invert_yaxis()
    _scale(axes)
    axes.set_xlabel("inference, ms (log scale): every sample; line: p50, dotted: p99")


def _trade_off(axes: Any, rows: Sequence[Measurement]) -> None:
    """Latency against likeness under the same numbers, the area of a mark by the size of the files; peers have none."""
    for place, row in enumerate(rows, 1):
        if row.check is None or (row.check.pictures == 0 and row.check.failures):
            continue
        likeness = CEILING if row.check.psnr_min is None else min(row.check.psnr_min, CEILING)
        at = (percentile(row.inference_ns, 50) / 1e6, likeness)
        edge = "red" if row.check.failures else "white"
        area = max(10.0, AREA_PER_MIB * row.size_bytes / 2**20)
        axes.scatter(*at, s=area, alpha=0.6, color=COLOURS[row.kind], edgecolors=edge)
        offset = (0, 13 if place % 2 else -21)  # neighbours of the same PSNR are told apart
        axes.annotate(str(place), at, xytext=offset, textcoords="offset points", ha="center", fontsize=10)
    _scale(axes)
    axes.margins(x=0.06, y=0.2)
    axes.set_xlabel("inference p50, ms (log scale); area of a mark: size of the files; red edge: flagged")
    axes.set_ylabel(f"PSNR to PyTorch, dB, worst picture\n({CEILING:.0f}: identical)")
    axes.grid(axis="y", alpha=0.25)


def _scale(axes: Any) -> None:
    """A log scale with ticks that are plain numbers."""
    ticker: Any = importlib.import_module("matplotlib.ticker")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.grid(axis="x", alpha=0.25)
