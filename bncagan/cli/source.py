"""Options that all exports share: the weights and the photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtimes.command import Flag

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator
    from runtimes.image import Pixels

LARGEST_SIDE = 1024  # px; photographs to check or calibrate on are reduced to this side
LARGE_SIDE = 2048  # px; those on which maps are compared with the network at full size
COMPARED_ON = 8  # of these, at most
CALIBRATED_ON = 64  # photographs that are read to calibrate int8, at most


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights, and the photographs to check on."""

    checkpoint: str = "small"
    """Generator file, or the name of shipped weights."""
    photos: Path | None = None
    """Folder of photographs for the parity check, instead of scikit-image's."""
    debug: Flag = False
    """Show the traceback of an error."""

    def folded(self) -> FoldedGenerator:
        """Load and fold the generator."""
        from bncagan.network.checkpoint import load_generator
        from bncagan.network.folding import fold

        return fold(load_generator(self.checkpoint)[0])


@dataclass(frozen=True, kw_only=True)
class Source(Weights):
    """The weights, the photographs to check on, and the type of the pixels."""

    io: Literal["float32", "uint8"] = "float32"
    """Pixels of input and output. float32: N x 3 x H x W in [0, 1]; uint8: N x H x W x 3 bytes (Core ML: pictures)."""


def read_folder(folder: Path | None, most: int | None = None, side: int = LARGEST_SIDE) -> dict[str, Pixels] | None:
    """Read the photographs of a folder, reduced to a longer side of `side` px; returns them by name, or None.

    most: read at most so many, evenly chosen.
    """
    from runtimes.photographs import find_photographs, read_rgb

    if folder is None:
        return None
    paths = find_photographs(folder)
    every = 1 if most is None else -(-len(paths) // most)
    return {path.name: _reduced(read_rgb(path), side) for path in paths[::every]}


def _reduced(pixels: Pixels, side: int) -> Pixels:
    """The picture, reduced if it is large: many are in memory at once, and they are compared at a smaller size."""
    from runtimes.image import resize

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return pixels if scale >= 1 else resize(pixels, round(height * scale), round(width * scale))


def large_photos(folder: Path | None) -> dict[str, Pixels]:
    """The photographs to compare maps on with the network at full size: of the folder, or scikit-image's."""
    if folder is not None:
        return read_folder(folder, COMPARED_ON, LARGE_SIDE) or {}
    from export.artifact import photographs

    return photographs()
