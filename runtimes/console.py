"""What the terminal shows: tables, paths and numbers as they are, and bars while long work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

WIDE = 180  # characters of a line where nobody watches
FIRST_S, EVERY_S = 5, 30  # until the first line in a log, and between two

T = TypeVar("T")


class Terminal(Console):
    """A console that lets BrokenPipeError through, where rich's own ends the process with code 1."""

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles that error."""
        raise  # noqa: PLE0704


def terminal(*, stderr: bool = False) -> Console:
    """A console without markup, colours of its own or wrapped lines; tables have room where nobody watches."""
    console = Terminal(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


def tracked(items: Iterable[T], what: str) -> Iterable[T]:
    """The items, with a bar on the terminal while they are gone through; in a log, a plain line now and then."""
    known, console = list(items), terminal(stderr=True)
    return track(known, what, console=console, transient=True) if console.is_terminal else _logged(known, what)


def _logged(items: Sequence[T], what: str) -> Iterator[T]:
    """The items; while it takes long, a line on stderr now and then."""
    began = time.monotonic()
    due = began + FIRST_S
    for done, item in enumerate(items):
        now = time.monotonic()
        if now >= due:
            print(f"{what} {done}/{len(items)}, {now - began:.0f} s", file=sys.stderr, flush=True)
            due = now + EVERY_S
        yield item
