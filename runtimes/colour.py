"""Colour management: which colours the codes of a file stand for, and their conversion to 8-bit sRGB.

LittleCMS, which comes with Pillow, applies ICC profiles. Some files describe their colours without a profile (the cICP
and gAMA chunks of PNG, the Adobe RGB mark of a camera); a profile is then made from that description.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from runtimes.exif import says_adobe_rgb

Curve = tuple[float, float, float, float, float]  # g, a, b, c, d: (aX + b)^g from d on, cX below

# Red, green and blue in XYZ, adapted to D50.
_SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
_DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_BT2020 = ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686))
_ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def _power(exponent: float) -> Curve:
    """Return the profile curve X^exponent."""
    return (exponent, 1.0, 0.0, 0.0, 0.0)


_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# Code points of ITU-T H.273. Browsers show the television curves (1, 6, 14, 15) as sRGB, and so does this reader.
_CICP_PRIMARIES = {1: _SRGB, 9: _BT2020, 12: _DISPLAY_P3}
_CICP_CURVES = dict.fromkeys((1, 6, 13, 14, 15), _SRGB_CURVE) | {4: _power(2.2), 5: _power(2.8), 8: _power(1.0)}
_CICP_HDR = {16: "PQ", 18: "HLG"}


class UnsupportedError(Exception):
    """A photograph cannot be read. The message is a sentence without its subject, which is the file's path."""


def stated_profile(image: Image.Image, stream: BinaryIO, exif: Image.Exif) -> bytes | None:
    """Return the ICC profile of a file, or one made from its other descriptions of colour; None means sRGB.

    In PNG, the chunk cICP has priority over the profile, and sRGB over gAMA. A gAMA within 5 % of 1/2.2 means sRGB, as
    in libpng.

    Errors: UnsupportedError for high dynamic range.
    """
    stated = _cicp_profile(stream) if image.format == "PNG" else None
    if stated is not None:
        return stated
    embedded = image.info.get("icc_profile")
    if embedded:
        return bytes(embedded)
    if says_adobe_rgb(exif):
        return matrix_profile(_ADOBE_RGB, _power(563 / 256))
    gamma = image.info.get("gamma")
    if image.format == "PNG" and gamma and "srgb" not in image.info and abs(gamma * 2.2 - 1) > 0.05:
        return matrix_profile(_SRGB, _power(1 / gamma))
    return None


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Convert a decoded picture of any mode to 8-bit RGB; also return its alpha, uint8 H x W, or None.

    A profile that is damaged or made for other channels is ignored. 16-bit grey is converted by its profile before it
    is rounded to 8 bits. 32-bit whole numbers are taken as 8-bit if none exceeds 255, and as 16-bit if none exceeds
    65535.

    Errors: UnsupportedError for larger numbers and for floating point.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        return _deep_grey(image, profile)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    return _through(image, profile), alpha


def matrix_profile(colorants: tuple[tuple[float, float, float], ...], curve: Curve) -> bytes:
    """Make a display profile (ICC.1:2010) from XYZ of red, green and blue, adapted to D50, and one curve for all."""
    tags = {}
    for name, xyz in zip(("r", "g", "b"), colorants, strict=True):
        tags[f"{name}XYZ"] = b"XYZ " + bytes(4) + _fixed(*xyz)
        tags[f"{name}TRC"] = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(*curve)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name.encode(), 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s12x4s28x", 128 + len(table + body), b"", 4 << 24, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + _fixed(0.9642, 1.0, 0.8249)).ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _cicp_profile(stream: BinaryIO) -> bytes | None:
    """Return the profile for a PNG's cICP chunk, or None if it has none or one with unknown colours.

    Errors: UnsupportedError for PQ and HLG.
    """
    stream.seek(8)
    kind = b""
    while kind != b"IDAT" and len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"cICP" and size == 4:
            primaries, transfer, _, _ = stream.read(4)
            if transfer in _CICP_HDR:
                raise UnsupportedError(
                    f"should have standard dynamic range but has a high one ({_CICP_HDR[transfer]}); save it as sRGB"
                )
            known = primaries in _CICP_PRIMARIES and transfer in _CICP_CURVES
            return matrix_profile(_CICP_PRIMARIES[primaries], _CICP_CURVES[transfer]) if known else None
        stream.seek(size + 4, io.SEEK_CUR)
    return None


def _deep_grey(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Convert grey of more than 8 bits by a table, interpolated between the colours of the 256 8-bit greys."""
    values = np.asarray(image)
    if image.mode == "F":
        raise UnsupportedError("should hold whole numbers but holds floating point; save it with 8 or 16 bits")
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise UnsupportedError(
            f"should hold numbers from 0 to 65535 but holds {least} to {most}; save it with 8 or 16 bits"
        )
    white = 255 if image.mode == "I" and most <= 255 else 65535
    codes = np.arange(white + 1) * (255 / white)
    table = np.stack([np.interp(codes, np.arange(256), channel) for channel in _levels(profile).T], axis=1)
    rgb = Image.fromarray(np.floor(table + 0.5).astype(np.uint8)[values])
    key = image.info.get("transparency")
    return rgb, None if key is None else np.where(values == key, 0, 255).astype(np.uint8)


def _through(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an 8-bit picture without alpha to RGB, by its profile if that fits."""
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "RGB" and profile and profile[16:20] == b"GRAY" and _is_grey(image):
        image = image.getchannel(0)  # grey with alpha, which is RGBA by now
    if image.mode == "L" and profile:
        return Image.merge("RGB", [image.point(channel.tolist()) for channel in _levels(profile).T])
    if image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    return _converted(image, profile)


def _levels(profile: bytes | None) -> NDArray[np.uint8]:
    """Return the sRGB colour of each 8-bit grey, 256 x 3.

    Optimization is off, because LittleCMS would sample the curve of a grey profile coarsely: dark tones of a linear
    profile would then be wrong by up to 10 codes.
    """
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if profile and profile[16:20] == b"RGB ":
        ramp = ramp.convert("RGB")
    return np.asarray(_converted(ramp, profile, ImageCms.Flags.NOOPTIMIZE)).reshape(256, 3)


def _converted(image: Image.Image, profile: bytes | None, flags: ImageCms.Flags = ImageCms.Flags.NONE) -> Image.Image:
    """Convert grey, RGB or CMYK to RGB by a profile; without a usable one, by Pillow's own formula."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB", flags=flags)
        except (ImageCms.PyCMSError, OSError):
            converted = None
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))
