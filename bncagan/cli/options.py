"""What several subcommands share."""

from __future__ import annotations

from typing import Annotated

import tyro
from rich.console import Console

from bncagan.errors import InputError

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def terminal(*, stderr: bool = False) -> Console:
    """A console that prints paths and numbers as they are: no markup, no colours of its own, no wrapping of lines."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


def parse_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, "512x768" -> (512, 768); InputError if it is none or a side is not a multiple of 8 from 16."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"expected a size as HEIGHTxWIDTH, e.g. 512x512, got {text!r}; write two numbers with an x")
    sides = int(height), int(width)
    if min(sides) < 16 or any(side % 8 for side in sides):
        raise InputError(f"expected HEIGHTxWIDTH in multiples of 8 from 16, got {text}; round them")
    return sides
