"""The wrapper of .onnx artifacts, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import MAP_ROWS, TONE_CONSTANTS
from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError, failing
from runtimes.spec import CONTROLS, MAPS, METADATA_KEY, TONE, ImageSpec

CPU = "CPUExecutionProvider"
VARINT, LENGTH = 0, 2  # kinds of fields of a protobuf message
SPEC_TAG = 14 << 3 | LENGTH  # metadata_props
SPEC_ENTRY = b"\n" + bytes([len(METADATA_KEY)]) + METADATA_KEY.encode() + b"\x12"  # how the spec's entry begins


class OnnxRuntime(Runtime):
    """An ONNX artifact in an ONNX Runtime session.

    threads: CPU threads of one operator; None lets ONNX Runtime choose (one per physical core).
    providers: execution providers in order of preference, such as ["CUDAExecutionProvider"]; None for the CPU. If the
        first one does not start, opening fails; there is no silent fall-back to the CPU.

    Threads: several threads may call `infer` and `enhance` at once, but not while another calls `close`.

    Errors: BackendMissingError. ArtifactError when the file is damaged, has no spec or does not match it, when a
    provider is unknown or does not start, or when `threads` is below 1.
    """

    concurrent = True

    def __init__(self, path: Path, *, threads: int | None = None, providers: Sequence[str] | None = None) -> None:
        ort = import_backend(".onnx")
        ort.disable_telemetry_events()
        self.path = path
        self.name = f"onnxruntime {ort.__version__}"
        wanted = _providers(ort, path, providers)
        options = ort.SessionOptions()
        options.log_severity_level = 4  # nothing: an error is raised with the same text
        options.enable_mem_pattern = False  # planned buffers take nearly twice the memory, and no less time
        if threads is not None:
            options.intra_op_num_threads = require_threads(threads)
        self._session = _open(ort, path, options, wanted)
        self.device = self._session.get_providers()[0]
        if self.device != wanted[0]:
            raise ArtifactError(
                f"{path} should run on {wanted[0]} but onnxruntime could only start {self.device}; "
                f"install that provider's libraries, or pass providers=[{CPU!r}]"
            )
        self.spec = read_spec(self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), path)
        inputs = self._session.get_inputs()
        if self.spec.controls:
            inputs = _without_controls(inputs, path)
        _match(inputs, (self.spec.input_name,), self.spec, path, "input")
        _match(self._session.get_outputs(), self.spec.outputs, self.spec, path, "output")

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        names = self.spec.outputs
        results = self._session.run(list(names), dict(inputs))
        return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}

    def content_sha256(self) -> str:
        """Return the SHA-256 of the file without the spec in its metadata."""
        return hash_graph(self.path.read_bytes())

    def close(self) -> None:
        """Release the session and its memory."""
        super().close()
        self._session = None


def hash_graph(model: bytes) -> str:
    """Return the SHA-256 of a serialized ModelProto without its entry of the metadata that holds the spec.

    Errors: ArtifactError when it is no such message.
    """
    # The package onnx is not here to parse it. https://protobuf.dev/programming-guides/encoding, fields of onnx.proto
    digest, start = hashlib.sha256(), 0
    while start < len(model):
        tag, end = _varint(model, start)
        value, end = _varint(model, end)
        if tag & 7 not in {VARINT, LENGTH}:
            raise ArtifactError(f"the ONNX model should hold known fields only but has {tag:#x}; export it again")
        payload = end
        end += value if tag & 7 == LENGTH else 0
        if tag != SPEC_TAG or not model.startswith(SPEC_ENTRY, payload):
            digest.update(memoryview(model)[start:end])
        start = end
    return digest.hexdigest()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of variable length at an offset, and the offset after it."""
    number = shift = 0
    while at < len(data):
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at
    raise ArtifactError("the ONNX model should be a whole file but ends within a number; export it again")


def _providers(ort: ModuleType, path: Path, providers: Sequence[str] | None) -> list[str]:
    """Return the providers to ask for, with the CPU at the end; ArtifactError if one is unknown to ONNX Runtime."""
    available = ort.get_available_providers()
    if isinstance(providers, str) or (providers is not None and not providers):
        raise ArtifactError(
            f"providers should be a list of names but is {providers!r}; choose from {', '.join(available)}"
        )
    wanted = [CPU] if providers is None else list(providers)
    unknown = [name for name in wanted if name not in available]
    if unknown:
        raise ArtifactError(
            f"{path} should run on providers of this onnxruntime ({', '.join(available)}) "
            f"but {', '.join(map(str, unknown))} was asked for; choose another, or install a build that has it"
        )
    return wanted if CPU in wanted else [*wanted, CPU]


def _open(ort: ModuleType, path: Path, options: Any, providers: list[str]) -> Any:
    with failing(path, "be an ONNX model", "export it again", but="does not load"):
        # With its fall-back, ONNX Runtime prints a banner and tries again
        return ort.InferenceSession(path, sess_options=options, providers=providers, enable_fallback=0)


def _without_controls(inputs: Sequence[Any], path: Path) -> list[Any]:
    """Return the inputs other than `controls`; ArtifactError when that one is missing or another than float32 N x 2."""
    others = [found for found in inputs if found.name != CONTROLS]
    controls = [found for found in inputs if found.name == CONTROLS and found.type == "tensor(float)"]
    if len(controls) != 1 or len(controls[0].shape) != 2 or controls[0].shape[1] != 2:
        raise ArtifactError(
            f"{path} should have the input {CONTROLS!r}, tensor(float) N x 2, as its spec says, "
            f"but has {_shown(inputs)}; export it again"
        )
    return others


def _match(ends: Sequence[Any], names: tuple[str, ...], spec: ImageSpec, path: Path, end: str) -> None:
    """Check the inputs or outputs of the graph against their names in the spec. `end` is "input" or "output".

    Errors: ArtifactError when they differ.
    """
    types = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
    channel = 1 if spec.layout == "NCHW" else 3
    # For each name: the type, the number of axes, and an axis with its size
    wanted = dict.fromkeys(names, (types[spec.dtype], 4, channel, 3))
    wanted |= {TONE: (types["float32"], 2, 1, TONE_CONSTANTS), MAPS: (types["float32"], 4, 1, MAP_ROWS)}
    if tuple(found.name for found in ends) == names and all(_fits(found, *wanted[found.name]) for found in ends):
        return
    said = f"{names[0]!r} {types[spec.dtype]} {spec.layout}" if len(names) == 1 else ", ".join(names)
    raise ArtifactError(
        f"{path} should have {_count(len(names), end)}, {said}, as its spec says, but has {_shown(ends)}; "
        "export it again"
    )


def _fits(end: Any, kind: str, axes: int, axis: int, size: int) -> bool:
    """Whether an input or output has this type and number of axes, and on `axis` this size or a free one."""
    return (
        end.type == kind
        and len(end.shape) == axes
        and (end.shape[axis] == size or not isinstance(end.shape[axis], int))
    )


def _count(number: int, end: str) -> str:
    return f"one {end}" if number == 1 else f"{number} {end}s"


def _shown(ends: Sequence[Any]) -> str:
    """Describe inputs or outputs by name, type and shape."""
    return ", ".join(f"{found.name} {found.type} {found.shape}" for found in ends) or "none"
