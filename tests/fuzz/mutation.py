"""Mutations that reach behind checksums: the members of an archive are changed one by one, and PNGs get valid CRCs."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

PNG = b"\x89PNG\r\n\x1a\n"
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)

Change = Callable[[bytes, random.Random], bytes]


def stored(archive: bytes) -> bytes:
    """The same ZIP archive without compression."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        return archived([(name, old.read(name)) for name in old.namelist()])


def archived(members: list[tuple[str, bytes]]) -> bytes:
    """A ZIP archive of these members, names that occur twice included."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as new:
        warnings.simplefilter("ignore")
        for name, data in members:
            new.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def changed(data: bytes, rng: random.Random) -> bytes:
    """A few random edits: bytes, bits, numbers, cuts, copies, words."""
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        if not made:
            return bytes(made)
        at, kind = rng.randrange(len(made)), rng.randrange(8)
        if kind == 0:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            made[at] = rng.randrange(256)
        elif kind == 2:
            number, size = rng.choice(NUMBERS), rng.choice([1, 2, 4, 8])
            made[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, rng.choice(["little", "big"]))
        elif kind == 3:
            del made[at : at + rng.choice([1, 2, 4, 16, 256])]
        elif kind == 4:
            other = rng.randrange(len(made))
            made[at:at] = made[other : other + rng.choice([1, 4, 16, 256])]
        elif kind == 5:
            del made[at:]
        elif kind == 6:
            made[at : at + 4] = bytes(rng.randrange(256) for _ in range(4))
        else:
            made[at : at + 1] = rng.choice([b"-1", b"1e999", b"null", b"[" * 3000, b"9" * 30, b"\xff\xfe", b"\\u0000"])
    return bytes(made)


def inside(data: bytes, rng: random.Random, change: Change = changed) -> bytes:
    """Change an archive's member and pack it again, or a PNG and mend its checksums; one time in four just change."""
    if rng.randrange(4) and data.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as old:
                members = [(name, old.read(name)) for name in old.namelist()]
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error):
            return change(data, rng)
        if not members:
            return change(data, rng)
        number = rng.randrange(len(members))
        name, member = members[number]
        kind = rng.randrange(16)
        if kind == 0:
            del members[number]
        elif kind == 1:
            members[number] = (change(name.encode(), rng).decode("latin-1").replace("\0", "") or "x", member)
        elif kind == 2:
            members.append((name, member))
        else:
            members[number] = (name, inside(member, rng, change))
        return archived(members)
    start = data.find(PNG)
    if rng.randrange(4) and start >= 0:
        return data[:start] + mended(change(data[start:], rng))
    return change(data, rng)


def mended(data: bytes) -> bytes:
    """A PNG with valid checksums, as far as its chunks can be followed."""
    made, at = bytearray(data), len(PNG)
    while at + 12 <= len(made):
        (length,) = struct.unpack(">I", made[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(made):
            break
        made[end : end + 4] = struct.pack(">I", zlib.crc32(made[at + 4 : end]))
        at = end + 4
    return bytes(made)
