"""Progress of long work on the terminal, if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def tracked(items: Iterable[T], what: str) -> Iterable[T]:
    """The items, with a bar on the terminal while they are gone through."""
    console = Console(stderr=True)
    return track(list(items), what, console=console, transient=True, disable=not console.is_terminal)
