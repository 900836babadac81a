"""Folded generator -> OpenVINO IR: an .xml with its .bin, by way of the project's ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bncagan.folded import FoldedGenerator
from export.artifact import Artifact, describe, make_golden, publish, require_target, with_io
from export.to_onnx import convert
from runtimes import METADATA_KEY, ArtifactError, ImageSpec, ShapeSet
from runtimes.image import Pixels
from runtimes.ov import WEIGHTS_KEY, hash_weights, import_openvino

PRECISIONS = ("fp32", "fp16")


def to_openvino(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str,
    shapes: ShapeSet,
    io: str = "float32",
    photos: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export, check through OpenVINO against the float32 `model`, and write the verdict into the file's rt_info.

    The weights go into the .bin beside `path`; the .xml holds their hash, so that no other .bin is taken for them.

    precision: "fp32", or "fp16": weights stored in half precision, which halves the .bin; the arithmetic is that of
    the runtime, float32 unless its user asks for less. shapes: one fixed shape, or a range. io: "float32" or "uint8".
    photos: pictures to check on, besides the stress pictures, instead of scikit-image's.

    Errors: ParityError if the check fails (both files are kept as `.rejected`); BackendMissingError without OpenVINO;
    ArtifactError for another precision, several fixed shapes, or a wrong suffix.
    """
    require_target(path, ".xml", shapes)
    if precision not in PRECISIONS:
        raise ArtifactError(f"the precision of an OpenVINO IR should be {' or '.join(PRECISIONS)}, got {precision!r}")
    openvino = import_openvino()
    tools = ("torch", "onnx", "onnxscript", "openvino")
    spec = describe(model, precision=precision, shapes=shapes, io=io, tools=tools)
    golden = make_golden(model, shapes, photos)
    graph = openvino.Core().read_model(convert(with_io(model, io), spec).SerializeToString())

    def write(target: Path, described: ImageSpec) -> None:
        half = precision == "fp16"
        graph.set_rt_info(described.to_json(), METADATA_KEY)
        openvino.save_model(graph, target, compress_to_fp16=half)
        graph.set_rt_info(hash_weights(target), WEIGHTS_KEY)  # known only once the .bin is there
        openvino.save_model(graph, target, compress_to_fp16=half)

    return publish(path, spec, golden, write, beside=(".bin",))
