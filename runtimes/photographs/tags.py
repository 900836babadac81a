"""The structure of TIFF, which is also that of EXIF: directories of tags, and directories that tags point to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005  # tags that point to a directory
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
SHORT, LONG = 3, 4
DAMAGED = (struct.error, ValueError, KeyError, IndexError)


class Value(NamedTuple):
    """What a tag holds, in the byte order of its file."""

    kind: int
    values: int
    data: bytes


Block: TypeAlias = bytes | bytearray
Directory: TypeAlias = "dict[int, Value | Directory]"


class Entry(NamedTuple):
    """Where an entry lies."""

    tag: int
    kind: int
    values: int
    place: int
    """Offset of the value."""
    size: int
    """Bytes of the value."""


class Layout(NamedTuple):
    """The header of a block."""

    order: str
    """`<` or `>`, as `struct` has it."""
    big: bool
    """Whether it is a BigTIFF."""
    first: int
    """Offset of the first directory."""


def layout(block: Block) -> Layout:
    """Read the header; ValueError if it is none of TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        raise ValueError("no TIFF header")
    version, offset = struct.unpack_from(f"{order}HI", block, 2)
    if version not in {42, 43}:
        raise ValueError("no TIFF header")
    return Layout(order, version == 43, struct.unpack_from(f"{order}Q", block, 8)[0] if version == 43 else offset)


def entries(block: Block, of: Layout, offset: int) -> Iterator[Entry]:
    """The entries of the directory at an offset, without those that lie outside of the block."""
    number, word, step = ("Q", "Q", 20) if of.big else ("H", "I", 12)
    (count,) = struct.unpack_from(of.order + number, block, offset)
    start = offset + struct.calcsize(number)
    room = struct.calcsize(word)
    for place in range(start, start + step * min(count, 4096), step):
        tag, kind, values = struct.unpack_from(f"{of.order}HH{word}", block, place)
        size = _BYTES.get(kind, 0) * values
        value = place + step - room
        if size > room:
            (value,) = struct.unpack_from(of.order + word, block, value)
        if size and value + size <= len(block):
            yield Entry(tag, kind, values, value, size)


def number(block: Block, of: Layout, entry: Entry) -> int:
    """The first value of an entry, a whole number; ValueError if it is none."""
    letter = {1: "B", SHORT: "H", LONG: "I", 13: "I", 16: "Q", 18: "Q"}.get(entry.kind)
    if letter is None:
        raise ValueError("no whole number")
    return int(struct.unpack_from(of.order + letter, block, entry.place)[0])


def following(block: Block, of: Layout, offset: int) -> int:
    """Where the offset of the next directory is stored."""
    (count,) = struct.unpack_from(of.order + ("Q" if of.big else "H"), block, offset)
    return int(offset + (8 + 20 * count if of.big else 2 + 12 * count))


def parsed(block: Block) -> tuple[str, Directory]:
    """Return the byte order and the first directory; empty if the block is damaged."""
    try:
        of = layout(block)
        return of.order, _directory(block, of, of.first, {})
    except DAMAGED:
        return "<", {}


def _directory(block: Block, of: Layout, offset: int, seen: dict[int, None]) -> Directory:
    if offset in seen:
        return {}
    seen[offset] = None
    found: Directory = {}
    for entry in entries(block, of, offset):
        if entry.tag in {EXIF, GPS, INTEROPERABILITY}:
            try:
                found[entry.tag] = _directory(block, of, number(block, of, entry), seen)
            except DAMAGED:
                continue
        elif entry.kind < 16:  # BigTIFF's kinds are offsets and sizes, which classic TIFF cannot hold
            found[entry.tag] = Value(entry.kind, entry.values, bytes(block[entry.place : entry.place + entry.size]))
    return found


def serialised(directory: Directory, order: str, offset: int) -> bytes:
    """Write a directory and what it points to, to be placed at an offset."""
    body = bytearray()
    start = offset + 2 + 12 * len(directory) + 4
    table = struct.pack(f"{order}H", len(directory))
    for tag, value in sorted(directory.items()):
        body += bytes(len(body) % 2)
        place = start + len(body)
        if isinstance(value, dict):
            table += struct.pack(f"{order}HHII", tag, LONG, 1, place)
            body += serialised(value, order, place)
        elif len(value.data) <= 4:
            table += struct.pack(f"{order}HHI", tag, value.kind, value.values) + value.data.ljust(4, b"\0")
        else:
            table += struct.pack(f"{order}HHII", tag, value.kind, value.values, place)
            body += value.data
    return table + bytes(4) + bytes(body)


def header(order: str, first: int) -> bytes:
    """The first eight bytes of a block."""
    return struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, first)


def numbers(order: str, kind: int, *values: int) -> Value:
    """A value of whole numbers, SHORT or LONG."""
    return Value(kind, len(values), struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values))
