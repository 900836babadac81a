"""Options that several subcommands share."""

from __future__ import annotations

from typing import Annotated

import tyro

from bncagan.errors import InputError

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def parse_size(text: str) -> tuple[int, int]:
    """ "WIDTHxHEIGHT"... as HEIGHTxWIDTH: "512x768" -> (512, 768)."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"expected a size as HEIGHTxWIDTH, e.g. 512x512, got {text!r}; write two numbers with an x")
    return int(height), int(width)
