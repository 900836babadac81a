"""The formula of a change in float64, written to be read: the other appliers are checked against it.

    t = T(x; tone)                              the curve of the tone head
    e = clamp(t + A t + b + r, 0, 1)            the generator's change; A, b and r are interpolated
    y = controls(x, e; strength, exposure)

x is a pixel of the photograph, RGB in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import BLACK, FIRST_STEP, GAIN, LIFT, RED, SATURATION, SHARE, STEPS, Change, S
from runtimes.controls import DEFAULT, Controls
from runtimes.image import LUMA_WEIGHTS, Pixels, to_uint8

Values = NDArray[np.float64]


def applied(image: Pixels, change: Change, controls: Controls = DEFAULT) -> Pixels:
    """Return the changed picture. Both are uint8 H x W x 3."""
    return to_uint8(changed(image / 255, change, controls))


def changed(x: NDArray[Any], change: Change, controls: Controls = DEFAULT) -> Values:
    """Change a picture, H x W x 3 in [0, 1]; the result is float64 in [0, 1]."""
    x = x.astype(np.float64)
    height, width = x.shape[:2]
    e = toned(x, change.tone.astype(np.float64))
    if change.maps is not None:
        rows = enlarged(change.maps, height, width).reshape(3, 4, height, width)
        e = e + np.einsum("ikyx,yxk->yxi", rows[:, :3], e) + np.moveaxis(rows[:, 3], 0, -1)
    if change.remainder is not None:
        e += np.moveaxis(enlarged(change.remainder, height, width), 0, -1)
    e = np.clip(e, 0, 1)
    return np.clip(exposed(x + controls.strength * (e - x), controls.exposure), 0, 1)


def toned(x: Values, tone: Values) -> Values:
    """The curve, the saturation and the gains of R, G and B; ... x 3."""
    start = np.clip((x - tone[BLACK]) * tone[GAIN], 0, 1)
    v = start
    for a in tone[FIRST_STEP : FIRST_STEP + STEPS]:
        v = v + a * v * (1 - v)
    v = v + tone[S] * v * (1 - v) * (2 * v - 1)
    v = v + tone[LIFT] * (1 - v)
    luma = (v @ np.array(LUMA_WEIGHTS))[..., None]
    v = np.clip((v + tone[SATURATION] * (v - luma)) * tone[RED : RED + 3], 0, 1)
    toned: Values = x + tone[SHARE] * (v - x)
    return toned


def enlarged(maps: NDArray[Any], height: int, width: int) -> Values:
    """Interpolate k x h x w bilinearly between the centres of its windows: k x height x width."""
    above, below, down = _neighbours(maps.shape[1], height)
    left, right, across = _neighbours(maps.shape[2], width)
    maps = maps.astype(np.float64)
    rows = maps[:, above] + down[:, None] * (maps[:, below] - maps[:, above])
    enlarged: Values = rows[:, :, left] + across * (rows[:, :, right] - rows[:, :, left])
    return enlarged


def _neighbours(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Values]:
    """For each of `new_size` pixels: its two neighbours among `size` centres, and the share of the second one."""
    position = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), position - first


def exposed(y: Values, stops: float) -> Values:
    """Multiply the linear light of sRGB codes by 2^stops (IEC 61966-2-1); codes below 0 become 0."""
    y = np.maximum(y, 0)
    if stops == 0:
        return y
    light = 2**stops * np.where(y > 0.04045, ((y + 0.055) / 1.055) ** 2.4, y / 12.92)
    return np.where(light > 0.04045 / 12.92, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
