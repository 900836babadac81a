"""From a file to pixels, turned upright, and metadata; or one sentence why it cannot be read."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from runtimes.errors import InputError
from runtimes.photographs import exif
from runtimes.photographs.colour import Colours, colours_of, stated_profile
from runtimes.photographs.filling import filled
from runtimes.photographs.foreign import develop, is_heif, is_raw, open_heif
from runtimes.photographs.mending import mended
from runtimes.photographs.original import Fate, Original, original_of
from runtimes.photographs.pixels import UPRIGHT, Stored, UnsupportedError, stored_pixels
from runtimes.photographs.profiles import Codes

MOST_MEGAPIXELS = 250  # phones take up to 200; a larger file may be an attempt to exhaust the memory

# What Pillow raises on a file that is truncated or malformed.
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, RuntimeError, struct.error)


class Decoded(NamedTuple):
    """The contents of a photograph, upright."""

    colours: Colours
    alpha: Codes | None
    original: Original | None = None
    """The metadata; None if only pixels were asked for."""
    notes: tuple[str, ...] = ()


class Request(NamedTuple):
    """What is asked of a file."""

    short_side: int | None
    """A JPEG may be decoded at any reduced size whose shorter side is at least this, in px."""
    max_megapixels: float
    whole: bool
    """All of the file counts: its metadata, and that it has one frame."""


_PILLOW = threading.RLock()


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


def decoded(
    path: Path, short_side: int | None = None, *, max_megapixels: float = MOST_MEGAPIXELS, whole: bool = False
) -> Decoded:
    """Read a file and turn it upright.

    short_side: a JPEG may be decoded at any reduced size whose shorter side is at least this, in px.
    max_megapixels: most pixels that are decoded, in millions.
    whole: also read the metadata, and refuse a file of several frames or pages.

    Errors: InputError, naming the file, when it is missing, truncated, no image or too large, or when it has floating
    point numbers, more than 16 bits per channel, or high dynamic range.
    """
    request = Request(short_side, max_megapixels, whole)
    try:
        with path.open("rb") as file:
            if is_raw(file, path.suffix.lower()):
                return _developed(file, request)
            return _decoded_or_mended(file, request)
    except FileNotFoundError as error:
        raise InputError(f"{path} should be a photograph but does not exist; check the name") from error
    except UnsupportedError as error:
        raise InputError(f"{path} {error}") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} should be a photograph but has a format that cannot be read; replace the file"
        ) from error
    except _UNREADABLE as error:
        raise InputError(f"{path} should be a photograph but cannot be read ({error}); replace the file") from error


def _decoded_or_mended(file: BinaryIO, request: Request) -> Decoded:
    try:
        return _decoded(file, request)
    except (OSError, SyntaxError):
        whole = mended(file, lambda stream: _opened(stream, request))
        if whole is None:
            raise
        return _decoded(io.BytesIO(whole), request)


def _opened(stream: BinaryIO, request: Request) -> Image.Image:
    """Open a picture without decoding it; UnsupportedError if it is too large."""
    heif = is_heif(stream)
    stream.seek(0)
    with _quiet():
        image = open_heif(stream) if heif else Image.open(stream)
    _require_size(image.width, image.height, request)
    return image


def _require_size(width: int, height: int, request: Request) -> None:
    if width * height > request.max_megapixels * 10**6:
        mend = "reduce it, or raise --max-megapixels" if request.whole else "reduce it"
        raise UnsupportedError(
            f"should have at most {request.max_megapixels:g} megapixels but has {width} x {height} px; {mend}"
        )


def _developed(stream: BinaryIO, request: Request) -> Decoded:
    codes, block = develop(stream, lambda width, height: _require_size(width, height, request))
    colours = colours_of(Image.new("RGB", (1, 1)), Stored(codes, None), None)
    block = exif.upright(block, codes.shape[1], codes.shape[0], srgb=True) if block else None
    return Decoded(colours, None, Original("RAW", block))


def _decoded(stream: BinaryIO, request: Request) -> Decoded:
    image = _opened(stream, request)
    if request.whole:
        _require_one_frame(image)
    if request.short_side is not None:
        image.draft(image.mode, (request.short_side, request.short_side))
    with _quiet() if image.format == "TIFF" else contextlib.nullcontext():  # Pillow parses TIFF's tags as it decodes
        stored = stored_pixels(image, stream, lambda file: _opened(file, request))
    with _quiet():
        tags = exif.exif_of(image)
        profile = stated_profile(image, stream, tags)
    colours = colours_of(image, stored, profile)
    orientation = exif.orientation(tags)
    turn = UPRIGHT[orientation]
    own = np.ascontiguousarray(turn(colours.own))
    seen = own if colours.seen is colours.own else np.ascontiguousarray(turn(colours.seen))
    alpha = None if stored.alpha is None else np.ascontiguousarray(turn(stored.alpha))
    if alpha is not None:
        seen = filled(seen, alpha > 0)
    upright = Decoded(colours._replace(own=own, seen=seen), alpha)
    if not request.whole:
        return upright
    srgb = colours.profile is None and (profile is not None or stored.codes is None)
    with _quiet():
        found, notes = original_of(image, stream, Fate(own.shape[1], own.shape[0], orientation, srgb))
    return upright._replace(original=found, notes=notes)


def _require_one_frame(image: Image.Image) -> None:
    """UnsupportedError if a file holds several pictures of equal rank."""
    with _quiet():
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "TIFF":
            frames -= sum(_is_smaller_copy(image, page) for page in range(1, frames))
            image.seek(0)
    if frames > 1 and image.format not in {"JPEG", "MPO"}:
        raise UnsupportedError(f"should hold one picture but holds {frames}; save each as a file of its own")


def _is_smaller_copy(image: Image.Image, page: int) -> bool:
    """Whether a page of a TIFF is a copy of another page at reduced size, by its NewSubfileType."""
    image.seek(page)
    return bool(image.tag_v2.get(0x00FE, 0) & 1)  # type: ignore[attr-defined]
