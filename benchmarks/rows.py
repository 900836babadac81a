"""One row of a latency report, and what makes it impossible."""

from __future__ import annotations

import dataclasses

from runtimes import ArtifactError, Verdict
from runtimes.spec import IOS, Shape
from runtimes.verdict import PRECISIONS, require_one_of

KINDS = ("artifact", "pytorch", "peer")
SCOPES = ("inference", "end to end")
ARITHMETICS = ("f32", "f16", "bf16")  # in the backends' words, at the end of a device: "CPU, f32"
# The arithmetic that the name of a precision promises.
ARITHMETIC = {"fp32": "f32", "fp16": "f16", "int8": "f32", "palette8": "f16", "palette6": "f16"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """How far a row's pictures are from PyTorch's, on the spot.

    reference: where PyTorch's pictures come from. pictures: how many were compared. psnr_min: dB at peak 255 of the
    worst, None when none differs. max_code: largest difference, 8-bit codes. failures: sentences.
    """

    reference: str
    pictures: int
    psnr_min: float | None
    max_code: int
    failures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One artifact at one shape with one number of threads, in a process of its own.

    subject: its name in the command, which is what reports are joined by. kind: "artifact", "pytorch" or "peer".
    precision: of the file. ran: of the arithmetic where the backend tells, else the file's own, e.g. "bf16".
    threads: None where the backend has no such option, or was left its choice. shape: N, H, W.
    size_bytes, sha256: of all files that it needs to run; of a PyTorch row, of the checkpoint.
    load_ns: from a bare process to an opened artifact, its library's import included. first_ns: the first inference.
    inference_ns, end_to_end_ns: every sample, in the order taken; the first lies within the second, and both are of
    one batch. Nothing is left out.
    peak_memory_bytes: resident, of the whole process; None where the system does not say.
    idle_cpu_share: of one core, used by this process while others were measured.
    verdict: what the artifact says of its parity check at export. check: what its pictures said in this run.

    Errors: ArtifactError for a clock error (a sample that is not positive, an inference that outlasts the call that it
    is part of), unequal numbers of samples, or a value outside its vocabulary.
    """

    subject: str
    kind: str
    model: str
    format: str
    io: str
    precision: str
    ran: str
    weights_sha256: str
    runtime: str
    device: str
    threads: int | None
    shape: Shape
    size_bytes: int
    sha256: str
    load_ns: int
    first_ns: int
    inference_ns: tuple[int, ...]
    end_to_end_ns: tuple[int, ...]
    peak_memory_bytes: int | None
    idle_cpu_share: float
    verdict: Verdict | None
    check: Check | None

    def __post_init__(self) -> None:
        require_one_of(self.kind, KINDS, f"{self.subject}: the kind")
        require_one_of(self.io, IOS, f"{self.subject}: io")
        require_one_of(self.precision, PRECISIONS, f"{self.subject}: the precision")
        if len(self.inference_ns) != len(self.end_to_end_ns) or not self.inference_ns:
            raise ArtifactError(
                f"{self.subject} should have as many inference samples as end-to-end samples, from 1, but has "
                f"{len(self.inference_ns)} and {len(self.end_to_end_ns)}; measure it again"
            )
        times = [self.load_ns, self.first_ns, *self.inference_ns]
        if min(times) <= 0:
            raise ArtifactError(
                f"{self.subject} should have positive times but has one of {min(times)} ns, a clock error; "
                "measure it again"
            )
        for index, (part, whole) in enumerate(zip(self.inference_ns, self.end_to_end_ns, strict=True)):
            if part > whole:
                raise ArtifactError(
                    f"{self.subject} should spend no longer on an inference than on the call around it but sample "
                    f"{index} has {part} ns within {whole} ns, a clock error; measure it again"
                )

    @property
    def arithmetic(self) -> str:
        """What ran, for people: "fp32", or "fp32 as bf16" where the arithmetic is not that of the file."""
        same = self.ran in {self.precision, ARITHMETIC[self.precision]}
        return self.precision if same else f"{self.precision} as {self.ran}"

    def samples(self, scope: str) -> tuple[int, ...]:
        """The samples of one of SCOPES."""
        return self.inference_ns if scope == SCOPES[0] else self.end_to_end_ns
