"""A latency report: what was measured, on what, under which conditions. docs/reports.md describes the JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchmarks.machine import Environment
from runtimes import ArtifactError, Verdict
from runtimes.files import write_text
from runtimes.schema import Version, build, parse_object, read_version
from runtimes.spec import IOS, Shape
from runtimes.verdict import FORMAT_VERSION, PRECISIONS, require_one_of

SCHEMA = "bncagan-latency"
# A report repeats the verdicts of artifacts, so that its minor version goes up with theirs, as with a field of its own.
VERSION = Version(1, FORMAT_VERSION.minor)
MEND = "measure again"
KINDS = ("artifact", "pytorch", "peer")
SCOPES = ("inference", "end to end")
ARITHMETICS = ("f32", "f16", "bf16")  # in the backends' words, at the end of a device: "CPU, f32"
# The arithmetic that the name of a precision promises.
ARITHMETIC = {"fp32": "f32", "fp16": "f16", "int8": "f32", "palette8": "f16", "palette6": "f16"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for: shapes (N, H, W), threads (empty for the backends' choice), rounds, warm-up rounds, seconds
    after which no further round starts, the picture, and the command."""

    shapes: tuple[Shape, ...]
    threads: tuple[int, ...]
    runs: int
    warmup: int
    seconds: float | None
    picture: str
    command: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quiet:
    """What else the machine did: load averages over a minute before and after (None without them), and how many cores
    other programs kept busy meanwhile (None where the system does not say)."""

    load_before: float | None
    load_after: float | None
    others_cores: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotRun:
    """A subject that was not measured, and why."""

    subject: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
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
class Measurement:
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
    check: Likeness | None

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

    @property
    def shape_text(self) -> str:
        """N x H x W, for people."""
        return "x".join(map(str, self.shape))

    @property
    def threads_text(self) -> str:
        """The number of threads, or that it was the backend's choice, for people."""
        return "default" if self.threads is None else str(self.threads)

    def samples(self, scope: str) -> tuple[int, ...]:
        """The samples of one of SCOPES."""
        return self.inference_ns if scope == SCOPES[0] else self.end_to_end_ns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """One run on one machine. created: UTC. duration_ns: wall time of all rounds together, warm-up aside.

    Errors: ArtifactError when there is no row, rows differ in their number of samples, a row's shape or threads are not
    among the settings', two rows are the same, or the samples add up to more than the duration (a clock error).
    """

    created: str
    environment: Environment
    settings: Settings
    quiet: Quiet
    duration_ns: int
    rows: tuple[Measurement, ...]
    not_run: tuple[NotRun, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            raise ArtifactError("a latency report should have rows but has none; measure at least one artifact")
        for row in self.rows:
            if row.shape not in self.settings.shapes:
                raise ArtifactError(
                    f"{row.subject} should have a shape of the report, {list(self.settings.shapes)}, "
                    f"but has {row.shape}; measure it again"
                )
            if row.threads is not None and row.threads not in self.settings.threads:
                raise ArtifactError(
                    f"{row.subject} should have threads of the report, {list(self.settings.threads)}, "
                    f"but has {row.threads}; measure it again"
                )
            if len(row.inference_ns) != len(self.rows[0].inference_ns):
                raise ArtifactError(
                    f"{row.subject} should have {len(self.rows[0].inference_ns)} samples, one a round, "
                    f"but has {len(row.inference_ns)}; measure it again"
                )
        if len({(row.subject, row.shape, row.threads) for row in self.rows}) != len(self.rows):
            raise ArtifactError("a latency report should name a subject once for each shape and threads; rename files")
        total = sum(sum(row.end_to_end_ns) for row in self.rows)
        if total > self.duration_ns:
            raise ArtifactError(
                f"the samples should fit into the {self.duration_ns} ns that the rounds took but add up to {total} ns, "
                "a clock error; measure again"
            )

    def to_json(self) -> str:
        """The report as JSON text; `from_json` is its inverse."""
        return json.dumps({"schema": SCHEMA, "version": str(VERSION), **dataclasses.asdict(self)}, allow_nan=False)

    def save(self, path: Path) -> None:
        """Write the JSON, under a temporary name first."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def from_json(cls, text: str, what: str = "the report") -> Report:
        """Parse what `to_json` wrote, as data; `what` names it in error messages.

        Errors: ArtifactError, one sentence that names the field, as for a spec, and for what no run can have measured.
        """
        fields = parse_object(text, what, mend=MEND)
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise ArtifactError(f"{what} should be a {SCHEMA} report but its schema is {schema!r:.40}; check the name")
        version = read_version(fields.pop("version", None), VERSION, what, mend=MEND)
        return build(cls, fields, what, mend=MEND, newer=version if version > VERSION else None)

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report; ArtifactError as `from_json`, naming the file, and when it is missing."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"{path} should be a latency report but cannot be read ({error}); check the name"
            ) from error
        return cls.from_json(text, str(path))
