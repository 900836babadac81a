"""How near the maps of an artifact come to the network run at full size: `export --output maps` records it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bncagan.network.folded import FoldedGenerator
from bncagan.network.inference import to_unit
from export.sharing import drawn_once
from runtimes import ImageSpec, Runtime
from runtimes.apply.oracle import changed
from runtimes.base import to_batch
from runtimes.golden import Case, extreme_images
from runtimes.image import Pixels, resize, to_uint8
from runtimes.likeness import compare
from runtimes.shape_choice import scaled_size
from runtimes.verdict import Fidelity

SIDES = (1024, 2048)  # px: longer sides of the photographs
IDENTICAL = 100.0  # dB
Measure = Callable[[Runtime], Fidelity]


def measuring(model: FoldedGenerator, photos: Mapping[str, Pixels] | None) -> Measure | None:
    """What measures an artifact of the float32 `model` on these photographs; None if there are none."""
    return None if photos is None else lambda runtime: measure(runtime, model, photos)


@dataclasses.dataclass(frozen=True, eq=False)
class Natives:
    """What the float32 model answers at full size; it is the same for every artifact of the model."""

    photographs: Mapping[tuple[str, int], Pixels]
    """The answers to the photographs, by name and longer side."""
    edge: NDArray[np.float32]
    """The answer to `edge`, H x W x 3 in [0, 1]."""
    ramp: NDArray[np.float32]
    """The answer to `ramp`, H x W x 3 in [0, 1]."""


@drawn_once
def native_answers(model: FoldedGenerator, sides: tuple[int, ...], photos: Mapping[str, Pixels]) -> Natives:
    """Run the float32 model on each photograph (by name) at each of the longer sides, and on `edge` and `ramp`."""
    answers = {
        (name, side): to_uint8(_native(model, _sized(photo, side))) for name, photo in photos.items() for side in sides
    }
    size = _scaled((3, 4), sides[0])
    return Natives(answers, _native(model, edge(*size)), _native(model, ramp(*size)))


def measure(runtime: Runtime, model: FoldedGenerator, photos: Mapping[str, Pixels]) -> Fidelity:
    """Compare photographs after the maps with the float32 model's own answer, at each of `SIDES`.

    photos: by name; those of another size are resampled.
    """
    natives = native_answers(model, SIDES, photos)
    numbers: dict[int, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for (name, side), native in natives.photographs.items():
        large = _sized(photos[name], side)
        score = compare(Case(name, large, native), by_maps(runtime, large))
        numbers[side].append((IDENTICAL if score.psnr is None else score.psnr, score.de_p99))
    size = _scaled((3, 4), SIDES[0])
    return Fidelity(
        photographs=tuple(photos),
        enlarged=any(max(photo.shape) < max(SIDES) for photo in photos.values()),
        network=network_size(runtime.spec, *size),
        sides=SIDES,
        psnr_min=tuple(min(psnr for psnr, _ in numbers[side]) for side in SIDES),
        de_p99_max=tuple(max(de for _, de in numbers[side]) for side in SIDES),
        halo=halo(255 * (by_maps(runtime, edge(*size)) - natives.edge)),
        seam=seam(255 * (by_maps(runtime, ramp(*size)) - natives.ramp)),
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


def by_maps(runtime: Runtime, photo: Pixels) -> NDArray[np.float64]:
    """A photograph after the artifact's maps, H x W x 3 in [0, 1]."""
    height, width = network_size(runtime.spec, *photo.shape[:2])
    n = runtime.spec.shapes.fixed[0][0] if runtime.spec.shapes.fixed else 1
    small = np.repeat(resize(photo, height, width)[None], n, axis=0)
    return changed(photo / 255, runtime.maps(to_batch(small, runtime.spec)).change(0))


@torch.no_grad()
def _native(model: FoldedGenerator, photo: Pixels) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = model(to_unit(photo))[0].permute(1, 2, 0).numpy()
    return answer


def network_size(spec: ImageSpec, height: int, width: int) -> tuple[int, int]:
    """The height and width at which the network sees a photograph: the fixed ones, or the usual longer side."""
    if spec.shapes.optimum is None:
        _, h, w = spec.shapes.fixed[0]
        return h, w
    return _scaled((height, width), max(spec.shapes.optimum[1:]), spec.minimum)


def _sized(photo: Pixels, side: int) -> Pixels:
    return resize(photo, *_scaled(photo.shape[:2], side))


def _scaled(size: tuple[int, ...], side: int, least: int = 16) -> tuple[int, int]:
    """Height and width as multiples of 8, in proportion, with the longer one at `side` px."""
    height, width = size[:2]
    return scaled_size(height, width, side / max(height, width), least=least)
