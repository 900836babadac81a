"""The maps of a change, fitted to a reduced photograph and the network's answer to it.

This is for artifacts that return pictures alone. The method follows He & Sun, "Fast Guided Filter", 2015: output = A
input + b, fitted on windows of the reduced pair. There are three differences:

1. The guide is the colour picture, so A is 3 x 3.
2. A global A, b is fitted first, and the windows fit its residual. A flat window, which determines no A, then uses the
   global one.
3. The residual of the windows is the remainder, so that the result, resampled to the network's size, is the network's
   answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.apply.change import IDENTITY, Change, Floats
from runtimes.apply.plain import enlarged
from runtimes.apply.prepared import grid
from runtimes.image import Pixels

CELL = 4  # reduced px between the centres of two windows; also the reach of a window's triangular weight to each side
RIDGE = 1e-4  # variance in [0, 1]^2, about (2.5 codes)^2; below it, a window's A shrinks to the global one
ROWS = 16  # of the reduced pair that are computed together
UNIT = np.eye(3, 4, dtype=np.float32).reshape(12, 1, 1)  # the rows of (A | b) that return the input


def fit_change(small: Pixels, answer: Pixels, *, remainder: bool = True) -> Change:
    """Fit the change from a reduced photograph to the network's answer, both uint8 h x w x 3.

    remainder: whether to keep what the maps do not hold.
    """
    x, left = to_planes(small), to_planes(answer)
    colour = fit_colour(x, left)
    maps = colour - UNIT
    if not remainder:
        return Change(IDENTITY.copy(), maps)
    wide = grid(colour, *x.shape[1:])
    for top in range(0, x.shape[1], ROWS):
        rows = slice(top, min(top + ROWS, x.shape[1]))
        A = enlarged(wide, rows).reshape(3, 4, -1, x.shape[2])
        left[:, rows] -= (np.einsum("ikyx,kyx->iyx", A[:, :3], x[:, rows]) + A[:, 3]).clip(0, 1)
    return Change(IDENTITY.copy(), maps, left)


def fit_colour(x: Floats, y: Floats) -> Floats:
    """Fit y = A x + b on each window. Returns 12 x rows x columns of windows: the three rows of (A | b) in sequence."""
    overall = _fit_globally(x, y)
    left = y - np.clip(np.tensordot(overall[:, :3], x, 1) + overall[:, 3, None, None], 0, 1)
    mean_x, mean_left = _windows(x), _windows(left)
    cells = mean_x.shape[1:]
    variance, covariance = np.empty((*cells, 3, 3)), np.empty((*cells, 3, 3))
    for i in range(3):
        variance[..., i] = np.moveaxis(_windows(x[i] * x) - mean_x[i] * mean_x, 0, -1)
        covariance[..., i] = np.moveaxis(_windows(left[i] * x) - mean_left[i] * mean_x, 0, -1)
    local = np.linalg.solve(variance + RIDGE * np.eye(3), covariance)  # column i is row i of A
    A = np.moveaxis(local, (-1, -2), (0, 1))
    b = mean_left - np.einsum("ikyx,kyx->iyx", A, mean_x)
    colour = np.concatenate([A, b[:, None]], axis=1) + overall[:, :, None, None]
    return colour.reshape(12, *cells).astype(np.float32)


def _fit_globally(x: Floats, y: Floats) -> NDArray[np.float32]:
    """Fit y = A x + b by least squares over the whole picture. Returns (A | b), 3 x 4.

    Clipped pixels of y would distort the fit and are left out. A small ridge towards the identity determines what the
    picture does not, for example how colours change if the picture is grey.
    """
    inside = np.logical_and(y > 0, y < 1).all(axis=0)
    if np.count_nonzero(inside) < 0.01 * y[0].size:
        inside = np.ones_like(y[0], dtype=np.bool_)
    x1 = np.concatenate([x[:, inside], np.ones((1, np.count_nonzero(inside)), np.float32)]).astype(np.float64)
    ridge = 1e-6 * x1.shape[1] * np.eye(4)
    fitted: NDArray[np.float64] = np.linalg.solve(x1 @ x1.T + ridge, x1 @ y[:, inside].T + ridge[:, :3])
    overall: NDArray[np.float32] = fitted.T.astype(np.float32)
    return overall


def _windows(maps: Floats) -> Floats:
    """Weighted means over overlapping windows, one for each CELL px: k x h x w -> k x h/CELL x w/CELL."""
    height, width = (max(1, round(side / CELL)) for side in maps.shape[1:])
    means = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in maps]
    return np.stack([np.asarray(mean) for mean in means])


def to_planes(image: Pixels) -> Floats:
    """Convert uint8 h x w x 3 to float32 3 x h x w in [0, 1]."""
    planes: Floats = np.divide(image.transpose(2, 0, 1), np.float32(255), dtype=np.float32, order="C")
    return planes
