"""Which rows of two reports say the same of two machines, and where they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.report import Report
from benchmarks.rows import Row
from benchmarks.statistics import Ratio, percentile, ratio_of_medians

SCALARS = ("load", "first", "memory", "size")
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
METRICS = (*PERCENTILES, *SCALARS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A row of the first report and the row of a later one that it is compared with.

    index: of the later report. differences: sentences; empty where the two measured the same thing.
    """

    index: int
    first: Row
    later: Row
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alone:
    """A row of one report, by index, without a partner in another."""

    index: int
    missing_in: int
    row: Row

    def __str__(self) -> str:
        return f"only in report {self.index + 1}, not in report {self.missing_in + 1}"


def value_of(row: Row, metric: str, scope: str) -> float | None:
    """One of METRICS in ns or bytes."""
    if metric in PERCENTILES:
        return percentile(row.samples(scope), PERCENTILES[metric])
    return {"load": row.load_ns, "first": row.first_ns, "memory": row.peak_memory_bytes, "size": row.size_bytes}[metric]


def join(reports: Sequence[Report]) -> tuple[list[Pair], list[Alone]]:
    """The first report's rows with those of the same subject in each later one, and what has no partner.

    Of several rows of a subject the one with the fewest differences is taken, each at most once.
    """
    pairs: list[Pair] = []
    alone: list[Alone] = []
    for index, report in enumerate(reports[1:], 1):
        left = list(report.rows)
        for row in reports[0].rows:
            same = [other for other in left if (other.subject, other.kind) == (row.subject, row.kind)]
            if not same:
                alone.append(Alone(index=0, missing_in=index, row=row))
                continue
            best = min(same, key=lambda other: len(differences(row, other)))
            left.remove(best)
            pairs.append(Pair(index=index, first=row, later=best, differences=tuple(differences(row, best))))
        alone += [Alone(index=index, missing_in=0, row=row) for row in left]
    return pairs, alone


def differences(first: Row, later: Row) -> list[str]:
    """What keeps two rows of one subject from being compared: weights, shape, precision, threads, or scope.

    The scope of an inference is the graph's: one between bytes does work that one between floats leaves to others.
    """
    facts = {
        "weights": (first.weights_sha256, later.weights_sha256),
        "shape": (place(first.shape), place(later.shape)),
        "precision": (first.arithmetic, later.arithmetic),
        "threads": (threads_of(first), threads_of(later)),
        "scope": (f"{first.format}, {first.io}", f"{later.format}, {later.io}"),
    }
    return [f"{name} {one:.24} and {other:.24}" for name, (one, other) in facts.items() if one != other]


def place(shape: Sequence[int]) -> str:
    """N x H x W."""
    return "x".join(map(str, shape))


def threads_of(row: Row) -> str:
    """The number of threads, or that it was the backend's."""
    return "default" if row.threads is None else str(row.threads)
