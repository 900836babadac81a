"""What the terminal shows: tables, paths and numbers as they are, and bars while long work goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

WIDE = 180  # characters of a line where nobody watches

T = TypeVar("T")


def terminal(*, stderr: bool = False) -> Console:
    """A console without markup, colours of its own or wrapped lines; tables have room where nobody watches."""
    console = Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


def tracked(items: Iterable[T], what: str) -> Iterable[T]:
    """The items, with a bar on the terminal while they are gone through."""
    console = Console(stderr=True)
    return track(list(items), what, console=console, transient=True, disable=not console.is_terminal)
