"""Writing a photograph in the format of a suffix, with its metadata."""

from __future__ import annotations

import dataclasses
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from runtimes.errors import InputError
from runtimes.photographs import exif, jpeg, png, tags, tiff
from runtimes.photographs.colour import converted_to_srgb, eight_bits
from runtimes.photographs.foreign import HEIF_SUFFIXES, encode_heif, writes_heif
from runtimes.photographs.original import Original
from runtimes.photographs.profiles import Codes, Space

QUALITY = 95  # where the input has none to keep
AVIF_QUALITY, HEIF_QUALITY = 90, 80


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """What a file is to hold."""

    codes: Codes
    """uint8 or uint16, H x W x 1 (grey) or 3."""
    alpha: Codes | None
    """H x W of the same depth."""
    space: Space | None
    """What `codes` mean; None for sRGB."""
    profile: bytes | None
    original: Original
    quality: int | None = None
    """1 to 100; None keeps the original's, where it can be known."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that can be written."""

    name: str
    """Pillow's name."""
    encode: Callable[[Content], bytes]
    alpha: bool = True
    deep: bool = False
    """Whether it holds 16 bits."""
    profile: bool = True
    """Whether it holds an ICC profile and other metadata."""
    longest: int | None = None
    """Longest side, px, that its encoder writes and its decoders read; None for any."""


def prepared(content: Content, form: Format) -> tuple[Content, tuple[str, ...]]:
    """Reduce the content to what a format holds; also return one sentence for each thing that is lost."""
    notes = []
    if content.alpha is not None and not form.alpha:
        notes.append(f"its alpha was left out, because {form.name} has none")
        content = dataclasses.replace(content, alpha=None)
    if content.space is not None and not form.profile:
        notes.append(f"its colours became sRGB, because {form.name} has no profile here")
        srgb = converted_to_srgb(content.codes, content.space)
        content = dataclasses.replace(content, codes=srgb, space=None, profile=None)
    if content.codes.dtype == np.uint16 and not form.deep:
        if content.original.format != "RAW":
            notes.append(f"its 16 bits became 8, because {form.name} has no more here")
        alpha = None if content.alpha is None else eight_bits(content.alpha)
        content = dataclasses.replace(content, codes=eight_bits(content.codes), alpha=alpha)
    if not form.profile and (content.original.exif or content.original.xmp):
        notes.append(f"its metadata was left out, because {form.name} has none here")
    if form is JPEG and content.original.jpeg is None and len(content.original.exif or b"") > jpeg.LONGEST - 6:
        notes.append("its EXIF was left out, because it is too long for JPEG")
    return content, tuple(notes)


def _stacked(content: Content) -> Codes:
    """H x W x 1 to 4."""
    return content.codes if content.alpha is None else np.concatenate([content.codes, content.alpha[..., None]], axis=2)


def _image(content: Content) -> Image.Image:
    codes = _stacked(content)
    return Image.fromarray(codes[..., 0] if codes.shape[2] == 1 else codes)


def _by_pillow(content: Content, name: str, **options: Any) -> bytes:
    image = _image(content)
    buffer = io.BytesIO()
    image.save(buffer, format=name, **{key: value for key, value in options.items() if value is not None})
    return buffer.getvalue()


def _jpeg(content: Content) -> bytes:
    original = content.original
    if original.format == "JPEG" and content.quality is None and original.options:
        options = original.options
    else:
        options = {"quality": content.quality or QUALITY, "subsampling": 0}
    if original.jpeg is not None:
        return jpeg.joined(_jpeg_picture(content, **options), original.jpeg)
    encoded = _jpeg_picture(content, **options, icc_profile=content.profile, dpi=original.dpi)
    made = jpeg.segments_of(original.exif, original.xmp, original.resources, original.comment)
    return jpeg.joined(encoded, made, own_head=True)


def _jpeg_picture(content: Content, **options: Any) -> bytes:
    try:
        return _by_pillow(content, "JPEG", **options)
    except OSError:
        if not options.get("progressive"):
            raise
        return _by_pillow(content, "JPEG", **options | {"progressive": False})


def _png(content: Content) -> bytes:
    original = content.original
    encoded = png.encoded16(_stacked(content)) if content.codes.dtype == np.uint16 else _by_pillow(content, "PNG")
    if original.png is not None:
        return png.joined(encoded, original.png)
    chunks = []
    if content.profile is not None:
        chunks.append(png.Chunk(b"iCCP", b"profile\0\0" + zlib.compress(content.profile)))
    if original.dpi is not None:
        chunks.append(png.resolution_chunk(*original.dpi))
    if original.exif is not None:
        chunks.append(png.Chunk(b"eXIf", original.exif))
    if original.xmp is not None:
        chunks.append(png.xmp_chunk(original.xmp))
    return png.joined(encoded, png.Chunks(tuple(chunks)))


def _tiff(content: Content) -> bytes:
    original = content.original
    if original.tiff is not None:
        order, described = original.tiff
    else:
        order, described = tags.parsed(original.exif) if original.exif else ("<", {})
        described = tiff.describing(described)
        exif.without_fixed_maker_note(described)
        described = tiff.with_packets(
            described, xmp=original.xmp, resources=original.resources, profile=content.profile
        )
    compressed = original.options.get("compressed", True)
    return tiff.encoded(_stacked(content), order, described, alpha=content.alpha is not None, compressed=compressed)


def _webp(content: Content) -> bytes:
    options = content.original.options if content.original.format == "WEBP" and content.quality is None else {}
    return _by_pillow(content, "WEBP", **({"quality": content.quality or QUALITY} | options), **_packets(content))


def _avif(content: Content) -> bytes:
    options = {"quality": content.quality or AVIF_QUALITY, "subsampling": "4:4:4"}
    return _by_pillow(content, "AVIF", **options | _own_options(content, "AVIF"), **_packets(content))


def _heif(content: Content) -> bytes:
    chroma = _own_options(content, "HEIF").get("chroma", 444)
    return encode_heif(_image(content), content.quality or HEIF_QUALITY, chroma, _packets(content))


def _own_options(content: Content, name: str) -> dict[str, Any]:
    """What the original's encoder was told, if it has the format."""
    return content.original.options if content.original.format == name else {}


def _packets(content: Content) -> dict[str, bytes | None]:
    original = content.original
    return {"icc_profile": content.profile, "exif": original.exif, "xmp": original.xmp}


def _jpeg2000(content: Content) -> bytes:
    return _by_pillow(content, "JPEG2000")


def _bmp(content: Content) -> bytes:
    return _by_pillow(content, "BMP", dpi=content.original.dpi)


JPEG = Format("JPEG", _jpeg, alpha=False, longest=65500)
PNG = Format("PNG", _png, deep=True)
TIFF = Format("TIFF", _tiff, deep=True)
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), JPEG),
    ".png": PNG,
    ".webp": Format("WebP", _webp, longest=16383),
    **dict.fromkeys((".tif", ".tiff"), TIFF),
    ".bmp": Format("BMP", _bmp, alpha=False, profile=False),
    ".avif": Format("AVIF", _avif, longest=32768),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".jpf"), Format("JPEG 2000", _jpeg2000, profile=False)),
}
if writes_heif():
    FORMATS |= dict.fromkeys(HEIF_SUFFIXES, Format("HEIC", _heif))
SUFFIXES = tuple(FORMATS)


def require_writable(path: Path) -> None:
    """Check that there is a format for the suffix.

    Errors: InputError, which lists the suffixes.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"{path} should end in one of {', '.join(SUFFIXES)} but ends in {path.suffix or 'no suffix'}; rename it"
        )
