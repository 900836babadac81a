"""Folded generator -> OpenVINO IR: an .xml with its .bin, by way of the project's ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bncagan.network.folded import FoldedGenerator
from export.artifact import describe, make_golden, with_io
from export.int8.scheme import OPENVINO
from export.int8.search import plan_int8
from export.publishing import Artifact, publish, require_target
from export.to_onnx import convert
from runtimes import METADATA_KEY, ImageSpec, ShapeSet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.ov import WEIGHTS_KEY, hash_weights, import_openvino


def to_openvino(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str,
    shapes: ShapeSet,
    io: str = "float32",
    photos: Mapping[str, Pixels] | None = None,
    calibration: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export, check through OpenVINO against the float32 `model`, and write the verdict into the file's rt_info.

    The weights go into the .bin beside `path`; the .xml holds their hash, so that no other .bin is taken for them.

    precision: "fp32"; "fp16": weights stored in half precision, which halves the .bin, while the arithmetic is that of
    the runtime, float32 unless its user asks for less; or "int8": as many convolutions as the pictures bear.
    shapes: one fixed shape, or a range. io: "float32" or "uint8". photos: pictures to check on, besides the extreme
    pictures, instead of scikit-image's. calibration: photographs to calibrate int8 on, instead of others of
    scikit-image's.

    Errors: ParityError if the check fails (both files are kept as `.rejected`); BackendMissingError without OpenVINO;
    ArtifactError for another precision, several fixed shapes, or a wrong suffix.
    """
    require_target(path, FORMATS["openvino"], precision=precision, io=io, shapes=shapes)
    openvino = import_openvino()
    plan = plan_int8(model, shapes, calibration, OPENVINO) if precision == "int8" else None
    tools = ("torch", "onnx", "onnxscript", "openvino")
    details = plan.details if plan else None
    spec = describe(model, precision=precision, shapes=shapes, io=io, tools=tools, details=details)
    golden = make_golden(model, shapes, photos)
    graph = openvino.Core().read_model(convert(with_io(model, io), spec, plan).SerializeToString())

    def write(target: Path, described: ImageSpec) -> None:
        half = precision == "fp16"
        graph.set_rt_info(described.to_json(), METADATA_KEY)
        openvino.save_model(graph, target, compress_to_fp16=half)
        graph.set_rt_info(hash_weights(target), WEIGHTS_KEY)  # known only once the .bin is there
        openvino.save_model(graph, target, compress_to_fp16=half)

    return publish(path, spec, golden, write, beside=(".bin",))
