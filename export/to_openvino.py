"""Folded generator -> OpenVINO IR: an .xml and its .bin, converted from this project's ONNX graph."""

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
    """Export to OpenVINO, check against the float32 `model`, and store the verdict in the file's rt_info.

    The weights are in the .bin beside `path`; the .xml holds their hash, so that it refuses any other .bin.

    path: file to write, .xml.
    precision: "fp32"; "fp16" for weights stored in half precision, which halves the .bin, while the runtime computes in
    float32 unless asked otherwise; "int8" for as many convolutions as the limits allow.
    shapes: one fixed shape, or a range.
    io: type of the pixels, "float32" or "uint8".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    calibration: photographs to calibrate int8 on, instead of scikit-image's.

    Errors: ParityError if the check fails (both files are kept as `.rejected`); BackendMissingError without OpenVINO;
    ArtifactError for another precision, several fixed shapes, or a wrong suffix.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_openvino(model, Path("small.xml"), precision="fp32", shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.report.verdict.psnr_min)
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
        half = precision == "fp16"  # `save_model` halves the weights unless told not to: openvinotoolkit/openvino#22995
        graph.set_rt_info(described.to_json(), METADATA_KEY)
        openvino.save_model(graph, target, compress_to_fp16=half)
        graph.set_rt_info(hash_weights(target), WEIGHTS_KEY)  # known only after the .bin is written
        openvino.save_model(graph, target, compress_to_fp16=half)

    return publish(path, spec, golden, write, beside=(".bin",))
