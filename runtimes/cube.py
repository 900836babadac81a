"""The change of one photograph as a colour cube, for models that change equal colours alike, such as `nano`.

The cube is measured: `runtimes.apply.probing`.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from runtimes.apply.probing import Colours, probe, share_received
from runtimes.base import Runtime
from runtimes.controls import Controls, adjust
from runtimes.errors import InputError
from runtimes.files import write_text
from runtimes.image import Pixels, resize, to_uint8
from runtimes.likeness import psnr
from runtimes.shape_choice import fit, pad

POINTS = 33  # colours on each edge of the cube


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


def measure(runtime: Runtime, image: Pixels, controls: Controls, *, max_side: int | None = None) -> Measured:
    """Measure the change of a photograph, uint8 H x W x 3, by a model that changes equal colours alike.

    The photograph is padded or resampled as `Runtime.enhance` does.

    Errors: InputError when the photograph is smaller than 48 px.
    """
    plan = fit(runtime.spec, image.shape[0], image.shape[1], max_side)
    seen = resize(image, plan.height, plan.width) if plan.resample else pad(image, plan.height, plan.width)
    answer, answers = probe(runtime, seen, plan.batch, grid().reshape(-1, 3))
    table = answers.reshape(POINTS, POINTS, POINTS, 3)
    share = share_received(seen, answer, Cube(table).applied)
    table = grid() + np.float32(share) * (table - grid())
    x = np.divide(seen, np.float32(255), dtype=np.float32)
    return Measured(Cube(adjust(grid(), table, controls)), seen, to_uint8(adjust(x, answer, controls)))
