"""The applier in NumPy, for machines without numba: some rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import Floats
from runtimes.apply.prepared import FINE, LOWEST, WEIGHTS, Grid, Prepared
from runtimes.image import Pixels

ROWS = 16  # that are computed together


def apply_rows(image: Pixels, result: Pixels, first: int, change: Prepared) -> None:
    """Change rows of a photograph, uint8 rows x W x 3, into `result`. `first` is the place of the first one in it."""
    for top in range(0, len(image), ROWS):
        rows = slice(top, min(top + ROWS, len(image)))
        _apply(image[rows], result[rows], slice(first + rows.start, first + rows.stop), change)


def _apply(image: Pixels, result: Pixels, rows: slice, change: Prepared) -> None:
    codes = image.transpose(2, 0, 1)
    e = enhanced(codes, change.table.take(codes), rows, change)
    if change.last is None:
        e += np.float32(0.5)
        result[:] = e.transpose(1, 2, 0)  # the cast truncates: floor(y + 0.5)
        return
    e -= codes
    e *= change.strength
    e += codes
    e -= np.float32(LOWEST)
    e *= np.float32(FINE)
    e += np.float32(0.5)
    result[:] = change.last.take(e.astype(np.int16)).transpose(1, 2, 0)


def enhanced(x: NDArray[Any], curved: Floats, rows: slice, change: Prepared) -> Floats:
    """Change the given rows of a photograph, x of 3 x rows x W in codes of 0 to 255, without the controls.

    curved: x after the curve; it is used up.
    """
    # Each value is computed on its own: the rounding of a matrix product would change with the number of rows
    t = _toned(x, curved, change)
    e = t
    if change.maps is not None:
        colour = enlarged(change.maps, rows).reshape(3, 4, *t.shape[1:])
        e = np.einsum("ikyx,kyx->iyx", colour[:, :3], t)
        e += t
        e += colour[:, 3]
    if change.remainder is not None:
        e += enlarged(change.remainder, rows)
    return e.clip(0, 255, out=e)


def _toned(x: NDArray[Any], v: Floats, change: Prepared) -> Floats:
    """The tone's answer to x, from v after the curve; all 3 x rows x W."""
    if change.share == 0:
        return x.astype(np.float32)
    luma = WEIGHTS[0] * v[0]
    luma += WEIGHTS[1] * v[1]
    luma += WEIGHTS[2] * v[2]
    for i in range(3):
        v[i] *= change.scale[i]
        v[i] -= change.pull[i] * luma
    v.clip(0, 255, out=v)
    if change.share != 1:
        v -= x
        v *= change.share
        v += x
    return v


def enlarged(grid: Grid, rows: slice) -> Floats:
    """Return the given rows of maps at the photograph's size: k x rows x W."""
    above, below, down = grid.above[rows], grid.below[rows], grid.down[rows]
    lines = _widened(grid, slice(above[0], below[-1] + 1))
    result = np.empty((len(lines), len(down), lines.shape[2]), np.float32)
    for row, (upper, lower) in enumerate(zip(above - above[0], below - above[0], strict=True)):
        line = result[:, row]
        np.subtract(lines[:, lower], lines[:, upper], out=line)
        line *= down[row]
        line += lines[:, upper]
    return result


def _widened(grid: Grid, lines: slice) -> Floats:
    values = grid.values[:, lines]
    left = values.take(grid.left, axis=2)
    widened = values.take(grid.right, axis=2)
    widened -= left
    widened *= grid.across
    widened += left
    return widened
