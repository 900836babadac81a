"""How near the maps of an artifact come to the network run at full size: `export --output maps` records it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bncagan.network.folded import FoldedGenerator
from runtimes import ImageSpec, Runtime
from runtimes.apply.oracle import changed
from runtimes.base import to_batch
from runtimes.golden import Case, extreme_images
from runtimes.image import Pixels, resize, to_uint8
from runtimes.likeness import compare
from runtimes.verdict import Fidelity

SIDES = (1024, 2048)  # px: longer sides of the photographs
IDENTICAL = 100.0  # dB
Measure = Callable[[Runtime], Fidelity]


def measuring(model: FoldedGenerator, photos: Mapping[str, Pixels] | None) -> Measure | None:
    """What measures an artifact of the float32 `model` on these photographs; None if there are none."""
    return None if photos is None else lambda runtime: measure(runtime, model, photos)


def measure(runtime: Runtime, model: FoldedGenerator, photos: Mapping[str, Pixels]) -> Fidelity:
    """Compare photographs after the maps with the float32 model's own answer, at each of `SIDES`.

    photos: by name; those of another size are resampled.
    """
    numbers: dict[int, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for name, photo in photos.items():
        for side in SIDES:
            large = resize(photo, *_scaled(photo.shape[:2], side))
            produced, native = applied_and_native(runtime, model, large)
            score = compare(Case(name, large, to_uint8(native)), produced)
            numbers[side].append((IDENTICAL if score.psnr is None else score.psnr, score.de_p99))
    return Fidelity(
        photographs=tuple(photos),
        enlarged=any(max(photo.shape) < max(SIDES) for photo in photos.values()),
        network=network_size(runtime.spec, *_scaled((3, 4), SIDES[0])),
        sides=SIDES,
        psnr_min=tuple(min(psnr for psnr, _ in numbers[side]) for side in SIDES),
        de_p99_max=tuple(max(de for _, de in numbers[side]) for side in SIDES),
        halo=halo(_error(runtime, model, edge(*_scaled((3, 4), SIDES[0])))),
        seam=seam(_error(runtime, model, ramp(*_scaled((3, 4), SIDES[0])))),
    )


def halo(error: NDArray[Any]) -> float:
    """The largest error beside the edge of `edge` that the flat areas around it do not have, in codes.

    error: H x W x 3, in codes.
    """
    columns = error.mean(0)  # W x 3
    middle = len(columns) // 2
    return float(max(np.abs(half - np.median(half, axis=0)).max() for half in (columns[:middle], columns[middle:])))


def seam(error: NDArray[Any]) -> float:
    """The largest step of the error of `ramp` from one row or column to the next, in codes.

    error: H x W x 3, in codes.
    """
    return float(max(np.abs(np.diff(error.mean(axis), axis=0)).max() for axis in (0, 1)))


def edge(height: int, width: int) -> Pixels:
    """A picture whose left half is dark and whose right half is bright."""
    picture = np.full((height, width, 3), 64, np.uint8)
    picture[:, width // 2 :] = 192
    return picture


def ramp(height: int, width: int) -> Pixels:
    """A smooth picture."""
    return extreme_images(height, width)["ramp"]


def applied_and_native(
    runtime: Runtime, model: FoldedGenerator, photo: Pixels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A photograph after the artifact's maps, and the model's answer at full size: both H x W x 3 in [0, 1]."""
    height, width = network_size(runtime.spec, *photo.shape[:2])
    n = runtime.spec.shapes.fixed[0][0] if runtime.spec.shapes.fixed else 1
    small = np.repeat(resize(photo, height, width)[None], n, axis=0)
    change = runtime.maps(to_batch(small, runtime.spec)).change(0)
    x = torch.from_numpy(photo.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous()
    with torch.no_grad():
        native = model(x)[0].permute(1, 2, 0).numpy().astype(np.float64)
    return changed(photo / 255, change), native


def network_size(spec: ImageSpec, height: int, width: int) -> tuple[int, int]:
    """The height and width at which the network sees a photograph: the fixed ones, or the usual longer side."""
    if spec.shapes.optimum is None:
        _, h, w = spec.shapes.fixed[0]
        return h, w
    return _scaled((height, width), max(spec.shapes.optimum[1:]), spec.minimum)


def _error(runtime: Runtime, model: FoldedGenerator, photo: Pixels) -> NDArray[np.float64]:
    produced, native = applied_and_native(runtime, model, photo)
    error: NDArray[np.float64] = 255 * (produced - native)
    return error


def _scaled(size: tuple[int, ...], side: int, least: int = 16) -> tuple[int, int]:
    """Height and width as multiples of 8, in proportion, with the longer one at `side` px."""
    height, width = (max(least, 8 * round(each * side / max(size[:2]) / 8)) for each in size[:2])
    return height, width
