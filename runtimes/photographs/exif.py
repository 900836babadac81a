"""EXIF: what it says about orientation and colours, and how it becomes true for the written photograph.

A block is changed in place. Nothing in it moves, so that maker notes, which hold offsets of their own, stay readable.
A damaged block is treated as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import ExifTags, Image

from runtimes.photographs import tags
from runtimes.photographs.tags import Block, Directory, Entry, Layout

PREFIX = b"Exif\0\0"
_DAMAGED = (OSError, SyntaxError, TypeError, *tags.DAMAGED)
_WIDTHS = {0x0100, 0xA002}
_HEIGHTS = {0x0101, 0xA003}
_ORIENTATION, _COLOUR_SPACE, _INTEROPERABILITY_INDEX = 0x0112, 0xA001, 0x0001
_THUMBNAIL, _THUMBNAIL_SIZE, _MAKER_NOTE = 0x0201, 0x0202, 0x927C
# Tags of a TIFF's first directory that describe the photograph, not how its pixels are stored.
_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, 0x4746, 0x4749,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, tags.EXIF, tags.GPS,
}  # fmt: skip
# Maker notes whose offsets count from their own start, so that they may be moved.
_MOVABLE = (b"Nikon\0\2", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"Apple iOS\0", b"AOC\0", b"PENTAX \0", b"LEICA\0")


def exif_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF block of a decoded picture; it is empty if the file has none or a damaged one."""
    try:
        return image.getexif()
    except _DAMAGED:
        return Image.Exif()


def orientation(exif: Image.Exif) -> int:
    """Return the orientation, 1 to 8; 1 if there is none or an unknown one."""
    stated = exif.get(ExifTags.Base.Orientation, 1)
    return stated if stated in range(1, 9) else 1


def says_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether the camera marked the colours as Adobe RGB: interoperability index R03 (DCF 2.0)."""
    try:
        named = ExifTags.IFD.Interop in exif.get_ifd(ExifTags.IFD.Exif)
        found = exif.get_ifd(ExifTags.IFD.Interop) if named else {}
    except _DAMAGED:
        return False
    return str(found.get(ExifTags.Interop.InteropIndex)).startswith("R03")


def upright(block: bytes, width: int, height: int, *, srgb: bool) -> bytes | None:
    """Return a block of the same layout for an upright picture of this size, in px; None if the block is damaged.

    The orientation becomes 1, dimensions become those given, and the thumbnail is removed.

    srgb: the pixels were converted to sRGB: say so.
    """
    changed = bytearray(block.removeprefix(PREFIX))
    try:
        of = tags.layout(changed)
        _remove_thumbnail(changed, of)
        for entry in _all_entries(changed, of):
            if entry.tag == _ORIENTATION:
                _store(changed, of, entry, 1)
            elif entry.tag in _WIDTHS:
                _store(changed, of, entry, width)
            elif entry.tag in _HEIGHTS:
                _store(changed, of, entry, height)
            elif srgb and entry.tag == _COLOUR_SPACE:
                _store(changed, of, entry, 1)
            elif srgb and changed[entry.place : entry.place + 3] == b"R03" and entry.tag == _INTEROPERABILITY_INDEX:
                changed[entry.place : entry.place + 3] = b"R98"
    except tags.DAMAGED:
        return None
    return bytes(changed)


def block_of(order: str, directory: Directory) -> bytes | None:
    """Make a block from the first directory of a TIFF; None if nothing in it describes the photograph."""
    described = {tag: value for tag, value in directory.items() if tag in _DESCRIPTIVE}
    return tags.header(order, 8) + tags.serialised(described, order, 8) if described else None


def without_fixed_maker_note(directory: Directory) -> bool:
    """Remove a maker note that must not be moved, and return whether there was one."""
    camera = directory.get(tags.EXIF)
    note = camera.get(_MAKER_NOTE) if isinstance(camera, dict) else None
    if not isinstance(camera, dict) or note is None or isinstance(note, dict) or note.data.startswith(_MOVABLE):
        return False
    directory[tags.EXIF] = {tag: value for tag, value in camera.items() if tag != _MAKER_NOTE}
    return True


def _all_entries(block: Block, of: Layout) -> Iterator[Entry]:
    """The entries of the first directory and of those that it points to."""
    seen: set[int] = set()
    offsets = [of.first]
    while offsets:
        offset = offsets.pop()
        if offset in seen:
            continue
        seen.add(offset)
        for entry in tags.entries(block, of, offset):
            yield entry
            if entry.tag in {tags.EXIF, tags.GPS, tags.INTEROPERABILITY} and entry.kind in {tags.LONG, 13}:
                offsets.append(tags.number(block, of, entry))


def _store(block: bytearray, of: Layout, entry: Entry, value: int) -> None:
    if entry.kind == tags.SHORT and value < 65536:
        struct.pack_into(f"{of.order}H", block, entry.place, value)
    elif entry.kind == tags.LONG:
        struct.pack_into(f"{of.order}I", block, entry.place, value)


def _remove_thumbnail(block: bytearray, of: Layout) -> None:
    """End the chain of directories after the first; blank the thumbnail, or cut it off if it is the last thing."""
    pointer = tags.following(block, of, of.first)
    (second,) = struct.unpack_from(f"{of.order}I", block, pointer)
    if not second:
        return
    struct.pack_into(f"{of.order}I", block, pointer, 0)
    found = {entry.tag: entry for entry in tags.entries(block, of, second)}
    if _THUMBNAIL not in found or _THUMBNAIL_SIZE not in found:
        return
    start = tags.number(block, of, found[_THUMBNAIL])
    end = start + tags.number(block, of, found[_THUMBNAIL_SIZE])
    if end >= len(block) - 1 and all(entry.place + entry.size <= start for entry in _all_entries(block, of)):
        del block[start:]
    else:
        block[start:end] = bytes(max(0, min(end, len(block)) - start))
