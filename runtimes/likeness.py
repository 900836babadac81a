"""Colour difference as people see it: sRGB -> CIELAB (D65, 2 degree observer) and CIEDE2000."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_FROM_RGB = np.array(  # IEC 61966-2-1
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)


def srgb_to_lab(image: NDArray[Any]) -> NDArray[np.float64]:
    """... x 3 sRGB, uint8 or float in [0, 1] -> ... x 3 CIELAB: L* in 0..100, a* and b* about -128..127."""
    linear = _linear(np.arange(256) / 255)[image] if image.dtype == np.uint8 else _linear(image.astype(np.float64))
    xyz = linear @ (_XYZ_FROM_RGB.T / _D65)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sRGB transfer curve, undone."""
    return np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def ciede2000(lab1: NDArray[np.float64], lab2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour difference of ... x 3 CIELAB arrays -> ..., with kL = kC = kH = 1; 1 is about the least visible one.

    Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
    mathematical observations", 2005; the numbers are its equations.
    """
    (L1, a1, b1), (L2, a2, b2) = np.moveaxis(lab1, -1, 0), np.moveaxis(lab2, -1, 0)
    C_mean_7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    G = 0.5 * (1 - np.sqrt(C_mean_7 / (C_mean_7 + 25.0**7)))  # (4)
    a1, a2 = (1 + G) * a1, (1 + G) * a2  # (5)
    C1, C2 = np.hypot(a1, b1), np.hypot(a2, b2)  # (6)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)  # (7)
    grey = C1 * C2 == 0

    dh = h2 - h1  # (10)
    dh = np.where(grey, 0, dh - 360 * (dh > 180) + 360 * (dh < -180))
    dL, dC = L2 - L1, C2 - C1  # (8), (9)
    dH = 2 * np.sqrt(C1 * C2) * np.sin(np.radians(dh) / 2)  # (11)

    L, C = (L1 + L2) / 2, (C1 + C2) / 2  # (12), (13)
    total = h1 + h2  # (14)
    wrapped = np.where(total < 360, total + 360, total - 360)
    h = np.where(grey, total, np.where(np.abs(h1 - h2) <= 180, total, wrapped) / 2)
    T = (  # (15)
        1
        - 0.17 * np.cos(np.radians(h - 30))
        + 0.24 * np.cos(np.radians(2 * h))
        + 0.32 * np.cos(np.radians(3 * h + 6))
        - 0.20 * np.cos(np.radians(4 * h - 63))
    )
    S_L = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)  # (18)
    S_C = 1 + 0.045 * C  # (19)
    S_H = 1 + 0.015 * C * T  # (20)
    turn = 30 * np.exp(-(((h - 275) / 25) ** 2))  # (16)
    C_7 = C**7
    R_T = -2 * np.sqrt(C_7 / (C_7 + 25.0**7)) * np.sin(np.radians(2 * turn))  # (17), (21)
    lightness, chroma, hue = dL / S_L, dC / S_C, dH / S_H
    squared: NDArray[np.float64] = lightness**2 + chroma**2 + hue**2 + R_T * chroma * hue
    return np.sqrt(np.maximum(squared, 0))  # (22); rounding may reach below 0


def _hue(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees in [0, 360); 0 where a and b are both 0."""
    degrees = np.degrees(np.arctan2(b, a))
    return np.where(degrees < 0, degrees + 360, degrees)
