"""Artifacts small enough to write in a test, and a runtime that is a numpy function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.sealing import sealed
from runtimes import METADATA_KEY, ImageSpec, Runtime, ShapeSet
from runtimes.golden import Case, Golden
from runtimes.likeness import Thresholds
from runtimes.ort import hash_graph

ANY_SHAPE = ShapeSet.between((1, 16, 16), (1, 256, 256), (4, 512, 512))


def make_spec(shapes: ShapeSet = ANY_SHAPE, **fields: Any) -> ImageSpec:
    return ImageSpec(
        **{
            "model": "tiny",
            "width": 4,
            "io": "float32",
            "shapes": shapes,
            "precision": "fp32",
            "weights_sha256": "0" * 64,
        }
        | fields
    )


def with_seal(spec: ImageSpec, content_sha256: str) -> ImageSpec:
    """The spec, sealed with one golden picture, for a file whose content has this digest."""
    black = np.zeros((16, 16, 3), np.uint8)
    return sealed(spec, content_sha256, Golden((Case("black", black, black),)), Thresholds())


def write_gain(
    path: Path, spec: ImageSpec, gain: float = 1.0, *, metadata: str | None = "spec", channels: int = 3
) -> Path:
    """An ONNX file that multiplies by `gain`; `metadata` is the spec's text, None for none."""
    uint8 = spec.io == "uint8"
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    axes: list[Any] = list(spec.shapes.fixed[0]) if len(spec.shapes.fixed) == 1 else ["N", "H", "W"]
    axes.insert(3 if uint8 else 1, channels)
    constants = {"gain": gain, "half": 0.5, "zero": 0.0, "top": 255.0 if uint8 else 1.0}
    source, target = spec.input_name, spec.output_name
    nodes = [helper.make_node("Mul", ["f", "gain"], ["g"]), helper.make_node("Clip", ["g", "zero", "top"], ["c"])]
    if uint8:
        nodes.insert(0, helper.make_node("Cast", [source], ["f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", ["c", "half"], ["h"]))
        nodes.append(helper.make_node("Floor", ["h"], ["r"]))
        nodes.append(helper.make_node("Cast", ["r"], [target], to=TensorProto.UINT8))
    else:
        nodes[0].input[0], nodes[1].output[0] = source, target
    graph = helper.make_graph(
        nodes,
        "gain",
        [helper.make_tensor_value_info(source, kind, axes)],
        [helper.make_tensor_value_info(target, kind, axes)],
        [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata == "spec":
        spec = with_seal(spec, hash_graph(model.SerializeToString()))
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json() if metadata == "spec" else metadata})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


class NumpyRuntime(Runtime):
    """A runtime whose network is a function of the batch (and the controls, if any); `seen` keeps the batches."""

    def __init__(self, function: Callable[..., NDArray[Any]], spec: ImageSpec | None = None) -> None:
        self.spec = spec or make_spec()
        self.path = Path("model.numpy")
        self.name, self.device = "numpy", "cpu"
        self.seen: list[NDArray[Any]] = []
        self._function = function

    def content_sha256(self) -> str:
        return "0" * 64

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        self.seen.append(inputs[self.spec.input_name])
        return self._function(*inputs.values())
