"""ICC profiles of the kind that photographs have: one curve a channel and a matrix, or one curve for grey."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameters = tuple[float, float, float, float, float]  # g, a, b, c, d: (aX + b)^g from d on, cX below
Colorants = tuple[tuple[float, float, float], ...]
Light = NDArray[np.float32]  # H x W x 1 or 3, linear; 1 is white
Codes = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16, H x W x 1 or 3
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # codes in [0, 1] -> light

# Red, green and blue in XYZ, adapted to D50.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
BT2020 = ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_CURVE: Parameters = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

STEPS = 65535  # of the tables that turn light into codes; they are indexed by its square root, finer where it is dark
# Which of g, a, b, c, d, e, f each type of a parametric curve stores (ICC.1:2010, table 65).
_PARAMETRIC = {0: "g", 1: "gab", 2: "gabe", 3: "gabcd", 4: "gabcdef"}


def power(exponent: float) -> Parameters:
    """Return the profile curve X^exponent."""
    return (exponent, 1.0, 0.0, 0.0, 0.0)


def srgb_light(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB codes in [0, 1] -> light (IEC 61966-2-1)."""
    return np.where(codes > 0.04045, ((codes + 0.055) / 1.055) ** 2.4, codes / 12.92)


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """What the codes of a file stand for: light of its own primaries by `curves`, sRGB's primaries by `matrix`."""

    curves: tuple[Curve, ...]
    """One for each of the channels, grey or red, green and blue."""
    matrix: NDArray[np.float64]
    """Own light -> light of sRGB's primaries, 3 x 3; 1 x 1 for grey."""

    def light(self, codes: Codes) -> Light:
        """Convert codes to light of sRGB's primaries, below 0 and above 1 for colours outside sRGB."""
        tables = [_light_table(curve, codes.dtype.itemsize) for curve in self.curves]
        own = _looked_up(tables, codes)
        return own if len(tables) == 1 else _times(own, self.matrix)

    def codes(self, light: Light, depth: type[np.unsignedinteger[Any]]) -> Codes:
        """Convert light of sRGB's primaries to codes; what the space does not hold is clipped."""
        if len(self.curves) > 1:
            light = _times(light, np.linalg.inv(self.matrix))
        index = root_index(light)
        tables = [_code_table(curve, np.dtype(depth).itemsize) for curve in self.curves]
        return _looked_up(tables, index)

    def is_srgb(self) -> bool:
        """Whether codes of 8 bits mean what they mean in sRGB, within about half a code."""
        ramp = np.linspace(0, 1, 256)
        near = all(np.abs(curve(ramp) - srgb_light(ramp)).max() < 0.004 for curve in self.curves)
        return near and bool(np.abs(self.matrix - np.eye(len(self.matrix))).max() < 0.004)

    def grey(self) -> Space:
        """The space of a grey picture that has a profile for colours: equal red, green and blue are grey."""
        return Space(self.curves[-2:][:1], np.eye(1))


def _looked_up(tables: list[NDArray[Any]], index: Codes) -> NDArray[Any]:
    """Look up each channel in its table; all at once where the tables are one."""
    if all(table is tables[0] for table in tables):
        return np.asarray(tables[0].take(index))
    return np.stack([table.take(index[..., i]) for i, table in enumerate(tables)], axis=-1)


def _times(light: Light, matrix: NDArray[Any]) -> Light:
    return np.asarray(light.reshape(-1, 3) @ matrix.T.astype(np.float32)).reshape(light.shape)


@functools.lru_cache(maxsize=24)
def _light_table(curve: Curve, bytes_per_code: int) -> NDArray[np.float32]:
    return np.asarray(curve(np.linspace(0, 1, 256**bytes_per_code)), np.float32)


@functools.lru_cache(maxsize=24)
def _code_table(curve: Curve, bytes_per_code: int) -> Codes:
    ramp = np.linspace(0, 1, STEPS + 1)
    table = np.interp(ramp**2, np.maximum.accumulate(curve(ramp)), ramp) * (256**bytes_per_code - 1)
    return np.asarray(np.rint(table), np.uint8 if bytes_per_code == 1 else np.uint16)


def srgb_codes(light: Light) -> NDArray[np.uint16]:
    """Light of sRGB's primaries -> sRGB codes of 16 bits; what lies outside [0, 1] is clipped."""
    return np.asarray(_srgb_table()[root_index(light)])


@functools.cache
def _srgb_table() -> NDArray[np.uint16]:
    light = np.linspace(0, 1, STEPS + 1) ** 2
    codes = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    return np.asarray(np.rint(codes * 65535), np.uint16)


def root_index(light: Light) -> NDArray[np.uint16]:
    """Return the index of each light in a table of STEPS + 1 entries, evenly spaced by square root over [0, 1]."""
    root = light.clip(0, 1)
    np.sqrt(root, out=root)
    root *= STEPS
    root += 0.5
    index: NDArray[np.uint16] = root.astype(np.uint16)
    return index


@functools.lru_cache(maxsize=8)
def space_of(profile: bytes) -> Space | None:
    """Read a profile; None if it is damaged or of another kind, such as one with tables of colours."""
    try:
        tags = _tags(profile)
        names = [b"k"] if profile[16:20] == b"GRAY" else [b"r", b"g", b"b"]
        if b"A2B0" in tags or profile[20:24] != b"XYZ ":
            return None
        read = functools.cache(_curve)  # one curve, and later one table, where the channels share it
        curves = tuple(read(tags[name + b"TRC"]) for name in names)
        if len(names) == 1:
            return Space(curves, np.eye(1))
        own = np.array([struct.unpack_from(">3i", tags[name + b"XYZ"], 8) for name in names]).T / 65536
        return Space(curves, np.linalg.inv(np.array(SRGB).T) @ own)
    except (KeyError, ValueError, struct.error, np.linalg.LinAlgError):
        return None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * n) for n in range(min(count, 1000)))
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _curve(data: bytes) -> Curve:
    """Read a curve, sampled or parametric; ValueError if it is neither."""
    if data[:4] == b"curv":
        (count,) = struct.unpack_from(">I", data, 8)
        if count == 0:
            return lambda x: x
        values = struct.unpack_from(f">{count}H", data, 12)
        if count == 1:
            return lambda x: x ** (values[0] / 256)
        knots, table = np.linspace(0, 1, count), np.array(values) / 65535
        return lambda x: np.interp(x, knots, table)
    (kind,) = struct.unpack_from(">H", data, 8)
    if data[:4] != b"para" or kind not in _PARAMETRIC:
        raise ValueError("no curve")
    letters = _PARAMETRIC[kind]
    given = dict(zip(letters, np.array(struct.unpack_from(f">{len(letters)}i", data, 12)) / 65536, strict=True))
    return functools.partial(_parametric, given)


def _parametric(given: dict[str, float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Types 0 to 4 of ICC.1:2010, 10.16, in one: what a type does not store is 0, and a is 1."""
    g, a, b, c, d, e, f = (given.get(letter, 1.0 if letter == "a" else 0.0) for letter in "gabcdef")
    return np.clip(np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f), 0, 1)


def matrix_profile(colorants: Colorants, curve: Parameters) -> bytes:
    """Make a display profile (ICC.1:2010) from XYZ of red, green and blue, adapted to D50, and one curve for all."""
    text = "No copyright".encode("utf-16-be")
    words = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(text), 28) + text
    tags = {b"desc": words, b"cprt": words, b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642, 1.0, 0.8249)}
    for name, xyz in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*xyz)
        tags[name + b"TRC"] = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(*curve)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s12x4s28x", 128 + len(table + body), b"", 4 << 24, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + _fixed(0.9642, 1.0, 0.8249)).ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
