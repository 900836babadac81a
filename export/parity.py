"""The parity check: whether an artifact draws the same pictures as the float32 network, on this device.

The golden pairs (pictures and the float32 network's uint8 answers) lie beside the artifact; the check needs no torch.
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
    """An artifact failed its parity check; `report` has every number."""

    exit_code = 1

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of `check`."""

    verdict: Verdict
    """Summary that is stored in the artifact."""
    scores: tuple[CaseScore, ...]
    """Scores of every picture of every batch that was run."""
    thresholds: Thresholds
    """Limits that the scores were held against."""
    rounding: Rounding | None = None
    """Rounding error of the float32 network itself, part of every score; None if the golden file does not state it."""

    def to_dict(self) -> dict[str, object]:
        """The report as values that JSON can hold."""
        return dataclasses.asdict(self)


def check(runtime: Runtime, golden: Golden, *, label: str = "measured", thresholds: Thresholds | None = None) -> Report:
    """Run every golden case at its own size through `runtime.infer` and judge each picture separately.

    `batches` says in which batches the pictures are run.

    runtime: opened artifact.
    golden: pictures and the float32 network's answers, as `Golden.load(golden_path(path))` returns them.
    label: label of the verdict, "measured" or "predicted".
    thresholds: limits to use instead of those of the artifact's precision.

    Errors: ArtifactError if the artifact does not accept the size of a case, or if a fixed shape has no case.

    Example:

        path = Path("small.onnx")
        with runtimes.load(path) as runtime:
            report = check(runtime, Golden.load(golden_path(path)))
        require(report, path)  # raises ParityError if a picture differs too much
    """
    limits = thresholds or THRESHOLDS[runtime.spec.precision]
    scored = [pair for batch in batches(runtime, golden) for pair in _score(runtime, batch)]
    judged = (score for case, score in scored if not excused(score, case, limits, runtime.spec.format_version))
    failures = tuple(failure for score in judged for failure in limits.failures(score))
    scores = tuple(score for _, score in scored)
    verdict = Verdict.of(
        scores, failures, label=label, runtime=runtime.name, device=runtime.device, precision=runtime.spec.precision
    )
    return Report(verdict, scores, limits, golden.rounding)


def require(report: Report, path: Path) -> None:
    """Raise ParityError if the check failed.

    The message names the file, the first failing number and its picture, and how many more numbers fail.
    """
    failures = report.verdict.failures
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        more += "" if report.rounding is None else f" ({report.rounding})"
        raise ParityError(
            f"{path} should pass its parity check but failed it: {failures[0]}{more}; do not ship it", report
        )


def report_table(report: Report) -> Table:
    """The scores as a table for the terminal, failing ones in red, with the float32 network's own rounding error."""
    verdict = report.verdict
    outcome = "passed" if verdict.passed else "FAILED"
    failing = {failure.split(":")[0] for failure in verdict.failures}
    table = Table(
        title=f"parity {outcome}: {verdict.precision}, {verdict.runtime} on {verdict.device}, {verdict.label}; "
        f"limits: {report.thresholds}",
        caption=None if report.rounding is None else str(report.rounding),
    )
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if index else "left")
    for score in report.scores:
        table.add_row(*score.cells(), style="red" if score.name in failing else None)
    return table


def batches(runtime: Runtime, golden: Golden) -> Iterator[tuple[Case, ...]]:
    """Yield the batches that the check runs: cases of one size, each case at least once.

    An artifact with fixed shapes is run at all of them, and the golden cases must cover them all. An artifact with a
    range is run at its smallest batch size, and also with two pictures at a time if it accepts that. A batch holds
    different pictures, so that statistics shared across the batch are found; the last one of a size is filled from its
    first case on. Where several pictures are taken at a time, one further batch holds the same picture several times.

    Errors: ArtifactError if the artifact does not accept the size of a case, or if a fixed shape has no case.
    """
    shapes = runtime.spec.shapes
    by_size: dict[tuple[int, int], list[Case]] = {}
    for case in golden.cases:
        by_size.setdefault(case.size, []).append(case)
    uncovered = [f"{n}x{h}x{w}" for n, h, w in shapes.fixed if (h, w) not in by_size]
    if uncovered:
        raise ArtifactError(
            f"{runtime.path} should have golden cases for every declared shape but has none for "
            f"{', '.join(uncovered)}; export it again"
        )
    for (height, width), cases in by_size.items():
        counts = _batch_sizes(shapes, height, width)
        if not counts:
            raise ArtifactError(
                f"{runtime.path} should have golden cases of sizes among {shapes} (N x H x W) "
                f"but {cases[0].name!r} has {height}x{width}; remove the case, or export that shape"
            )
        for count in counts:
            for start in range(0, len(cases), count):
                yield tuple(cases[(start + i) % len(cases)] for i in range(count))
        if shapes.bounds is not None and 2 not in counts and shapes.accepts(2, height, width):
            yield cases[0], cases[-1]
            counts.append(2)
        # Rows of a batch may differ for one picture: NVIDIA/TensorRT#4796, NVIDIA/TensorRT#4813, NVIDIA/TensorRT#4853
        uneven = next((case for case in cases if not case.flat), cases[0])
        yield from ((uneven,) * count for count in counts if count > 1)


def _batch_sizes(shapes: ShapeSet, height: int, width: int) -> list[int]:
    """Batch sizes declared for height x width px; of a range, the smallest. Empty if that size is not accepted."""
    if shapes.bounds is None:
        return [n for n, h, w in shapes.fixed if (h, w) == (height, width)]
    least = shapes.bounds[0][0]
    return [least] if shapes.accepts(least, height, width) else []


def _score(runtime: Runtime, cases: Sequence[Case]) -> Iterator[tuple[Case, CaseScore]]:
    rows = np.concatenate([case.controls.rows(1) for case in cases])
    produced = runtime.infer(to_batch(np.stack([case.image for case in cases]), runtime.spec), rows)
    for case, picture in zip(cases, produced, strict=True):
        upright = picture.transpose(1, 2, 0) if runtime.spec.layout == "NCHW" else picture
        yield case, compare(case, upright, batch=len(cases))
