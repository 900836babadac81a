"""PNG files as chunks: metadata taken from one file and put into another, and an encoder for 16 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtimes.photographs.profiles import Codes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = b"XML:com.adobe.xmp\0"
# Chunks about the pixels as they were stored, or about frames; the others that may be copied have a small fourth letter
# (PNG specification, 5.4), or are known.
_LEFT_OUT = {b"tRNS", b"acTL", b"fcTL", b"fdAT", b"bKGD", b"hIST", b"sBIT"}
_COLOURS = {b"iCCP", b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI", b"mDCv", b"cLLi"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_LEVEL = 6  # of deflate


class Chunk(NamedTuple):
    """A chunk's type and contents."""

    kind: bytes
    data: bytes


class Chunks(NamedTuple):
    """The chunks that are no picture."""

    before: tuple[Chunk, ...]
    after: tuple[Chunk, ...] = ()


def chunks_of(stream: BinaryIO) -> Chunks:
    """Read the chunks that may be copied, those before the picture and those after it."""
    stream.seek(len(SIGNATURE))
    before: list[Chunk] = []
    after: list[Chunk] = []
    found = before
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            found = after
        if kind[0:1].isupper() or kind in _LEFT_OUT or (kind[3:4].isupper() and kind not in {*_COLOURS, b"tIME"}):
            stream.seek(size + 4, 1)
            continue
        found.append(Chunk(kind, stream.read(size)))
        stream.seek(4, 1)
    return Chunks(tuple(before), tuple(after))


def kept(of: Chunks, exif: bytes | None, xmp: bytes | None, *, colours: bool) -> Chunks:
    """Return what goes into the new file: `exif` and `xmp` take the place of those in `of`.

    colours: whether what the chunks say about colours still holds.
    """
    before = [changed for chunk in of.before if (changed := _changed(chunk, exif, xmp, colours)) is not None]
    after = [changed for chunk in of.after if (changed := _changed(chunk, exif, xmp, colours)) is not None]
    if exif is not None and not any(chunk.kind == b"eXIf" for chunk in (*before, *after)):
        before.append(Chunk(b"eXIf", exif))  # it was in a text chunk, as ImageMagick writes it
    return Chunks(tuple(before), tuple(after))


def _changed(chunk: Chunk, exif: bytes | None, xmp: bytes | None, colours: bool) -> Chunk | None:
    if chunk.kind == b"eXIf":
        return None if exif is None else Chunk(chunk.kind, exif)
    if chunk.kind in _COLOURS:
        return chunk if colours else None
    if chunk.kind in _TEXTS and chunk.data.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
        return None
    if chunk.kind == b"iTXt" and chunk.data.startswith(XMP):
        return None if xmp is None else xmp_chunk(xmp)
    return chunk


def xmp_chunk(packet: bytes) -> Chunk:
    """The chunk of an XMP packet (XMP specification, part 3)."""
    return Chunk(b"iTXt", XMP + bytes(4) + packet)


def joined(encoded: bytes, kept: Chunks) -> bytes:
    """Return an encoded picture with the given chunks in place of its own metadata."""
    place = len(SIGNATURE)
    critical: list[bytes] = []
    while place + 8 <= len(encoded):
        size, kind = struct.unpack_from(">I4s", encoded, place)
        if kind[0:1].isupper() or kind == b"tRNS":
            critical.append(encoded[place : place + size + 12])
        place += size + 12
    header, *rest, end = critical
    return b"".join([SIGNATURE, header, *map(_bytes, kept.before), *rest, *map(_bytes, kept.after), end])


def _bytes(chunk: Chunk) -> bytes:
    return (
        struct.pack(">I", len(chunk.data))
        + chunk.kind
        + chunk.data
        + struct.pack(">I", zlib.crc32(chunk.data, zlib.crc32(chunk.kind)))
    )


def encoded16(codes: Codes) -> bytes:
    """Encode H x W x 1 to 4 channels of 16 bits: grey or RGB, with or without alpha."""
    height, width, channels = codes.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    packer = zlib.compressobj(_LEVEL)
    data = b"".join(map(packer.compress, _filtered(codes))) + packer.flush()
    parts = [Chunk(b"IHDR", header), Chunk(b"IDAT", data), Chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(map(_bytes, parts))


def _filtered(codes: Codes) -> Iterator[bytes]:
    """The rows, each after the filter (0 none, 1 sub, 2 up, 4 Paeth) that leaves the smallest numbers."""
    step = 2 * codes.shape[2]
    above = np.zeros(codes.shape[1] * step, np.uint8)
    for row in codes:
        line = row.astype(">u2").reshape(-1).view(np.uint8)
        left, corner = (np.concatenate([np.zeros(step, np.uint8), each[:-step]]) for each in (line, above))
        tried = {0: line, 1: line - left, 2: line - above, 4: line - _paeth(left, above, corner)}
        best = min(tried, key=lambda kind: int(np.abs(tried[kind].view(np.int8).astype(np.int16)).sum()))
        yield bytes([best]) + tried[best].tobytes()
        above = line


def _paeth(left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    a, b, c = (each.astype(np.int16) for each in (left, above, corner))
    pa, pb, pc = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, above, corner))


def resolution_chunk(x: float, y: float) -> Chunk:
    """The chunk of a resolution in dots per inch."""
    return Chunk(b"pHYs", struct.pack(">IIB", round(x / 0.0254), round(y / 0.0254), 1))
