"""What EXIF says of a photograph. A damaged block is worth less than the photograph: it counts as absent."""

from __future__ import annotations

import struct

from PIL import ExifTags, Image

_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_KEPT = {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.XResolution,
    ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit, ExifTags.Base.Software, ExifTags.Base.DateTime,
    ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.ExifOffset, ExifTags.Base.GPSInfo,
}  # fmt: skip


def exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF block of a decoded picture; an empty one where there is none."""
    try:
        return image.getexif()
    except _DAMAGED:
        return Image.Exif()


def turn(exif: Image.Exif) -> Image.Transpose | None:
    """What brings the stored pixels upright, by the orientation tag; None where nothing does."""
    return _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))


def says_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether a camera marks its colours as Adobe RGB: interoperability index R03 (DCF 2.0)."""
    return str(_interoperability(exif).get(ExifTags.Interop.InteropIndex)).startswith("R03")


def kept(exif: Image.Exif) -> bytes | None:
    """The tags that tell of the photograph, for an upright file in sRGB; None where there are none.

    Tags that describe the stored pixels (a TIFF's layout, the orientation) are wrong for what will be written.
    """
    for tag in set(exif) - _KEPT:
        del exif[tag]
    try:
        if says_adobe_rgb(exif):
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 1  # sRGB
            _interoperability(exif)[ExifTags.Interop.InteropIndex] = "R98"
        return exif.tobytes() if len(exif) else None
    except _DAMAGED:
        return None


def _interoperability(exif: Image.Exif) -> dict[int, object]:
    try:
        named = ExifTags.IFD.Interop in exif.get_ifd(ExifTags.IFD.Exif)
        return exif.get_ifd(ExifTags.IFD.Interop) if named else {}
    except _DAMAGED:
        return {}
