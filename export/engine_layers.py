"""The precision that a TensorRT engine really computes in, as its inspector reports it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from runtimes import ArtifactError, ImageSpec
from runtimes.plan_shapes import input_shapes, tensor_shape

WEIGHTED = ("convolution", "correlation", "gemm")  # kinds of layers with weights, as the versions of TensorRT call them
HEAD = "tone_head/"  # start of the names of the tone head's nodes, which are float32 in every precision
FUSED = ("myelin", "foreignnode")  # kinds of layers into which a part of the network was fused
# Parts of the names of types and tensor formats; a name stands before the shorter ones that it contains.
TYPES = {
    "int8": "int8",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "half": "half",
    "fp16": "half",
    "float": "float",
    "fp32": "float",
}


def inspect(trt: ModuleType, engine: Any, spec: ImageSpec) -> str:
    """The inspector's JSON about the layers of an engine, which must be built with detailed profiling verbosity."""
    inspector = engine.create_engine_inspector()
    if spec.shapes.optimum is not None:  # with a range, the inspector reports types only for one chosen shape
        context = engine.create_execution_context()
        shapes = input_shapes(spec, tensor_shape(spec, spec.shapes.optimum))
        if context is not None and all(context.set_input_shape(name, shape) for name, shape in shapes.items()):
            inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def layer_types(report: str, path: Path) -> Counter[str]:
    """Count the layers with weights by the type they compute in, from the inspector's JSON.

    Layers of the tone head alone are not counted: they are float32 in every precision. The type is that of the weights,
    or else that of the first input, or else "unknown". A layer into which TensorRT
    fused a part of the network is "unknown" too: its entry names neither its convolutions nor their type, and its input
    may be the float picture.

    Errors: ArtifactError if the report lists no layers.
    """
    try:
        layers = [layer for layer in json.loads(report)["Layers"] if isinstance(layer, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} should have layers that TensorRT lists as JSON but it lists {report[:60]!r}; "
            "build it with another TensorRT version"
        ) from error
    # Myelin may fuse all convolutions into layers that name none: NVIDIA/TensorRT#3768, NVIDIA/TensorRT#4236
    counted = [layer for layer in layers if HEAD not in str(layer.get("Name"))]
    weighted = Counter(_type(layer) for layer in counted if any(kind in _kind(layer) for kind in WEIGHTED))
    fused = sum(any(kind in f"{_kind(layer)} {layer.get('Name')}".lower() for kind in FUSED) for layer in layers)
    return weighted + Counter(unknown=fused)


def computes_in(layers: Counter[str], precision: str, *, weak: bool) -> bool | None:
    """Whether an engine with these layers computes in `precision`; None if the inspector does not show it.

    fp32: every known layer is float. fp16: no layer is float; with `weak` typing, where TensorRT chooses the types,
    more layers are half than float. int8: at least one layer is int8.
    """
    known = set(layers) - {"unknown"}
    if not known:
        return None
    right = {
        "fp32": known == {"float"},
        "fp16": layers["half"] > layers["float"] and (weak or not layers["float"]),
        "int8": layers["int8"] > 0,
    }
    if right[precision]:
        return True
    missing_may_be_unknown = layers["unknown"] > 0 and (weak or precision == "int8")
    return None if missing_may_be_unknown else False


def require_layers(layers: Counter[str], precision: str, path: Path, *, weak: bool) -> str:
    """Refuse an engine that does not compute in `precision`; returns a description of its layers for people.

    Errors: ArtifactError with the types that were found.
    """
    answer = computes_in(layers, precision, weak=weak)
    found = ", ".join(f"{count} {kind}" for kind, count in layers.most_common()) or "none shown"
    if answer is False:
        raise ArtifactError(
            f"{path} should compute in {precision} but TensorRT built its layers with weights as {found}; "
            "build it from an ONNX file of that precision, without weak typing"
        )
    return (
        found if answer else f"{found}: TensorRT fused layers, so it cannot be told whether they compute in {precision}"
    )


def _kind(layer: Mapping[str, Any]) -> str:
    return f"{layer.get('LayerType')} {layer.get('ParameterType')}".lower()


def _type(layer: Mapping[str, Any]) -> str:
    weights, inputs = layer.get("Weights"), layer.get("Inputs")
    told = [weights.get("Type")] if isinstance(weights, dict) else []
    told += [end.get("Format/Datatype") for end in inputs[:1]] if isinstance(inputs, list) else []
    names = [str(name).lower() for name in told]
    return next((kind for name in names for word, kind in TYPES.items() if word in name), "unknown")
