"""The benchmark command: python benchmarks/latency.py FOLDER, or bncagan benchmark FOLDER."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script: the project's packages lie beside this folder, not in it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro
from rich.progress import Progress, TextColumn

from benchmarks.candidates import Subject, find_subjects, peer_subject, require_different
from benchmarks.charts import draw, require_matplotlib
from benchmarks.report import NotRun, Report
from benchmarks.session import Plan, measure
from benchmarks.tables import blocks, markdown, notes, terminal_table
from runtimes import ArtifactError
from runtimes.command import Flag, run_command
from runtimes.console import terminal
from runtimes.files import write_text
from runtimes.photographs import read_rgb
from runtimes.spec import parse_size

INCOMPLETE = 1  # exit code when something that the user named could not be measured


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure latency and memory of artifacts, and compare their pictures with PyTorch's.

    Every artifact runs in its own process. In each round every process is called once. Times of a busy machine are
    useless, so the report says if it was busy.
    """

    artifacts: tyro.conf.Positional[tuple[str, ...]] = ()
    """Exported files, or folders of them. A file may have options: FILE@option=value (small.xml@precision=bf16)."""
    shape: tuple[str, ...] = ()
    """One or more sizes HEIGHTxWIDTH; default: the size of the first artifact."""
    batch: int = 1
    """Number of pictures in a batch."""
    threads: tuple[int, ...] = ()
    """One or more numbers of CPU threads; default: each backend's own choice."""
    runs: int = 50
    """Number of measured rounds."""
    warmup: int = 3
    """Number of rounds before them, which are not measured."""
    seconds: float | None = None
    """Start no further round after this time in seconds."""
    peer: tuple[Path, ...] = ()
    """ONNX files of other networks, with one float input N x 3 x H x W."""
    photo: Path | None = None
    """Photograph to enhance, resampled to the shape; default: a synthetic picture."""
    out: Path | None = None
    """JSON file for the report with all samples, which `compare` reads."""
    markdown: Path | None = None
    """Markdown file for the tables."""
    picture: Path | None = None
    """File (.png, .svg, .pdf) for a chart of all samples and of PSNR against latency; needs matplotlib."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Measure, print and write; return 1 if something that the user named could not be measured, else 0."""
        plan = self.plan()
        self._require_targets()
        subjects, not_run = self.subjects()
        if not subjects:
            reasons = "; ".join(f"{missing.subject} {missing.reason}" for missing in not_run)
            raise ArtifactError(
                f"benchmark should be given artifacts that run here but nothing was named that does "
                f"({reasons or 'no names'}); name artifacts or a folder of them"
            )
        require_different(subjects)
        with Progress(
            *Progress.get_default_columns(),
            TextColumn("{task.completed}/{task.total}"),
            console=terminal(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as progress:
            task = progress.add_task("starting", total=None)

            def say(what: str, done: int, total: int) -> None:
                progress.update(task, description=what, completed=done, total=total)

            report = measure(subjects, plan, not_run=not_run, say=say)
        self._publish(report)
        named = {subject.name for subject in subjects if subject.asked_for}
        return INCOMPLETE if named & {missing.subject for missing in report.not_run} else 0

    def subjects(self) -> tuple[list[Subject], list[NotRun]]:
        """Return the subjects that the user named, and the artifacts of folders that cannot run here."""
        found, missing = find_subjects(self.artifacts)
        return found + [peer_subject(path) for path in self.peer], missing

    def plan(self) -> Plan:
        """Return the plan that the options describe; ArtifactError if an option cannot be used."""
        numbers = {"batch": self.batch, "runs": self.runs, "threads": min(self.threads, default=1)}
        for name, number in numbers.items():
            if number < 1:
                raise ArtifactError(f"--{name} should be a whole number from 1 but is {number}; raise it")
        if self.warmup < 0 or (self.seconds is not None and not self.seconds > 0):
            raise ArtifactError(
                f"--warmup should be at least 0 and --seconds above 0 but are {self.warmup} and {self.seconds}; "
                "raise them"
            )
        if self.photo is not None:
            read_rgb(self.photo)
        return Plan(
            sizes=tuple(dict.fromkeys(parse_size(text, multiple=1, least=1) for text in self.shape)),
            batch=self.batch,
            threads=tuple(dict.fromkeys(self.threads)),
            runs=self.runs,
            warmup=self.warmup,
            seconds=self.seconds,
            photo=self.photo,
        )

    def _require_targets(self) -> None:
        """Check before the measurement that the files can be written."""
        for path in (self.out, self.markdown, self.picture):
            if path is not None and not path.parent.is_dir():
                raise ArtifactError(
                    f"{path} should be in an existing folder but {path.parent} does not exist; create it"
                )
        if self.picture is not None:
            require_matplotlib()

    def _publish(self, report: Report) -> None:
        terminal().print(*map(terminal_table, blocks(report)), *notes(report), sep="\n")
        if self.out is not None:
            report.save(self.out)
        if self.markdown is not None:
            write_text(self.markdown, markdown(report))
        if self.picture is not None:
            draw(report, self.picture)


if __name__ == "__main__":
    sys.exit(run_command("latency", Benchmark))
