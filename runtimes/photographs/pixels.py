"""From Pillow's picture to arrays: grey or RGB with 8 or 16 bits, and alpha.

Of 16-bit colour, Pillow's decoders keep the upper 8 bits. They take them from the byte that the stored order says
comes first or last; told the other order, they give the lower 8 bits. Such a file is decoded twice.
"""

from __future__ import annotations

import dataclasses
import io
import re
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.photographs.planes import is_planar, planes
from runtimes.photographs.profiles import Codes

_DEEP = re.compile(r"(RGB|RGBA|RGBa|RGBX|LA);16[BLN]")


# What brings the stored picture of each EXIF orientation upright.
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda codes: codes,
    2: np.fliplr,
    3: lambda codes: codes[::-1, ::-1],
    4: np.flipud,
    5: lambda codes: codes.swapaxes(0, 1),
    6: lambda codes: np.rot90(codes, -1),
    7: lambda codes: codes[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


class UnsupportedError(Exception):
    """A photograph cannot be read. The message is a sentence without its subject, which is the file's path."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """The pixels of a file as it stores them."""

    codes: Codes | None
    """uint8 or uint16, H x W x 1 (grey) or 3 (RGB); None if they are of another kind, such as CMYK."""
    alpha: Codes | None
    """H x W of the same depth, not multiplied into the colours; None if the file has none."""


def stored_pixels(image: Image.Image, stream: BinaryIO, opened: Callable[[BinaryIO], Image.Image]) -> Stored:
    """Decode a picture.

    image: the picture, opened and not loaded.
    stream: its file.
    opened: opens a file.

    Errors: UnsupportedError for floating point, for whole numbers of more than 16 bits and for a missing palette. What
    Pillow raises.
    """
    if image.format == "TIFF" and is_planar(dict(image.tag_v2)):  # type: ignore[attr-defined]
        return _separate_planes(image, stream, opened)
    if is_deep_colour(image):
        return _deep_colour(image, lambda: opened(stream))
    image.load()
    if image.mode == "P" and image.palette is None:  # a PNG may lack it
        raise UnsupportedError("should hold the palette of its colours but does not; replace the file")
    return _deep_grey(image) if image.mode in {"I", "F"} or image.mode.startswith("I;") else _shallow(image)


def _shallow(image: Image.Image) -> Stored:
    """A decoded picture of 8 bits."""
    if image.mode == "1":
        image = image.convert("LA" if image.has_transparency_data else "L")
    if image.mode in {"L", "LA", "La"}:
        image = image.convert("LA") if image.has_transparency_data else image
        codes = np.asarray(image).reshape(image.height, image.width, -1)
        return Stored(codes[..., :1], codes[..., 1] if image.mode == "LA" else None)
    if image.has_transparency_data:
        codes = np.asarray(image.convert("RGBA"))
        return Stored(codes[..., :3], codes[..., 3])
    if image.mode in {"RGB", "P"}:
        return Stored(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), None)
    return Stored(None, None)


def _raw_mode(image: Image.Image) -> str:
    tile = image.tile[0] if getattr(image, "tile", None) else None  # type: ignore[attr-defined]
    arguments = tile.args if tile is not None else None
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else None
    return raw if isinstance(raw, str) else ""


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a picture, not loaded yet, holds colour, or grey with alpha, of 16 bits."""
    return image.format in {"PNG", "TIFF"} and _DEEP.fullmatch(_raw_mode(image)) is not None


def _deep_colour(image: Image.Image, opened: Callable[[], Image.Image]) -> Stored:
    raw = _raw_mode(image)
    key = image.info.get("transparency")
    if raw.startswith("LA"):  # four bytes a pixel, as of RGBA with 8 bits
        pairs = _decoded(image, "RGBA")
        return Stored(_joined(pairs[..., :1], pairs[..., 1:2]), _joined(pairs[..., 2], pairs[..., 3]))
    straight = raw.replace("a", "A")  # not divided by alpha: that is done with all bits, below
    order = straight[-1] if straight[-1] != "N" else "L" if sys.byteorder == "little" else "B"
    swapped = straight[:-1] + ("B" if order == "L" else "L")
    upper, lower = _decoded(image, straight), _decoded(opened(), swapped)
    codes = _joined(upper, lower)
    if codes.shape[2] == 3:
        clear = None if key is None else np.where((codes == np.array(key)).all(axis=2), 0, 65535).astype(np.uint16)
        return Stored(codes, clear)
    rgb, alpha = codes[..., :3], codes[..., 3]
    if raw.startswith("RGBa"):
        rgb = _divided(rgb, alpha)
    return Stored(rgb, alpha)


def _divided(codes: Codes, alpha: Codes) -> Codes:
    """Colours into which alpha was multiplied, without it."""
    return np.asarray(np.rint((codes / np.maximum(alpha, 1)[..., None] * 65535).clip(0, 65535)), np.uint16)


def _separate_planes(image: Image.Image, stream: BinaryIO, opened: Callable[[BinaryIO], Image.Image]) -> Stored:
    photometric, extra = (image.tag_v2.get(tag) for tag in (0x0106, 0x0152))  # type: ignore[attr-defined]
    if photometric not in {1, 2}:
        raise UnsupportedError("should be grey or RGB but has planes of other colours; save it as RGB")
    stream.seek(0)
    found = [np.asarray(opened(io.BytesIO(plane))).astype(np.uint16) for plane in planes(stream.read())]
    if len(found) not in {2, 3, 4}:
        raise UnsupportedError(f"should hold at most 4 planes but holds {len(found)}; save it as RGB")
    colours, alpha = (found, None) if len(found) == 3 else (found[:-1], found[-1])
    codes = np.dstack(colours)
    return Stored(codes if alpha is None or extra != (1,) else _divided(codes, alpha), alpha)


def _joined(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.asarray(upper.astype(np.uint16) << 8 | lower, np.uint16)


def _decoded(image: Image.Image, raw_mode: str) -> NDArray[np.uint8]:
    """Decode a picture with other arrangement of its bytes."""
    tiles = image.tile  # type: ignore[attr-defined]
    for n, tile in enumerate(tiles):
        arguments = raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:])
        tiles[n] = tile._replace(args=arguments)
    image.load()
    return np.asarray(image)


def _deep_grey(image: Image.Image) -> Stored:
    """Grey of more than 8 bits; whole numbers of 32 bits are taken as 8 bits if none exceeds 255, else as 16."""
    if image.mode == "F":
        raise UnsupportedError("should hold whole numbers but holds floating point; save it with 8 or 16 bits")
    values = np.asarray(image)
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise UnsupportedError(
            f"should hold numbers from 0 to 65535 but holds {least} to {most}; save it with 8 or 16 bits"
        )
    depth = np.uint8 if image.mode == "I" and most <= 255 else np.uint16
    codes = values.astype(depth)
    key = image.info.get("transparency")
    alpha = None if key is None else np.where(codes == key, 0, np.iinfo(depth).max).astype(depth)
    return Stored(codes[..., None], alpha)
