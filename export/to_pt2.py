"""Folded generator -> .pt2: PyTorch's own exported program, which runs without this project's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bncagan.network.folded import FoldedGenerator
from export.artifact import describe, example_input, make_golden, with_io
from export.publishing import Artifact, publish, require_target
from export.to_onnx import dynamic_shapes
from runtimes import ImageSpec, ShapeSet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.pt import SPEC_FILE


def to_pt2(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str = "fp32",
    shapes: ShapeSet,
    io: str = "float32",
    photos: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export, check by running the saved program, and write the verdict into the file; options as `to_onnx`.

    Errors: ParityError if the check fails (the file is kept as `.rejected`); ArtifactError for
    another precision than fp32, several fixed shapes, or a wrong suffix.
    """
    require_target(path, FORMATS["pt2"], precision=precision, io=io, shapes=shapes)
    spec = describe(model, precision=precision, shapes=shapes, io=io, tools=("torch",))
    golden = make_golden(model, shapes, photos)
    program = torch.export.export(
        with_io(model, io).eval(), (example_input(io, shapes),), dynamic_shapes=dynamic_shapes(spec)
    )

    def write(target: Path, described: ImageSpec) -> None:
        torch.export.save(program, target, extra_files={SPEC_FILE: described.to_json()})

    return publish(path, spec, golden, write)
