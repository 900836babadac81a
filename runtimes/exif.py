"""Reading EXIF: orientation, colour space and the tags to keep. A damaged EXIF block is treated as absent."""

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
    """Return the EXIF block of a decoded picture; it is empty if the file has none or a damaged one."""
    try:
        return image.getexif()
    except _DAMAGED:
        return Image.Exif()


def turn(exif: Image.Exif) -> Image.Transpose | None:
    """Return the transposition that turns the stored pixels upright, or None if they are upright."""
    return _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))


def says_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether the camera marked the colours as Adobe RGB: interoperability index R03 (DCF 2.0)."""
    return str(_interoperability(exif).get(ExifTags.Interop.InteropIndex)).startswith("R03")


def kept(exif: Image.Exif) -> bytes | None:
    """Return the EXIF block to write into an upright sRGB file, or None if no tag is left.

    Tags about the photograph stay. Tags about the stored pixels, such as the orientation or the layout of a TIFF, are
    removed, because they would be wrong for the new file. `exif` is changed.
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
