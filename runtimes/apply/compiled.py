"""The applier as machine code, by numba, which compiles it once and keeps it beside this file or in its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy import float32, int32, uint8

from runtimes.apply.prepared import FINE, LOWEST, WEIGHTS, Prepared
from runtimes.image import Pixels

# numba compiles anew when this file changes, not when another one does. So what others define comes as an argument.
BLOCK = 256  # columns whose maps are kept in the processor's first cache
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
    """Change rows of a photograph, uint8 rows x W x 3, into `result`. `first` is the place of the first one in it."""
    tone = (change.table, change.scale, change.pull, change.share, WEIGHTS)
    mix = (change.strength, float32(FINE), float32(0.5 - LOWEST * FINE))
    if change.maps is None:
        _apply_curve(image, result, tone, mix, change.last)
    else:
        _apply_maps(image, result, first, tone, change.maps, change.remainder, mix, change.last)


@compiled
def _toned(x0: Any, x1: Any, x2: Any, tone: Any, v0: Any, v1: Any, v2: Any) -> Any:
    _, scale, pull, share, weights = tone
    luma = weights[0] * v0 + weights[1] * v1 + weights[2] * v2
    t0 = min(max(scale[0] * v0 - pull[0] * luma, ZERO), WHITE)
    t1 = min(max(scale[1] * v1 - pull[1] * luma, ZERO), WHITE)
    t2 = min(max(scale[2] * v2 - pull[2] * luma, ZERO), WHITE)
    return x0 + share * (t0 - x0), x1 + share * (t1 - x1), x2 + share * (t2 - x2)


@compiled
def _code(x: Any, e: Any, mix: Any, last: Any) -> Any:
    e = min(max(e, ZERO), WHITE)
    if last is None:
        return uint8(int32(e + HALF))
    else:  # noqa: RET505 - numba drops the branch that is not taken
        return last[int32((x + mix[0] * (e - x)) * mix[1] + mix[2])]


@compiled
def _apply_curve(image: Any, result: Any, tone: Any, mix: Any, last: Any) -> None:
    table = tone[0]
    for row in range(image.shape[0]):
        source, target = image[row].reshape(-1), result[row].reshape(-1)
        for i in range(image.shape[1]):
            c0, c1, c2 = source[3 * i], source[3 * i + 1], source[3 * i + 2]
            x0, x1, x2 = float32(c0), float32(c1), float32(c2)
            t0, t1, t2 = _toned(x0, x1, x2, tone, table[c0], table[c1], table[c2])
            target[3 * i] = _code(x0, t0, mix, last)
            target[3 * i + 1] = _code(x1, t1, mix, last)
            target[3 * i + 2] = _code(x2, t2, mix, last)


@compiled
def _widen(grid: Any, upper: int, lower: int, start: int, base: Any, rise: Any) -> None:
    """Interpolate two rows of maps across columns from `start` on: the upper one, and the lower one less the upper."""
    for k in range(base.shape[0]):
        for i in range(min(BLOCK, grid.left.shape[0] - start)):
            left, right, across = grid.left[start + i], grid.right[start + i], grid.across[start + i]
            high, low = grid.values[k, upper, left], grid.values[k, lower, left]
            high += across * (grid.values[k, upper, right] - high)
            low += across * (grid.values[k, lower, right] - low)
            base[k, i] = high
            rise[k, i] = low - high


@compiled
def _apply_maps(image: Any, result: Any, first: int, tone: Any, maps: Any, remainder: Any, mix: Any, last: Any) -> None:
    table = tone[0]
    width = image.shape[1]
    a, da = np.empty((12, BLOCK), np.float32), np.empty((12, BLOCK), np.float32)
    r, dr = np.empty((3, BLOCK), np.float32), np.empty((3, BLOCK), np.float32)
    for start in range(0, width, BLOCK):
        count = min(BLOCK, width - start)
        seen = seen_remainder = -1
        for row in range(image.shape[0]):
            at = first + row
            if maps.above[at] != seen:
                seen = maps.above[at]
                _widen(maps, seen, maps.below[at], start, a, da)
            if remainder is not None:
                if remainder.above[at] != seen_remainder:
                    seen_remainder = remainder.above[at]
                    _widen(remainder, seen_remainder, remainder.below[at], start, r, dr)
                down_r = remainder.down[at]
            down = maps.down[at]
            source = image[row].reshape(-1)[3 * start : 3 * (start + count)]
            target = result[row].reshape(-1)[3 * start : 3 * (start + count)]
            for i in range(count):
                c0, c1, c2 = source[3 * i], source[3 * i + 1], source[3 * i + 2]
                x0, x1, x2 = float32(c0), float32(c1), float32(c2)
                t0, t1, t2 = _toned(x0, x1, x2, tone, table[c0], table[c1], table[c2])
                e0 = t0 + (a[0, i] + down * da[0, i]) * t0 + (a[1, i] + down * da[1, i]) * t1
                e1 = t1 + (a[4, i] + down * da[4, i]) * t0 + (a[5, i] + down * da[5, i]) * t1
                e2 = t2 + (a[8, i] + down * da[8, i]) * t0 + (a[9, i] + down * da[9, i]) * t1
                e0 += (a[2, i] + down * da[2, i]) * t2 + (a[3, i] + down * da[3, i])
                e1 += (a[6, i] + down * da[6, i]) * t2 + (a[7, i] + down * da[7, i])
                e2 += (a[10, i] + down * da[10, i]) * t2 + (a[11, i] + down * da[11, i])
                if remainder is not None:
                    e0 += r[0, i] + down_r * dr[0, i]
                    e1 += r[1, i] + down_r * dr[1, i]
                    e2 += r[2, i] + down_r * dr[2, i]
                target[3 * i] = _code(x0, e0, mix, last)
                target[3 * i + 1] = _code(x1, e1, mix, last)
                target[3 * i + 2] = _code(x2, e2, mix, last)
