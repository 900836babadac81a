"""Folded generator -> .pt2: an exported program of PyTorch, which runs without this project's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bncagan.network.folded import FoldedGenerator
from export.artifact import describe, example_inputs, make_golden, with_io
from export.fidelity import measuring
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
    controls: bool = False,
    output: str = "picture",
    photos: Mapping[str, Pixels] | None = None,
    large_photos: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export to .pt2, check by running the saved program, and store the verdict in the file.

    path: file to write, .pt2.
    precision: "fp32".
    shapes: one fixed shape, or a range.
    io: type of the pixels, "float32" or "uint8".
    controls: give the graph the second input `controls`, strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.

    Errors: ParityError if the check fails (the file is kept as `.rejected`); ArtifactError for
    another precision than fp32, several fixed shapes, or a wrong suffix.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_pt2(model, Path("small.pt2"), shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.report.verdict.psnr_min)
    """
    require_target(path, FORMATS["pt2"], precision=precision, io=io, shapes=shapes)
    spec = describe(
        model, precision=precision, shapes=shapes, io=io, controls=controls, output=output, tools=("torch",)
    )
    golden = make_golden(model, spec.shapes, photos, controls=spec.controls, output=spec.output)
    program = torch.export.export(
        with_io(model, spec).eval(), example_inputs(spec), dynamic_shapes=dynamic_shapes(spec)
    )

    def write(target: Path, described: ImageSpec) -> None:
        torch.export.save(program, target, extra_files={SPEC_FILE: described.to_json()})

    return publish(path, spec, golden, write, measure=measuring(model, large_photos))
