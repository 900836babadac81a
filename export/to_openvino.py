"""Folded generator -> OpenVINO IR: an .xml and its .bin, converted from this project's ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bncagan.network.folded import FoldedGenerator
from export.artifact import describe, make_golden, require_generator, with_io
from export.engine_layers import HEAD
from export.fidelity import measuring
from export.int8.scheme import OPENVINO
from export.int8.search import plan_int8
from export.publishing import Artifact, publish, require_target
from export.to_onnx import convert
from runtimes import ImageSpec, ShapeSet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.ov import import_openvino, save


def to_openvino(
    model: FoldedGenerator,
    path: Path,
    *,
    precision: str,
    shapes: ShapeSet,
    io: str = "float32",
    controls: bool = False,
    output: str = "picture",
    photos: Mapping[str, Pixels] | None = None,
    large_photos: Mapping[str, Pixels] | None = None,
    calibration: Mapping[str, Pixels] | None = None,
) -> Artifact:
    """Export to OpenVINO, check against the float32 `model`, and store the verdict in the file's rt_info.

    The weights are in the .bin beside `path`; the .xml holds their hash, so that it refuses any other .bin.

    path: file to write, .xml.
    precision: "fp32"; "fp16" for weights stored in half precision, which halves the .bin, while the runtime computes in
    float32 unless asked otherwise; "int8" for as many convolutions as the limits allow.
    shapes: one fixed shape, or a range.
    io: type of the pixels, "float32" or "uint8".
    controls: give the graph the second input `controls`, strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.
    calibration: photographs to calibrate int8 on, instead of scikit-image's.

    Errors: ParityError if the check fails (both files are kept as `.rejected`); BackendMissingError without OpenVINO;
    ArtifactError for another precision, several fixed shapes, or a wrong suffix.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_openvino(model, Path("small.xml"), precision="fp32", shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.report.verdict.psnr_min)
    """
    require_target(path, FORMATS["openvino"], precision=precision, io=io, shapes=shapes)
    require_generator(model, precision)
    openvino = import_openvino()
    plan = plan_int8(model, shapes, calibration, OPENVINO) if precision == "int8" else None
    spec = describe(
        model,
        precision=precision,
        shapes=shapes,
        io=io,
        controls=controls,
        output=output,
        tools=("torch", "onnx", "onnxscript", "openvino"),
        details=plan.details if plan else None,
    )
    golden = make_golden(model, spec.shapes, photos, controls=spec.controls, output=spec.output)
    onnx = convert(with_io(model, spec), spec, plan)
    if precision == "fp16":
        halve_weights(onnx)
    graph = openvino.Core().read_model(onnx.SerializeToString())

    def write(target: Path, described: ImageSpec) -> None:
        save(graph, target, described)

    return publish(path, spec, golden, write, beside=(".bin",), measure=measuring(model, large_photos))


def halve_weights(model: ModelProto) -> None:
    """Store the weights of the graph's convolutions and linear layers in half precision, except the tone head's."""
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type in {"Conv", "Gemm"} and not node.name.startswith(HEAD)]
    weights = {constant.name: constant for constant in graph.initializer}
    for name in {node.input[1] for node in nodes}:
        half = numpy_helper.from_array(numpy_helper.to_array(weights[name]).astype(np.float16), f"{name}_half")
        graph.initializer.remove(weights[name])
        graph.initializer.append(half)
        graph.node.insert(0, helper.make_node("Cast", [half.name], [name], f"{name}_cast", to=TensorProto.FLOAT))
