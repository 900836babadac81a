"""8-bit RGB pictures in memory: rounding, sizes, PNG data."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import ArtifactError

Pixels = NDArray[np.uint8]  # H x W x 3, RGB


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


def reduced_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Width and height, px, with the shorter one at most `short_side`, in the same proportion."""
    scale = min(1.0, short_side / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnail(image: Pixels, side: int) -> Pixels:
    """A copy with the longer side at most `side` px, in the same proportion."""
    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return np.asarray(small)


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
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise ArtifactError(f"a picture should be PNG data but cannot be read ({error}); write it again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ArtifactError(f"a picture should be 8-bit RGB but has shape {pixels.shape}; write it again")
    return pixels
