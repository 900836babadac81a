"""The parity check: does an artifact draw the same pictures as the float32 network, on this device?

Golden pairs (pictures with the float32 network's uint8 answers) travel beside the artifact: the check needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from runtimes import ArtifactError, Runtime, Verdict
from runtimes.base import to_batch
from runtimes.golden import Case, Golden, Rounding
from runtimes.likeness import COLUMNS, THRESHOLDS, CaseScore, Thresholds, compare, excused
from runtimes.spec import ShapeSet


class ParityError(ArtifactError):
    """An artifact draws other pictures than the float32 network; `report` has every number."""

    exit_code = 1

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `check`: the verdict that goes into the artifact, every score, and the thresholds.

    rounding: the float32 network's own, which the scores hold as well; None where the golden pictures do not say it.
    """

    verdict: Verdict
    scores: tuple[CaseScore, ...]
    thresholds: Thresholds
    rounding: Rounding | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def check(runtime: Runtime, golden: Golden, *, label: str = "measured", thresholds: Thresholds | None = None) -> Report:
    """Run every golden case through `runtime.infer` at its own size and judge each picture by itself.

    A fixed-shape artifact is run at each of its shapes, and the golden cases must cover all of them. An artifact with a
    range is run at its smallest batch size, and once more on two pictures at a time where it accepts that. Batches
    of several hold different pictures, so that a statistic shared across a batch is caught.

    thresholds: instead of those of the artifact's precision.

    Errors: ArtifactError when a case's size is not among the artifact's shapes, or a fixed shape has no case.
    """
    limits = thresholds or THRESHOLDS[runtime.spec.precision]
    scored = [pair for batch in _batches(runtime, golden) for pair in _score(runtime, batch)]
    judged = (score for case, score in scored if not excused(score, case, limits, runtime.spec.format_version))
    failures = tuple(failure for score in judged for failure in limits.failures(score))
    scores = tuple(score for _, score in scored)
    verdict = Verdict.of(
        scores, failures, label=label, runtime=runtime.name, device=runtime.device, precision=runtime.spec.precision
    )
    return Report(verdict, scores, limits, golden.rounding)


def require(report: Report, path: Path) -> None:
    """Do nothing if the check passed.

    Errors: ParityError, naming the file, the first failing input and its number, and how many more fail.
    """
    failures = report.verdict.failures
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ParityError(f"{path} failed its parity check, {failures[0]}{more}; do not ship it", report)


def report_table(report: Report) -> Table:
    """One row per score, the failing ones in red, and the float32 network's own rounding, for the terminal."""
    verdict = report.verdict
    outcome = "passed" if verdict.passed else "FAILED"
    failing = {failure.split(":")[0] for failure in verdict.failures}
    table = Table(
        title=f"parity {outcome}: {verdict.precision}, {verdict.runtime} on {verdict.device}, {verdict.label}; "
        f"limits: {report.thresholds}",
        caption=f"PyTorch's own rounding, float32 against float64: up to {report.rounding.codes:.2g} codes, "
        f"{report.rounding.psnr:.1f} dB"
        if report.rounding is not None
        else None,
    )
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if index else "left")
    for score in report.scores:
        table.add_row(*score.cells(), style="red" if score.name in failing else None)
    return table


def _batches(runtime: Runtime, golden: Golden) -> Iterator[tuple[Case, ...]]:
    """Cases of one size, together in the batch sizes that `check` promises; a short list repeats from its start."""
    shapes = runtime.spec.shapes
    by_size: dict[tuple[int, int], list[Case]] = {}
    for case in golden.cases:
        by_size.setdefault(case.size, []).append(case)
    uncovered = [f"{n}x{h}x{w}" for n, h, w in shapes.fixed if (h, w) not in by_size]
    if uncovered:
        raise ArtifactError(
            f"{runtime.path}: the golden cases should cover every declared shape but have none for "
            f"{', '.join(uncovered)}; add cases of that size"
        )
    for (height, width), cases in by_size.items():
        counts = _batch_sizes(shapes, height, width)
        if not counts:
            raise ArtifactError(
                f"{runtime.path}: a golden case should have a size among {shapes} (N x H x W) "
                f"but {cases[0].name!r} has {height}x{width}; remove it, or export that shape"
            )
        for count in counts:
            for start in range(0, len(cases), count):
                yield tuple(cases[(start + i) % len(cases)] for i in range(count))
        if shapes.bounds is not None and 2 not in counts and shapes.accepts(2, height, width):
            yield cases[0], cases[-1]


def _batch_sizes(shapes: ShapeSet, height: int, width: int) -> list[int]:
    """Each declared batch size for h x w px, or the smallest one of a range; empty when that size is not accepted."""
    if shapes.bounds is None:
        return [n for n, h, w in shapes.fixed if (h, w) == (height, width)]
    least = shapes.bounds[0][0]
    return [least] if shapes.accepts(least, height, width) else []


def _score(runtime: Runtime, cases: Sequence[Case]) -> Iterator[tuple[Case, CaseScore]]:
    produced = runtime.infer(to_batch(np.stack([case.image for case in cases]), runtime.spec))
    for case, picture in zip(cases, produced, strict=True):
        upright = picture.transpose(1, 2, 0) if runtime.spec.layout == "NCHW" else picture
        yield case, compare(case, upright, batch=len(cases))
