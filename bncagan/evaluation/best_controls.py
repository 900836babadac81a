"""How close a photograph comes to its reference if someone sets the two controls for it, picture by picture."""

from __future__ import annotations

import numpy as np

from bncagan.evaluation.metrics import bands, psnr_of, squared_error
from runtimes.controls import Controls, adjust
from runtimes.image import Pixels, to_uint8

STRENGTHS = np.arange(0, 1.75, 0.25).tolist()
EXPOSURES = np.arange(-1, 1.25, 0.25).tolist()  # stops
GRID = [Controls(strength, exposure) for strength in STRENGTHS for exposure in EXPOSURES]


def best_psnr(low: Pixels, enhanced: Pixels, label: Pixels) -> float:
    """The highest PSNR in dB with strengths from 0 to 1.5 and exposures from -1 to 1, both in steps of 0.25."""
    errors = np.zeros(len(GRID))
    for rows in bands(*label.shape[:2]):
        image, result = (picture[rows].astype(np.float32) / np.float32(255) for picture in (low, enhanced))
        errors += [squared_error(to_uint8(adjust(image, result, controls)), label[rows]) for controls in GRID]
    return psnr_of(float(errors.min()), label.size)
