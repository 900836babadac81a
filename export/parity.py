"""The parity check: whether an artifact draws the same pictures as the float32 network, on this device.

The golden pairs (pictures and the float32 network's uint8 answers) lie beside the artifact; the check needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from runtimes import ArtifactError, ImageSpec, Runtime, Verdict
from runtimes.apply.oracle import changed
from runtimes.base import to_batch
from runtimes.golden import Case, Golden, Rounding
from runtimes.image import Pixels
from runtimes.likeness import COLUMNS, THRESHOLDS, CaseScore, Thresholds, as_codes, compare, excused
from runtimes.spec import ShapeSet

EQUAL = Thresholds(max_code=1)  # between equal rows of a batch


class Described(Protocol):
    """An artifact, opened or just exported."""

    @property
    def path(self) -> Path:
        """The file of the artifact."""

    @property
    def spec(self) -> ImageSpec:
        """What the artifact says about itself."""


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


class Run(NamedTuple):
    """A batch that was run."""

    cases: tuple[Case, ...]
    scores: tuple[CaseScore, ...]
    pictures: tuple[Pixels, ...]
    """What came out, uint8 H x W x 3 each."""


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
    runs = [Run(batch, *_score(runtime, batch)) for batch in batches(runtime, golden)]
    scored = [pair for run in runs for pair in zip(run.cases, run.scores, strict=True)]
    judged = (score for case, score in scored if not excused(score, case, limits, runtime.spec.format_version))
    failures = (*(failure for score in judged for failure in limits.failures(score)), *differing_rows(runs, limits))
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


def batches(artifact: Described, golden: Golden) -> Iterator[tuple[Case, ...]]:
    """Yield the batches that the check runs: cases of one size, each case at least once.

    An artifact with fixed shapes is run at all of them, and the golden cases must cover them all. An artifact with a
    range is run at its smallest batch size, and also with two pictures at a time if it accepts that. A batch holds
    different pictures, so that statistics shared across the batch are found; the last one of a size is filled from its
    first case on. Where several pictures are taken at a time, one further batch holds the same picture several times.

    Errors: ArtifactError if the artifact does not accept the size of a case, or if a fixed shape has no case.
    """
    shapes = artifact.spec.shapes
    groups: dict[tuple[tuple[int, int], bool], list[Case]] = {}  # by size, and whether the answer is by maps
    for case in golden.cases:
        groups.setdefault((case.size, case.photograph is not None), []).append(case)
    sizes = {size for size, _ in groups}
    uncovered = [f"{n}x{h}x{w}" for n, h, w in shapes.fixed if (h, w) not in sizes]
    if uncovered:
        raise ArtifactError(
            f"{artifact.path} should have golden cases for every declared shape but has none for "
            f"{', '.join(uncovered)}; export it again"
        )
    for ((height, width), _), cases in groups.items():
        counts = _batch_sizes(shapes, height, width)
        if not counts:
            raise ArtifactError(
                f"{artifact.path} should have golden cases of sizes among {shapes} (N x H x W) "
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


def differing_rows(runs: Sequence[Run], limits: Thresholds) -> Iterator[str]:
    """Yield a sentence for each picture whose answer depends on its batch: NVIDIA/TensorRT#4813.

    Equal rows of a batch may differ by 1 code. A row beside other pictures is compared with the picture alone, or in a
    batch of itself, by the limits of the precision.
    """
    alone: dict[tuple[str, tuple[int, int]], Pixels] = {}
    for cases, _, pictures in runs:
        if all(case is cases[0] for case in cases):
            alone.setdefault((cases[0].name, cases[0].size), pictures[0])
            equal = dataclasses.replace(cases[0], expected=pictures[0])
            for picture in pictures[1:]:
                yield from _towards(equal, picture, EQUAL, len(cases), "equal rows of a batch")
    for cases, _, pictures in runs:
        for case, picture in zip(cases, pictures, strict=True):
            if any(other is not case for other in cases) and (case.name, case.size) in alone:
                by_itself = dataclasses.replace(case, expected=alone[case.name, case.size])
                yield from _towards(by_itself, picture, limits, len(cases), "alone and beside other pictures")


def _towards(case: Case, produced: Pixels, limits: Thresholds, batch: int, how: str) -> Iterator[str]:
    """Yield a sentence for each limit that an answer breaks towards another answer, which the case expects."""
    score = compare(case, produced, batch=batch)
    return (failure.replace(f"{score.name}: ", f"{score.name}: {how}, ", 1) for failure in limits.failures(score))


def _batch_sizes(shapes: ShapeSet, height: int, width: int) -> list[int]:
    """Batch sizes declared for height x width px; of a range, the smallest. Empty if that size is not accepted."""
    if shapes.bounds is None:
        return [n for n, h, w in shapes.fixed if (h, w) == (height, width)]
    least = shapes.bounds[0][0]
    return [least] if shapes.accepts(least, height, width) else []


def _score(runtime: Runtime, cases: Sequence[Case]) -> tuple[tuple[CaseScore, ...], tuple[Pixels, ...]]:
    """Run a batch; returns the scores of its pictures, and the pictures in codes."""
    batch = to_batch(np.stack([case.image for case in cases]), runtime.spec)
    answers = _pictures(runtime, batch, cases) if cases[0].photograph is None else _applied(runtime, batch, cases)
    pairs = [
        (compare(case, picture, batch=len(cases)), as_codes(picture))
        for case, picture in zip(cases, answers, strict=True)
    ]
    return tuple(score for score, _ in pairs), tuple(codes for _, codes in pairs)


def _pictures(runtime: Runtime, batch: NDArray[Any], cases: Sequence[Case]) -> Iterator[NDArray[Any]]:
    """The pictures that the artifact draws, H x W x 3 each."""
    produced = runtime.infer(batch, np.concatenate([case.controls.rows(1) for case in cases]), allow_nan=True)
    return (picture.transpose(1, 2, 0) if runtime.spec.layout == "NCHW" else picture for picture in produced)


def _applied(runtime: Runtime, batch: NDArray[Any], cases: Sequence[Case]) -> Iterator[NDArray[Any]]:
    """The photographs of the cases after the maps of the artifact, in float64; NaN if it returns NaN or infinity."""
    maps = runtime.maps(batch, allow_nan=True)
    for i, case in enumerate(cases):
        photograph = case.image if case.photograph is None else case.photograph
        try:
            change = maps.change(i)
        except ArtifactError:
            yield np.full(photograph.shape, np.nan)
        else:
            yield changed(photograph / 255, change, case.controls)
