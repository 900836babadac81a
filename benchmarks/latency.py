"""Measure how fast artifacts are on this machine: python benchmarks/latency.py FOLDER, or bncagan benchmark FOLDER."""

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
from runtimes import ArtifactError, read
from runtimes.command import Flag, run_command
from runtimes.console import terminal
from runtimes.files import write_text
from runtimes.spec import parse_size

INCOMPLETE = 1  # the exit code when something that was asked for by name could not be measured


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure latency, memory and likeness to PyTorch of artifacts, side by side.

    Every artifact runs in a process of its own, and all take turns, one call each a round. Times of a busy machine
    are worth nothing: the report says when it was one.
    """

    artifacts: tyro.conf.Positional[tuple[str, ...]] = ()
    """Exported files, with options as FILE@option=value,option=value (small.xml@precision=bf16), or folders of them."""
    shape: tuple[str, ...] = ()
    """HEIGHTxWIDTH, several if you like; that of the first artifact if not given."""
    batch: int = 1
    """Pictures at a time."""
    threads: tuple[int, ...] = ()
    """CPU threads, several numbers if you like; each backend's own choice if not given."""
    runs: int = 50
    """Rounds to measure."""
    warmup: int = 3
    """Rounds before them."""
    seconds: float | None = None
    """No further round starts after so many seconds."""
    peer: tuple[Path, ...] = ()
    """Other networks' ONNX files: one float input, N x 3 x H x W."""
    photo: Path | None = None
    """Photograph to enhance, resampled to the shape, instead of a synthetic picture."""
    out: Path | None = None
    """JSON file for the report with every sample, which `compare` reads."""
    markdown: Path | None = None
    """File for the table as Markdown."""
    picture: Path | None = None
    """Picture of all samples and of size, latency and PSNR (.png, .svg, .pdf); needs matplotlib."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Measure, print and write; 1 if something that was asked for by name could not be measured."""
        plan = self.plan()
        self._require_targets()
        subjects, not_run = self.subjects()
        if not subjects:
            reasons = "; ".join(f"{missing.subject} {missing.reason}" for missing in not_run)
            raise ArtifactError(
                f"there should be something to measure but nothing was named that runs here ({reasons or 'nothing'}); "
                "name artifacts or a folder of them"
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
        """What was named, and what of a folder cannot run here."""
        found, missing = find_subjects(self.artifacts)
        return found + [peer_subject(path) for path in self.peer], missing

    def plan(self) -> Plan:
        """What was asked for; ArtifactError if it makes no sense."""
        numbers = {"batch": self.batch, "runs": self.runs, "threads": min(self.threads, default=1)}
        for name, number in numbers.items():
            if number < 1:
                raise ArtifactError(f"--{name} should be a whole number from 1 but is {number}; raise it")
        if self.warmup < 0 or (self.seconds is not None and not self.seconds > 0):
            raise ArtifactError(
                f"--warmup should be from 0 and --seconds above 0 but are {self.warmup} and {self.seconds}; raise them"
            )
        if self.photo is not None:
            read(self.photo)
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
        """Find out before the measuring, not after it, that a file cannot be written."""
        for path in (self.out, self.markdown, self.picture):
            if path is not None and not path.parent.is_dir():
                raise ArtifactError(f"{path} should lie in an existing folder but {path.parent} is none; create it")
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
