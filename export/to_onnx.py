"""Folded generator -> ONNX: opset 18, one file; a fixed shape or a range; FP32, strongly typed FP16 or INT8 by Q/DQ."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import to_half
from export.artifact import describe, example_inputs, make_golden, require_generator, with_io
from export.engine_layers import HEAD
from export.fidelity import measuring
from export.int8.qdq import insert_qdq
from export.int8.scheme import ONNX_RUNTIME, Plan, Scheme
from export.int8.search import plan_int8
from export.publishing import Artifact, publish, require_target
from runtimes import METADATA_KEY, ImageSpec, ShapeSet
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.ort import hash_graph
from runtimes.spec import CONTROLS

# Names the model in the cache of ONNX Runtime's Core ML provider, which would serve an old model under the same name:
# microsoft/onnxruntime#23065. At most 64 letters and digits.
CACHE_KEY = "COREML_CACHE_KEY"
OPSET = 18  # supported by the parser of TensorRT 10.3 and of every later version


def to_onnx(
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
    scheme: Scheme = ONNX_RUNTIME,
) -> Artifact:
    """Export to ONNX, check with ONNX Runtime against the float32 `model`, and store the verdict in the file.

    path: file to write, .onnx.
    precision: "fp32"; "fp16" for half weights with all casts in the graph, so that TensorRT can build it unchanged;
    "int8" for static Q/DQ of as many convolutions as the limits allow.
    shapes: one fixed shape, or a range.
    io: type of the pixels, "float32" or "uint8".
    controls: give the graph the second input `controls`, strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.
    calibration: photographs to calibrate int8 on, instead of scikit-image's.
    scheme: how int8 convolutions are laid out.

    Errors: ParityError if the check fails (the file is kept as `.rejected`); ArtifactError for an unknown option or a
    wrong suffix.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_onnx(model, Path("small.onnx"), precision="fp16", shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.report.verdict.psnr_min)
    """
    require_target(path, FORMATS["onnx"], precision=precision, io=io, shapes=shapes)
    require_generator(model, precision)
    plan = plan_int8(model, shapes, calibration, scheme) if precision == "int8" else None
    spec = describe(
        model,
        precision=precision,
        shapes=shapes,
        io=io,
        controls=controls,
        output=output,
        tools=("torch", "onnx", "onnxscript"),
        details=plan.details if plan else None,
    )
    golden = make_golden(model, spec.shapes, photos, controls=spec.controls, output=spec.output)
    graph = convert(with_io(to_half(model) if precision == "fp16" else model, spec), spec, plan)

    del graph.metadata_props[:]
    key = hash_graph(graph.SerializeToString())

    def write(target: Path, described: ImageSpec) -> None:
        onnx.helper.set_model_props(graph, {METADATA_KEY: described.to_json(), CACHE_KEY: key})
        onnx.save(graph, target)

    return publish(path, spec, golden, write, measure=measuring(model, large_photos))


def convert(module: nn.Module, spec: ImageSpec, plan: Plan | None = None) -> onnx.ModelProto:
    """The ONNX graph of a module that has the spec's input and output, with the plan's convolutions in int8.

    The names of the tone head's nodes start with `HEAD`.
    """
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            example_inputs(spec),
            dynamo=True,
            # PyTorch 2.13 would write opset 20 and a second file with the weights: pytorch/pytorch#126479
            opset_version=OPSET,
            external_data=False,
            input_names=[spec.input_name, *([CONTROLS] if spec.controls else [])],
            output_names=list(spec.outputs),
            dynamic_shapes=dynamic_shapes(spec),
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:
        if _in_head(node):
            node.name = f"{HEAD}{node.name}"
    onnx.checker.check_model(graph, full_check=True)
    return graph if plan is None else insert_qdq(graph, plan)


def _in_head(node: onnx.NodeProto) -> bool:
    """Whether a node comes from the module `tone`, by the modules that the exporter notes for each node."""
    modules = [entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
    return any(name.rpartition(".")[2] == "tone" for names in modules for name in ast.literal_eval(names))


def dynamic_shapes(spec: ImageSpec) -> tuple[dict[int, object], ...] | None:
    """A range of shapes as torch.export wants it for each input, with H and W as multiples; None for a fixed shape."""
    if spec.shapes.bounds is None:
        return None
    (n0, h0, w0), (n1, h1, w1) = spec.shapes.bounds
    rows, columns = (1, 2) if spec.layout == "NHWC" else (2, 3)
    axes: dict[int, object] = {}
    if n0 != n1:
        axes[0] = torch.export.Dim("batch", min=n0, max=n1)
    for axis, name, low, high in ((rows, "height", h0, h1), (columns, "width", w0, w1)):
        if low == high:
            continue
        unit = torch.export.Dim(f"{name}_{spec.multiple}", min=low // spec.multiple, max=high // spec.multiple)
        axes[axis] = spec.multiple * unit
    return (axes, {axis: size for axis, size in axes.items() if axis == 0}) if spec.controls else (axes,)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's remarks about absent packages and its own deprecation warnings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch", UserWarning)  # of pictures and of controls
            yield
    finally:
        logger.setLevel(level)
