"""Repair of slightly damaged files whose picture is complete."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_END_OF_JPEG = b"\xff\xd9"
_NEEDED = {b"tRNS", b"iCCP", b"cICP", b"gAMA", b"sRGB", b"cHRM"}  # transparency and colours


def mended(stream: BinaryIO, opened: Callable[[BinaryIO], Image.Image]) -> bytes | None:
    """Return the repaired contents of a file that Pillow refuses, or None if the picture itself is damaged.

    PNG: chunks with a wrong checksum are removed if neither pixels, transparency nor colours depend on them.
    JPEG: the end marker is added if nothing else is missing; not to a progressive one, of which whole scans may be.

    stream: the file.
    opened: a function that opens a stream as Pillow's picture, such as `Image.open`.
    """
    stream.seek(0)
    start = stream.read(len(_PNG))
    if start == _PNG:
        return _sound_png(stream.read())
    return _ended_jpeg(start + stream.read(), opened) if start.startswith(_JPEG) else None


def _sound_png(chunks: bytes) -> bytes | None:
    """Return the file without its damaged chunks, or None if there are none or if the picture depends on one of them.

    The type of a critical chunk begins with a capital letter. chunks: the file after its signature.
    """
    kept, place = [_PNG], 0
    while place + 12 <= len(chunks):
        (size,) = struct.unpack_from(">I", chunks, place)
        chunk = chunks[place : place + size + 12]
        place += size + 12
        if zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]:
            kept.append(chunk)
        elif chunk[4:5].isupper() or chunk[4:8] in _NEEDED:
            return None
    sound = b"".join(kept)
    return sound if len(sound) < len(_PNG) + len(chunks) else None


def _ended_jpeg(data: bytes, opened: Callable[[BinaryIO], Image.Image]) -> bytes | None:
    """Return the file with an end marker, or None if a part of the picture is missing.

    The picture is complete if extra bytes before the end marker change no pixel. This test is needed because libjpeg
    replaces missing data by zero bits, and Pillow raises no error for it.
    """
    data = data.rstrip(b"\xff")
    pictures = []
    for filler in (b"", b"\xa5" * 64):
        try:
            with opened(io.BytesIO(data + filler + _END_OF_JPEG)) as image:
                if image.info.get("progressive"):
                    return None
                pictures.append(image.tobytes())
        except (OSError, SyntaxError):
            return None
    return data + _END_OF_JPEG if pictures[0] == pictures[1] else None
