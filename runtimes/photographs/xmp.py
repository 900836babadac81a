"""XMP: what a packet says about the stored pixels becomes true for the written photograph; the rest stays."""

from __future__ import annotations

import re

_WIDTHS, _HEIGHTS = rb"tiff:ImageWidth|exif:PixelXDimension", rb"tiff:ImageLength|exif:PixelYDimension"
_THUMBNAILS = re.compile(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", re.DOTALL)
# Words that promise a second picture or a video behind the first: Ultra HDR, motion photos, Apple's gain map.
_PROMISES = (
    re.compile(rb"<(\w*Container):Directory\b.*?</\1:Directory>", re.DOTALL),
    re.compile(rb"""\s(?:hdrgm|HDRGainMap|GCamera|Camera):[\w]+=(?:"[^"]*"|'[^']*')"""),
    re.compile(rb"<(hdrgm|HDRGainMap|GCamera|Camera):(\w+)>[^<]*</\1:\2>"),
)


def upright(packet: bytes, width: int, height: int) -> bytes:
    """Return a packet for an upright picture of this size, in px: orientation, dimensions, no thumbnails."""
    packet = _set(_THUMBNAILS.sub(b"", packet), rb"tiff:Orientation", 1)
    return _set(_set(packet, _WIDTHS, width), _HEIGHTS, height)


def without_promises(packet: bytes) -> bytes:
    """Return a packet that does not tell of a second picture or a video in the same file."""
    for promise in _PROMISES:
        packet = promise.sub(b"", packet)
    return packet


def resized_item(packet: bytes, before: int, after: int) -> bytes:
    """Return a packet in which the item that was `before` bytes long is `after` bytes long."""
    return re.sub(rb"(Item:Length=[\"'])%d([\"'])" % before, rb"\g<1>%d\g<2>" % after, packet)


def _set(packet: bytes, names: bytes, value: int) -> bytes:
    """Set properties that are in the packet, as attributes or as elements."""
    packet = re.sub(rb"((?:%s)=[\"'])\d+([\"'])" % names, rb"\g<1>%d\g<2>" % value, packet)
    return re.sub(rb"(<(%s)>)\d+(</\2>)" % names, rb"\g<1>%d\g<3>" % value, packet)
