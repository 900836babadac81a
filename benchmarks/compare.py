"""Comparison of reports: python benchmarks/compare.py A.json B.json, or bncagan compare A.json B.json."""

from __future__ import annotations

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
from benchmarks.table_files import WRITERS, Writer
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
    """A row of the first report and the row of a later report that it is compared with."""

    index: int
    """Index of the later report."""
    first: Measurement
    """The row of the first report."""
    later: Measurement
    """The row of the later report."""
    differences: tuple[str, ...]
    """What differs in the conditions; empty if the rows can be compared."""

    def ratio(self, metric: str, scope: str) -> float | None:
        """Return later / first of one of METRICS, for the samples of `scope`; None if a report lacks the number."""
        values = [value_of(row, metric, scope) for row in (self.later, self.first)]
        if values[0] is None or not values[1]:
            return None
        return values[0] / values[1]

    def interval(self, scope: str) -> Ratio:
        """Return the ratio of the medians with its confidence interval."""
        return ratio_of_medians(self.later.samples(scope), self.first.samples(scope))


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """A row of one report that has no partner in another report."""

    index: int
    """Index of the report that has the row."""
    missing_in: int
    """Index of the report that lacks it."""
    row: Measurement
    """The row."""

    def __str__(self) -> str:
        return f"only in report {self.index + 1}, not in report {self.missing_in + 1}"


def value_of(row: Measurement, metric: str, scope: str) -> float | None:
    """Return the value of one of METRICS, in ns or bytes; None if it was not measured."""
    if metric in PERCENTILES:
        return percentile(row.samples(scope), PERCENTILES[metric])
    return {"load": row.load_ns, "first": row.first_ns, "memory": row.peak_memory_bytes, "size": row.size_bytes}[metric]


def join(reports: Sequence[Report]) -> tuple[list[Matched], list[Unmatched]]:
    """Match each row of the first report with a row of the same subject in each later report.

    Of several rows of a subject, the one with the fewest differences is taken. A row is matched once at most.

    Returns the matched rows, and the rows without a partner.
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
    """List what prevents a comparison of two rows of one subject: weights, shape, precision, threads or scope.

    Rows of different scope have graphs that do different work: a graph from bytes to bytes includes conversions that a
    graph from floats to floats leaves to its caller.
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
    """A condition on the ratio of a metric, later report to first, such as "p50 > 1.1"."""

    metric: str
    """One of METRICS."""
    sign: str
    """One of OPERATORS."""
    limit: float
    """The number to compare with."""

    def holds(self, value: float) -> bool:
        """Whether the condition is true for a ratio."""
        return OPERATORS[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:g}"


def parse_condition(text: str) -> Condition:
    """Parse METRIC OPERATOR NUMBER; ArtifactError lists the metrics and operators if the text has another form."""
    match = CONDITION.fullmatch(text)
    if match is None or match[1] not in METRICS:
        raise ArtifactError(
            f"--fail-if should be METRIC OPERATOR NUMBER, METRIC one of {', '.join(METRICS)}, OPERATOR one of "
            f"{', '.join(OPERATORS)}, such as 'p50 > 1.1', but is {text!r}; correct it"
        )
    return Condition(match[1], match[2], float(match[3]))


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare latency reports of several machines or versions: ratios to the first, with 95 % confidence intervals.

    Rows with the same subject are compared. They are refused if weights, shape, precision, threads or scope differ.
    """

    reports: tyro.conf.Positional[tuple[Path, ...]]
    """JSON files written by `benchmark`; the others are compared with the first."""
    scope: Literal["inference", "end to end"] = "inference"
    """Times to compare: of the inference alone, or of the whole way from bytes to bytes."""
    allow: Flag = False
    """Also show refused rows, with what differs, and rows that only one report has."""
    fail_if: tuple[str, ...] = ()
    """Exit with code 1 if this is true for the ratio of any row, later report to first: "p50 > 1.1". Metrics: p50, p90,
    p99, max, load, first, memory, size. Also exit with 1 if a row of the first report is refused or missing."""
    out: Path | None = None
    """File to write the table to; the suffix is .md, .csv or .html."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Print the table and return the exit code, which `fail_if` determines."""
        conditions = [parse_condition(text) for text in self.fail_if]
        write = self._writer()
        if len(self.reports) < 2:
            raise ArtifactError(
                f"compare should be given two reports or more but is given {len(self.reports)}; name another"
            )
        reports = [Report.load(path) for path in self.reports]
        pairs, alone = join(reports)
        shown = pairs if self.allow else [pair for pair in pairs if not pair.differences]
        refused = [f"refused: {p.first.subject}: {'; '.join(p.differences)}" for p in pairs if p not in shown]
        missing = [f"{one.row.subject} at {one.row.shape_text} is {one}" for one in alone]
        if not shown and not self.allow:
            raise ArtifactError(
                f"{self.reports[0]} should have a row that another report has, too, but has none that compares "
                f"({'; '.join(refused + missing)}); measure the same files, or show all rows with --allow"
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
        """Return the number, file and machine of each report, and its warnings."""
        named = enumerate(zip(self.reports, reports, strict=True), 1)
        machines = [f"report {n}: {path.name}: {report.environment.machine}" for n, (path, report) in named]
        return machines + [f"report {n}: {text}" for n, report in enumerate(reports, 1) for text in report.warnings]

    def _writer(self) -> Writer:
        """Return the writer for the suffix of --out."""
        if self.out is None or self.out.suffix.lower() in WRITERS:
            return WRITERS[".md" if self.out is None else self.out.suffix.lower()]
        raise ArtifactError(f"--out should end in one of {', '.join(WRITERS)} but is {self.out}; rename it")


def columns_of(scope: str) -> list[str]:
    """Return the names of the table's columns."""
    return [
        "subject", "precision", "shape", "threads", "reports", f"{scope} p50 ms, first", "later", "ratio p50",
        "95 % interval", "ratio p99", "differences",
    ]  # fmt: skip


def pair_cells(pair: Matched, scope: str) -> list[str]:
    """Return the cells of a line for two matched rows."""
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
    """Return the cells of a line for a row without a partner."""
    time = f"{percentile(one.row.samples(scope), 50) / 1e6:.2f}"
    times = (time, "") if one.index == 0 else ("", time)
    return [*_conditions_of(one.row), str(one.index + 1), *times, "", "", "", str(one)]


def _conditions_of(row: Measurement) -> list[str]:
    return [row.subject, row.arithmetic, row.shape_text, row.threads_text]


def broken_conditions(conditions: Sequence[Condition], pairs: Sequence[Matched], scope: str) -> list[str]:
    """Return one sentence for each row and condition that is true, or whose number a report lacks."""
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
    """Make the table for the terminal; rows with differences are red."""
    made = Table(title="ratio: later report to the first; below 1 is faster")
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name not in {"subject", "differences"})
    for cells in rows:
        made.add_row(*cells, style="red" if cells[-1] else None)
    return made


if __name__ == "__main__":
    sys.exit(run_command("compare", Compare))
