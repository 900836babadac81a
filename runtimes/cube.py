"""The change of one photograph as a colour cube, for models that change equal colours alike, such as `nano`.

Such a model decides from the whole photograph how every colour changes. It does not look at the outermost of 48 x 48
cells (`bncagan.network.tone`), so the cube is measured there: the colours of the cube take the place of the pixels in
these cells, and the network answers for each of them as it does for the photograph.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from runtimes.base import MAX_SIDE, Runtime
from runtimes.controls import Controls, adjust
from runtimes.errors import InputError
from runtimes.files import write_text
from runtimes.image import Pixels, resize, to_uint8
from runtimes.likeness import psnr
from runtimes.shape_choice import fit, pad

POINTS = 33  # colours on each edge of the cube
SPARSE = 4  # every 4th pixel of every 4th row tells how much of the change is received
CELLS = 48  # on each side of the photograph; the outermost are not looked at

Colours = NDArray[np.float32]  # ... x 3, RGB in [0, 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Cube:
    """What becomes of 33 x 33 x 33 colours; the colours between them are interpolated linearly."""

    table: Colours
    """33 x 33 x 33 x 3; the axes are blue, green and red, so that red changes fastest."""

    def applied(self, image: Pixels) -> Pixels:
        """Return the changed picture, uint8 H x W x 3."""
        lut = ImageFilter.Color3DLUT(POINTS, self.table.ravel(), _copy_table=False)
        return np.asarray(Image.fromarray(image).filter(lut))

    def write(self, path: Path, title: str) -> None:
        """Write the cube as a .cube file (Adobe, "Cube LUT Specification", 1.0)."""
        lines = [f'TITLE "{title}"', f"LUT_3D_SIZE {POINTS}", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
        lines += [f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in self.table.reshape(-1, 3).tolist()]
        write_text(path, "\n".join(lines) + "\n")


@functools.cache
def grid() -> Colours:
    """The table of the cube that changes nothing."""
    levels = np.linspace(0, 1, POINTS, dtype=np.float32)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")
    return np.stack([red, green, blue], axis=-1)


def require_cube_model(runtime: Runtime) -> None:
    """InputError unless the model changes equal colours alike."""
    if runtime.spec.width:
        raise InputError(
            f"the model of a cube should change equal colours alike, as nano does, but {runtime.path.name} changes "
            "each place in its own way; use --model nano"
        )


class Measured(NamedTuple):
    """A cube, and the pair of pictures that it was measured on."""

    cube: Cube
    seen: Pixels
    """The photograph as the network saw it."""
    answer: Pixels
    """The network's answer to it, with the controls."""

    def psnr(self) -> float | None:
        """The PSNR in dB of what the cube makes of the photograph against the network's answer; None if equal."""
        error = self.cube.applied(self.seen).astype(np.float32) - self.answer
        return psnr(float(np.mean(error**2)))


def measure(runtime: Runtime, image: Pixels, controls: Controls, *, max_side: int = MAX_SIDE) -> Measured:
    """Measure the change of a photograph, uint8 H x W x 3, by a model that changes equal colours alike.

    The photograph is padded or resampled as `Runtime.enhance` does.

    Errors: InputError when the photograph is smaller than 48 px.
    """
    seen, answer, answers = probe(runtime, image, grid().reshape(-1, 3), max_side)
    table = answers.reshape(POINTS, POINTS, POINTS, 3)
    share = share_received(seen, answer, Cube(table).applied)
    table = grid() + np.float32(share) * (table - grid())
    x = np.divide(seen, np.float32(255), dtype=np.float32)
    return Measured(Cube(adjust(grid(), table, controls)), seen, to_uint8(adjust(x, answer, controls)))


def probe(runtime: Runtime, image: Pixels, colours: Colours, max_side: int) -> tuple[Pixels, Colours, Colours]:
    """Ask the network what becomes of a photograph, uint8 H x W x 3, and of colours, N x 3, as if they were in it.

    Returns the photograph as the network saw it, its answer, and the answers to the colours.

    Errors: InputError when the photograph is smaller than 48 px.
    """
    plan = fit(runtime.spec, image.shape[0], image.shape[1], max_side)
    small = resize(image, plan.height, plan.width) if plan.resample else pad(image, plan.height, plan.width)
    unseen = np.argwhere(border(plan.height, plan.width))
    if not len(unseen):
        raise InputError(
            f"a picture should have at least {CELLS} px a side to be measured but has "
            f"{image.shape[1]} x {image.shape[0]}; take a larger one"
        )
    x = np.divide(small, np.float32(255), dtype=np.float32)
    answers = []
    for first in range(0, len(colours), len(unseen)):
        some, changed = colours[first : first + len(unseen)], x.copy()
        places = tuple(unseen[: len(some)].T)
        changed[places] = some
        answers.append(_run(runtime, changed, plan.batch)[places])
    return small, _run(runtime, x, plan.batch), np.concatenate(answers)


def border(height: int, width: int) -> NDArray[np.bool_]:
    """The pixels that lie wholly in the outermost cells of a picture, height x width."""
    unseen = np.ones((height, width), bool)
    rows, columns = height // CELLS, width // CELLS
    unseen[rows : height - rows, columns : width - columns] = False
    return unseen


def share_received(seen: Pixels, answer: Colours, applied: Callable[[Pixels], Pixels]) -> float:
    """The share of the measured change that the photograph receives: less than 1 if it has hardly any contrast.

    The measured colours have contrast, so a black picture among them would be changed in full.
    """
    some = np.ascontiguousarray(seen[::SPARSE, ::SPARSE])
    whole = applied(some) - some.astype(np.float64)
    length = float(np.sum(whole**2))
    share = float(np.sum(whole * (255 * answer[::SPARSE, ::SPARSE] - some))) / length if length else 1.0
    return 1.0 if share > 0.98 else max(share, 0.0)  # rounding alone makes it 0.995


def _run(runtime: Runtime, image: Colours, batch: int) -> Colours:
    """The network's answer to a picture in [0, 1], H x W x 3; byte artifacts see it rounded."""
    pictures = np.repeat(image[None], batch, axis=0)
    if runtime.spec.io == "uint8":
        codes: Colours = runtime.infer(to_uint8(pictures))[0] / np.float32(255)
        return codes
    answer: Colours = runtime.infer(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))[0].transpose(1, 2, 0)
    return np.clip(answer, 0, 1)
