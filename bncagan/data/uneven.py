"""Uneven light: what no curve for the whole picture can undo, and what is asked for instead.

Pictures are RGB code values of sRGB, float32 H x W x 3 in [0, 1]; fields of light are H x W in stops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bncagan.data.camera import LUMA, Code, to_linear

Field = NDArray[np.float32]  # H x W, stops
FIELD = (0.2, 1.1)  # standard deviation of a smooth random field, stops
CONTRAST = 0.8  # largest share by which the contrast of large areas is raised
AREA = 24  # px; smaller areas keep their contrast
TONES = np.linspace(0, 1, 33)  # quantiles of luma that `under_tones_of` maps


def resized(field: Field, height: int, width: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> Field:
    """A field at another size."""
    return np.asarray(Image.fromarray(field).resize((width, height), how))


def gain_field(code: Code, rng: np.random.Generator) -> Field:
    """A smooth random field with 2 to 5 hills a side."""
    height, width = code.shape[:2]
    hills = int(rng.integers(2, 6))
    field = resized(rng.standard_normal((hills, hills + 1)).astype(np.float32), height, width)
    return np.asarray(field / (field.std() + 1e-3) * rng.uniform(*FIELD), np.float32)


def backlight(code: Code, rng: np.random.Generator) -> Field:
    """The contrast of large areas raised, as in a scene against the light: dark areas fall, bright ones rise."""
    height, width = code.shape[:2]
    light = np.log2(to_linear(code) @ LUMA + 0.02).astype(np.float32)
    areas = resized(light, max(height // AREA, 2), max(width // AREA, 2), Image.Resampling.BOX)
    areas = resized(areas, height, width)
    return np.asarray(rng.uniform(0.2, CONTRAST) * (areas - areas.mean()), np.float32)


def under_tones_of(target: Code, toned: Code) -> Code:
    """The target with the quantiles of luma of `toned`, the same picture as the tone head returns it.

    What comes after the head then learns to repair and not to decide. Colours keep their ratios.
    """
    luma = target @ LUMA
    before = _tones(luma) + 1e-6 * np.arange(len(TONES))  # must rise
    wanted = np.interp(luma, before, _tones(toned @ LUMA))
    return np.asarray((target * (wanted / np.maximum(luma, 1 / 255))[..., None]).clip(0, 1), np.float32)


def _tones(luma: NDArray[np.float32]) -> NDArray[np.float64]:
    """The quantiles of TONES; faster than `np.quantile`, which does not sort."""
    ordered = np.sort(luma, axis=None)
    quantiles: NDArray[np.float64] = np.interp(TONES * (ordered.size - 1), np.arange(ordered.size), ordered)
    return quantiles
