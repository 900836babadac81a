"""The progress of `enhance` on stderr: done of all, photographs per second, time left, the current name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic as now
from typing import Protocol

import rich.progress
from rich.console import Console
from rich.text import Text

from runtimes.console import EVERY_S, FIRST_S, terminal


class Progress(Protocol):
    """Where a run says how far it is."""

    def started(self, file: Path) -> None:
        """A photograph is being enhanced; called by any thread."""

    def finished(self, file: Path) -> None:
        """A photograph is done, or has failed."""

    def say(self, line: str) -> None:
        """Show a line."""


@contextlib.contextmanager
def progress(total: int) -> Iterator[Progress]:
    """Show the progress of a number of photographs: as a bar on a terminal, as a line now and then in a log."""
    console = terminal(stderr=True)
    if not console.is_terminal:
        yield _Log(total)
        return
    # A bar would turn what is printed on stdout into output of its own, on stderr
    with rich.progress.Progress(
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Speed(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        speed_estimate_period=120,
    ) as bar:
        yield _Bar(bar, bar.add_task("", total=total), console)


class _Speed(rich.progress.ProgressColumn):
    def render(self, task: rich.progress.Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.2g}/s")


class _Bar:
    def __init__(self, bar: rich.progress.Progress, task: rich.progress.TaskID, console: Console) -> None:
        self._bar, self._task, self._console = bar, task, console

    def started(self, file: Path) -> None:
        self._bar.update(self._task, description=file.name)

    def finished(self, _: Path) -> None:
        self._bar.advance(self._task)

    def say(self, line: str) -> None:
        self._console.print(line)


class _Log:
    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._began = now()
        self._due = self._began + FIRST_S

    def started(self, file: Path) -> None:
        pass

    def finished(self, file: Path) -> None:
        self._done += 1
        moment = now()
        if moment < self._due:
            return
        self._due = moment + EVERY_S
        speed = self._done / (moment - self._began)
        left = (self._total - self._done) / speed
        self.say(f"{self._done}/{self._total}, {speed:.2g}/s, {left:.0f} s left, {file.name}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
