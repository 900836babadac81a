"""From a folded generator to a file that has proved itself: golden pictures, the gate, the verdict inside."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import skimage.data
import torch
from torch import Tensor, nn

import runtimes
from bncagan.checkpoint import weights_sha256
from bncagan.folded import FoldedGenerator
from export.parity import Case, Golden, Report, check, golden_path, require, stress_images
from runtimes import ArtifactError, ImageSpec, ShapeSet
from runtimes.image import Pixels, resize, to_uint8

MODEL_NAME = "bncagan"
DARK_STOPS = 3  # of the darkened photograph among the golden pictures
OBLONG = (96, 160)  # a size in every usual range, height and width unlike

Writer = Callable[[Path, ImageSpec], None]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An exported file that passed its parity check, with what it says about itself and every score.

    beside: files that `path` does not work without.
    """

    path: Path
    spec: ImageSpec
    report: Report
    beside: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that a device needs to run it: of all its files, the golden pictures aside."""
        return sum(file.stat().st_size for file in (self.path, *self.beside))


class PixelsInPixelsOut(nn.Module):
    """The generator between bytes: N x H x W x 3 uint8 RGB in and out, scaled, clamped and rounded in the graph."""

    def __init__(self, model: FoldedGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        enhanced = self.model(image.permute(0, 3, 1, 2).to(torch.float32) * (1 / 255))
        return torch.floor(enhanced.permute(0, 2, 3, 1) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def with_io(model: FoldedGenerator, io: str) -> nn.Module:
    """The module whose ends are what the spec's `io` says: the model itself, or the model between bytes."""
    return PixelsInPixelsOut(model) if io == "uint8" else model


def example_input(io: str, shapes: ShapeSet) -> Tensor:
    """A batch to trace with, in the type and layout of `io`: of the fixed shape, or, in a range, with no axes alike."""
    n, h, w = shapes.fixed[0] if shapes.fixed else (2, 64, 96)
    image = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0))
    return (image.permute(0, 2, 3, 1) * 255).to(torch.uint8).contiguous() if io == "uint8" else image


def describe(model: FoldedGenerator, *, precision: str, shapes: ShapeSet, io: str, tools: Sequence[str]) -> ImageSpec:
    """The spec of an artifact of the float32 `model`; `tools` are distributions whose versions it records."""
    return ImageSpec(
        model=MODEL_NAME,
        width=model.width,
        io=io,
        shapes=shapes,
        precision=precision,
        weights_sha256=weights_sha256(model.state_dict()),
        tools={"python": platform.python_version(), **{name: version(name) for name in ("bncagan", *tools)}},
    )


def photographs() -> dict[str, Pixels]:
    """Public-domain photographs of scikit-image, and one of them darkened, H x W x 3 by name."""
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")}
    found["coffee dark"] = (found["coffee"] // 2**DARK_STOPS).astype(np.uint8)
    return found


@torch.no_grad()
def enhance_exactly(model: FoldedGenerator, image: Pixels) -> Pixels:
    """The float32 network's picture of an H x W x 3 image whose sides are multiples of 8."""
    batch = torch.from_numpy(image.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous()
    return to_uint8(model(batch)[0].permute(1, 2, 0).numpy())


def make_golden(model: FoldedGenerator, shapes: ShapeSet, photos: Mapping[str, Pixels] | None) -> Golden:
    """Photographs and stress pictures at every fixed shape; of a range, at its smallest and a larger oblong size, and
    photographs at its optimum. The photographs are scikit-image's if `photos` is None."""
    photos = photographs() if photos is None else photos
    if shapes.bounds is None:
        sizes = list(dict.fromkeys((h, w) for _, h, w in shapes.fixed))
    else:
        (n, height, width), _ = shapes.bounds
        sizes = [(height, width)] + ([OBLONG] if shapes.accepts(n, *OBLONG) else [])
    cases = []
    for h, w in sizes:
        images = {name: resize(photo, h, w) for name, photo in photos.items()} | stress_images(h, w)
        cases += [Case(name, image, enhance_exactly(model, image)) for name, image in images.items()]
    if shapes.optimum is not None and shapes.optimum[1:] not in sizes:
        images = {name: resize(photo, *shapes.optimum[1:]) for name, photo in photos.items()}
        cases += [Case(name, image, enhance_exactly(model, image)) for name, image in images.items()]
    return Golden(tuple(cases))


def publish(path: Path, spec: ImageSpec, golden: Golden, write: Writer, *, beside: Sequence[str] = ()) -> Artifact:
    """Write the artifact under a temporary name, run the parity check through its runtime, and only then name it.

    `write` puts the artifact with the given spec at the given path; it is called again to put the verdict inside. The
    golden pictures are stored beside the artifact. On failure the file is kept as `<path>.rejected`.

    beside: suffixes of further files that `write` puts next to the path it is given, under the same stem. They share
    the artifact's fate, and lie under their names before it does; an artifact that they replace goes first.

    Errors: ParityError when a picture differs too much; ArtifactError when the file cannot be opened.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    files = {partial.with_suffix(suffix): path.with_suffix(suffix) for suffix in (*beside, path.suffix)}
    try:
        write(partial, spec)
        with runtimes.load(partial) as runtime:
            report = check(runtime, golden)
        spec = dataclasses.replace(spec, parity=report.verdict)
        write(partial, spec)
        if report.verdict.passed:
            golden.save(golden_path(path))
            if beside:
                path.unlink(missing_ok=True)
            for temporary, final in files.items():
                temporary.replace(final)
                _rejected(final).unlink(missing_ok=True)
        else:
            for temporary, final in files.items():
                temporary.replace(_rejected(final))
    finally:
        for temporary in files:
            temporary.unlink(missing_ok=True)
    require(report, _rejected(path))
    return Artifact(path, spec, report, tuple(path.with_suffix(suffix) for suffix in beside))


def _rejected(path: Path) -> Path:
    """Where a file is kept that its parity check refused."""
    return path.with_name(path.name + ".rejected")


def require_target(path: Path, suffix: str, shapes: ShapeSet) -> None:
    """Refuse a folder that is not there, a name from which no runtime would find the format, several fixed shapes."""
    if not path.parent.is_dir():
        raise ArtifactError(f"{path} should lie in an existing folder but {path.parent} is none; create it first")
    if path.suffix.lower() != suffix:
        raise ArtifactError(f"{path} should end in {suffix} but ends in {path.suffix or 'nothing'}; rename it")
    if len(shapes.fixed) > 1:
        raise ArtifactError(
            f"{path} can have one fixed shape or a range, got {shapes}; export one file each, or a range"
        )
