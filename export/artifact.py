"""What every exporter starts from: the spec, the module between its ends, the golden pictures."""

from __future__ import annotations

import copy
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import skimage.data
import torch
from torch import Tensor, nn

from bncagan.network.checkpoint import weights_sha256
from bncagan.network.folded import FoldedGenerator
from bncagan.network.inference import enhance_exactly, to_unit
from runtimes import ImageSpec, ShapeSet
from runtimes.golden import Case, Golden, Rounding, extreme_images
from runtimes.image import Pixels, resize
from runtimes.spec import Shape

MODEL_NAME = "bncagan"
LICENCE = "weights' licence"  # the name of this fact in a spec's details
DARK_STOPS = 3  # of the darkened photograph among the golden pictures
OBLONG = (96, 160)  # a size in every usual range, height and width unlike


class PixelsInPixelsOut(nn.Module):
    """The generator between bytes: N x H x W x 3 uint8 RGB in and out, scaled, clamped and rounded in the graph."""

    def __init__(self, model: FoldedGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.to(torch.float32)  # first: TensorRT casts bytes and does nothing else with them
        enhanced = self.model(pixels.permute(0, 3, 1, 2) * (1 / 255))
        return torch.floor(enhanced.permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def with_io(model: FoldedGenerator, io: str) -> nn.Module:
    """The module whose ends are what the spec's `io` says: the model itself, or the model between bytes."""
    return PixelsInPixelsOut(model) if io == "uint8" else model


def example_input(io: str, shapes: ShapeSet) -> Tensor:
    """A batch to trace with, in the type and layout of `io`: of the fixed shape, or, in a range, with no axes alike
    where it allows that."""
    n, h, w = shapes.fixed[0] if shapes.bounds is None else _inside(*shapes.bounds, shapes.multiple)
    image = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0))
    return (image.permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous() if io == "uint8" else image


def _inside(low: Shape, high: Shape, multiple: int) -> Shape:
    """A small shape within the bounds: no axis is 1 that need not be, and height and width differ if they can."""
    n, h = (min(max(least, wish), most) for least, wish, most in zip(low, (2, 64), high, strict=False))
    w = min(max(low[2], h + multiple), high[2])
    return n, h, (w if w != h else max(low[2], w - multiple))


def describe(
    model: FoldedGenerator,
    *,
    precision: str,
    shapes: ShapeSet,
    io: str,
    tools: Sequence[str],
    details: Mapping[str, str] | None = None,
) -> ImageSpec:
    """The spec of an artifact of the float32 `model`; `tools` are distributions whose versions it records."""
    return ImageSpec(
        model=MODEL_NAME,
        width=model.width,
        io=io,
        shapes=shapes,
        precision=precision,
        weights_sha256=weights_sha256(model.state_dict()),
        tools={"python": platform.python_version(), **{name: version(name) for name in ("bncagan", *tools)}},
        details={LICENCE: model.licence, **(details or {})},
    )


def photographs() -> dict[str, Pixels]:
    """Public-domain photographs of scikit-image, and one of them darkened, H x W x 3 by name."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")}
    found["coffee dark"] = (found["coffee"] // 2**DARK_STOPS).astype(np.uint8)
    return found


def make_golden(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels] | None) -> Golden:
    """Photographs and extreme pictures at every fixed shape; of a range, at its smallest and a larger oblong size, and
    photographs at its optimum. The photographs are scikit-image's if `photos` is None. The network's own rounding is
    that of the smallest size."""
    photos = photographs() if photos is None else photos
    if shapes.bounds is None:
        sizes = list(dict.fromkeys((h, w) for _, h, w in shapes.fixed))
    else:
        (n, height, width), _ = shapes.bounds
        sizes = [(height, width)] + ([OBLONG] if shapes.accepts(n, *OBLONG) else [])
    cases: list[Case] = []
    for h, w in sizes:
        images = {name: resize(photo, h, w) for name, photo in photos.items()} | extreme_images(h, w)
        cases += [Case(name, image, enhance_exactly(model, image)) for name, image in images.items()]
    if shapes.optimum is not None and shapes.optimum[1:] not in sizes:
        images = {name: resize(photo, *shapes.optimum[1:]) for name, photo in photos.items()}
        cases += [Case(name, image, enhance_exactly(model, image)) for name, image in images.items()]
    smallest = min((case.size for case in cases), key=math.prod)
    return Golden(tuple(cases), rounding_of(model, [case.image for case in cases if case.size == smallest]))


@torch.no_grad()
def rounding_of(model: FoldedGenerator, images: Iterable[Pixels]) -> Rounding:
    """What the network's float32 arithmetic costs on these H x W x 3 images, against the same module in float64."""
    exact = copy.deepcopy(model).double()
    codes, mse = 0.0, 0.0
    for image in images:
        x = to_unit(image)
        error = 255 * (model(x).double() - exact(x.double()))
        codes = max(codes, error.abs().max().item())
        mse = max(mse, error.square().mean().item())
    return Rounding(codes, 10 * math.log10(255**2 / max(mse, 1e-12)))  # finite, whatever the network
