"""A run: every subject has its own process, and each round calls all of them in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.busy import Watch, warnings_of
from benchmarks.candidates import FOLDED, Subject, in_bf16
from benchmarks.machine import describe_environment
from benchmarks.pictures import darkened, input_picture
from benchmarks.report import Likeness, Measurement, NotRun, Report, Settings
from benchmarks.run import Entry, open_entry
from runtimes import ArtifactError
from runtimes.image import Pixels
from runtimes.spec import Shape

Item = TypeVar("Item")
Say = Callable[[str, int, int], object]  # takes what is being done, the number of steps done, and their total


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The conditions of a run."""

    sizes: tuple[tuple[int, int], ...] = ()
    """Sizes H, W; empty for the size of the first subject."""
    batch: int = 1
    """Number of pictures in a batch."""
    threads: tuple[int, ...] = ()
    """Numbers of threads; empty for the backends' own choice."""
    runs: int = 50
    """Number of measured rounds."""
    warmup: int = 3
    """Number of rounds before them."""
    seconds: float | None = None
    """Time after which no further round starts; None for no limit."""
    photo: Path | None = None
    """The photograph to enhance; None for a synthetic picture."""

    def settings(self, shapes: Sequence[Shape]) -> Settings:
        """Return the settings for the report."""
        return Settings(
            shapes=tuple(shapes),
            threads=self.threads,
            runs=self.runs,
            warmup=self.warmup,
            seconds=self.seconds,
            picture="synthetic" if self.photo is None else self.photo.name,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        )


def measure(
    subjects: Sequence[Subject], plan: Plan, *, not_run: Sequence[NotRun] = (), say: Say = lambda *_: None
) -> Report:
    """Measure the subjects: open, warm up, sample, compare pictures, and report.

    A subject that cannot be opened or that fails later is reported as not run, with the reason.

    not_run: further subjects to report as not run.
    say: called with the progress.

    Errors: ArtifactError when nothing could be measured, or when the samples are impossible (see Measurement, Report).
    """
    with contextlib.ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        session = Session(plan, folder, say, not_run)
        resources.callback(session.close)
        session.open(subjects)
        session.sample()
        return session.report()


class Session:
    """The state of a run; `close` ends its processes."""

    def __init__(self, plan: Plan, folder: Path, say: Say, not_run: Sequence[NotRun]) -> None:
        self._plan, self._folder, self._say = plan, folder, say
        self._not_run = list(not_run)
        self._entries: list[Entry] = []
        self._shapes: list[Shape] = [(plan.batch, *size) for size in plan.sizes]
        self._watch = Watch()
        self._duration_ns = self._own_ns = self._gone_ns = 0

    def close(self) -> None:
        """End all processes."""
        for entry in self._entries:
            entry.process.close()

    def open(self, subjects: Sequence[Subject]) -> None:
        """Open every subject with every number of threads at every shape, one after the other."""
        queue = list(subjects)
        for done, subject in enumerate(queue):
            self._say(f"opening {subject.name}", done, len(queue))
            for threads in (self._plan.threads if subject.takes_threads else ()) or (None,):
                for shape in tuple(self._shapes) or (None,):
                    self._open(subject, threads, shape)
            if self._has_bf16(subject) and in_bf16(subject).name not in [each.name for each in queue]:
                queue.append(in_bf16(subject))

    def sample(self) -> None:
        """Run the rounds, first those of the warm-up; each calls every entry once."""
        plan = self._plan
        began, own = time.perf_counter_ns(), 0
        deadline = None if plan.seconds is None else time.monotonic() + plan.seconds
        for turn in range(-plan.warmup, plan.runs):
            if turn > 0 and deadline is not None and time.monotonic() > deadline:
                break
            if turn == 0:
                own = self._cpu_ns()
                self._watch.restart()
                began = time.perf_counter_ns()
            self._round(turn)
            self._say("measuring", turn + plan.warmup + 1, plan.warmup + plan.runs)
        self._duration_ns = time.perf_counter_ns() - began
        self._own_ns = self._cpu_ns() - own

    def report(self) -> Report:
        """Make the report. Pictures are compared now, after the last sample."""
        quiet = self._watch.finish(self._own_ns / 1e9)
        rows = tuple(self._rows())
        return Report(
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            environment=describe_environment(),
            settings=self._plan.settings(self._shapes),
            quiet=quiet,
            duration_ns=self._duration_ns,
            rows=rows,
            not_run=tuple(self._not_run),
            warnings=(*warnings_of(quiet, rows), *warnings_of_weights(rows)),
        )

    def _open(self, subject: Subject, threads: int | None, shape: Shape | None) -> None:
        """Open an entry, or record why it was not possible."""
        folder = self._folder / str(len(self._entries) + len(self._not_run))
        folder.mkdir()
        try:
            entry = open_entry(subject, threads, shape, self._plan.batch, folder)
        except ArtifactError as error:
            self._leave_out(subject, error)
            return
        self._entries.append(entry)
        try:
            entry.start(input_picture(self._plan.photo, *entry.shape[1:]))
        except ArtifactError as error:
            self._drop(entry, error)
        else:
            self._shapes = self._shapes or [entry.shape]

    def _round(self, turn: int) -> None:
        if not self._entries:
            reasons = "; ".join(f"{missing.subject}: {missing.reason}" for missing in self._not_run)
            raise ArtifactError(
                f"benchmark should have a subject that runs but has none ({reasons}); repair one of them"
            )
        for entry in list(rounds_of(self._entries, turn)):
            try:
                entry.sample(keep=turn >= 0)
            except ArtifactError as error:
                self._drop(entry, error)

    def _rows(self) -> Iterator[Measurement]:
        """Yield a row for each entry. Memory is read first, because the compared pictures may have other shapes."""
        pictures = {shape: self._pictures(shape) for shape in self._shapes}
        for done, entry in enumerate(self._entries):
            self._say(f"checking {entry.subject.name}", done, len(self._entries))
            row = entry.measurement()
            try:
                likeness = self._likeness(entry, pictures[entry.shape])
            except ArtifactError as error:
                self._leave_out(entry.subject, error)
            else:
                yield dataclasses.replace(row, check=likeness)

    def _likeness(self, entry: Entry, pictures: Sequence[Pixels]) -> Likeness | None:
        """Compare with the folded PyTorch network of the same weights and shape; return None for a peer."""
        if entry.subject.kind == "peer":
            return None
        key = (entry.spec.weights_sha256, entry.shape)
        for other in self._entries:
            if other.subject.format == FOLDED and (other.spec.weights_sha256, other.shape) == key:
                return entry.likeness(other, pictures)
        return entry.likeness(None, pictures)

    def _pictures(self, shape: Shape) -> list[Pixels]:
        picture = input_picture(self._plan.photo, *shape[1:])
        return [picture, darkened(picture)]

    def _has_bf16(self, subject: Subject) -> bool:
        """Whether it is a float32 OpenVINO file with convolutions found in a folder, also measured in bfloat16."""
        plain = not subject.asked_for and subject.format == "openvino" and not subject.options
        specs = [entry.spec for entry in self._entries if entry.subject is subject]
        return plain and any(spec.precision == "fp32" and spec.width > 0 for spec in specs)

    def _cpu_ns(self) -> int:
        """Return the CPU time of this process and its workers so far, including dropped ones as far as known."""
        for entry in self._entries:
            entry.cpu_ns = int(entry.process.ask("clock")["cpu_ns"])
        return time.process_time_ns() + self._gone_ns + sum(entry.cpu_ns for entry in self._entries)

    def _drop(self, entry: Entry, error: ArtifactError) -> None:
        self._entries.remove(entry)
        self._gone_ns += entry.cpu_ns
        entry.process.close()
        self._leave_out(entry.subject, error)

    def _leave_out(self, subject: Subject, error: ArtifactError) -> None:
        self._not_run.append(NotRun(subject=subject.name, reason=str(error)))


def rounds_of(items: Sequence[Item], turn: int) -> Iterator[Item]:
    """Yield all items once. Each round starts one place further in the list than the round before.

    A drift of the machine then affects all items equally, and none is always the first.
    """
    start = turn % len(items)
    yield from items[start:]
    yield from items[:start]


def warnings_of_weights(rows: Sequence[Measurement]) -> list[str]:
    """Return one sentence for each artifact whose weights differ from those of the PyTorch rows."""
    ours = {row.weights_sha256 for row in rows if row.kind == "pytorch"}
    return [
        f"{row.subject} has other weights than the PyTorch rows: its ratio compares two networks"
        for row in rows
        if ours and row.kind == "artifact" and row.weights_sha256 not in ours
    ]
