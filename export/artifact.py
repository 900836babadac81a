"""What every exporter starts from: the spec, the module with its input and output types, and the golden pictures."""

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
LICENCE = "weights' licence"  # key in a spec's details
DARK_STOPS = 3  # stops by which one golden photograph is darkened
OBLONG = (96, 160)  # px; not square, so that swapped axes are found, and inside every usual range


class PixelsInPixelsOut(nn.Module):
    """The generator with bytes at both ends: takes and returns uint8 RGB, N x H x W x 3.

    Scaling, clamping and rounding are part of the graph, because converters do not agree on them.
    """

    def __init__(self, model: FoldedGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.to(torch.float32)  # must come first: a cast is all that TensorRT can do with bytes
        enhanced = self.model(pixels.permute(0, 3, 1, 2) * (1 / 255))
        # A cast from float to uint8 does not saturate, so clamp before it: openvinotoolkit/openvino#32389
        return torch.floor(enhanced.permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def with_io(model: FoldedGenerator, io: str) -> nn.Module:
    """The module with the input and output types of `io`: the model itself for float32, PixelsInPixelsOut for uint8."""
    return PixelsInPixelsOut(model) if io == "uint8" else model


def example_input(io: str, shapes: ShapeSet) -> Tensor:
    """A batch to trace the module with, in the type and layout of `io`.

    It has the fixed shape. In a range, its axes differ in length if possible, so that the tracer cannot confuse them.
    """
    n, h, w = shapes.fixed[0] if shapes.bounds is None else _inside(*shapes.bounds, shapes.multiple)
    image = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0))
    return (image.permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous() if io == "uint8" else image


def _inside(low: Shape, high: Shape, multiple: int) -> Shape:
    """A small shape within the bounds, without an axis of 1 and with height unlike width wherever that is possible."""
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
    """The spec of an artifact made from the float32 `model`.

    tools: names of the installed distributions whose versions the spec records.
    details: further facts for people, by name.
    """
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
    """Three public-domain photographs from scikit-image and a darkened copy of one, each H x W x 3, by name."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")}
    found["coffee dark"] = (found["coffee"] // 2**DARK_STOPS).astype(np.uint8)
    return found


def make_golden(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels] | None) -> Golden:
    """The golden pictures: photographs and extreme pictures with the answers of the float32 `model`.

    Fixed shapes: all pictures at every shape. A range: all pictures at its smallest size and at `OBLONG`, and the
    photographs at its optimum as well. The model's own rounding error is measured at the smallest size.

    photos: photographs to use, by name; None for scikit-image's.
    """
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
    """The rounding error of the model in float32 on these images (H x W x 3), compared with the model in float64."""
    exact = copy.deepcopy(model).double()
    codes, mse = 0.0, 0.0
    for image in images:
        x = to_unit(image)
        error = 255 * (model(x).double() - exact(x.double()))
        codes = max(codes, error.abs().max().item())
        mse = max(mse, error.square().mean().item())
    return Rounding(codes, 10 * math.log10(255**2 / max(mse, 1e-12)))  # finite even without any error
