"""A change applied to 16 bits: the formula of `runtimes.apply.oracle` in float32, some rows at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import Change, Floats
from runtimes.apply.plain import enhanced
from runtimes.apply.prepared import curve_table, prepare
from runtimes.controls import DEFAULT, Controls, expose
from runtimes.image import DeepAnswer

LEVELS = 1 << 16
STEP = np.float32(257)  # levels of 16 bits for one code of 8


def deep_answer(change: Change, height: int, width: int, controls: Controls = DEFAULT) -> DeepAnswer:
    """Return a function that changes rows of a photograph of height x width px.

    It takes sRGB codes, uint16 rows x W x 3, and the place of the first row; it returns codes of 0 to 65535, not
    rounded, of the same shape.
    """
    prepared = prepare(change, DEFAULT, height, width)
    table = curve_table(change.tone, LEVELS)

    def answer(rows: NDArray[np.uint16], first: int) -> Floats:
        codes = rows.transpose(2, 0, 1)
        x = codes / STEP
        y = enhanced(x, table.take(codes), slice(first, first + len(rows)), prepared)
        if controls != DEFAULT:
            y = x + np.float32(controls.strength) * (y - x)
            y = np.float32(255) * expose(y / np.float32(255), controls.exposure)
        return np.asarray((STEP * y).clip(0, LEVELS - 1).transpose(1, 2, 0), np.float32)

    return answer
