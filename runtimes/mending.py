"""Files with slight damage, from which the whole picture can still be had."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_END_OF_JPEG = b"\xff\xd9"


def mended(stream: BinaryIO, opened: Callable[[BinaryIO], Image.Image]) -> bytes | None:
    """The contents of a file that Pillow refuses, without its damage; None where the picture itself is damaged.

    PNG: chunks beside the picture (comments and the like) with a wrong checksum are left out. JPEG: the end marker is
    added, if that is all that is missing. opened: as `Image.open`.
    """
    stream.seek(0)
    start = stream.read(len(_PNG))
    if start == _PNG:
        return _sound_png(stream.read())
    return _ended_jpeg(start + stream.read(), opened) if start.startswith(_JPEG) else None


def _sound_png(chunks: bytes) -> bytes | None:
    """The file without damaged chunks, if there were any and none of them is critical (an upper-case first letter)."""
    kept, place = [_PNG], 0
    while place + 12 <= len(chunks):
        (size,) = struct.unpack_from(">I", chunks, place)
        chunk = chunks[place : place + size + 12]
        place += size + 12
        if zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]:
            kept.append(chunk)
        elif chunk[4:5].isupper():
            return None
    sound = b"".join(kept)
    return sound if len(sound) < len(_PNG) + len(chunks) else None


def _ended_jpeg(data: bytes, opened: Callable[[BinaryIO], Image.Image]) -> bytes | None:
    """The file with its end marker, if the picture is complete: then what stands before that marker changes no pixel.

    libjpeg fills what is missing with zero bits, without an error that Pillow would pass on.
    """
    data = data.rstrip(b"\xff")
    pictures = []
    for filler in (b"", b"\xa5" * 64):
        try:
            with opened(io.BytesIO(data + filler + _END_OF_JPEG)) as image:
                pictures.append(image.tobytes())
        except (OSError, SyntaxError):
            return None
    return data + _END_OF_JPEG if pictures[0] == pictures[1] else None
