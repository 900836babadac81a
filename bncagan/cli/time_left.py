"""The progress of a few long tasks of unequal length on stderr, with the time left."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Hashable, Mapping
from time import monotonic as now
from types import TracebackType

import rich.progress
from rich.text import Text

from runtimes.console import terminal


class TimeLeft:
    """A bar on a terminal; in a log, a line after each task. Used as a context.

    efforts: about how long each task takes in relation to the others.
    """

    def __init__(self, efforts: Mapping[Hashable, float]) -> None:
        self._efforts, self._total = dict(efforts), sum(efforts.values())
        self._count, self._began = len(efforts), now()
        self._due: float | None = None  # when all will be done
        console = terminal(stderr=True)
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(),
            rich.progress.TextColumn("{task.description}", markup=False),
            _Left(self),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._task = self._bar.add_task(self._done(), total=self._total)

    def __enter__(self) -> TimeLeft:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def prepared(self) -> None:
        """What came before the tasks is done, and does not count."""
        self._began = now()

    def finished(self, task: Hashable) -> None:
        """One of the tasks is done, or has failed."""
        del self._efforts[task]
        passed, rest = now() - self._began, sum(self._efforts.values())
        self._due = now() + passed * rest / (self._total - rest)
        self._bar.update(self._task, completed=self._total - rest, description=self._done())
        if self._bar.disable and self._efforts:
            print(f"{self._done()}, {self.left()}", file=sys.stderr, flush=True)

    def left(self) -> str:
        """The time left, in words; empty before the first task is done."""
        if self._due is None:
            return ""
        return f"about {datetime.timedelta(seconds=round(max(0, self._due - now())))} left"

    def _done(self) -> str:
        return f"{self._count - len(self._efforts)}/{self._count} files"


class _Left(rich.progress.ProgressColumn):
    def __init__(self, owner: TimeLeft) -> None:
        super().__init__()
        self._owner = owner

    def render(self, task: rich.progress.Task) -> Text:
        return Text(self._owner.left())
