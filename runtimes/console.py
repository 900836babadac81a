"""Output on the terminal: plain text, tables, and the progress of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

WIDE = 180  # characters of a line in a file or a pipe
FIRST_S, EVERY_S = 5, 30  # seconds until the first line of progress in a log, and between two lines

T = TypeVar("T")


class Terminal(Console):
    """A console that raises BrokenPipeError; rich's own console would exit with code 1."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that rich is handling when it calls this method."""
        raise  # noqa: PLE0704


def terminal(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is: no markup, no highlighting, no wrapping.

    In a file or a pipe a line has room for 180 characters.
    """
    console = Terminal(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


def tracked(items: Iterable[T], what: str) -> Iterable[T]:
    """Return the items and show the progress of the loop over them on stderr.

    A terminal shows a bar. A log gets its first line after 5 s and another every 30 s.
    """
    known, console = list(items), terminal(stderr=True)
    return track(known, what, console=console, transient=True) if console.is_terminal else _logged(known, what)


def _logged(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items and print a line of progress on stderr when one is due."""
    began = time.monotonic()
    due = began + FIRST_S
    for done, item in enumerate(items):
        now = time.monotonic()
        if now >= due:
            print(f"{what} {done}/{len(items)}, {now - began:.0f} s", file=sys.stderr, flush=True)
            due = now + EVERY_S
        yield item
