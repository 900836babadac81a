"""The two controls of a result, strength and exposure, as a formula on pictures in [0, 1].

    y = image + strength * (enhanced - image)
    result = curve(2^exposure * light(y)), clamped to [0, 1]

`light` is the curve of sRGB (IEC 61966-2-1) from codes to linear light, and `curve` is its inverse. An artifact may
hold the same formula in its graph (`bncagan.network.controls`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import ArtifactError
from runtimes.image import to_uint8

# The curve of sRGB: codes up to KNEE are SLOPE * light, the others are (1 + OFFSET) * light^(1 / GAMMA) - OFFSET.
SLOPE, OFFSET, GAMMA, KNEE = 12.92, 0.055, 2.4, 0.04045


@dataclasses.dataclass(frozen=True)
class Controls:
    """The settings of one picture; the defaults leave the result as the network made it.

    Errors: ArtifactError when a value is outside its range.
    """

    strength: float = 1.0
    """Share of the network's change, from 0 (the photograph itself) to 1.5."""
    exposure: float = 0.0
    """Stops by which the result is made brighter, from -2 to 2."""

    def __post_init__(self) -> None:
        for name, value, low, high in (("strength", self.strength, 0, 1.5), ("exposure", self.exposure, -2, 2)):
            if not low <= value <= high:
                raise ArtifactError(
                    f"{name} should be a number from {low} to {high} but is {value:g}; choose one in that range"
                )

    def rows(self, n: int) -> NDArray[np.float32]:
        """Return the input `controls` for a batch of n pictures, float32 n x 2."""
        return np.full((n, 2), dataclasses.astuple(self), np.float32)


DEFAULT = Controls()


def require_rows(rows: NDArray[Any], n: int) -> NDArray[np.float32]:
    """Check the controls of a batch of n pictures, n x 2 (strength, exposure), and return them as float32.

    Errors: ArtifactError when they have another shape, or when a value is outside its range.
    """
    if rows.shape != (n, 2):
        raise ArtifactError(
            f"the controls should be {n} x 2, strength and exposure of each picture, but have shape {rows.shape}; "
            "give one row for each picture of the batch"
        )
    for strength, exposure in rows.tolist():
        Controls(strength, exposure)
    return np.ascontiguousarray(rows, np.float32)


def adjust_batch(batch: NDArray[Any], enhanced: NDArray[Any], rows: NDArray[np.float32]) -> NDArray[Any]:
    """Apply each row of controls to its picture. Both batches are float32 in [0, 1], or uint8, as is the result."""
    adjusted: NDArray[Any] = enhanced.copy()
    for i, controls in enumerate(Controls(*row) for row in rows.tolist()):
        if controls != DEFAULT and enhanced.dtype == np.uint8:
            image, result = (np.divide(codes[i], np.float32(255), dtype=np.float32) for codes in (batch, enhanced))
            adjusted[i] = to_uint8(adjust(image, result, controls))
        elif controls != DEFAULT:
            adjusted[i] = adjust(batch[i], enhanced[i].clip(0, 1), controls)
    return adjusted


def adjust(image: NDArray[np.float32], enhanced: NDArray[np.float32], controls: Controls) -> NDArray[np.float32]:
    """Apply the controls to a picture and the network's answer to it, both float32 in [0, 1] and of one shape.

    The result is of the same type, range and shape. NaN stays NaN.
    """
    if controls == DEFAULT:
        return enhanced
    y = controls.strength * enhanced + (1 - controls.strength) * image  # exact at 0 and at 1
    return np.clip(expose(y, controls.exposure), 0, 1)


def expose(y: NDArray[np.float32], stops: float) -> NDArray[np.float32]:
    """Multiply the linear light of sRGB codes, which may exceed [0, 1], by 2^stops; codes below 0 become 0."""
    y = np.maximum(y, 0)
    if stops == 0:
        return y
    gain = 2**stops
    root = gain ** (1 / GAMMA)
    exposed: NDArray[np.float32] = root * y + OFFSET * (root - 1)  # exact if both codes are above KNEE
    dark = np.minimum(y, exposed) <= KNEE
    exposed[dark] = to_code(gain * to_light(y[dark]))
    return exposed


def to_light(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert sRGB codes from 0 to linear light."""
    light: NDArray[np.float32] = np.where(code > KNEE, ((code + OFFSET) / (1 + OFFSET)) ** GAMMA, code / SLOPE)
    return light


def to_code(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert linear light from 0 to sRGB codes."""
    curved = (1 + OFFSET) * light ** (1 / GAMMA) - OFFSET
    code: NDArray[np.float32] = np.where(light > KNEE / SLOPE, curved, SLOPE * light)
    return code
