"""A latency report: samples, machine and conditions. docs/reports.md describes the JSON file."""

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
# A report contains the verdicts of artifacts, so its minor version rises with theirs, and with each new field.
VERSION = Version(1, FORMAT_VERSION.minor)
MEND = "measure again"
KINDS = ("artifact", "pytorch", "peer")
SCOPES = ("inference", "end to end")
ARITHMETICS = ("f32", "f16", "bf16")  # a backend may add one to its device: "CPU, f32"
# The arithmetic that each precision of a file stands for.
ARITHMETIC = {"fp32": "f32", "fp16": "f16", "int8": "f32", "palette8": "f16", "palette6": "f16"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run."""

    shapes: tuple[Shape, ...]
    """The shapes (N, H, W)."""
    threads: tuple[int, ...]
    """The numbers of threads; empty for the backends' own choice."""
    runs: int
    """Number of measured rounds that were asked for."""
    warmup: int
    """Number of rounds before them."""
    seconds: float | None
    """Time after which no further round starts; None for no limit."""
    picture: str
    """Name of the photograph, or "synthetic"."""
    command: str
    """The command line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quiet:
    """The other load on the machine; None where the system does not report it."""

    load_before: float | None
    """Load average over one minute before the run."""
    load_after: float | None
    """Load average over one minute after the run."""
    others_cores: float | None
    """Number of cores that other programs kept busy during the run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotRun:
    """A subject that was not measured."""

    subject: str
    """Its name."""
    reason: str
    """Why it was not measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
    """The differences between a row's pictures in this run and PyTorch's."""

    reference: str
    """Where PyTorch's pictures come from; "itself" for the PyTorch row that is the reference."""
    pictures: int
    """Number of pictures compared."""
    psnr_min: float | None
    """PSNR of the worst picture in dB, with peak 255; None when no picture differs."""
    max_code: int
    """The largest difference, in 8-bit codes."""
    failures: tuple[str, ...] = ()
    """One sentence for each broken limit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row: an artifact at one shape with one number of threads, measured in its own process.

    Errors: ArtifactError when a field has an unknown value, when there are no samples or unequal numbers of them, or
    when the clock was wrong: a time is not positive, or an inference takes longer than the call that contains it.
    """

    subject: str
    """Its name in the command; `compare` matches rows by it."""
    kind: str
    """"artifact", "pytorch" or "peer"."""
    model: str
    """Name of the network."""
    format: str
    """Name of the file format, or the form of the PyTorch network."""
    io: str
    """Pixel type: "float32" or "uint8"."""
    precision: str
    """Precision of the file."""
    ran: str
    """Precision of the arithmetic if the backend reports it, such as "bf16"; else that of the file."""
    weights_sha256: str
    """SHA-256 of the network's weights."""
    runtime: str
    """Backend and version."""
    device: str
    """Device, as the backend calls it."""
    threads: int | None
    """Number of threads; None if the backend has no such option or chose itself."""
    shape: Shape
    """N, H, W."""
    size_bytes: int
    """Size of all files that it needs to run; for a PyTorch row, of the checkpoint."""
    sha256: str
    """SHA-256 over the same files."""
    load_ns: int
    """Time to open the artifact in a new process, including the import of the library."""
    first_ns: int
    """Time of the first inference."""
    inference_ns: tuple[int, ...]
    """Times of inference alone, one for each round in order; none is left out."""
    end_to_end_ns: tuple[int, ...]
    """Times of the same calls from bytes to bytes."""
    peak_memory_bytes: int | None
    """Largest resident memory of the process; None if the system does not report it."""
    idle_cpu_share: float
    """Share of one core that the process used while others were measured."""
    verdict: Verdict | None
    """The artifact's verdict at export; None if it has none."""
    check: Likeness | None
    """The comparison with PyTorch in this run; None if there was none."""

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
                f"{self.subject} should have positive times but has {min(times)} ns, a clock error; measure it again"
            )
        for index, (part, whole) in enumerate(zip(self.inference_ns, self.end_to_end_ns, strict=True)):
            if part > whole:
                raise ArtifactError(
                    f"{self.subject} should have no inference longer than its whole call but sample "
                    f"{index} has {part} ns within {whole} ns, a clock error; measure it again"
                )

    @property
    def arithmetic(self) -> str:
        """Text for people: "fp32", or "fp32 as bf16" if the arithmetic is not that of the file."""
        same = self.ran in {self.precision, ARITHMETIC[self.precision]}
        return self.precision if same else f"{self.precision} as {self.ran}"

    @property
    def shape_text(self) -> str:
        """Text for people: N x H x W, such as "1x512x512"."""
        return "x".join(map(str, self.shape))

    @property
    def threads_text(self) -> str:
        """Text for people: the number of threads, or "default" for the backend's choice."""
        return "default" if self.threads is None else str(self.threads)

    def samples(self, scope: str) -> tuple[int, ...]:
        """Return the samples of a scope, one of SCOPES."""
        return self.inference_ns if scope == SCOPES[0] else self.end_to_end_ns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """One run on one machine.

    Errors: ArtifactError when there are no rows, when rows differ in their number of samples, when a row's shape or
    threads are not in the settings, when two rows have the same subject, shape and threads, or when the samples add up
    to more than the duration (a clock error).
    """

    created: str
    """Date and time (UTC), in ISO 8601."""
    environment: Environment
    """The machine and its software."""
    settings: Settings
    """The settings of the run."""
    quiet: Quiet
    """The other load on the machine."""
    duration_ns: int
    """Time of all measured rounds together."""
    rows: tuple[Measurement, ...]
    """One row for each subject, shape and number of threads."""
    not_run: tuple[NotRun, ...] = ()
    """The subjects that were not measured."""
    warnings: tuple[str, ...] = ()
    """Reasons to doubt the times."""

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
            raise ArtifactError(
                "a latency report should have a subject once for each shape and number of threads "
                "but has one twice; rename the files"
            )
        total = sum(sum(row.end_to_end_ns) for row in self.rows)
        if total > self.duration_ns:
            raise ArtifactError(
                f"the samples should add up to at most {self.duration_ns} ns, the duration, but add up to {total} ns, "
                "a clock error; measure again"
            )

    def to_json(self) -> str:
        """Return the report as JSON text; `from_json` is the inverse."""
        return json.dumps({"schema": SCHEMA, "version": str(VERSION), **dataclasses.asdict(self)}, allow_nan=False)

    def save(self, path: Path) -> None:
        """Write the JSON file; an older file is replaced at once."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def from_json(cls, text: str, what: str = "the report") -> Report:
        """Parse the text that `to_json` wrote. `what` names it in error messages.

        Errors: ArtifactError, naming the field, when the text does not fit the schema or contains impossible times.
        """
        fields = parse_object(text, what, mend=MEND)
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise ArtifactError(f"{what} should be a {SCHEMA} report but its schema is {schema!r:.40}; check the name")
        version = read_version(fields.pop("version", None), VERSION, what, mend=MEND)
        return build(cls, fields, what, mend=MEND, newer=version if version > VERSION else None)

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report from a JSON file.

        Example:
            report = Report.load(Path("jetson.json"))
            for row in report.rows:
                print(row.subject, percentile(row.inference_ns, 50) / 1e6, "ms")

        Errors: ArtifactError, naming the file, when it is missing, or as for `from_json`.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"{path} should be a latency report but cannot be read ({error}); check the name"
            ) from error
        return cls.from_json(text, str(path))
