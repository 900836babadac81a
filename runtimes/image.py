"""Photographs in and out of files: upright 8-bit sRGB pixels, with alpha and EXIF carried along."""

from __future__ import annotations

import dataclasses
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps

from runtimes.errors import ArtifactError
from runtimes.files import replacing

Pixels = NDArray[np.uint8]  # H x W x 3, RGB

# What Pillow raises on a file that is missing, truncated, malformed or absurdly large.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
_UNREADABLE_EXIF = (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error)


@dataclasses.dataclass(frozen=True)
class _Format:
    name: str
    options: dict[str, Any]
    alpha: bool


_JPEG = _Format("JPEG", {"quality": 95, "subsampling": 0}, alpha=False)
_TIFF = _Format("TIFF", {"compression": "tiff_adobe_deflate"}, alpha=True)
_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _Format("PNG", {}, alpha=True),
    ".webp": _Format("WEBP", {"quality": 95}, alpha=True),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
SUFFIXES = tuple(_FORMATS)


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A picture as the network wants it, and what has to go back into the file.

    pixels: uint8 H x W x 3, sRGB, upright. alpha: uint8 H x W, or None where the file has no transparency.
    exif: the file's EXIF block without the orientation tag, or None.
    """

    pixels: Pixels
    alpha: NDArray[np.uint8] | None = None
    exif: bytes | None = None


_KEPT_TAGS = {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.XResolution,
    ExifTags.Base.YResolution, ExifTags.Base.ResolutionUnit, ExifTags.Base.Software, ExifTags.Base.DateTime,
    ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.ExifOffset, ExifTags.Base.GPSInfo,
}  # fmt: skip


def read(path: str | Path) -> Photograph:
    """Open a photograph: EXIF orientation applied, an embedded colour profile converted to sRGB, 16-bit grey rounded.

    Of several frames the first is read. 16-bit colour is read by its upper 8 bits, as Pillow does.

    Errors: ArtifactError, naming the file, when it is missing, truncated, no image, a decompression bomb, or holds
    more than 16 bits per channel.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _photograph(image)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} should be a photograph but does not exist; check the name") from error
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} should be a photograph but cannot be read ({error}); replace the file") from error


def write(photo: Photograph, path: str | Path) -> None:
    """Save in the format that the suffix names, under a temporary name first; an older file is replaced.

    JPEG and WebP at quality 95 (JPEG without chroma subsampling), PNG and TIFF without loss. JPEG drops the alpha.

    Errors: ArtifactError when the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    require_writable(path)
    kind = _FORMATS[path.suffix.lower()]
    pixels = photo.pixels
    if kind.alpha and photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    options = kind.options if photo.exif is None else kind.options | {"exif": photo.exif}
    try:
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, format=kind.name, **options)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be written ({error}); check the folder and the space on its disk"
        ) from error


def require_writable(path: Path) -> None:
    """Refuse a name that `write` has no format for.

    Errors: ArtifactError, listing the suffixes.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ArtifactError(f"{path} should end in one of {', '.join(SUFFIXES)}; rename it")


def find_photographs(path: str | Path) -> list[Path]:
    """The file itself, or a folder's photographs by suffix, sorted by name, without subfolders and hidden files.

    Errors: ArtifactError when the path does not exist or the folder holds no photograph.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ArtifactError(f"{path} should be a photograph or a folder of them but does not exist; check the name")
    found = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in _FORMATS and file.is_file() and not file.name.startswith(".")
    )
    if not found:
        raise ArtifactError(
            f"{path} should hold photographs ({', '.join(SUFFIXES)}) but holds none; point at another folder"
        )
    return found


def side_by_side(left: Pixels, right: Pixels, gap: int = 16) -> Pixels:
    """Two pictures of equal height in one, uint8 H x (W1 + gap + W2) x 3, with `gap` white columns between them.

    Errors: ArtifactError when the heights differ.
    """
    if left.shape[0] != right.shape[0]:
        raise ArtifactError(
            f"two pictures side by side should have the same height but have {left.shape[0]} and {right.shape[0]} px; "
            "resize one of them"
        )
    return np.concatenate([left, np.full((left.shape[0], gap, 3), 255, np.uint8), right], axis=1)


def to_uint8(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Finite values in [0, 1] -> 8-bit codes, floor(255 y + 0.5); what lies outside is clamped, never wrapped."""
    codes: NDArray[np.floating[Any]] = np.floor(np.clip(values, 0, 1) * 255 + 0.5)
    return codes.astype(np.uint8)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Resample to height x width px, antialiased (Lanczos)."""
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(resized)


def encode_png(image: Pixels) -> bytes:
    """uint8 H x W x 3 -> PNG file contents."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes) -> Pixels:
    """The inverse of `encode_png`.

    Errors: ArtifactError when the data is no RGB PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except _UNREADABLE as error:
        raise ArtifactError(f"a picture should be PNG data but cannot be read ({error}); write it again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ArtifactError(f"a picture should be 8-bit RGB but has shape {pixels.shape}; write it again")
    return pixels


def _photograph(image: Image.Image) -> Photograph:
    exif = _exif(image)
    if exif is not None and exif.get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    image = _eight_bit(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    return Photograph(np.asarray(_srgb(image, profile)), alpha, _descriptive(exif))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits -> 8 bits, round(v / 257): Pillow's own conversion clips at 255. Errors: ValueError above 16."""
    if image.mode not in {"I", "F"} and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"mode {image.mode} with more than 16 bits per channel")
    values = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(values.astype(np.uint8))


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Any 8-bit mode -> RGB, through the embedded profile where it is usable for this mode."""
    if image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a damaged profile, or one for another colour space
        if converted is not None:
            return converted
    return image.convert("RGB")


def _exif(image: Image.Image) -> Image.Exif | None:
    try:
        return image.getexif()
    except _UNREADABLE_EXIF:
        return None  # a damaged block is worth less than the photograph


def _descriptive(exif: Image.Exif | None) -> bytes | None:
    """The tags that tell of the photograph. Those that describe the stored pixels (a TIFF's layout, the orientation)
    are wrong for what will be written."""
    if exif is None:
        return None
    for tag in set(exif) - _KEPT_TAGS:
        del exif[tag]
    try:
        return exif.tobytes() if len(exif) else None
    except _UNREADABLE_EXIF:
        return None
