"""The parity check: does an artifact draw the same pictures as the float32 network, on this device?

Golden pairs (pictures with the float32 network's uint8 answers) travel beside the artifact: the check needs no torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from runtimes import ArtifactError, Runtime, Verdict
from runtimes.base import to_batch
from runtimes.golden import Case, Golden, golden_path, stress_images
from runtimes.image import to_uint8
from runtimes.likeness import ciede2000, srgb_to_lab
from runtimes.spec import ShapeSet

__all__ = [
    "THRESHOLDS",
    "Case",
    "CaseScore",
    "Golden",
    "ParityError",
    "Report",
    "Thresholds",
    "check",
    "compare",
    "golden_path",
    "report_table",
    "require",
    "stress_images",
]


class ParityError(ArtifactError):
    """An artifact draws other pictures than the float32 network; `report` has every number."""

    exit_code = 1

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class CaseScore:
    """How far one produced picture is from its case's expected one.

    psnr: dB, peak 255; None when identical. max_code: codes. share_over_1: share of pixels with a channel off by more
    than 1 code. bias: mean of produced - expected per channel (R, G, B), codes. de_mean, de_p99: CIEDE2000.
    finite: no NaN or infinity; where there was one, the numbers count it as 0. flat: the input is of one colour.
    """

    name: str
    finite: bool
    psnr: float | None
    max_code: int
    share_over_1: float
    bias: tuple[float, float, float]
    de_mean: float
    de_p99: float
    flat: bool

    @property
    def bias_max(self) -> float:
        """The largest absolute channel bias, codes."""
        return max(abs(channel) for channel in self.bias)


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What every case must keep to; None leaves a number unchecked. psnr is a minimum, the others are maxima.

    The numbers are of rounded pictures, which measure a mean to a fraction of a code only where the picture varies. A
    flat one may have every pixel beside a rounding boundary, and an error of 0.02 code then reads as a bias of 1 and
    48 dB. So a flat picture within 1 code, which is all that its rounding can tell, passes.
    """

    max_code: int | None = None
    psnr: float | None = None
    bias: float | None = None
    de_mean: float | None = None
    de_p99: float | None = None

    def __str__(self) -> str:
        """The limits that there are, in the order of the fields."""
        words = {
            "max_code": "difference at most {:g}",
            "psnr": "PSNR at least {:g} dB",
            "bias": "channel bias at most {:g}",
            "de_mean": "mean CIEDE2000 at most {:g}",
            "de_p99": "CIEDE2000 p99 at most {:g}",
        }
        limits = dataclasses.asdict(self)
        return ", ".join(text.format(limits[name]) for name, text in words.items() if limits[name] is not None)

    def failures(self, score: CaseScore) -> Iterator[str]:
        """A sentence per broken threshold: which input, which number, which threshold."""
        if not score.finite:
            yield f"{score.name}: the output holds NaN or infinity but should be finite"
        if score.flat and score.max_code <= min(1, 1 if self.max_code is None else self.max_code):
            return
        if self.psnr is not None and score.psnr is not None and score.psnr < self.psnr:
            yield f"{score.name}: PSNR is {score.psnr:.2f} dB but should be at least {self.psnr:g} dB"
        maxima = (
            ("the largest difference", score.max_code, self.max_code, "codes"),
            ("the bias of a channel", score.bias_max, self.bias, "codes"),
            ("the mean CIEDE2000", score.de_mean, self.de_mean, ""),
            ("the 99th percentile of CIEDE2000", score.de_p99, self.de_p99, ""),
        )
        for what, number, limit, unit in maxima:
            if limit is not None and not number <= limit:
                yield f"{score.name}: {what} is {number:.4g} {unit} but should be at most {limit:g}".replace("  ", " ")


EIGHT_BITS = Thresholds(psnr=38.0, bias=0.5, de_mean=1.0)
THRESHOLDS = {
    "fp32": Thresholds(max_code=1, psnr=60.0, bias=0.05),
    "fp16": Thresholds(psnr=50.0, bias=0.25, de_p99=1.0),
    "int8": EIGHT_BITS,
    "palette8": EIGHT_BITS,
    "palette6": EIGHT_BITS,
}


def compare(case: Case, produced: NDArray[Any], *, batch: int = 1) -> CaseScore:
    """Score one produced picture, H x W x 3: float in [0, 1], clamped and rounded here, or uint8.

    `batch` is the size of the batch that it came in; it goes into the score's name.

    Errors: ArtifactError when the picture has another shape than the case.
    """
    if produced.shape != case.image.shape:
        raise ArtifactError(
            f"the picture for {case.name!r} should have shape {case.image.shape} but has {produced.shape}; "
            "check the artifact's output layout"
        )
    finite = bool(np.isfinite(produced).all())
    codes = produced if produced.dtype == np.uint8 else to_uint8(np.nan_to_num(produced, posinf=0.0, neginf=0.0))
    difference = codes.astype(np.int16) - case.expected
    largest = np.abs(difference).max(axis=2)
    mse = float(np.mean(difference.astype(np.float64) ** 2))
    bias = difference.mean(axis=(0, 1), dtype=np.float64)
    de = np.zeros(largest.shape)
    changed = largest > 0
    de[changed] = ciede2000(srgb_to_lab(codes[changed]), srgb_to_lab(case.expected[changed]))
    height, width = case.size
    return CaseScore(
        name=f"{case.name} at {batch}x{height}x{width}",
        finite=finite,
        psnr=10 * math.log10(255**2 / mse) if mse > 0 else None,
        max_code=int(largest.max()),
        share_over_1=float(np.mean(largest > 1)),
        bias=(float(bias[0]), float(bias[1]), float(bias[2])),
        de_mean=float(de.mean()),
        de_p99=float(np.percentile(de, 99)),
        flat=bool((case.image == case.image[0, 0]).all()),
    )


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of `check`: the verdict that goes into the artifact, every score, and the thresholds."""

    verdict: Verdict
    scores: tuple[CaseScore, ...]
    thresholds: Thresholds

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
    scores = tuple(score for batch in _batches(runtime, golden) for score in _score(runtime, batch))
    failures = tuple(failure for score in scores for failure in limits.failures(score))
    return Report(_verdict(runtime, scores, failures, label), scores, limits)


def require(report: Report, path: Path) -> None:
    """Do nothing if the check passed.

    Errors: ParityError, naming the file, the first failing input and its number, and how many more fail.
    """
    failures = report.verdict.failures
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ParityError(f"{path} failed its parity check, {failures[0]}{more}; do not ship it", report)


def report_table(report: Report) -> Table:
    """One row per score, the failing ones in red, for the terminal."""
    verdict = report.verdict
    outcome = "passed" if verdict.passed else "FAILED"
    table = Table(
        title=f"parity {outcome}: {verdict.precision}, {verdict.runtime} on {verdict.device}, {verdict.label}; "
        f"limits: {report.thresholds}"
    )
    table.add_column("input")
    for column in ("PSNR dB", "max code", "off by > 1", "bias R G B", "mean dE", "p99 dE"):
        table.add_column(column, justify="right")
    for score in report.scores:
        table.add_row(
            score.name,
            "identical" if score.psnr is None else f"{score.psnr:.2f}",
            str(score.max_code),
            f"{score.share_over_1:.2%}",
            " ".join(f"{channel:+.3f}" for channel in score.bias),
            f"{score.de_mean:.3f}",
            f"{score.de_p99:.3f}",
            style="red" if any(report.thresholds.failures(score)) else None,
        )
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


def _score(runtime: Runtime, cases: Sequence[Case]) -> Iterator[CaseScore]:
    produced = runtime.infer(to_batch(np.stack([case.image for case in cases]), runtime.spec))
    for case, picture in zip(cases, produced, strict=True):
        upright = picture.transpose(1, 2, 0) if runtime.spec.layout == "NCHW" else picture
        yield compare(case, upright, batch=len(cases))


def _verdict(runtime: Runtime, scores: tuple[CaseScore, ...], failures: tuple[str, ...], label: str) -> Verdict:
    decibels = [score.psnr for score in scores if score.psnr is not None]
    worst = min(scores, key=lambda score: (score.finite, math.inf if score.psnr is None else score.psnr))
    return Verdict(
        label=label,
        passed=not failures,
        runtime=runtime.name,
        device=runtime.device,
        precision=runtime.spec.precision,
        psnr_min=min(decibels, default=None),
        psnr_mean=sum(decibels) / len(decibels) if decibels else None,
        max_code=max(score.max_code for score in scores),
        share_over_1=max(score.share_over_1 for score in scores),
        bias_max=max(score.bias_max for score in scores),
        de_mean=max(score.de_mean for score in scores),
        de_p99=max(score.de_p99 for score in scores),
        cases=len(scores),
        worst=worst.name,
        failures=failures,
    )
