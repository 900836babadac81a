"""A report as tables, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from benchmarks.candidates import FOLDED, PYTORCH
from benchmarks.report import ARITHMETICS, Measurement, Report
from benchmarks.statistics import percentile, throughput

CONDITIONS = ("subject", "precision", "threads")
LATENCY = (*CONDITIONS, "p50 ms", "p90 ms", "p99 ms", "max ms", "ratio", "to folded", "PSNR", "parity")
COST = (*CONDITIONS, "end to end p50 ms", "pictures/s", "load s", "first ms", "peak MiB", "size MiB")


def base_of(row: Measurement, rows: Sequence[Measurement], form: str) -> Measurement | None:
    """The PyTorch row of this form that ran under the row's conditions; None where there is none.

    A row without a number of threads of its own is held against the only such row of its shape, if it is the only one.
    """
    found = [other for other in rows if other.format == form and other.kind == "pytorch" and other.shape == row.shape]
    same = [other for other in found if other.threads == row.threads]
    if same:
        return same[0]
    return found[0] if row.threads is None and len(found) == 1 else None


def ratio_to(row: Measurement, base: Measurement | None) -> float | None:
    """Latency p50 over that of `base`: below 1 is faster."""
    return None if base is None else percentile(row.inference_ns, 50) / percentile(base.inference_ns, 50)


def ratio_of(row: Measurement, rows: Sequence[Measurement]) -> float | None:
    """Latency p50 over PyTorch's, or over the first row's of the same conditions in a run without PyTorch."""
    if any(other.kind == "pytorch" for other in rows):
        return ratio_to(row, base_of(row, rows, PYTORCH))
    first = next(other for other in rows if (other.shape, other.threads) == (row.shape, row.threads))
    return ratio_to(row, first)


def ratio_title(rows: Sequence[Measurement]) -> str:
    """What the ratio is to."""
    if any(row.kind == "pytorch" for row in rows):
        return "ratio: latency p50 to that of PyTorch (eager, as trained) in this run; below 1 is faster"
    return (
        f"ratio: latency p50 to that of the first row of the same conditions ({rows[0].subject}), "
        "as PyTorch was not in this run; below 1 is faster"
    )


def latency_cells(row: Measurement, rows: Sequence[Measurement]) -> tuple[str, ...]:
    """A line under LATENCY: of the inference alone."""
    return (
        *_conditions(row),
        *(f"{percentile(row.inference_ns, q) / 1e6:.1f}" for q in (50, 90, 99, 100)),
        _ratio(ratio_of(row, rows)),
        _ratio(ratio_to(row, base_of(row, rows, FOLDED))),
        psnr(row),
        parity(row),
    )


def cost_cells(row: Measurement) -> tuple[str, ...]:
    """A line under COST."""
    return (
        *_conditions(row),
        f"{percentile(row.end_to_end_ns, 50) / 1e6:.1f}",
        f"{throughput(row.end_to_end_ns, row.shape[0]):.1f}",
        f"{row.load_ns / 1e9:.2f}",
        f"{row.first_ns / 1e6:.1f}",
        "" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**20:.0f}",
        f"{row.size_bytes / 2**20:.2f}",
    )


def psnr(row: Measurement) -> str:
    """The worst picture of this run against PyTorch's."""
    check = row.check
    if check is None:
        return "another network" if row.kind == "peer" else "not checked"
    if check.reference == "itself":
        return "reference"
    if not check.pictures:
        return "FLAGGED"
    text = "identical" if check.psnr_min is None else f"{check.psnr_min:.1f} dB"
    return f"{text} FLAGGED" if check.failures else text


def parity(row: Measurement) -> str:
    """What the artifact says of its check at export, with the arithmetic of then if it is not this row's."""
    if row.verdict is None:
        return ""
    told = row.verdict.device.rpartition(", ")[2]
    where = f" in {told}" if told in ARITHMETICS and told != row.ran else ""
    return f"passed{where}, {row.verdict.label}" if row.verdict.passed else row.verdict.label


def notes(report: Report) -> list[str]:
    """What a reader of the table has to know besides: machine, conditions, flags, warnings, what is missing."""
    settings, quiet = report.settings, report.quiet
    versions = ", ".join(f"{name} {number}" for name, number in report.environment.libraries.items())
    references = sorted({row.check.reference for row in report.rows if row.check is not None} - {"itself"})
    load = "unknown" if quiet.load_before is None else f"{quiet.load_before:.2f}"
    others = "unknown" if quiet.others_cores is None else f"{quiet.others_cores:.2f} cores"
    lines = [
        f"{report.environment.machine}; {report.environment.system}; {report.environment.python}; {versions}.",
        f"{report.created}, revision {report.environment.revision or 'unknown'}; {len(report.rows[0].inference_ns)} "
        f"interleaved rounds after {settings.warmup} of warm-up, {settings.picture} picture; "
        f"load before: {load}, used by other programs: {others}.",
        f"PSNR: the worst picture against {' or '.join(references) or 'nothing'}, on the spot.",
        f"{ratio_title(report.rows)[0].upper()}{ratio_title(report.rows)[1:]}.",
    ]
    lines += [f"{name}: {value}." for name, value in report.environment.power.items()]
    lines += [f"{name}={value}." for name, value in report.environment.variables.items()]
    for row in report.rows:
        if row.check is not None and row.check.failures:
            lines.append(f"FLAGGED {row.subject}: {'; '.join(row.check.failures)}.")
    lines += [f"Warning: {warning}." for warning in report.warnings]
    lines += [f"Not run: {missing.subject}: {missing.reason}." for missing in report.not_run]
    return lines


class Block(NamedTuple):
    """A table of some rows; `flagged` says of each line whether its check failed."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    flagged: Sequence[bool]


def blocks(report: Report) -> list[Block]:
    """Two tables for each shape: latency and likeness, then what else a row costs."""
    made = []
    for shape in report.settings.shapes:
        rows = [row for row in report.rows if row.shape == shape]
        if rows:
            flags = [row.check is not None and bool(row.check.failures) for row in rows]
            where = f"at {'x'.join(map(str, shape))} (N x H x W)"
            made.append(Block(f"Inference {where}", LATENCY, [latency_cells(row, report.rows) for row in rows], flags))
            made.append(Block(f"End to end, start and size {where}", COST, [cost_cells(row) for row in rows], flags))
    return made


def terminal_table(block: Block) -> Table:
    """For the terminal, the flagged lines in red."""
    table = Table(title=block.title)
    for index, name in enumerate(block.columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index > 0)
    for cells, flagged in zip(block.lines, block.flagged, strict=True):
        table.add_row(*cells, style="red" if flagged else None)
    return table


def markdown(report: Report) -> str:
    """The same for a page: the tables, then the notes."""
    tables = [f"{block.title}:\n\n{markdown_table(block.columns, block.lines)}" for block in blocks(report)]
    return "\n".join([*tables, "".join(f"- {line}\n" for line in notes(report))])


def markdown_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, others: str = "---:", last: str | None = None
) -> str:
    """A table for a page; the first column is text, the `others` are numbers, to the right, or text as well ("---").

    `last`: the same for the last column alone, where it differs.
    """
    ruler = ["---"] + [others] * (len(columns) - 1)
    ruler[-1] = last or ruler[-1]
    lines = [columns, ruler, *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _conditions(row: Measurement) -> tuple[str, str, str]:
    return row.subject, row.arithmetic, row.threads_text


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
