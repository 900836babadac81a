"""What every exporter starts from: the spec, the module with its input and output types, and the golden pictures."""

from __future__ import annotations

import copy
import math
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import skimage.data
import torch
from torch import Tensor, nn

from bncagan.network.checkpoint import weights_sha256
from bncagan.network.controls import Controlled, Outputs, adjust, changed_first
from bncagan.network.folded import FoldedGenerator
from bncagan.network.inference import to_unit
from bncagan.network.maps import WithMaps
from export.sharing import drawn_once
from runtimes import ArtifactError, ImageSpec, ShapeSet
from runtimes.apply.oracle import applied
from runtimes.base import Maps
from runtimes.controls import DEFAULT, Controls
from runtimes.golden import Case, Golden, Rounding, extreme_images
from runtimes.image import Pixels, resize, to_uint8
from runtimes.spec import Shape

MODEL_NAME = "bncagan"
LICENCE = "weights' licence"  # key in a spec's details
DARK_STOPS = 3  # stops by which one golden photograph is darkened
SETTINGS = (DEFAULT, Controls(0, 0), Controls(1.5, 1))  # of the golden pictures of an artifact with controls
PAIR = 1024  # px: longest side of the photograph that maps are applied to
OBLONG = (96, 160)  # px; not square, so that swapped axes are found, and inside every usual range


class PixelsInPixelsOut(nn.Module):
    """The generator with bytes at both ends: takes uint8 RGB, N x H x W x 3, and returns its `picture` as such.

    Scaling, clamping and rounding are part of the graph, because converters do not agree on them.
    """

    def __init__(self, model: nn.Module, *, picture: bool = True) -> None:
        super().__init__()
        self.model, self.picture = model, picture

    def forward(self, image: Tensor, controls: Tensor | None = None) -> Outputs:
        pixels = image.to(torch.float32)  # must come first: a cast is all that TensorRT can do with bytes
        unit = pixels.permute(0, 3, 1, 2) * (1 / 255)
        outputs = self.model(unit) if controls is None else self.model(unit, controls)
        return changed_first(outputs, in_bytes) if self.picture else outputs


def in_bytes(enhanced: Tensor) -> Tensor:
    """N x 3 x H x W in [0, 1] -> uint8 N x H x W x 3."""
    # A cast from float to uint8 does not saturate, so clamp before it: openvinotoolkit/openvino#32389
    return torch.floor(enhanced.permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def with_io(model: FoldedGenerator, spec: ImageSpec) -> nn.Module:
    """The module with the inputs and outputs of the spec; the model itself for a float32 picture without controls."""
    module: nn.Module = model if spec.output == "picture" else WithMaps(model, picture=spec.output == "both")
    module = Controlled(module) if spec.controls else module
    return PixelsInPixelsOut(module, picture=spec.output != "maps") if spec.io == "uint8" else module


def example_inputs(spec: ImageSpec) -> tuple[Tensor, ...]:
    """A batch, and controls if the spec has them, to trace the module with, in the spec's type and layout.

    The batch has the fixed shape. In a range, its axes differ in length if possible, so that the tracer cannot confuse
    them.
    """
    shapes = spec.shapes
    n, h, w = shapes.fixed[0] if shapes.bounds is None else _inside(*shapes.bounds, shapes.multiple)
    image = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0))
    if spec.io == "uint8":
        image = (image.permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous()
    return (image, torch.from_numpy(DEFAULT.rows(n))) if spec.controls else (image,)


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
    controls: bool = False,
    output: str = "picture",
    details: Mapping[str, str] | None = None,
) -> ImageSpec:
    """The spec of an artifact made from the float32 `model`.

    tools: names of the installed distributions whose versions the spec records.
    controls: whether the artifact has the second input `controls`.
    output: what it returns, "picture", "maps" or "both".
    details: further facts for people, by name.
    """
    return ImageSpec(
        model=MODEL_NAME,
        width=model.width,
        io=io,
        shapes=shapes,
        precision=precision,
        weights_sha256=weights_sha256(model.state_dict()),
        controls=controls,
        output=output,
        tools={"python": platform.python_version(), **{name: version(name) for name in ("bncagan", *tools)}},
        details={LICENCE: model.licence, **(details or {})},
    )


def require_generator(model: FoldedGenerator, precision: str, head_alone: Collection[str] = ("fp32",)) -> None:
    """Refuse a precision that changes nothing in a tone head alone; raises ArtifactError.

    head_alone: precisions in which the format can hold such a head.
    """
    if model.width == 0 and precision not in head_alone:
        raise ArtifactError(
            f"{precision} should be of weights with a generator but these are a tone head alone, which has no "
            f"convolutions and whose decision stays in float32; export {' or '.join(head_alone)}"
        )


def photographs() -> dict[str, Pixels]:
    """Three public-domain photographs from scikit-image and a darkened copy of one, each H x W x 3, by name."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")}
    found["coffee dark"] = (found["coffee"] // 2**DARK_STOPS).astype(np.uint8)
    return found


@drawn_once
def make_golden(
    model: FoldedGenerator,
    shapes: ShapeSet,
    photos: Mapping[str, Pixels] | None,
    *,
    controls: bool = False,
    output: str = "picture",
) -> Golden:
    """The golden pictures: photographs and extreme pictures with the answers of the float32 `model`.

    Fixed shapes: all pictures at every shape. A range: all pictures at its smallest size and at `OBLONG`, and the
    photographs at its optimum as well. An artifact with maps has their answers too, applied to the same pictures and to
    an enlarged one. With controls, every picture has an answer for each of `SETTINGS`. The model's
    own rounding error is measured at the smallest size.

    photos: photographs to use, by name; None for scikit-image's.
    controls, output: as the spec has them.
    """
    photos = photographs() if photos is None else photos
    if shapes.bounds is None:
        sizes = list(dict.fromkeys((h, w) for _, h, w in shapes.fixed))
    else:
        (n, height, width), _ = shapes.bounds
        sizes = [(height, width)] + ([OBLONG] if shapes.accepts(n, *OBLONG) else [])
    settings = SETTINGS if controls else SETTINGS[:1]
    inputs = [{**_at(photos, *size), **extreme_images(*size)} for size in sizes]
    if shapes.optimum is not None and shapes.optimum[1:] not in sizes:
        inputs.append(_at(photos, *shapes.optimum[1:]))
    cases: list[Case] = []
    for images in inputs:
        cases += [] if output == "maps" else answered(model, images, settings)
        cases += [] if output == "picture" else answered_by_maps(model, images)
    if output != "picture":
        cases += _enlarged(model, shapes, photos)
    smallest = min((case.size for case in cases), key=math.prod)
    judged = [case for case in cases if case.size == smallest and case.controls == DEFAULT and not case.flat]
    return Golden(tuple(cases), rounding_of(model, [case.image for case in judged]))


@torch.no_grad()
def answered(model: FoldedGenerator, images: Mapping[str, Pixels], settings: Sequence[Controls]) -> list[Case]:
    """The pictures with the answers of the float32 model, one for each setting of the controls.

    All cases of a setting come together, because a batch should hold different pictures.
    """
    cases = []
    for name, image in images.items():
        x = to_unit(image)
        enhanced = model(x)
        for controls in settings:
            answer, label = enhanced, name
            if controls != DEFAULT:
                answer = adjust(x, enhanced, torch.from_numpy(controls.rows(1)))
                label = f"{name}, strength {controls.strength:g}, exposure {controls.exposure:g}"
            cases.append(Case(label, image, to_uint8(answer[0].permute(1, 2, 0).numpy()), controls))
    return sorted(cases, key=lambda case: settings.index(case.controls))


def answered_by_maps(
    model: FoldedGenerator, images: Mapping[str, Pixels], enlarged: Mapping[str, Pixels] | None = None
) -> list[Case]:
    """The pictures, or their `enlarged` versions, with the maps of the float32 model applied to them."""
    mapping = WithMaps(model, picture=False)
    cases = []
    for name, image in images.items():
        with torch.no_grad():
            change = Maps(*(output.numpy() for output in mapping(to_unit(image)))).change(0)
        photograph = image if enlarged is None else enlarged[name]
        cases.append(Case(f"{name}, by maps", image, applied(photograph, change), photograph=photograph))
    return cases


def _enlarged(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels]) -> list[Case]:
    """One photograph about twice as large as the network's picture, with its answer; no side is over `PAIR` px."""
    name, photo = next(iter(photos.items()))
    _, h, w = shapes.optimum or shapes.fixed[0]
    factor = max(1, min(2, PAIR / max(h, w)))
    large = resize(photo, round(factor * h), round(factor * w))
    name = f"{name}, enlarged"
    return answered_by_maps(model, {name: resize(large, h, w)}, {name: large})


def _at(photos: Mapping[str, Pixels], height: int, width: int) -> dict[str, Pixels]:
    return {name: resize(photo, height, width) for name, photo in photos.items()}


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
