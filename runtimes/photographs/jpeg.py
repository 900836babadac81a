"""JPEG files as segments: all that is no picture is taken from one file and put into another.

What follows the picture (the gain map of Ultra HDR, the video of a motion photo) is kept byte for byte, and so is what
the file says about it; the index of CIPA's Multi-Picture Format is told the new size.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from runtimes.photographs import tags
from runtimes.photographs.tags import Block
from runtimes.photographs.xmp import resized_item, without_promises

_APP0, _APP1, _APP11, _APP13, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEB, 0xED, 0xEE, 0xEF, 0xFE
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
ICC, MPF, IRB = b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\0"
LONGEST = 65533  # bytes of a segment's payload
_MP_ENTRIES, _PREVIEW = 0xB002, 0x010000  # a tag, and the type of pictures that are smaller copies
_THUMBNAILS = {0x0409, 0x040C}  # of Photoshop's resources


class Segment(NamedTuple):
    """A marker's second byte, and what follows its length."""

    marker: int
    payload: bytes


class Parts(NamedTuple):
    """All of a file that is no picture."""

    segments: tuple[Segment, ...]
    """APP0 to APP15 and comments, in their order."""
    trailer: bytes = b""
    """What follows the picture."""
    distance: int = 0
    """Bytes from the index of pictures (MPF) to the trailer; 0 without such an index."""

    def first(self, prefix: bytes) -> bytes | None:
        """Return what follows a prefix in the first segment that begins with it; None if there is none."""
        return next((s.payload[len(prefix) :] for s in self.segments if s.payload.startswith(prefix)), None)


class Picture(NamedTuple):
    """A picture in the trailer."""

    kind: int
    """Its attributes in the index."""
    start: int
    """Its place in the trailer."""
    size: int


class Changes(NamedTuple):
    """How the metadata of a file has to change for the written photograph."""

    exif: bytes | None
    """The EXIF block; None for none."""
    xmp: bytes | None
    """The XMP packet; None for none."""
    profile: bool = True
    """Whether the ICC profile still holds."""
    turn: Callable[[bytes], bytes] | None = None
    """Turns a second picture, a whole JPEG, as the first one was; None if that was upright."""


def parts(data: bytes) -> Parts:
    """Take a file apart; a damaged one as far as it goes."""
    segments, _, end = _walk(data)
    index = data.find(b"\xff\xe2", 0, end) if any(s.payload.startswith(MPF) for s in segments) else -1
    while index >= 0 and data[index + 4 : index + 8] != MPF:
        index = data.find(b"\xff\xe2", index + 1, end)
    return Parts(tuple(segments), data[end:], end - index - 8 if index >= 0 else 0)


def kept(of: Parts, changes: Changes) -> tuple[Parts, tuple[str, ...]]:
    """Return what goes into the new file, and a sentence for each thing that does not."""
    notes = []
    if any(s.marker == _APP11 for s in of.segments):
        notes.append("its content credentials, which hold for the old pixels alone, were left out")
    pictures = _indexed(of)
    if pictures and any(picture.kind & _PREVIEW for picture in pictures):
        pictures, of = [], of._replace(trailer=b"")  # smaller copies of the old pixels
    elif pictures and changes.turn is not None:
        try:
            of, changes = _turned(of, changes, pictures, changes.turn)
        except ValueError:
            pictures, of = [], of._replace(trailer=b"")
            changes = changes._replace(xmp=changes.xmp and without_promises(changes.xmp))
            notes.append("its gain map was left out, because it could not be turned with the photograph")
    segments = [_changed(segment, changes, bool(pictures)) for segment in of.segments]
    return of._replace(segments=tuple(s for s in segments if s is not None)), tuple(notes)


def _turned(
    of: Parts, changes: Changes, pictures: list[Picture], turn: Callable[[bytes], bytes]
) -> tuple[Parts, Changes]:
    """Turn the second picture, and correct its size in the index and in XMP; ValueError if there are more."""
    if len(pictures) > 1:
        raise ValueError("more than two pictures")
    start, end = pictures[0].start, pictures[0].start + pictures[0].size
    turned = turn(of.trailer[start:end])
    trailer = of.trailer[:start] + turned + of.trailer[end:]
    segments = tuple(_with_size(s, len(turned)) if s.payload.startswith(MPF) else s for s in of.segments)
    packet = changes.xmp and resized_item(changes.xmp, end - start, len(turned))
    return of._replace(segments=segments, trailer=trailer), changes._replace(xmp=packet)


def _with_size(segment: Segment, size: int) -> Segment:
    block = bytearray(segment.payload[len(MPF) :])
    of, entry = _mp_entries(block)
    struct.pack_into(f"{of.order}I", block, entry.place + 16 + 4, size)
    return Segment(segment.marker, MPF + bytes(block))


def _changed(segment: Segment, changes: Changes, index: bool) -> Segment | None:
    """The segment for the new file; None to leave it out."""
    marker, payload = segment
    new: bytes | None = payload
    if marker == _APP0:
        new = payload[:12] + b"\0\0" if payload.startswith(b"JFIF\0") else None  # without its thumbnail
    elif payload.startswith(EXIF):
        new = None if changes.exif is None else EXIF + changes.exif
    elif payload.startswith(XMP):
        new = None if changes.xmp is None else XMP + changes.xmp
    elif payload.startswith(IRB):
        new = IRB + without_thumbnails(payload[len(IRB) :])
    elif (
        (payload.startswith(ICC) and not changes.profile)
        or (payload.startswith(MPF) and not index)
        or marker == _APP11
        or (marker == _APP14 and payload[11:12] != b"\1")
    ):
        new = None
    return None if new is None else Segment(marker, new)


def without_thumbnails(resources: bytes) -> bytes:
    """Return Photoshop's resources without thumbnails; all of them if they are damaged."""
    kept_ones, place = b"", 0
    while resources[place : place + 4] == b"8BIM" and place + 12 <= len(resources):
        (name,) = struct.unpack_from(">H", resources, place + 4)
        start = place + 6 + (resources[place + 6] + 2) // 2 * 2  # a name of even length with its own length
        (size,) = struct.unpack_from(">I", resources.ljust(start + 4, b"\0"), start)
        stop = start + 4 + size + size % 2
        kept_ones += b"" if name in _THUMBNAILS else resources[place:stop]
        place = stop
    return kept_ones + resources[place:]


def segments_of(exif: bytes | None, xmp: bytes | None, resources: bytes | None, comment: bytes | None) -> Parts:
    """Make the metadata of a JPEG from that of another format; what is too long for a segment is left out."""
    found = ((_APP1, EXIF, exif), (_APP1, XMP, xmp), (_APP13, IRB, resources), (_COMMENT, b"", comment))
    made = [Segment(marker, prefix + data) for marker, prefix, data in found if data]
    return Parts(tuple(segment for segment in made if len(segment.payload) <= LONGEST))


def _walk(data: bytes) -> tuple[list[Segment], list[bytes], int]:
    """Return the metadata, all other segments with the scans, and the offset of the end of the picture."""
    found: list[Segment] = []
    others: list[bytes] = []
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == _END:
            return found, others, place + 2
        size = 0 if marker in _WITHOUT_LENGTH else struct.unpack_from(">H", data, place + 2)[0]
        stop = place + 2 + size
        if marker == _SCAN:
            following = _MARKER.search(data, stop)
            stop = following.start() if following else len(data)
        if _APP0 <= marker <= _APP15 or marker == _COMMENT:
            found.append(Segment(marker, data[place + 4 : stop]))
        else:
            others.append(data[place:stop])
        place = stop
    end = place + 2 if data[place : place + 2] == bytes([0xFF, _END]) else len(data)
    return found, others, end


def joined(encoded: bytes, kept: Parts, *, own_head: bool = False) -> bytes:
    """Return an encoded picture with the metadata and the trailer of `kept`.

    own_head: the APP0 and ICC segments of `encoded` stay; otherwise all of its metadata goes.
    """
    own, others, _ = _walk(encoded)
    stay = [s for s in own if own_head and (s.marker == _APP0 or s.payload.startswith(ICC))]
    segments = [s for s in stay if s.marker == _APP0] + list(kept.segments) + [s for s in stay if s.marker != _APP0]
    picture = b"".join(others) + bytes([0xFF, _END])
    sizes = [len(segment.payload) + 4 for segment in segments]
    end = 2 + sum(sizes) + len(picture)
    for n, segment in enumerate(segments):
        if segment.payload.startswith(MPF):
            start = 2 + sum(sizes[:n]) + 4 + len(MPF)
            segments[n] = _moved_index(segment, kept.distance, end - start, end)
    return b"\xff\xd8" + b"".join(map(_bytes, segments)) + picture + kept.trailer


def _bytes(segment: Segment) -> bytes:
    return struct.pack(">BBH", 0xFF, segment.marker, len(segment.payload) + 2) + segment.payload


def _moved_index(segment: Segment, before: int, after: int, size: int) -> Segment:
    """Correct the index of pictures: the distance to the trailer and the size of the first picture have changed."""
    block = bytearray(segment.payload[len(MPF) :])
    of, entry = _mp_entries(block)
    for place in range(entry.place, entry.place + entry.size, 16):
        kind, length, offset = struct.unpack_from(f"{of.order}III", block, place)
        first = place == entry.place
        struct.pack_into(f"{of.order}III", block, place, kind, size if first else length,
                         0 if first else offset - before + after)  # fmt: skip
    return Segment(segment.marker, MPF + bytes(block))


def _mp_entries(block: Block) -> tuple[tags.Layout, tags.Entry]:
    of = tags.layout(block)
    return of, next(entry for entry in tags.entries(block, of, of.first) if entry.tag == _MP_ENTRIES)


def _indexed(of: Parts) -> list[Picture]:
    """The pictures in the trailer; none if there is no index that fits it."""
    block = of.first(MPF)
    if block is None or not of.trailer:
        return []
    try:
        layout, entry = _mp_entries(block)
        found = [struct.unpack_from(f"{layout.order}III", block, entry.place + n) for n in range(16, entry.size, 16)]
    except (*tags.DAMAGED, StopIteration):
        return []
    pictures = [Picture(kind, offset - of.distance, size) for kind, size, offset in found]
    return pictures if all(0 <= each.start <= len(of.trailer) - each.size for each in pictures) else []
