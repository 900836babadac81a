"""The parity verdict stored in an artifact: what was compared, on which device, and with what result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from runtimes.errors import ArtifactError
from runtimes.likeness import CaseScore
from runtimes.schema import Version

# Version of the spec, of its verdict, and of the record beside a TensorRT plan. A new field needs a default and raises
# the minor version.
# 1.0: the network may change a picture of one colour (see `runtimes.likeness.excused`).
# 1.1: the network returns such a picture unchanged.
# 1.2: `controls` in the spec.
# 1.3: `seal` in the spec. A verdict may lack CIEDE2000, which not every self-test computes (docs/self-test.md).
# 1.4: `output`, `window` and `fidelity` in the spec.
FORMAT_VERSION = Version(1, 4)
LABELS = ("measured", "predicted", "not run")
PRECISIONS = ("fp32", "fp16", "int8", "palette8", "palette6")  # paletteN: fp16 arithmetic, weights from 2^N values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of comparing an artifact's pictures with the float32 network's, over all cases.

    Errors: ArtifactError when `label` or `precision` has an unknown value, or when a passed verdict has failures or was
    not run.
    """

    label: str
    """"measured" (by this runtime on this device), "predicted" (by an evaluator in its place) or "not run"."""
    passed: bool
    """Whether every picture kept the limits."""
    runtime: str
    """Backend and version that made the pictures."""
    device: str
    """Device that made them."""
    precision: str
    """Precision of the artifact, which determines the limits."""
    psnr_min: float | None
    """PSNR of the worst picture in dB, with peak 255; None when no picture differs."""
    psnr_mean: float | None
    """Mean PSNR of the pictures that differ, in dB; None when no picture differs."""
    max_code: int
    """The largest difference in any picture, in 8-bit codes."""
    share_over_1: float
    """The largest share (0 to 1) of a picture's pixels that differ by more than 1 code."""
    bias_max: float
    """The largest absolute mean difference of one channel of one picture, in codes."""
    de_mean: float | None
    """The largest mean CIEDE2000 of a picture; None where it was not computed, as for the next."""
    de_p99: float | None
    """The largest 99th percentile of CIEDE2000 of a picture."""
    cases: int
    """Number of pictures compared."""
    worst: str
    """Name of the picture with the lowest PSNR."""
    failures: tuple[str, ...] = ()
    """Sentences that name the input, the number and the limit; empty if `passed`."""

    def __post_init__(self) -> None:
        require_one_of(self.label, LABELS, "a verdict's label")
        require_one_of(self.precision, PRECISIONS, "a verdict's precision")
        if self.passed and (self.failures or self.label == "not run"):
            raise ArtifactError(
                f"a passed verdict should be of a run without failures but is {self.label!r} "
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
        """Summarize the scores, at least one, and the sentences about broken limits in a verdict."""
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
        """Make the verdict of an artifact that has not been executed; it has not passed."""
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How near maps come to the float32 network that is run on the photograph at full size."""

    photographs: tuple[str, ...]
    """Names of the photographs."""
    enlarged: bool
    """Whether some of them were smaller than the largest side, and so were enlarged."""
    network: tuple[int, int]
    """Height and width of what the network saw of a photograph of 4:3, in px."""
    sides: tuple[int, ...]
    """Longer sides of the photographs, in px; each of the next two has one number for each."""
    psnr_min: tuple[float, ...]
    """PSNR of the worst photograph in dB, with peak 255."""
    de_p99_max: tuple[float, ...]
    """The largest 99th percentile of CIEDE2000 of a photograph."""
    halo: float
    """The largest error beside an edge that the flat areas around it do not have, in codes."""
    seam: float
    """The largest step of the error between neighbouring rows or columns of a smooth picture, in codes."""

    def __str__(self) -> str:
        sides = ", ".join(
            f"{psnr:.1f} dB and CIEDE2000 p99 {de:.2f} at {side} px"
            for side, psnr, de in zip(self.sides, self.psnr_min, self.de_p99_max, strict=True)
        )
        which = f"{len(self.photographs)} photographs{', enlarged' if self.enlarged else ''}"
        return (
            f"maps against the network at full size, worst of {which}: {sides}; "
            f"halo {self.halo:.2f}, seam {self.seam:.2f} codes"
        )


def require_one_of(value: str, choices: tuple[str, ...], what: str) -> None:
    """Check that a value is one of the choices; ArtifactError lists them. `what` is the subject of its sentence."""
    if value not in choices:
        raise ArtifactError(f"{what} should be one of {', '.join(choices)} but is {value!r}; choose one of them")
