"""A run: every subject in a process of its own, all of them asked in turn, round after round."""

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
Say = Callable[[str, int, int], object]  # what is being done, and how much of how much is done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure each subject at.

    sizes: H, W; empty for the first subject's own. threads: empty for the backends' choice. runs, warmup: rounds.
    seconds: after which no further round starts; None for no limit. photo: the input; a synthetic picture if None.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    batch: int = 1
    threads: tuple[int, ...] = ()
    runs: int = 50
    warmup: int = 3
    seconds: float | None = None
    photo: Path | None = None

    def settings(self, shapes: Sequence[Shape]) -> Settings:
        """For the report."""
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
    """Open, warm up, sample, check, and report.

    A subject that cannot be opened, or fails on the way, is reported as not run, with the reason. `say` hears of the
    progress.

    Errors: ArtifactError when nothing could be measured, or the samples are impossible (see Measurement and Report).
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
        """Rounds of one call of each entry: the warm-up first, then the samples."""
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
        """The rows, with pictures looked at after the last sample."""
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
        """Add an entry; or a reason why not."""
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
            raise ArtifactError(f"at least one subject should run but none does ({reasons}); mend one of them")
        for entry in list(rounds_of(self._entries, turn)):
            try:
                entry.sample(keep=turn >= 0)
            except ArtifactError as error:
                self._drop(entry, error)

    def _rows(self) -> Iterator[Measurement]:
        """A row of each entry. Memory is read before the pictures are drawn, which may be of other shapes."""
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
        """None for another network."""
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
        """Whether it is an OpenVINO file of a folder with float32 arithmetic."""
        plain = not subject.asked_for and subject.format == "openvino" and not subject.options
        return plain and any(e.subject is subject and e.spec.precision == "fp32" for e in self._entries)

    def _cpu_ns(self) -> int:
        """CPU time of this process and its workers so far, of those that were given up as far as it is known."""
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
    """All of the items once: round number `turn` starts one further on in the list than the round before it.

    A drifting machine then hits all alike, and no one always runs first.
    """
    start = turn % len(items)
    yield from items[start:]
    yield from items[:start]


def warnings_of_weights(rows: Sequence[Measurement]) -> list[str]:
    """A sentence for each artifact of other weights than those of the PyTorch rows."""
    ours = {row.weights_sha256 for row in rows if row.kind == "pytorch"}
    return [
        f"{row.subject} has other weights than the PyTorch rows: its ratio compares two networks"
        for row in rows
        if ours and row.kind == "artifact" and row.weights_sha256 not in ours
    ]
