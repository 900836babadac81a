"""Transfer of the network's change from a reduced photograph to the full-size one, in bounded memory.

The method follows He & Sun, "Fast Guided Filter", 2015: output = A input + b, where A and b are fitted on windows of
the reduced pair and interpolated to every full-size pixel. There are three differences:

1. The guide is the colour picture, so A is 3 x 3.
2. A global A, b is fitted first, and the windows fit its residual. A flat window, which determines no A, then uses the
   global one.
3. The residual of the windows is interpolated and added, so that the result, resampled to the network's size, is the
   network's answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.controls import DEFAULT, Controls, adjust
from runtimes.image import Pixels

Maps = NDArray[np.float32]  # k x h x w

CELL = 4  # reduced px between the centres of two windows; also the reach of a window's triangular weight to each side
RIDGE = 1e-4  # variance in [0, 1]^2, about (2.5 codes)^2; below it, a window's A shrinks to the global one
STRIP = 16  # full-size rows that are processed together


def transfer(
    full: Pixels, small_in: Pixels, small_out: Pixels, controls: Controls = DEFAULT, *, strip: int = STRIP
) -> Pixels:
    """Apply the change from `small_in` to `small_out` to the photograph `full`. All pictures are uint8 H x W x 3.

    full: the photograph, of any size.
    small_in: the photograph, resampled to the network's size.
    small_out: the network's answer to `small_in`, of the same size.
    controls: strength and exposure of the full-size result.
    strip: full-size rows that are processed together; it does not change a single bit of the result.

    Returns a picture of the size of `full`. In addition to it, about 80 bytes per reduced pixel and 120 bytes per pixel
    of a strip are in use.
    """
    x, left = to_planes(small_in), to_planes(small_out)
    colour = fit_colour(x, left)
    enlarger = Enlarger(colour, *x.shape[1:])
    for rows in _strips(x.shape[1], strip):
        left[:, rows] -= _apply(enlarger.rows(rows), x[:, rows]).clip(0, 1)
    return apply_maps(full, colour, left, controls, strip=strip)


def apply_maps(
    full: Pixels, colour: Maps, left: Maps | None = None, controls: Controls = DEFAULT, *, strip: int = STRIP
) -> Pixels:
    """Compute A x + b + left for every pixel of a picture, uint8 H x W x 3, and apply the controls.

    colour: 12 x h x w, see `fit_colour`. left: 3 x h x w, or None. Both are interpolated to the picture's size.
    """
    enhanced = np.empty_like(full)
    colour_enlarger = Enlarger(colour, *full.shape[:2])
    left_enlarger = None if left is None else Enlarger(left, *full.shape[:2])
    for rows in _strips(full.shape[0], strip):
        image = to_planes(full[rows])
        values = _apply(colour_enlarger.rows(rows), image)
        if left_enlarger is not None:
            values += left_enlarger.rows(rows)
        if controls != DEFAULT:
            values = adjust(image, values.clip(0, 1, out=values), controls)
        values *= 255
        values += 0.5
        enhanced[rows] = values.clip(0, 255, out=values).transpose(1, 2, 0)  # the cast truncates: floor(255 y + 0.5)
    return enhanced


def fit_colour(x: Maps, y: Maps) -> Maps:
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


def _fit_globally(x: Maps, y: Maps) -> NDArray[np.float32]:
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


def _windows(maps: Maps) -> Maps:
    """Weighted means over overlapping windows, one for each CELL px: k x h x w -> k x h/CELL x w/CELL."""
    height, width = (max(1, round(side / CELL)) for side in maps.shape[1:])
    means = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in maps]
    return np.stack([np.asarray(mean) for mean in means])


class Enlarger:
    """Bilinear interpolation of k x h x w maps to height x width, a few rows at a time.

    Every value is computed from its four neighbours alone, so it does not depend on the CPU or on the rows that are
    computed together with it. The values of a matrix product would, because its rounding changes with its shape.
    """

    def __init__(self, maps: Maps, height: int, width: int) -> None:
        self._maps = maps
        self._low, self._high, self._share = _between(maps.shape[1], height)
        self._left, self._right, self._share_right = _between(maps.shape[2], width)

    def rows(self, rows: slice) -> Maps:
        """Return the given rows of the enlarged maps: k x rows x width."""
        low, high, share = self._low[rows], self._high[rows], self._share[rows]
        lines = self._widened(self._maps[:, low[0] : high[-1] + 1])
        enlarged = np.empty((len(lines), len(share), lines.shape[2]), np.float32)
        for row, (above, below) in enumerate(zip(low - low[0], high - low[0], strict=True)):
            line = enlarged[:, row]
            np.subtract(lines[:, below], lines[:, above], out=line)
            line *= share[row]
            line += lines[:, above]
        return enlarged

    def _widened(self, maps: Maps) -> Maps:
        left = maps.take(self._left, axis=2)
        widened = maps.take(self._right, axis=2)
        widened -= left
        widened *= self._share_right
        widened += left
        return widened


def _apply(colour: Maps, x: Maps) -> Maps:
    """Compute A x + b; `colour` is 12 x h x w and holds (A | b) of every pixel."""
    maps = colour.reshape(3, 4, *x.shape[1:])
    result: Maps = np.einsum("ikyx,kyx->iyx", maps[:, :3], x)
    result += maps[:, 3]
    return result


def _between(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `new_size` pixel centres: its two neighbours among `size` centres and the second one's weight."""
    position = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (position - low).astype(np.float32)


def _strips(height: int, strip: int) -> Iterator[slice]:
    return (slice(top, min(top + strip, height)) for top in range(0, height, strip))


def to_planes(image: Pixels) -> Maps:
    """Convert uint8 h x w x 3 to float32 3 x h x w in [0, 1]."""
    planes: Maps = np.divide(image.transpose(2, 0, 1), np.float32(255), dtype=np.float32, order="C")
    return planes
