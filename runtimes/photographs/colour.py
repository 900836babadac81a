"""Colour management: which colours the codes of a file stand for, and what they look like in 8-bit sRGB.

LittleCMS, which comes with Pillow, converts 8 bits. Some files describe their colours without a profile (the cICP and
gAMA chunks of PNG, the Adobe RGB mark of a camera); a profile is then made from that description.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from runtimes.image import Pixels
from runtimes.photographs import profiles
from runtimes.photographs.carrying import bands
from runtimes.photographs.exif import says_adobe_rgb
from runtimes.photographs.pixels import Stored, UnsupportedError
from runtimes.photographs.profiles import Codes, Space, matrix_profile, space_of, srgb_codes

# Code points of ITU-T H.273. Browsers show the television curves (1, 6, 14, 15) as sRGB, and so does this reader.
_CICP_PRIMARIES = {1: profiles.SRGB, 9: profiles.BT2020, 12: profiles.DISPLAY_P3}
_CICP_CURVES = dict.fromkeys((1, 6, 13, 14, 15), profiles.SRGB_CURVE) | {
    4: profiles.power(2.2), 5: profiles.power(2.8), 8: profiles.power(1.0)
}  # fmt: skip
_CICP_HDR = {16: "PQ", 18: "HLG"}


class Colours(NamedTuple):
    """The colours of a photograph: its own codes, what they mean, and what the network sees."""

    own: Codes
    """uint8 or uint16, H x W x 1 (grey) or 3."""
    space: Space | None
    """What `own` means; None for sRGB."""
    profile: bytes | None
    """The ICC profile of `own`; None if it has none, or one that does not fit."""
    seen: Pixels
    """uint8 H x W x 3, sRGB."""
    note: str | None = None
    """What is lost."""


def stated_profile(image: Image.Image, stream: BinaryIO, exif: Image.Exif) -> bytes | None:
    """Return the ICC profile of a file, or one made from its other descriptions of colour; None means sRGB.

    The profile has priority over H.273's code points in AVIF and HEIC, but not in PNG, where sRGB has priority over
    gAMA. A gAMA within 5 % of 1/2.2 means sRGB, as in libpng.

    Errors: UnsupportedError for high dynamic range.
    """
    embedded = image.info.get("icc_profile")
    stated = _cicp_profile(*points) if (points := _code_points(image, stream)) is not None else None
    if stated is not None and (image.format == "PNG" or not embedded):
        return None if stated == matrix_profile(profiles.SRGB, profiles.SRGB_CURVE) else stated
    if embedded:
        return bytes(embedded)
    if says_adobe_rgb(exif):
        return matrix_profile(profiles.ADOBE_RGB, profiles.power(563 / 256))
    gamma = image.info.get("gamma")
    if image.format == "PNG" and gamma and "srgb" not in image.info and abs(gamma * 2.2 - 1) > 0.05:
        return matrix_profile(profiles.SRGB, profiles.power(1 / gamma))
    return None


def colours_of(image: Image.Image, stored: Stored, profile: bytes | None) -> Colours:
    """Work out what the decoded pixels of `image` look like.

    A profile that is damaged or made for other channels is ignored. What can be read but not written again in its own
    kind of colours becomes sRGB, with a note: CMYK and Lab, and RGB of which the profile is no matrix with curves.
    """
    if stored.codes is None:
        rgb = np.asarray(_converted(image, profile))
        return Colours(rgb, None, None, rgb, f"its {image.mode} colours became sRGB")
    grey = stored.codes.shape[2] == 1
    if profile is None:
        return Colours(stored.codes, None, None, _as_they_are(stored.codes))
    if not _fits(profile, "L" if grey else "RGB"):
        note = "its colour profile, which does not fit it, was left out"
        return Colours(stored.codes, None, None, _as_they_are(stored.codes), note)
    space = space_of(profile)
    if space is None:
        rgb = _by_littlecms(eight_bits(stored.codes), profile)
        own = rgb[..., :1] if grey else rgb
        return Colours(own, None, None, rgb, "its colours became sRGB, because its profile is a table")
    if grey and len(space.curves) == 3:
        space = space.grey()
    if space.is_srgb():
        return Colours(stored.codes, None, profile, _as_they_are(stored.codes))
    if stored.codes.dtype == np.uint8:
        seen = _by_littlecms(stored.codes, profile)
    else:
        seen = _as_they_are(_wide(space, stored.codes))
    return Colours(stored.codes, space, profile, seen)


def converted_to_srgb(codes: Codes, space: Space) -> Codes:
    """Return the codes in sRGB, in the same depth; what lies outside sRGB is clipped."""
    wide = _wide(space, codes)
    return wide if codes.dtype == np.uint16 else eight_bits(wide)


def _wide(space: Space, codes: Codes) -> NDArray[np.uint16]:
    """The codes in sRGB, with 16 bits."""
    return np.concatenate([srgb_codes(space.light(codes[rows])) for rows in bands(codes)])


def _as_they_are(codes: Codes) -> Pixels:
    """sRGB codes of any depth, grey or RGB -> what the network sees."""
    narrow = eight_bits(codes)
    return narrow if narrow.shape[2] == 3 else np.repeat(narrow, 3, axis=2)


def eight_bits(codes: Codes) -> NDArray[np.uint8]:
    """Round codes of 16 bits to 8; those of 8 bits stay."""
    if codes.dtype == np.uint8:
        return np.asarray(codes, np.uint8)
    return ((codes.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _by_littlecms(codes: Codes, profile: bytes) -> Pixels:
    if codes.shape[2] == 3:
        return np.asarray(_converted(Image.fromarray(np.asarray(codes, np.uint8)), profile))
    return _levels(profile)[codes[..., 0]]


def _fits(profile: bytes, mode: str) -> bool:
    """Whether LittleCMS can convert a picture of this mode by the profile."""
    modes = [mode, "RGB"] if mode == "L" else [mode]
    return any(_transform(profile, each) is not None for each in modes)


def _transform(
    profile: bytes, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError):
        return None


def _levels(profile: bytes) -> Pixels:
    """Return the sRGB colour of each 8-bit grey, 256 x 3.

    Optimization is off, because LittleCMS would sample the curve of a grey profile coarsely: dark tones of a linear
    profile would then be wrong by up to 10 codes.
    """
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if profile[16:20] == b"RGB ":
        ramp = ramp.convert("RGB")
    return np.asarray(_converted(ramp, profile, ImageCms.Flags.NOOPTIMIZE)).reshape(256, 3)


def _converted(image: Image.Image, profile: bytes | None, flags: ImageCms.Flags = ImageCms.Flags.NONE) -> Image.Image:
    """Convert grey, RGB or CMYK to RGB by a profile; without a usable one, by Pillow's own formula."""
    transform = _transform(profile, image.mode, flags) if profile else None
    if transform is not None:
        converted = ImageCms.applyTransform(image, transform)
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _code_points(image: Image.Image, stream: BinaryIO) -> tuple[int, int] | None:
    """The primaries and the transfer characteristics that a file states by H.273's code points; None if it does not."""
    if image.format == "PNG":
        return _cicp(stream)
    if image.format == "AVIF":
        stream.seek(0)
        head = stream.read(1 << 16)
        place = head.find(b"colrnclx")  # the box of ISO/IEC 23008-12
        return struct.unpack_from(">HH", head, place + 8) if 0 <= place <= len(head) - 12 else None
    stated = image.info.get("nclx_profile") if image.format == "HEIF" else None
    return (stated["color_primaries"], stated["transfer_characteristics"]) if stated else None


def _cicp(stream: BinaryIO) -> tuple[int, int] | None:
    stream.seek(8)
    kind = b""
    while kind != b"IDAT" and len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"cICP" and size == 4:
            primaries, transfer, _, _ = stream.read(4)
            return primaries, transfer
        stream.seek(size + 4, io.SEEK_CUR)
    return None


def _cicp_profile(primaries: int, transfer: int) -> bytes | None:
    """Return the profile for H.273's code points; None for sRGB's and for unknown ones.

    Errors: UnsupportedError for PQ and HLG.
    """
    if transfer in _CICP_HDR:
        raise UnsupportedError(
            f"should have standard dynamic range but has a high one ({_CICP_HDR[transfer]}); save it as sRGB"
        )
    known = primaries in _CICP_PRIMARIES and transfer in _CICP_CURVES
    return matrix_profile(_CICP_PRIMARIES[primaries], _CICP_CURVES[transfer]) if known else None
