"""The two protocols of scores: the paper's at 512 x 512 px, and native at every picture's own size."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from bncagan.data.folders import SMALLEST, Pair
from runtimes.errors import InputError
from runtimes.image import Pixels
from runtimes.photographs import read_rgb

Protocol = Literal["paper", "native"]

PAPER_SIDE = 512  # px
PAPER_BORDER = 4  # px
ABOUT: dict[Protocol, str] = {
    "paper": (
        f"every picture resized to {PAPER_SIDE} x {PAPER_SIDE} px (bilinear, antialiased, as in the authors' code), "
        f"without a border of {PAPER_BORDER} px"
    ),
    "native": "every picture at its own size",
}


def prepared(pixels: Pixels, protocol: Protocol) -> Pixels:
    """Prepare a picture for a method: the paper's protocol resizes it to 512 x 512, native does not change it."""
    if protocol == "native" or pixels.shape[:2] == (PAPER_SIDE, PAPER_SIDE):
        return pixels
    # Pillow's bilinear filter antialiases, and is what torchvision's Resize of the authors' code uses
    return np.asarray(Image.fromarray(pixels).resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BILINEAR))


def scored_part(pixels: Pixels, protocol: Protocol) -> Pixels:
    """The part of a prepared picture that is scored: the paper's protocol leaves out a border of 4 px."""
    border = PAPER_BORDER if protocol == "paper" else 0
    return pixels[border : pixels.shape[0] - border, border : pixels.shape[1] - border]


def read_pair(pair: Pair, protocol: Protocol) -> tuple[Pixels, Pixels]:
    """The prepared photograph and reference of a pair, which have one size.

    UserError if one cannot be decoded or is smaller than 8 x 8 px, or if they differ in size under native.
    """
    low, label = map(read_rgb, pair)
    return prepared_pair(pair, low, label, protocol)


def prepared_pair(pair: Pair, low: Pixels, label: Pixels, protocol: Protocol) -> tuple[Pixels, Pixels]:
    """The prepared photograph and reference of a pair that is decoded already; UserError as in `read_pair`."""
    low, label = prepared(low, protocol), prepared(label, protocol)
    if min(low.shape[:2]) < SMALLEST:
        raise InputError(
            f"{pair.low} should have at least {SMALLEST} x {SMALLEST} px but has {size_of(low)}; remove the pair"
        )
    refuse_other_size(label, low, str(pair.label))
    return low, label


def refuse_other_size(picture: Pixels, low: Pixels, name: str) -> None:
    """InputError if a picture does not have the size of its input."""
    if picture.shape != low.shape:
        raise InputError(
            f"{name} should have the size of its input, {size_of(low)} px, but has {size_of(picture)}; "
            "resize it, or use --protocol paper"
        )


def size_of(picture: Pixels) -> str:
    """Width x height in px, for messages."""
    return f"{picture.shape[1]} x {picture.shape[0]}"
