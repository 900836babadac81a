"""The parity verdict that travels inside an artifact: what was compared, where, and how it came out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from runtimes.errors import ArtifactError
from runtimes.likeness import CaseScore
from runtimes.schema import Version

# Of an artifact's spec, its verdict included: raise the minor for a new field, which needs a default.
# 1.0: before a picture of one colour came back as it is (`runtimes.likeness.excused`).
FORMAT_VERSION = Version(1, 1)
LABELS = ("measured", "predicted", "not run")
PRECISIONS = ("fp32", "fp16", "int8", "palette8", "palette6")  # a palette: fp16 arithmetic, weights from 2^n values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of comparing an artifact's pictures with the float32 network's, over all cases.

    label: "measured" (this runtime, this device), "predicted" (an evaluator stood in for the runtime) or "not run".
    psnr_min, psnr_mean: dB at peak 255; None when no picture differs. The mean is over the pictures that differ.
    max_code, bias_max: 8-bit codes; bias_max is the largest absolute mean difference of one channel of one picture.
    share_over_1: largest share (0..1) of one picture's pixels that are off by more than 1 code.
    de_mean, de_p99: CIEDE2000 of the worst picture.
    failures: sentences, each naming the input, the number and its threshold; empty exactly when `passed`.

    Errors: ArtifactError when a value is outside the vocabulary above.
    """

    label: str
    passed: bool
    runtime: str
    device: str
    precision: str
    psnr_min: float | None
    psnr_mean: float | None
    max_code: int
    share_over_1: float
    bias_max: float
    de_mean: float
    de_p99: float
    cases: int
    worst: str
    failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_one_of(self.label, LABELS, "a verdict's label")
        require_one_of(self.precision, PRECISIONS, "a verdict's precision")
        if self.passed and (self.failures or self.label == "not run"):
            raise ArtifactError(
                f"a passed verdict should have run without failures but is {self.label!r} "
                f"with {len(self.failures)} failures; run the parity check again"
            )

    @classmethod
    def of(
        cls,
        scores: Sequence[CaseScore],
        failures: Sequence[str],
        *,
        label: str,
        runtime: str,
        device: str,
        precision: str,
    ) -> Verdict:
        """The verdict on these scores, at least one."""
        decibels = [score.psnr for score in scores if score.psnr is not None]
        worst = min(scores, key=lambda score: (score.finite, math.inf if score.psnr is None else score.psnr))
        return cls(
            label=label,
            passed=not failures,
            runtime=runtime,
            device=device,
            precision=precision,
            psnr_min=min(decibels, default=None),
            psnr_mean=sum(decibels) / len(decibels) if decibels else None,
            max_code=max(score.max_code for score in scores),
            share_over_1=max(score.share_over_1 for score in scores),
            bias_max=max(score.bias_max for score in scores),
            de_mean=max(score.de_mean for score in scores),
            de_p99=max(score.de_p99 for score in scores),
            cases=len(scores),
            worst=worst.name,
            failures=tuple(failures),
        )

    @classmethod
    def not_run(cls, precision: str) -> Verdict:
        """The verdict of an artifact that nothing has executed yet; it has not passed."""
        return cls(
            label="not run",
            passed=False,
            runtime="",
            device="",
            precision=precision,
            psnr_min=None,
            psnr_mean=None,
            max_code=0,
            share_over_1=0.0,
            bias_max=0.0,
            de_mean=0.0,
            de_p99=0.0,
            cases=0,
            worst="",
        )


def require_one_of(value: str, choices: tuple[str, ...], what: str) -> None:
    """Refuse a value outside its vocabulary with an ArtifactError that lists the vocabulary."""
    if value not in choices:
        raise ArtifactError(f"{what} should be one of {', '.join(choices)} but is {value!r}; choose one of them")
