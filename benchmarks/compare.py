"""Join reports of several machines: python benchmarks/compare.py A.json B.json, or bncagan compare A.json B.json."""

from __future__ import annotations

import csv
import html
import io
import operator
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

if not __package__:  # run as a script: the project's packages lie beside this folder, not in it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro
from rich.table import Table

from benchmarks.report import Measurement, Report
from benchmarks.statistics import Ratio, percentile, ratio_of_medians
from benchmarks.tables import markdown_table
from runtimes import ArtifactError
from runtimes.command import Flag, run_command
from runtimes.console import terminal
from runtimes.files import write_text

FAILED = 1
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
METRICS = (*PERCENTILES, "load", "first", "memory", "size")
CONDITION = re.compile(r"\s*([a-z0-9]+)\s*(>=|<=|>|<)\s*([0-9]+(?:\.[0-9]+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A row of the first report and the row of a later one that it is compared with.

    index: of the later report. differences: sentences; empty where the two measured the same thing.
    """

    index: int
    first: Measurement
    later: Measurement
    differences: tuple[str, ...]

    def ratio(self, metric: str, scope: str) -> float | None:
        """Later over first of one of METRICS, p50 and the like of `scope`; None where a report does not have it."""
        values = [value_of(row, metric, scope) for row in (self.later, self.first)]
        if values[0] is None or not values[1]:
            return None
        return values[0] / values[1]

    def interval(self, scope: str) -> Ratio:
        """The ratio of the medians, with its confidence interval."""
        return ratio_of_medians(self.later.samples(scope), self.first.samples(scope))


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """A row of one report, by index, without a partner in another."""

    index: int
    missing_in: int
    row: Measurement

    def __str__(self) -> str:
        return f"only in report {self.index + 1}, not in report {self.missing_in + 1}"


def value_of(row: Measurement, metric: str, scope: str) -> float | None:
    """One of METRICS in ns or bytes."""
    if metric in PERCENTILES:
        return percentile(row.samples(scope), PERCENTILES[metric])
    return {"load": row.load_ns, "first": row.first_ns, "memory": row.peak_memory_bytes, "size": row.size_bytes}[metric]


def join(reports: Sequence[Report]) -> tuple[list[Matched], list[Unmatched]]:
    """The first report's rows with those of the same subject in each later one, and what has no partner.

    Of several rows of a subject the one with the fewest differences is taken, each at most once.
    """
    pairs: list[Matched] = []
    alone: list[Unmatched] = []
    for index, report in enumerate(reports[1:], 1):
        left = list(report.rows)
        for row in reports[0].rows:
            same = [other for other in left if (other.subject, other.kind) == (row.subject, row.kind)]
            if not same:
                alone.append(Unmatched(index=0, missing_in=index, row=row))
                continue
            best = min(same, key=lambda other: len(differences(row, other)))
            left.remove(best)
            pairs.append(Matched(index=index, first=row, later=best, differences=tuple(differences(row, best))))
        alone += [Unmatched(index=index, missing_in=0, row=row) for row in left]
    return pairs, alone


def differences(first: Measurement, later: Measurement) -> list[str]:
    """What keeps two rows of one subject from being compared: weights, shape, precision, threads, or scope.

    The scope of an inference is the graph's: one between bytes does work that one between floats leaves to others.
    """
    facts = {
        "weights": (first.weights_sha256, later.weights_sha256),
        "shape": (first.shape_text, later.shape_text),
        "precision": (first.arithmetic, later.arithmetic),
        "threads": (first.threads_text, later.threads_text),
        "scope": (f"{first.format}, {first.io}", f"{later.format}, {later.io}"),
    }
    return [f"{name} {one:.24} and {other:.24}" for name, (one, other) in facts.items() if one != other]


class Condition(NamedTuple):
    """A limit on the ratio of a metric, later report to first: "p50 > 1.1"."""

    metric: str
    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a ratio is as the condition says."""
        return OPERATORS[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:g}"


def parse_condition(text: str) -> Condition:
    """METRIC OPERATOR NUMBER; ArtifactError, with the vocabulary, if it is anything else."""
    match = CONDITION.fullmatch(text)
    if match is None or match[1] not in METRICS:
        raise ArtifactError(
            f"--fail-if should be METRIC OPERATOR NUMBER, METRIC one of {', '.join(METRICS)}, OPERATOR one of "
            f"{', '.join(OPERATORS)}, e.g. 'p50 > 1.1', but is {text!r}; write it so"
        )
    return Condition(match[1], match[2], float(match[3]))


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Join latency reports of several machines or versions: ratios to the first one, with 95 % confidence intervals.

    Rows are joined by the name of their subject. Rows of other weights, shape, precision, threads or scope are refused.
    """

    reports: tyro.conf.Positional[tuple[Path, ...]]
    """JSON files of `benchmark`, the one to compare with first."""
    scope: Literal["inference", "end to end"] = "inference"
    """What to compare: the inference alone, or bytes to bytes."""
    allow: Flag = False
    """Show refused rows too, flagged with what differs, and rows that only one report has."""
    fail_if: tuple[str, ...] = ()
    """Exit with code 1 if, for any row, the ratio of a later report to the first is so: "p50 > 1.1"; of p50, p90, p99,
    max, load, first, memory, size. Also if a row of the first was refused or is missing, as it then cannot be told."""
    out: Path | None = None
    """Also write the table: .md, .csv or .html."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Print the table; see `fail_if` for the exit code."""
        conditions = [parse_condition(text) for text in self.fail_if]
        write = self._writer()
        if len(self.reports) < 2:
            raise ArtifactError(f"compare should be given two reports or more but got {len(self.reports)}; name them")
        reports = [Report.load(path) for path in self.reports]
        pairs, alone = join(reports)
        shown = pairs if self.allow else [pair for pair in pairs if not pair.differences]
        refused = [f"refused: {p.first.subject}: {'; '.join(p.differences)}" for p in pairs if p not in shown]
        missing = [f"{one.row.subject} at {one.row.shape_text} is {one}" for one in alone]
        if not shown and not self.allow:
            raise ArtifactError(
                f"{self.reports[0]} should share a row with another report but none compares "
                f"({'; '.join(refused + missing)}); measure the same files, or look at them with --allow"
            )
        broken = broken_conditions(conditions, shown, self.scope)
        rows = [pair_cells(pair, self.scope) for pair in shown]
        rows += [alone_cells(one, self.scope) for one in alone if self.allow]
        notes = [*self._notes(reports), *refused, *missing, *broken]
        columns = columns_of(self.scope)
        terminal().print(_table(columns, rows), *notes, sep="\n")
        if self.out is not None:
            write_text(self.out, write(columns, rows, notes))
        lost = any(one.index == 0 for one in alone)
        return FAILED if conditions and (broken or refused or lost) else 0

    def _notes(self, reports: Sequence[Report]) -> list[str]:
        """Which report is which, and what each warns of."""
        named = enumerate(zip(self.reports, reports, strict=True), 1)
        machines = [f"report {n}: {path.name}: {report.environment.machine}" for n, (path, report) in named]
        return machines + [f"report {n}: {text}" for n, report in enumerate(reports, 1) for text in report.warnings]

    def _writer(self) -> Callable[[Sequence[str], Sequence[Sequence[str]], Sequence[str]], str]:
        """What makes the file's text, by its suffix."""
        if self.out is None or self.out.suffix.lower() in WRITERS:
            return WRITERS[".md" if self.out is None else self.out.suffix.lower()]
        raise ArtifactError(f"{self.out} should end in one of {', '.join(WRITERS)}; rename it")


def columns_of(scope: str) -> list[str]:
    """The table's head."""
    return [
        "subject", "precision", "shape", "threads", "reports", f"{scope} p50 ms, first", "later", "ratio p50",
        "95 % interval", "ratio p99", "differences",
    ]  # fmt: skip


def pair_cells(pair: Matched, scope: str) -> list[str]:
    """One line of the table."""
    ratio, tail = pair.interval(scope), pair.ratio("p99", scope)
    return [
        *_conditions_of(pair.first),
        f"1 and {pair.index + 1}",
        *(f"{percentile(row.samples(scope), 50) / 1e6:.2f}" for row in (pair.first, pair.later)),
        f"{ratio.value:.3f}",
        f"{ratio.low:.3f} to {ratio.high:.3f}",
        "" if tail is None else f"{tail:.3f}",
        "; ".join(pair.differences),
    ]


def alone_cells(one: Unmatched, scope: str) -> list[str]:
    """A line for a row without a partner."""
    time = f"{percentile(one.row.samples(scope), 50) / 1e6:.2f}"
    times = (time, "") if one.index == 0 else ("", time)
    return [*_conditions_of(one.row), str(one.index + 1), *times, "", "", "", str(one)]


def _conditions_of(row: Measurement) -> list[str]:
    return [row.subject, row.arithmetic, row.shape_text, row.threads_text]


def broken_conditions(conditions: Sequence[Condition], pairs: Sequence[Matched], scope: str) -> list[str]:
    """A sentence for each row and condition that holds; one also where a report lacks the number."""
    found = []
    for pair in pairs:
        for condition in conditions:
            value = pair.ratio(condition.metric, scope)
            where = f"{pair.first.subject} at {pair.first.shape_text}, report {pair.index + 1}"
            if value is None:
                found.append(f"FAILED: {where}: {condition.metric} is not in both reports")
            elif condition.holds(value):
                found.append(f"FAILED: {where}: {condition.metric} is {value:.3f} times that of report 1 ({condition})")
    return found


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """For the terminal; flagged rows in red."""
    made = Table(title="ratio: later report to the first; below 1 is faster")
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name not in {"subject", "differences"})
    for cells in rows:
        made.add_row(*cells, style="red" if cells[-1] else None)
    return made


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    return markdown_table(columns, rows) + "\n" + "".join(f"- {note}\n" for note in notes)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]], _: Sequence[str]) -> str:
    """The table alone: notes would break who reads it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A page that needs nothing else."""

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>\n"

    body = "".join(line(cells, "td") for cells in rows)
    remarks = "".join(f"<li>{html.escape(note)}</li>\n" for note in notes)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Latency</title>\n'
        "<style>body{font:14px sans-serif}td,th{padding:3px 9px;text-align:right;border-bottom:1px solid #ddd}"
        "td:first-child,th:first-child{text-align:left}</style>\n"
        f"<table>\n{line(columns, 'th')}{body}</table>\n<ul>\n{remarks}</ul>\n</html>\n"
    )


WRITERS = {".md": _markdown, ".csv": _csv, ".html": _html}


if __name__ == "__main__":
    sys.exit(run_command("compare", Compare))
