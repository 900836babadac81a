"""The one reader and writer of photographs: for training, evaluation, export and `enhance` alike."""

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

MOST_MEGAPIXELS = 250  # a phone's largest photograph has 200; the file of a larger one may be a trap for memory

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
    """A picture as the network wants it, and what has to go back into the file.

    pixels: uint8 H x W x 3, sRGB, upright. alpha: uint8 H x W, or None where the file has no transparency.
    exif: the file's EXIF block without the orientation tag, or None.
    """

    pixels: Pixels
    alpha: NDArray[np.uint8] | None = None
    exif: bytes | None = None


class _Upright(NamedTuple):
    """What `Photograph` holds, as Pillow's picture: it may be reduced before it becomes an array."""

    rgb: Image.Image
    alpha: NDArray[np.uint8] | None
    exif: bytes | None


def read(path: str | Path) -> Photograph:
    """Open a photograph: EXIF orientation applied, its colours converted to sRGB, 16-bit grey rounded to 8 bits.

    The colours are those of the embedded profile, of PNG's cICP or gAMA chunk, or Adobe RGB where a camera says so in
    EXIF. Of several frames the first is read; 16-bit colour is read by its upper 8 bits, as Pillow does.

    Errors: ArtifactError, naming the file, when it is missing, truncated, no image, larger than `MOST_MEGAPIXELS`, or
    holds floating point, more than 16 bits per channel or high dynamic range.
    """
    upright = _upright_srgb(Path(path))
    return Photograph(np.asarray(upright.rgb), upright.alpha, upright.exif)


def read_rgb(path: str | Path, short_side: int | None = None) -> Pixels:
    """The pixels of `read` alone, uint8 H x W x 3.

    With `short_side`, in px, a larger photograph is reduced to it; a JPEG is then decoded at a reduced size already.

    Errors: those of `read`.
    """
    rgb = _upright_srgb(Path(path), short_side).rgb
    if short_side is not None:
        rgb = rgb.resize(reduced_size(rgb.size, short_side), Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def write(photo: Photograph, path: str | Path) -> None:
    """Save in the format that the suffix names, under a temporary name first; an older file is replaced.

    JPEG and WebP at quality 95 (JPEG without chroma subsampling), PNG, TIFF and BMP without loss. JPEG and BMP drop
    the alpha, BMP drops EXIF.

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


_PILLOW = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Pillow from warning of damaged metadata and from limiting the size: both are the reader's to judge.

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
    """What a file holds; with `short_side`, a JPEG at the least of its sizes that is no smaller.

    Errors: those of `read`.
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
            f"{path} should be a photograph but is of no format that can be read; replace the file"
        ) from error
    except _UNREADABLE as error:
        raise ArtifactError(f"{path} should be a photograph but cannot be read ({error}); replace the file") from error


def _opened(stream: BinaryIO) -> Image.Image:
    """The picture, not yet decoded."""
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
