"""A latency report: what was measured, on what, under which conditions. docs/reports.md describes the JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchmarks.machine import Environment
from benchmarks.reading import counts, objects
from benchmarks.rows import Row
from runtimes import ArtifactError
from runtimes.files import write_text
from runtimes.schema import Fields, parse_object
from runtimes.spec import Shape

SCHEMA = "bncagan-latency"
VERSION = 1


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

    @classmethod
    def from_fields(cls, fields: Fields) -> Settings:
        """Read the settings out of a parsed JSON object; ArtifactError names a field that is missing or wrong."""
        settings = cls(
            shapes=fields.triples("shapes"),
            threads=counts(fields, "threads"),
            runs=fields.integer("runs"),
            warmup=fields.integer("warmup"),
            seconds=fields.optional_number("seconds"),
            picture=fields.text("picture"),
            command=fields.text("command"),
        )
        fields.finish()
        return settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quiet:
    """What else the machine did: load averages over a minute before and after (None without them), and how many cores
    other programs kept busy meanwhile (None where the system does not say)."""

    load_before: float | None
    load_after: float | None
    others_cores: float | None

    @classmethod
    def from_fields(cls, fields: Fields) -> Quiet:
        """Read it out of a parsed JSON object; ArtifactError names a field that is missing or wrong."""
        quiet = cls(
            load_before=fields.optional_number("load_before"),
            load_after=fields.optional_number("load_after"),
            others_cores=fields.optional_number("others_cores"),
        )
        fields.finish()
        return quiet


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotRun:
    """A subject that was not measured, and why."""

    subject: str
    reason: str

    @classmethod
    def from_fields(cls, fields: Fields) -> NotRun:
        """Read it out of a parsed JSON object; ArtifactError names a field that is missing or wrong."""
        made = cls(subject=fields.text("subject"), reason=fields.text("reason"))
        fields.finish()
        return made


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
    rows: tuple[Row, ...]
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
        return json.dumps({"schema": SCHEMA, "version": VERSION, **dataclasses.asdict(self)}, allow_nan=False)

    def save(self, path: Path) -> None:
        """Write the JSON, under a temporary name first."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def from_json(cls, text: str, what: str = "the report") -> Report:
        """Parse what `to_json` wrote, as data, into the known fields only.

        Errors: ArtifactError, one sentence that names the field, as for a spec, and for what no run can have measured.
        """
        fields = parse_object(text, what)
        schema, version = fields.text("schema"), fields.integer("version")
        if (schema, version) != (SCHEMA, VERSION):
            raise ArtifactError(
                f"{what} should be a {SCHEMA} report of version {VERSION} but is {schema!r} of version {version}; "
                + ("upgrade bncagan" if version > VERSION else "measure again")
            )
        report = cls(
            created=fields.text("created"),
            environment=Environment.from_fields(Fields(fields.any("environment"), f"{what}'s environment")),
            settings=Settings.from_fields(Fields(fields.any("settings"), f"{what}'s settings")),
            quiet=Quiet.from_fields(Fields(fields.any("quiet"), f"{what}'s quiet")),
            duration_ns=fields.integer("duration_ns"),
            rows=objects(fields, "rows", Row.from_fields),
            not_run=objects(fields, "not_run", NotRun.from_fields),
            warnings=fields.texts("warnings"),
        )
        fields.finish()
        return report

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
