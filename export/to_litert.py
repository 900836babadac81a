"""Folded generator -> LiteRT: a .tflite, converted in an environment of its own, since litert-torch needs its torch."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bncagan.network.folded import FoldedGenerator
from export.artifact import describe, example_inputs, make_golden, require_generator, with_io
from export.exporters import LITERT_PYTHON
from export.fidelity import measuring
from export.publishing import Artifact, publish, require_target
from runtimes import BackendMissingError, ImageSpec, ShapeSet
from runtimes.backends import import_backend
from runtimes.errors import ArtifactError
from runtimes.formats import FORMATS
from runtimes.image import Pixels
from runtimes.litert import MARK, join
from runtimes.spec import CONTROLS

DEQUANTIZE = 6  # number of the operator in every version of the schema
CONVERTER = Path(__file__).parent / "litert_converter.py"


def to_litert(
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
    litert_python: Path | None = None,
) -> Artifact:
    """Export to LiteRT, check by running the file against the float32 `model`, and store the verdict in the file.

    path: file to write, .tflite.
    precision: "fp32"; "fp16" for the weights of convolutions stored in half precision, while a CPU computes in float32;
    a GPU may compute in half.
    shapes: one fixed shape.
    io: type of the pixels, "float32" or "uint8".
    controls: give the graph the second input `controls`, strength and exposure of each picture.
    output: "picture", "maps" (the change in a form that applies at any size, docs/maps.md), or "both".
    photos: pictures to check on, instead of scikit-image's; extreme pictures are always added.
    large_photos: photographs on which maps are compared with the network at full size; None for no comparison.
    litert_python: the Python that has litert-torch; None for that of `make litert`.

    Errors: ParityError if the check fails (the file is kept as `.rejected`); BackendMissingError without
    ai-edge-litert or without that Python; ArtifactError for an unknown option or a wrong suffix, or if litert-torch
    cannot convert the network.

    Example:

        model = fold(load_generator("small")[0])
        artifact = to_litert(model, Path("small.tflite"), precision="fp16", shapes=ShapeSet.of((1, 512, 512)))
        print(artifact.report.verdict.psnr_min)
    """
    require_target(path, FORMATS["litert"], precision=precision, io=io, shapes=shapes)
    require_generator(model, precision)
    import_backend(".tflite")
    python = _require_python(litert_python or LITERT_PYTHON)
    spec = describe(
        model,
        precision=precision,
        shapes=shapes,
        io=io,
        controls=controls,
        output=output,
        tools=("torch", "ai-edge-litert"),
    )
    data, tools = convert(with_io(model, spec), spec, python)
    if precision == "fp16":
        data = halve_weights(data)
    spec = dataclasses.replace(spec, tools={**spec.tools, **tools})
    golden = make_golden(model, shapes, photos, controls=controls, output=output)

    def write(target: Path, described: ImageSpec) -> None:
        join(data, described.to_json(), target)

    return publish(path, spec, golden, write, measure=measuring(model, large_photos))


def convert(module: nn.Module, spec: ImageSpec, python: Path) -> tuple[bytes, dict[str, str]]:
    """The LiteRT model of a module that has the spec's inputs and outputs, and the versions of the converter."""
    names = [spec.input_name, *([CONTROLS] if spec.controls else [])]
    with tempfile.TemporaryDirectory() as folder:
        program, model = Path(folder) / "program.pt2", Path(folder) / "model.tflite"
        torch.export.save(torch.export.export(module.eval(), example_inputs(spec)), program)
        done = subprocess.run(
            # -I: the environment of this process is not that of the other Python
            [python, "-I", CONVERTER, program, model, ",".join(names), ",".join(spec.outputs)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not model.exists():
            reason = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
            raise ArtifactError(
                f"{python} should convert the network with litert-torch but failed ({reason}); "
                "make its environment again: make litert"
            )
        tools: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
        return model.read_bytes(), tools


def halve_weights(model: bytes) -> bytes:
    """Store the weights of the convolutions in half precision, as TensorFlow's converter does.

    An operator DEQUANTIZE before the others makes them float32 again. A CPU does that once; a GPU takes the halves. All
    else, the tone head's linear layers too, stays in float32. A module in half precision cannot be converted:
    MIRROR_PAD, the reflection padding, takes no halves.
    """
    schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    convolutions = {
        number for number, kind in enumerate(graph.operatorCodes) if kind.builtinCode == schema.BuiltinOperator.CONV_2D
    }
    to_float = len(graph.operatorCodes)
    graph.operatorCodes.append(
        schema.OperatorCodeT(builtinCode=DEQUANTIZE, deprecatedBuiltinCode=DEQUANTIZE, version=3)
    )
    (part,) = graph.subgraphs
    weights = dict.fromkeys(int(node.inputs[1]) for node in part.operators if node.opcodeIndex in convolutions)
    casts = []
    for number in weights:
        tensor = part.tensors[number]
        data = np.asarray(graph.buffers[tensor.buffer].data, np.uint8).view("<f4").astype("<f2").view(np.uint8)
        graph.buffers.append(schema.BufferT(data=data))
        half = schema.TensorT(
            shape=tensor.shape,
            type=schema.TensorType.FLOAT16,
            name=f"{tensor.name.decode()}_half",
            buffer=len(graph.buffers) - 1,
            hasRank=True,
        )
        tensor.buffer = 0  # which is empty: the tensor is computed
        part.tensors.append(half)
        casts.append(schema.OperatorT(opcodeIndex=to_float, inputs=[len(part.tensors) - 1], outputs=[number]))
    part.operators = casts + part.operators
    used = {tensor.buffer for tensor in part.tensors} | {entry.buffer for entry in graph.metadata or []}
    for number in set(range(len(graph.buffers))) - used:
        graph.buffers[number].data = None
    builder: Any = importlib.import_module("flatbuffers").Builder(len(model))
    builder.Finish(graph.Pack(builder), MARK)
    return bytes(builder.Output())


def _require_python(python: Path) -> Path:
    if not python.is_file():
        raise BackendMissingError(
            f"{python} should be the Python that has litert-torch but does not exist; "
            "run `make litert` in the project's folder, or name another with --litert-python"
        )
    return python
