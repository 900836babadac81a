"""Reading photographs for training and evaluation: upright 8-bit sRGB, as `enhance` sees them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from runtimes.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}

Pixels = NDArray[np.uint8]


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted, hidden ones left out; InputError if there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of photographs, but there is none; check the path")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise InputError(f"{folder}: expected photographs ({', '.join(sorted(SUFFIXES))}), but the folder has none")
    return found


def read_rgb(path: Path, short_side: int | None = None) -> Pixels:
    """A photograph as H x W x 3 sRGB, EXIF orientation applied; InputError names a file that cannot be decoded.

    With `short_side`, a larger photograph is reduced to it; a JPEG is then decoded at a reduced size already.
    """
    try:
        with Image.open(path) as image:
            if short_side is not None:
                image.draft(image.mode, (short_side, short_side))
            upright = _srgb(ImageOps.exif_transpose(image), image.info.get("icc_profile"))
            if short_side is not None:
                upright = upright.resize(reduced_size(upright.size, short_side), Image.Resampling.LANCZOS)
            return np.asarray(upright)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such photograph; check the path") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected a photograph, but it cannot be decoded ({error})") from error


def reduced_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Width and height with the shorter one at most `short_side`, in the same proportion."""
    scale = min(1.0, short_side / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnail(pixels: Pixels, side: int) -> Pixels:
    """H x W x 3 with the longer side at most `side`, in the same proportion."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return np.asarray(image)


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """16-bit grey is scaled to 8 bits; colours are converted from the embedded profile where it fits the mode."""
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if profile and image.mode in {"L", "RGB", "CMYK"}:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a damaged profile, or one for another colour space
        if converted is not None:
            return converted
    return image.convert("RGB")
