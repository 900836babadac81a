"""Small files of every mode, with and without a profile, and the upright sRGB picture that each of them holds.

Colours are worked out in float64 from chromaticities, without a colour library, so that they can judge one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Array = NDArray[Any]
Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SPACES: dict[str, Chromaticities] = {  # red, green, blue, white
    "srgb": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    "adobe": ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), D65),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    "prophoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50),
    "swapped": ((0.300, 0.600), (0.640, 0.330), (0.150, 0.060), D65),
}


def colorants(space: str) -> Array:
    """Linear RGB -> XYZ relative to D50 by the Bradford adaptation: 3 x 3."""
    *primaries, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in SPACES[space])
    columns = np.stack(primaries, axis=1)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([D50[0] / D50[1], 1, (1 - D50[0] - D50[1]) / D50[1]])
    adaptation = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ white)) @ cone
    return np.asarray(adaptation @ (columns * np.linalg.solve(columns, white)))


def srgb_light(codes: Array) -> Array:
    """sRGB codes in [0, 1] -> light."""
    return np.where(codes > 0.04045, ((200 * np.maximum(codes, 0) + 11) / 211) ** 2.4, 25 * codes / 323)


def srgb_codes(light: Array) -> Array:
    """Light in [0, 1] -> sRGB codes."""
    return np.where(light > 0.0031308, (211 * np.maximum(light, 0) ** (5 / 12) - 11) / 200, 323 * light / 25)


def to_srgb(values: Array, space: str, gamma: float | None) -> Array:
    """Codes in [0, 1] of an RGB space with a power curve (None: sRGB's) -> sRGB codes of 0 to 255, not rounded."""
    light = srgb_light(values) if gamma is None else values**gamma
    light = np.clip(light @ (np.linalg.inv(colorants("srgb")) @ colorants(space)).T, 0, 1)
    return np.asarray(255 * srgb_codes(light))


def parametric(kind: int, *numbers: float) -> bytes:
    """A curve of a profile by its formula, type 0 to 4 (ICC.1:2010, 10.16)."""
    fixed = [round(number * 65536) for number in numbers]
    return b"para" + struct.pack(f">IHH{len(fixed)}i", 0, kind, 0, *fixed)


def profile(space: str | None, gamma: float | None, curve: bytes | None = None) -> bytes:
    """A display profile of version 2: matrix and curve, or one for grey where there is no space."""
    if curve is not None:
        pass
    elif gamma is None:
        ramp = np.linspace(0, 1, 1024)
        table = np.where(ramp > 0.04045, ((200 * ramp + 11) / 211) ** 2.4, 25 * ramp / 323)
        curve = b"curv" + struct.pack(">II1024H", 0, 1024, *np.rint(table * 65535).astype(int))
    else:
        curve = b"curv" + (bytes(8) if gamma == 1 else struct.pack(">IIHxx", 0, 1, round(gamma * 256)))
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"wtpt": b"XYZ " + bytes(4) + white}
    if space is None:
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip((b"r", b"g", b"b"), colorants(space).T, strict=True):
            tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + struct.pack(">3i", *np.rint(column * 65536).astype(int))
            tags[letter + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s12x4s28x", 128 + len(table + body), 2 << 24, b"mntr",
                       b"GRAY" if space is None else b"RGB ", b"XYZ ", b"acsp")  # fmt: skip
    return (head + white).ljust(128, b"\0") + table + body


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A PNG chunk, by default with the checksum that it should have."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(pixels: Array, *chunks: bytes) -> bytes:
    """uint8 or uint16, H x W x 1 to 4 channels: also RGB and grey with alpha of 16 bits, which Pillow cannot write."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Right(NamedTuple):
    """What a right reader sees: H x W x 3 codes in float64, and alpha."""

    rgb: Array
    alpha: Array | None


# What brings the stored picture of each EXIF orientation upright.
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
MODES = ("L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "RGB16", "LA16", "I-8", "I-16")
SPACE, GAMMA, GREY_GAMMA = "adobe", 563 / 256, 1.0


def write_file(folder: Path, mode: str, *, profiled: bool, orientation: int, side: tuple[int, int] = (64, 64)) -> Path:
    """A file of noise in one mode: PNG where PNG has it, else TIFF."""
    stored = _stored(mode, side)
    icc = profile(None, GREY_GAMMA) if _is_grey(mode) else profile(SPACE, GAMMA)
    suffix = "tif" if mode in {"CMYK", "I-8", "I-16"} else "png"
    path = folder / f"{mode.replace(';', '')}-{'icc' if profiled else 'plain'}-{orientation}.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if mode in {"RGB16", "LA16"}:
        chunks = [chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc))] if profiled else []
        path.write_bytes(png(stored, *chunks, chunk(b"eXIf", exif.tobytes()[6:])))
        return path
    options: dict[str, Any] = {"exif": exif} | ({"icc_profile": icc} if profiled else {})
    if mode == "P":
        image = Image.frombytes("P", (stored.shape[1], stored.shape[0]), stored.tobytes())
        image.putpalette(_palette()[:, :3].tobytes())
        image.save(path, transparency=_palette()[:, 3].tobytes(), **options)
    elif mode == "CMYK":
        Image.frombytes("CMYK", (stored.shape[1], stored.shape[0]), stored.tobytes()).save(path, **options)
    else:
        Image.fromarray(stored).save(path, **options)
    return path


def right(mode: str, *, profiled: bool, orientation: int, side: tuple[int, int] = (64, 64)) -> Right:
    """What the file of `write_file` holds."""
    values, alpha = _values(mode, _stored(mode, side))
    if mode == "CMYK":  # no matrix can be a profile for it: an RGB one is ignored
        codes = 255 * (1 - values[..., :3]) * (1 - values[..., 3:])
    elif profiled:
        codes = to_srgb(values, "srgb" if _is_grey(mode) else SPACE, GREY_GAMMA if _is_grey(mode) else GAMMA)
    else:
        codes = 255 * values
    turned = UPRIGHT[orientation]
    return Right(turned(codes), None if alpha is None else turned(alpha))


def _is_grey(mode: str) -> bool:
    return mode.startswith(("L", "I"))


def _palette() -> Array:
    return np.random.default_rng(5).integers(0, 256, (64, 4), np.uint8)


def _stored(mode: str, side: tuple[int, int]) -> Array:
    """What the file stores."""
    rng = np.random.default_rng(MODES.index(mode))
    channels = {"LA": 2, "LA16": 2, "RGB": 3, "RGB16": 3, "RGBA": 4, "CMYK": 4}.get(mode, 1)
    top = 65536 if mode.endswith("16") else 64 if mode == "P" else 256
    kind = {"I-8": np.int32, "I-16": np.int32}.get(mode, np.uint16 if mode.endswith("16") else np.uint8)
    numbers = rng.integers(0, top, (*side, channels)).astype(kind)
    return numbers[..., 0] if channels == 1 else numbers


def _values(mode: str, stored: Array) -> tuple[Array, Array | None]:
    """Channels in [0, 1], grey as RGB, and alpha in codes of the file's depth."""
    if mode == "P":
        return _palette()[stored][..., :3] / 255, _palette()[stored][..., 3]
    values = stored / (65535 if mode in {"I;16", "I-16", "RGB16", "LA16"} else 255)
    if mode in {"LA", "LA16", "RGBA"}:
        return np.broadcast_to(values[..., :-1], (*values.shape[:2], 3)), stored[..., -1]
    return (np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values), None
