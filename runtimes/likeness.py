"""Comparison of an artifact's pictures with the float32 network's: PSNR, bias, CIEDE2000, and the limits on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import ArtifactError
from runtimes.golden import Case
from runtimes.image import Pixels, to_uint8
from runtimes.photographs.profiles import srgb_light
from runtimes.schema import Version

COLUMNS = ("input", "PSNR dB", "max code", "off by > 1", "bias R G B", "mean dE", "p99 dE")
_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_FROM_RGB = np.array(  # IEC 61966-2-1
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)


@dataclasses.dataclass(frozen=True)
class CaseScore:
    """The differences between one produced picture and the expected one."""

    name: str
    """Name of the case, with the shape of the batch."""
    finite: bool
    """Whether the produced picture has no NaN and no infinity; the other numbers count such values as 0."""
    psnr: float | None
    """PSNR in dB, with peak 255; None for identical pictures."""
    max_code: int
    """The largest difference, in 8-bit codes."""
    share_over_1: float
    """Share (0 to 1) of the pixels in which a channel differs by more than 1 code."""
    bias: tuple[float, float, float]
    """Mean of produced - expected for R, G and B, in codes."""
    de_mean: float
    """Mean CIEDE2000."""
    de_p99: float
    """99th percentile of CIEDE2000."""

    @property
    def bias_max(self) -> float:
        """The largest absolute bias of a channel, in codes."""
        return max(abs(channel) for channel in self.bias)

    def cells(self) -> tuple[str, ...]:
        """The cells of one line of a table with the columns COLUMNS."""
        return (
            self.name,
            "identical" if self.psnr is None else f"{self.psnr:.2f}",
            str(self.max_code),
            f"{self.share_over_1:.2%}",
            " ".join(f"{channel:+.3f}" for channel in self.bias),
            f"{self.de_mean:.3f}",
            f"{self.de_p99:.3f}",
        )


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The limits that every case must keep; None means no limit."""

    max_code: int | None = None
    """Largest difference allowed, in 8-bit codes."""
    psnr: float | None = None
    """Smallest PSNR allowed, in dB."""
    bias: float | None = None
    """Largest absolute bias of a channel allowed, in codes."""
    de_mean: float | None = None
    """Largest mean CIEDE2000 allowed."""
    de_p99: float | None = None
    """Largest 99th percentile of CIEDE2000 allowed."""

    def __str__(self) -> str:
        """List the limits that are set, in the order of the fields."""
        words = {
            "max_code": "difference at most {:g}",
            "psnr": "PSNR at least {:g} dB",
            "bias": "channel bias at most {:g}",
            "de_mean": "mean CIEDE2000 at most {:g}",
            "de_p99": "CIEDE2000 p99 at most {:g}",
        }
        limits = dataclasses.asdict(self)
        return ", ".join(text.format(limits[name]) for name, text in words.items() if limits[name] is not None)

    def failures(self, score: CaseScore) -> Iterator[str]:
        """Yield one sentence for each broken limit; it names the input, the number and the limit."""
        if not score.finite:
            yield f"{score.name}: the output should be finite but has NaN or infinity"
        if self.psnr is not None and score.psnr is not None and score.psnr < self.psnr:
            yield f"{score.name}: PSNR should be at least {self.psnr:g} dB but is {score.psnr:.2f} dB"
        maxima = (
            ("the largest difference", score.max_code, self.max_code, "codes"),
            ("the bias of a channel", score.bias_max, self.bias, "codes"),
            ("the mean CIEDE2000", score.de_mean, self.de_mean, ""),
            ("the 99th percentile of CIEDE2000", score.de_p99, self.de_p99, ""),
        )
        for what, number, limit, unit in maxima:
            if limit is not None and not number <= limit:
                yield f"{score.name}: {what} should be at most {limit:g} but is {number:.4g} {unit}".rstrip()


EIGHT_BITS = Thresholds(psnr=38.0, bias=0.5, de_mean=1.0)
THRESHOLDS = {
    "fp32": Thresholds(max_code=1, psnr=60.0, bias=0.05),
    "fp16": Thresholds(psnr=50.0, bias=0.25, de_p99=1.0),
    "int8": EIGHT_BITS,
    "palette8": EIGHT_BITS,
    "palette6": EIGHT_BITS,
}


def compare(case: Case, produced: NDArray[Any], *, batch: int = 1) -> CaseScore:
    """Compare a produced picture with the expected one of its case.

    produced: H x W x 3, either uint8, or float in [0, 1], which is clamped and rounded here.
    batch: size of the batch that it was produced in; it becomes part of the score's name.

    Errors: ArtifactError when the shape of the picture is not that of the case.
    """
    if produced.shape != case.expected.shape:
        raise ArtifactError(
            f"the picture for {case.name!r} should have shape {case.expected.shape} but has {produced.shape}; "
            "check the artifact's output layout"
        )
    finite = bool(np.isfinite(produced).all())
    codes = as_codes(produced)
    difference = codes.astype(np.int16) - case.expected
    largest = np.abs(difference).max(axis=2)
    mse = float(np.mean(difference.astype(np.float64) ** 2))
    bias = difference.mean(axis=(0, 1), dtype=np.float64)
    de = np.zeros(largest.shape)
    changed = largest > 0
    de[changed] = ciede2000(srgb_to_lab(codes[changed]), srgb_to_lab(case.expected[changed]))
    height, width = case.size
    return CaseScore(
        name=f"{case.name} at {batch}x{height}x{width}",
        finite=finite,
        psnr=psnr(mse),
        max_code=int(largest.max()),
        share_over_1=float(np.mean(largest > 1)),
        bias=(float(bias[0]), float(bias[1]), float(bias[2])),
        de_mean=float(de.mean()),
        de_p99=float(np.percentile(de, 99)),
    )


def as_codes(produced: NDArray[Any]) -> Pixels:
    """Return a picture of uint8 as it is, or one in [0, 1] clamped and rounded, with NaN and infinity as 0."""
    return produced if produced.dtype == np.uint8 else to_uint8(np.nan_to_num(produced, posinf=0.0, neginf=0.0))


def psnr(mse: float) -> float | None:
    """The PSNR in dB of 8-bit pictures with this mean squared error in codes; None if they are equal."""
    return 10 * math.log10(255**2 / mse) if mse > 0 else None


def excused(score: CaseScore, case: Case, limits: Thresholds, format_version: Version) -> bool:
    """Whether this picture passes regardless of its broken limits, by the rule of an old format version.

    In version 1.0, a picture of one colour passes if it differs by at most 1 code. Networks of that version change such
    a picture by the same amount at every pixel. If the result is close to a rounding boundary, a difference of 0.02
    code becomes 1 code at every pixel, which gives a bias of 1 and a PSNR of 48 dB. Networks of later versions return a
    picture of one colour unchanged, so nothing is excused.
    """
    if format_version > (1, 0) or not score.finite:
        return False
    return case.flat and score.max_code <= min(1, 1 if limits.max_code is None else limits.max_code)


def srgb_to_lab(image: NDArray[Any]) -> NDArray[np.float64]:
    """Convert ... x 3 sRGB, uint8 or float in [0, 1], to ... x 3 CIELAB: L* 0 to 100, a* and b* about -128 to 127."""
    linear = (
        srgb_light(np.arange(256) / 255)[image] if image.dtype == np.uint8 else srgb_light(image.astype(np.float64))
    )
    xyz = linear @ (_XYZ_FROM_RGB.T / _D65)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(lab1: NDArray[np.float64], lab2: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIEDE2000 colour difference of two ... x 3 CIELAB arrays, with kL = kC = kH = 1; about 1 is just visible.

    The numbers in the comments are the equations of Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula:
    implementation notes, supplementary test data, and mathematical observations", 2005.
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
    return np.sqrt(np.maximum(squared, 0))  # (22); rounding errors can make it negative


def _hue(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hue angle in degrees, in [0, 360); 0 if a and b are both 0."""
    degrees = np.degrees(np.arctan2(b, a))
    return np.where(degrees < 0, degrees + 360, degrees)
