"""8-bit RGB pictures in memory: rounding, sizes, PNG data."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import ArtifactError, failing

Pixels = NDArray[np.uint8]  # H x W x 3, RGB
# From rows of sRGB codes of 16 bits, rows x W x 3, and the place of the first one, to codes that are not rounded
DeepAnswer = Callable[[NDArray[np.uint16], int], NDArray[np.float32]]
MOST_PIXELS = 2**26  # of a picture that comes as PNG data
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of R, G, B: ITU-R BT.601


def side_by_side(left: Pixels, right: Pixels, gap: int = 16) -> Pixels:
    """Join two pictures of the same height, with `gap` white columns between them: uint8 H x (W1 + gap + W2) x 3.

    Errors: ArtifactError when the heights differ.
    """
    if left.shape[0] != right.shape[0]:
        raise ArtifactError(
            f"pictures side by side should have the same height but have {left.shape[0]} and {right.shape[0]} px; "
            "resize one of them"
        )
    return np.concatenate([left, np.full((left.shape[0], gap, 3), 255, np.uint8), right], axis=1)


def to_uint8(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Convert finite values in [0, 1] to 8-bit codes, floor(255 y + 0.5); values outside [0, 1] are clamped."""
    # A cast from float to uint8 wraps around, and differently on each backend: openvinotoolkit/openvino#32389
    codes: NDArray[np.floating[Any]] = np.floor(np.clip(values, 0, 1) * 255 + 0.5)
    return codes.astype(np.uint8)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Resample to height x width px with an antialiasing Lanczos filter."""
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(resized)


def reduced_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Reduce (width, height) in px so that the shorter side is at most `short_side`; the proportion stays."""
    scale = min(1.0, short_side / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnail(image: Pixels, side: int) -> Pixels:
    """Return a copy whose longer side is at most `side` px; the proportion stays."""
    small = Image.fromarray(image)
    small.thumbnail((side, side))
    return np.asarray(small)


def encode_png(image: Pixels) -> bytes:
    """Encode uint8 H x W x 3 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes) -> Pixels:
    """Decode the bytes of a PNG file to uint8 H x W x 3.

    Errors: ArtifactError when the data is not an RGB PNG, or when it has more than 64 megapixels.
    """
    width, height = struct.unpack(">II", data[16:24]) if len(data) >= 24 else (0, 0)  # of the chunk IHDR
    if width * height > MOST_PIXELS:
        raise ArtifactError(
            f"the picture should have at most {MOST_PIXELS} px but has {width} x {height}; make it smaller"
        )
    with (
        failing("the picture", "be PNG data", "write it again", but="cannot be read"),
        Image.open(io.BytesIO(data), formats=["PNG"]) as image,
    ):
        pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ArtifactError(f"the picture should be 8-bit RGB but has shape {pixels.shape}; write it again")
    return pixels
