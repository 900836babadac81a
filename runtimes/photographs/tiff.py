"""TIFF files: an encoder that carries over the tags of another file, with all directories that they point to."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from runtimes.photographs import tags
from runtimes.photographs.profiles import Codes
from runtimes.photographs.tags import LONG, SHORT, Directory, Value

XMP, RESOURCES, PROFILE = 0x02BC, 0x8649, 0x8773
PACKETS = (XMP, RESOURCES, PROFILE)
_LAYERS = 0x935C  # Photoshop's, with the old pixels
_STORED = {  # how pixels are stored
    0x00FE, 0x00FF, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0107, 0x0108, 0x0109, 0x010A, 0x0111, 0x0112, 0x0115,
    0x0116, 0x0117, 0x0118, 0x0119, 0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0125, 0x0129, 0x012D, 0x013D,
    0x0140, 0x0141, 0x0142, 0x0143, 0x0144, 0x0145, 0x014A, 0x014C, 0x014D, 0x014E, 0x0150, 0x0151, 0x0152, 0x0153,
    0x0154, 0x0155, 0x0156, 0x015B, 0x0200, 0x0201, 0x0202, 0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209, 0x0211,
    0x0212, 0x0213, 0x0214,
}  # fmt: skip
_STRIP = 1 << 20  # bytes of pixels in a strip
_ADOBE_DEFLATE, _NONE = 8, 1


def describing(directory: Directory) -> Directory:
    """The tags of a file's first directory that are not about how its pixels are stored."""
    return {tag: value for tag, value in directory.items() if tag not in _STORED and tag != _LAYERS}


def encoded(codes: Codes, order: str, described: Directory, *, alpha: bool, compressed: bool) -> bytes:
    """Encode H x W x 1 to 4 channels of 8 or 16 bits, without loss.

    order: byte order, `<` or `>`, in which the values of `described` are.
    described: the tags about the photograph.
    alpha: the last channel is alpha, not multiplied into the colours.
    compressed: by deflate, or not at all.
    """
    height, width, channels = codes.shape
    rows = max(1, _STRIP // (width * channels * codes.itemsize))
    strips = [_strip(codes[top : top + rows], order, compressed) for top in range(0, height, rows)]
    offsets = 8 + np.cumsum([0, *map(len, strips)])
    end = int(offsets[-1] + offsets[-1] % 2)
    grey = channels - alpha == 1
    stored: Directory = {
        0x0100: tags.numbers(order, LONG, width), 0x0101: tags.numbers(order, LONG, height),
        0x0102: tags.numbers(order, SHORT, *[8 * codes.itemsize] * channels),
        0x0103: tags.numbers(order, SHORT, _ADOBE_DEFLATE if compressed else _NONE),
        0x0106: tags.numbers(order, SHORT, 1 if grey else 2),
        0x0111: tags.numbers(order, LONG, *offsets[:-1].tolist()), 0x0112: tags.numbers(order, SHORT, 1),
        0x0115: tags.numbers(order, SHORT, channels), 0x0116: tags.numbers(order, LONG, min(rows, height)),
        0x0117: tags.numbers(order, LONG, *map(len, strips)), 0x011C: tags.numbers(order, SHORT, 1),
    }  # fmt: skip
    if compressed:
        stored[0x013D] = tags.numbers(order, SHORT, 2)
    if alpha:
        stored[0x0152] = tags.numbers(order, SHORT, 2)
    body = b"".join(strips).ljust(end - 8, b"\0")
    return tags.header(order, end) + body + tags.serialised(described | stored, order, end)


def _strip(codes: Codes, order: str, compressed: bool) -> bytes:
    """Rows as bytes; compressed ones as differences to the pixel before (predictor 2)."""
    if compressed:
        codes = np.concatenate([codes[:, :1], codes[:, 1:] - codes[:, :-1]], axis=1)
    data = codes.astype(f"{order}u{codes.itemsize}").tobytes()
    return zlib.compress(data, 6) if compressed else data


def with_packets(described: Directory, xmp: bytes | None, resources: bytes | None, profile: bytes | None) -> Directory:
    """The tags, with an XMP packet, Photoshop's resources and a profile; None removes them."""
    packets = {XMP: (1, xmp), RESOURCES: (1, resources), PROFILE: (7, profile)}
    made: Directory = {tag: Value(kind, len(data), data) for tag, (kind, data) in packets.items() if data}
    return {tag: value for tag, value in described.items() if tag not in packets} | made


def has_layers(directory: Directory) -> bool:
    """Whether a file holds Photoshop's layers."""
    return _LAYERS in directory


def is_compressed(directory: Directory, order: str) -> bool:
    """Whether the pixels of a file are compressed."""
    value = directory.get(0x0103)
    return not isinstance(value, Value) or struct.unpack_from(f"{order}H", value.data)[0] != _NONE
