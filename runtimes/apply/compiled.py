"""The applier as machine code, by numba, which compiles it once and keeps it beside this file or in its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy import float32, int32, uint8, uint16

from runtimes.apply.prepared import FINE, LOWEST, WEIGHTS, Prepared
from runtimes.image import Pixels

# numba compiles anew when this file changes, not when another one does. So what others define comes as an argument.
BLOCK = 256  # columns that are changed at once: with their maps they stay in the processor's first cache
ZERO, HALF, WHITE = float32(0), float32(0.5), float32(255)

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function when it is first called, anew for arguments that are None: without the branches for others."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"}}
    try:
        machine_code: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor that of the user's caches can be written to
        machine_code = numba.njit(**options)(function)
    return machine_code


def apply_rows(image: Pixels, result: Pixels, first: int, change: Prepared) -> None:
    """Change rows of a photograph, uint8 rows x W x 3, into `result`. `first` is the place of the first one in it.

    BLOCK columns of one row at a time become planes, which lie one after another in arrays of one dimension. Simple
    loops over them, with bounds that the compiler knows, become vector instructions; lookups, which do not, have loops
    of their own. Pixel by pixel, the same took two to three times as long.
    """
    tone = (change.table, change.scale, change.pull, change.share, WEIGHTS)
    mix = (change.strength, float32(FINE), float32(0.5 - LOWEST * FINE))
    source, target = image.reshape(image.shape[0], -1), result.reshape(image.shape[0], -1)
    _apply(source, target, first, tone, change.maps, change.remainder, mix, change.last)


@compiled
def _apply(image: Any, result: Any, first: Any, tone: Any, maps: Any, remainder: Any, mix: Any, last: Any) -> None:
    codes, values, places = _planes(3, uint8), _planes(3, float32), _planes(3, uint16)
    a, da, r, dr = _planes(12, float32), _planes(12, float32), _planes(3, float32), _planes(3, float32)
    for start in range(0, image.shape[1] // 3, BLOCK):
        pixels = slice(3 * start, min(3 * (start + BLOCK), image.shape[1]))
        seen = seen_remainder = -1
        for row in range(image.shape[0]):
            at = first + row
            _read(image[row, pixels], codes)
            _tone(codes, tone, values)
            if maps is not None:
                if maps.above[at] != seen:
                    seen = maps.above[at]
                    _widen(maps, seen, maps.below[at], start, a, da)
                _map(a, da, maps.down[at], values)
            if remainder is not None:
                if remainder.above[at] != seen_remainder:
                    seen_remainder = remainder.above[at]
                    _widen(remainder, seen_remainder, remainder.below[at], start, r, dr)
                _add(r, dr, remainder.down[at], values)
            _round(values, codes, places, mix, last)
            _write(codes, result[row, pixels])


@compiled
def _planes(count: Any, kind: Any) -> Any:
    return np.zeros(count * BLOCK, kind)


@compiled
def _read(source: Any, codes: Any) -> None:
    for i in range(source.shape[0] // 3):
        codes[i], codes[BLOCK + i], codes[2 * BLOCK + i] = source[3 * i], source[3 * i + 1], source[3 * i + 2]


@compiled
def _tone(codes: Any, tone: Any, values: Any) -> None:
    """The curve, saturation and gains of planes of codes."""
    table, scale, pull, share, weights = tone
    for i in range(3 * BLOCK):
        values[i] = table[codes[i]]
    # Named here, since to the compiler an assignment to `values` may change them
    s0, s1, s2 = scale[0], scale[1], scale[2]
    p0, p1, p2 = pull[0], pull[1], pull[2]
    w0, w1, w2 = weights[0], weights[1], weights[2]
    for i in range(BLOCK):
        v0, v1, v2 = values[i], values[BLOCK + i], values[2 * BLOCK + i]
        luma = w0 * v0 + w1 * v1 + w2 * v2
        t0 = min(max(s0 * v0 - p0 * luma, ZERO), WHITE)
        t1 = min(max(s1 * v1 - p1 * luma, ZERO), WHITE)
        t2 = min(max(s2 * v2 - p2 * luma, ZERO), WHITE)
        x0, x1, x2 = float32(codes[i]), float32(codes[BLOCK + i]), float32(codes[2 * BLOCK + i])
        values[i] = x0 + share * (t0 - x0)
        values[BLOCK + i] = x1 + share * (t1 - x1)
        values[2 * BLOCK + i] = x2 + share * (t2 - x2)


@compiled
def _widen(grid: Any, upper: Any, lower: Any, start: Any, base: Any, rise: Any) -> None:
    """Interpolate two rows of maps across columns from `start` on: the upper one, and the lower one less the upper."""
    for k in range(grid.values.shape[0]):
        for i in range(min(BLOCK, grid.left.shape[0] - start)):
            left, right, across = grid.left[start + i], grid.right[start + i], grid.across[start + i]
            high, low = grid.values[k, upper, left], grid.values[k, lower, left]
            high += across * (grid.values[k, upper, right] - high)
            low += across * (grid.values[k, lower, right] - low)
            base[k * BLOCK + i] = high
            rise[k * BLOCK + i] = low - high


@compiled
def _map(a: Any, da: Any, down: Any, values: Any) -> None:
    for i in range(BLOCK):
        t0, t1, t2 = values[i], values[BLOCK + i], values[2 * BLOCK + i]
        values[i] = t0 + _mapped(a, da, down, i, t0, t1, t2)
        values[BLOCK + i] = t1 + _mapped(a, da, down, 4 * BLOCK + i, t0, t1, t2)
        values[2 * BLOCK + i] = t2 + _mapped(a, da, down, 8 * BLOCK + i, t0, t1, t2)


@compiled
def _mapped(a: Any, da: Any, down: Any, i: Any, t0: Any, t1: Any, t2: Any) -> Any:
    """What the row of (A | b) that starts at `i` makes of a pixel."""
    j, k, b = i + BLOCK, i + 2 * BLOCK, i + 3 * BLOCK
    first, second = (a[i] + down * da[i]) * t0, (a[j] + down * da[j]) * t1
    return first + second + (a[k] + down * da[k]) * t2 + (a[b] + down * da[b])


@compiled
def _add(r: Any, dr: Any, down: Any, values: Any) -> None:
    for i in range(3 * BLOCK):
        values[i] += r[i] + down * dr[i]


@compiled
def _round(values: Any, codes: Any, places: Any, mix: Any, last: Any) -> None:
    """Planes of codes from those of values; with controls, which mix them with the codes before."""
    if last is None:
        for i in range(3 * BLOCK):
            codes[i] = uint8(int32(min(max(values[i], ZERO), WHITE) + HALF))
    else:
        for i in range(3 * BLOCK):
            x, e = float32(codes[i]), min(max(values[i], ZERO), WHITE)
            places[i] = uint16(int32((x + mix[0] * (e - x)) * mix[1] + mix[2]))
        for i in range(3 * BLOCK):
            codes[i] = last[places[i]]


@compiled
def _write(codes: Any, target: Any) -> None:
    for i in range(target.shape[0] // 3):
        target[3 * i], target[3 * i + 1], target[3 * i + 2] = codes[i], codes[BLOCK + i], codes[2 * BLOCK + i]
