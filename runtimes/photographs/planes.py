"""TIFF with 16 bits in separate planes, which Pillow reads wrongly: each plane is shown to it as a grey picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from runtimes.photographs import tags
from runtimes.photographs.tags import LONG, SHORT, Directory, Value

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _SAMPLE_FORMAT = 0x0102, 0x0106, 0x0115, 0x011C, 0x0152, 0x0153
_PIECES = ((0x0111, 0x0117), (0x0144, 0x0145))  # offsets and sizes of strips, and of tiles
_COPIED = (0x0100, 0x0101, 0x0103, 0x010A, 0x0116, 0x013D, 0x0142, 0x0143)


def is_planar(of: dict[int, object]) -> bool:
    """Whether Pillow's tags of a TIFF tell of separate planes of 16 bits."""
    bits = of.get(_BITS)
    return of.get(_PLANAR) == 2 and isinstance(bits, tuple) and len(bits) > 1 and set(bits) == {16}


def planes(data: bytes) -> Iterator[bytes]:
    """Yield, for each plane of a file, a file of the same pixels as a grey picture.

    Errors: ValueError if the file is damaged.
    """
    order, directory = tags.parsed(data)
    (count,) = _values(directory, _SAMPLES, order)
    for number in range(count):
        grey: Directory = {tag: directory[tag] for tag in _COPIED if tag in directory}
        grey |= {_BITS: tags.numbers(order, SHORT, 16), _PHOTOMETRIC: tags.numbers(order, SHORT, 1)}
        grey |= {_SAMPLES: tags.numbers(order, SHORT, 1)}
        for pair in _PIECES:
            for tag in pair:
                if tag in directory:
                    values = _values(directory, tag, order)
                    each = len(values) // count
                    grey[tag] = tags.numbers(order, LONG, *values[number * each : (number + 1) * each])
        place = len(data) + len(data) % 2
        whole = data.ljust(place, b"\0") + tags.serialised(grey, order, place)
        yield tags.header(order, place) + whole[8:]


def _values(directory: Directory, tag: int, order: str) -> tuple[int, ...]:
    value = directory.get(tag)
    if not isinstance(value, Value) or value.kind not in {SHORT, LONG}:
        raise ValueError("planes without their places")
    return struct.unpack(f"{order}{value.values}{'H' if value.kind == SHORT else 'I'}", value.data)
