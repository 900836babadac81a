"""Folded generator -> .pt2: PyTorch's own exported program, which runs without this project's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bncagan.folded import FoldedGenerator
from export.artifact import (
    Artifact,
    describe,
    example_input,
    make_golden,
    publish,
    require_target,
    with_io,
)
from export.to_onnx import dynamic_shapes
from runtimes import ImageSpec, ShapeSet
from runtimes.image import Pixels
from runtimes.pt import SPEC_FILE


def to_pt2(
    model: FoldedGenerator,
    path: Path,
    *,
    shapes: ShapeSet,
    io: str = "float32",
    photos: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export, check by running the saved program, and write the verdict into the file; options as `to_onnx`.

    The precision is fp32. Errors: ParityError if the check fails (the file is kept as `.rejected`); ArtifactError for
    several fixed shapes, or a wrong suffix.
    """
    require_target(path, ".pt2", shapes)
    spec = describe(model, precision="fp32", shapes=shapes, io=io, tools=("torch",))
    golden = make_golden(model, shapes, photos)
    program = torch.export.export(
        with_io(model, io).eval(), (example_input(io, shapes),), dynamic_shapes=dynamic_shapes(spec)
    )

    def write(target: Path, described: ImageSpec) -> None:
        torch.export.save(program, target, extra_files={SPEC_FILE: described.to_json()})

    return publish(path, spec, golden, write)
