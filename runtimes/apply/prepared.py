"""A change made ready for one photograph: tables, and the neighbours of every row and column in the maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import BLACK, FIRST_STEP, GAIN, LIFT, RED, SATURATION, SHARE, STEPS, Change, Floats, S
from runtimes.controls import DEFAULT, Controls, expose
from runtimes.image import LUMA_WEIGHTS, to_uint8

FINE = 32  # entries of the last table for each code
LOWEST = -128  # code of its first entry; a strength of 1.5 reaches from -127.5 to 382.5
ENTRIES = 512 * FINE


class Grid(NamedTuple):
    """k x h x w maps, and for each row and column of the photograph its two neighbours and the second one's share."""

    values: Floats
    above: NDArray[np.int32]
    below: NDArray[np.int32]
    down: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    across: Floats


class Prepared(NamedTuple):
    """What the appliers need. Colours are in codes, 0 to 255."""

    table: Floats
    """The curve of the 256 codes, before saturation and gains."""
    scale: Floats
    """c x v - p x luma(v) are saturation and gains; this is c of R, G and B."""
    pull: Floats
    """p of R, G and B."""
    share: np.float32
    """Share of the tone's change."""
    maps: Grid | None
    remainder: Grid | None
    strength: np.float32
    last: NDArray[np.uint8] | None
    """What becomes of the codes LOWEST + i / FINE by the exposure, rounded; None without controls."""


def prepare(change: Change, controls: Controls, height: int, width: int) -> Prepared:
    """Make a change ready for a photograph of height x width px."""
    tone = change.tone
    gains, saturation = tone[RED : RED + 3], tone[SATURATION]
    units = np.where(np.arange(12) % 4 == 3, 255, 1).astype(np.float32)[:, None, None]  # b is in codes, A is not
    return Prepared(
        table=curve_table(tone, 256),
        scale=gains * (1 + saturation),
        pull=gains * saturation,
        share=np.float32(tone[SHARE]),
        maps=None if change.maps is None else grid(change.maps * units, height, width),
        remainder=None if change.remainder is None else grid(change.remainder * np.float32(255), height, width),
        strength=np.float32(controls.strength),
        last=None if controls == DEFAULT else _last(controls.exposure),
    )


def curve_table(tone: Floats, levels: int) -> Floats:
    """The curve of equidistant levels from 0 to 1, in codes of 0 to 255."""
    v = np.clip((np.arange(levels) / (levels - 1) - tone[BLACK]) * tone[GAIN], 0, 1)
    for a in tone[FIRST_STEP : FIRST_STEP + STEPS]:
        v += a * v * (1 - v)
    v += tone[S] * v * (1 - v) * (2 * v - 1)
    v += tone[LIFT] * (1 - v)
    table: Floats = (255 * v).astype(np.float32)
    return table


def _last(exposure: float) -> NDArray[np.uint8]:
    codes = LOWEST + np.arange(ENTRIES, dtype=np.float32) / FINE
    return to_uint8(expose(codes / np.float32(255), exposure))


def grid(values: Floats, height: int, width: int) -> Grid:
    """Make k x h x w maps ready for a photograph of height x width px."""
    return Grid(np.ascontiguousarray(values), *between(values.shape[1], height), *between(values.shape[2], width))


def between(size: int, new_size: int) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """For each of `new_size` pixel centres: its two neighbours among `size` centres and the second one's share."""
    position = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.int32)
    return low, np.minimum(low + 1, np.int32(size - 1)), (position - low).astype(np.float32)


WEIGHTS = np.array(LUMA_WEIGHTS, np.float32)
