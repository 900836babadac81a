"""A LiteRT file small enough to write in a test, without a converter."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from runtimes import ImageSpec
from runtimes.litert import MARK, join
from tests.tiny_models import with_seal


def write_tflite(path: Path, spec: ImageSpec, gain: float = 1.0, *, metadata: bool = True) -> Path:
    """A sealed file that multiplies float32 pictures of the spec's shape by `gain`, or one without a spec."""
    s: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    n, h, w = spec.shapes.fixed[0]
    names = {spec.input_name: [n, 3, h, w], "gain": [1], spec.output_name: [n, 3, h, w]}
    buffers = [s.BufferT(), s.BufferT(), s.BufferT(data=np.float32([gain]).view(np.uint8)), s.BufferT()]
    tensors = [
        s.TensorT(name=name, shape=shape, type=s.TensorType.FLOAT32, buffer=number)
        for number, (name, shape) in enumerate(names.items(), 1)
    ]
    kind = s.OperatorCodeT(builtinCode=s.BuiltinOperator.MUL, deprecatedBuiltinCode=s.BuiltinOperator.MUL)
    options = {"builtinOptionsType": s.BuiltinOptions.MulOptions, "builtinOptions": s.MulOptionsT()}
    graph = s.SubGraphT(
        tensors=tensors, inputs=[0], outputs=[2], operators=[s.OperatorT(inputs=[0, 1], outputs=[2], **options)]
    )
    signature = s.SignatureDefT(
        inputs=[s.TensorMapT(name=spec.input_name, tensorIndex=0)],
        outputs=[s.TensorMapT(name=spec.output_name, tensorIndex=2)],
        signatureKey="serving_default",
    )
    model = s.ModelT(version=3, operatorCodes=[kind], subgraphs=[graph], buffers=buffers, signatureDefs=[signature])
    builder = importlib.import_module("flatbuffers").Builder(0)
    builder.Finish(model.Pack(builder), MARK)
    written = bytes(builder.Output())
    if metadata:
        join(written, with_seal(spec, hashlib.sha256(written).hexdigest()).to_json(), path)
    else:
        path.write_bytes(written)
    return path
