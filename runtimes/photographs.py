"""The reader and writer of photographs that training, evaluation, export and `enhance` share."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from runtimes import exif
from runtimes.colour import UnsupportedError, stated_profile, to_srgb
from runtimes.errors import ArtifactError
from runtimes.files import replacing
from runtimes.image import Pixels, reduced_size
from runtimes.mending import mended

MOST_MEGAPIXELS = 250  # phones take up to 200; a larger file may be an attempt to exhaust the memory

# What Pillow raises on a file that is truncated or malformed.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error)


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
    ".bmp": _Format("BMP", {}, alpha=False),
}
SUFFIXES = tuple(_FORMATS)


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph: the pixels for the network, and the alpha and EXIF data to write back."""

    pixels: Pixels
    """uint8 H x W x 3, sRGB, upright."""
    alpha: NDArray[np.uint8] | None = None
    """uint8 H x W; None if the file has no transparency."""
    exif: bytes | None = None
    """The EXIF block to write, without tags about the stored pixels; None if there is none."""


class _Upright(NamedTuple):
    """The contents of a `Photograph`, still as a Pillow picture, so that it can be reduced before the conversion."""

    rgb: Image.Image
    alpha: NDArray[np.uint8] | None
    exif: bytes | None


def read(path: str | Path) -> Photograph:
    """Read a photograph, turn it upright and convert it to 8-bit sRGB.

    The source colours are those of the embedded profile or of the cICP or gAMA chunk of a PNG; they are Adobe RGB if a
    camera says so in EXIF, else sRGB. Only the first frame of a file is read. 16-bit grey is rounded to 8 bits; of
    16-bit colour Pillow reads the upper 8 bits.

    Example:
        photo = runtimes.read("photo.jpg")
        height, width, _ = photo.pixels.shape

    Errors: ArtifactError, naming the file, when it is missing, truncated, no image, or larger than `MOST_MEGAPIXELS`,
    or when it has floating point numbers, more than 16 bits per channel, or high dynamic range.
    """
    upright = _upright_srgb(Path(path))
    return Photograph(np.asarray(upright.rgb), upright.alpha, upright.exif)


def read_rgb(path: str | Path, short_side: int | None = None) -> Pixels:
    """Read the pixels of a photograph only, uint8 H x W x 3.

    short_side: a photograph whose shorter side is longer than this, in px, is reduced to it; None keeps the size. It
        makes a JPEG faster to decode.

    Errors: as for `read`.
    """
    rgb = _upright_srgb(Path(path), short_side).rgb
    if short_side is not None:
        rgb = rgb.resize(reduced_size(rgb.size, short_side), Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def write(photo: Photograph, path: str | Path) -> None:
    """Write a photograph in the format of the path's suffix; an older file is replaced at once.

    JPEG and WebP are written with quality 95 (JPEG without chroma subsampling); PNG, TIFF and BMP are lossless. JPEG
    and BMP lose the alpha, and BMP loses EXIF.

    Example:
        photo = runtimes.read("photo.jpg")
        runtimes.write(photo, "copy.png")

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
            f"{path} should be writable but is not ({error}); check the folder and the space on its disk"
        ) from error


def require_writable(path: Path) -> None:
    """Check that `write` has a format for the suffix.

    Errors: ArtifactError, which lists the suffixes.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ArtifactError(
            f"{path} should end in one of {', '.join(SUFFIXES)} but ends in {path.suffix or 'no suffix'}; rename it"
        )


def find_photographs(path: str | Path) -> list[Path]:
    """List the photographs at a path: the file itself, or the files in a folder with a known suffix, sorted by name.

    Subfolders and hidden files are skipped.

    Errors: ArtifactError when the path does not exist or the folder has no photographs.
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


_PILLOW = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off Pillow's warnings about metadata and its limit on the size, because this module judges both itself.

    These settings belong to the whole process, hence the lock. Pixels are decoded outside of it, TIFF's aside.
    """
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _upright_srgb(path: Path, short_side: int | None = None) -> _Upright:
    """Read a file, turn it upright and convert it to sRGB.

    short_side: a JPEG may be decoded at any reduced size whose shorter side is at least this, in px.

    Errors: as for `read`.
    """
    try:
        with path.open("rb") as stream:
            try:
                return _decoded(stream, short_side)
            except (OSError, SyntaxError):
                whole = mended(stream, _opened)
                if whole is None:
                    raise
                return _decoded(io.BytesIO(whole), short_side)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} should be a photograph but does not exist; check the name") from error
    except UnsupportedError as error:
        raise ArtifactError(f"{path} {error}") from error
    except UnidentifiedImageError as error:
        raise ArtifactError(
            f"{path} should be a photograph but has a format that cannot be read; replace the file"
        ) from error
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} should be a photograph but cannot be read ({error}); replace the file") from error


def _opened(stream: BinaryIO) -> Image.Image:
    """Open a picture without decoding it; UnsupportedError if it is too large."""
    stream.seek(0)
    with _quiet():
        image = Image.open(stream)
    if image.width * image.height > MOST_MEGAPIXELS * 10**6:
        raise UnsupportedError(
            f"should have at most {MOST_MEGAPIXELS} megapixels but has {image.width} x {image.height} px; reduce it"
        )
    return image


def _decoded(stream: BinaryIO, short_side: int | None) -> _Upright:
    image = _opened(stream)
    if short_side is not None:
        image.draft(image.mode, (short_side, short_side))
    with _quiet() if image.format == "TIFF" else contextlib.nullcontext():  # Pillow parses TIFF's tags as it decodes
        image.load()
    with _quiet():
        tags = exif.exif_of(image)
        turn, profile, kept = exif.turn(tags), stated_profile(image, stream, tags), exif.kept(tags)
    rgb, alpha = to_srgb(image if turn is None else image.transpose(turn), profile)
    return _Upright(rgb, alpha, kept)
