"""Convert a network to ONNX once in a test session: tracing takes seconds, and many tests export the same one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import onnx
from torch import nn

import export.to_onnx
from export.int8.scheme import Plan
from runtimes import ImageSpec

OURS = {"bncagan", "export", "torch"}  # a class of another package, such as a planted fault, is always converted
PLAIN = (bool, int, float, str, tuple)
Convert = Callable[..., onnx.ModelProto]


def fingerprint(module: nn.Module, spec: ImageSpec) -> str | None:
    """What decides the graph: classes, settings and tensors of every part, and the ends; None for a foreign part."""
    digest = hashlib.sha256(
        repr(
            (spec.io, spec.controls, spec.shapes, spec.multiple, spec.layout, spec.input_name, spec.output_name)
        ).encode()
    )
    for name, part in module.named_modules():
        if type(part).__module__.split(".")[0] not in OURS:
            return None
        settings = sorted((key, value) for key, value in vars(part).items() if isinstance(value, PLAIN))
        digest.update(repr((name, type(part), settings)).encode())
    for name, tensor in (*module.named_parameters(remove_duplicate=False), *module.named_buffers()):
        digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def converting_once(honest: Convert, folder: Path) -> Convert:
    """`honest`, which is `export.to_onnx.convert`, with its float graphs kept in a folder that processes may share."""

    def convert(module: nn.Module, spec: ImageSpec, plan: Plan | None = None) -> onnx.ModelProto:
        key = fingerprint(module, spec)
        if key is None:
            return honest(module, spec, plan)
        kept = folder / f"{key}.onnx"
        if not kept.exists():
            partial = kept.with_suffix(f".{os.getpid()}")
            partial.write_bytes(honest(module, spec).SerializeToString())
            partial.rename(kept)
        graph = onnx.load(kept)
        return graph if plan is None else export.to_onnx.insert_qdq(graph, plan)

    return convert
