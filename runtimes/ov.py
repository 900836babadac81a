"""The wrapper of OpenVINO IR artifacts: an .xml file and a .bin file with the weights beside it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError
from runtimes.files import locked
from runtimes.ov_parts import BETWEEN, cut
from runtimes.spec import CONTROLS, MAPS, METADATA_KEY, TONE, ImageSpec
from runtimes.verdict import require_one_of

PRECISIONS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}  # by hint: OpenVINO's name of a device's capability
RT_INFO, RT_INFO_END = b"\n\t<rt_info>", b"\n\t</rt_info>"  # those of layers stand further in
WEIGHTS_KEY = "bncagan_weights_sha256"  # entry of rt_info: hash of the .bin that was written with the .xml


class OpenVinoRuntime(Runtime):
    """An OpenVINO IR, compiled for one device.

    threads: CPU threads of one inference; None lets OpenVINO choose (one per physical core).
    device: OpenVINO's name of a device, such as "CPU" or "GPU.1". A name that selects a device by itself, such as
        "AUTO", is refused.
    precision: precision of the convolutions and what lies between them, for any type of stored weights: "f32", or
        "bf16" or "f16", which are faster on some of the devices that have them but are not covered by the parity check;
        all else stays in f32. The attribute `device` ends in the precision that really runs.
    cache_dir: folder for compiled models, which make the next start faster; it is created if it does not exist. None
        for no cache.

    Errors: BackendMissingError. ArtifactError when one of the two files is damaged or missing, when the artifact has no
    spec or does not match it, when the device does not exist or cannot run it, when the precision is unknown, or when
    `threads` is below 1.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        device: str = "CPU",
        precision: str = "f32",
        cache_dir: str | Path | None = None,
    ) -> None:
        openvino = import_openvino()
        self.path = path
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        require_one_of(precision, tuple(PRECISIONS), "precision")
        options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = require_threads(threads)
        cache = None if cache_dir is None else _require_folder(Path(cache_dir))
        if cache is not None:
            options["CACHE_DIR"] = str(cache)
        core = openvino.Core()
        _require_device(core, device, path)
        model = _read(core, path)
        self.spec = read_spec(_entry(model, METADATA_KEY), path)
        _require_weights(model, path)
        _match(openvino, model, self.spec, path)
        low = precision != "f32" and PRECISIONS[precision] in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        parts = cut(openvino, model) if low else [model]
        # Without this hint OpenVINO computes in bf16 on CPUs that have it: openvinotoolkit/openvino.genai#164
        hints = [precision if part == BETWEEN else "f32" for part in range(len(parts))]
        # OpenVINO's cache fails when two processes store the same model at once ("cannot set permissions", 2026.4)
        with contextlib.nullcontext() if cache is None else locked(cache):
            self._compiled = [
                _compile(core, part, device, {"INFERENCE_PRECISION_HINT": hint, **options}, path)
                for part, hint in zip(parts, hints, strict=True)
            ]
        runs = self._compiled[BETWEEN if len(parts) > 1 else 0]
        self.device = f"{', '.join(runs.get_property('EXECUTION_DEVICES'))}, {_running_precision(runs)}"
        self._requests = [part.create_infer_request() for part in self._compiled]

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        values: dict[str, Any] = dict(inputs)
        for part, request in zip(self._compiled, self._requests, strict=True):
            given = [next(values[name] for name in end.names if name in values) for end in part.inputs]
            request.infer(given, share_inputs=True, share_outputs=True)
            values.update((name, request.get_tensor(end)) for end in part.outputs for name in end.names)
        return {
            name: np.array(values[name].data) for name in self.spec.outputs
        }  # copied: the next inference overwrites

    def content_sha256(self) -> str:
        """Return the SHA-256 of both files without the rt_info of the whole model, which holds the spec."""
        xml = self.path.read_bytes()
        start, end = xml.rfind(RT_INFO), xml.rfind(RT_INFO_END)
        return hashlib.sha256(xml[:start] + xml[end:] + hash_weights(self.path).encode()).hexdigest()

    def close(self) -> None:
        """Release the compiled model and its memory."""
        super().close()
        self._compiled, self._requests = [], []


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which would write to the home folder and use the network on import.

    If the telemetry package cannot be imported, OpenVINO uses a stub instead.

    Errors: BackendMissingError when OpenVINO is not installed.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        return import_backend(".xml")
    sys.modules[name] = None  # type: ignore[assignment] # None makes an import of the module fail
    try:
        return import_backend(".xml")
    finally:
        sys.modules.pop(name, None)


def weights_path(path: Path) -> Path:
    """Return the path of an IR's weights: that of the .xml with the suffix .bin."""
    return path.with_suffix(".bin")


def hash_weights(path: Path) -> str:
    """Return the SHA-256 of the .bin file that belongs to the .xml file at `path`."""
    return hashlib.sha256(weights_path(path).read_bytes()).hexdigest()


def save(model: Any, path: Path, spec: ImageSpec) -> None:
    """Write an `openvino.Model` and its spec as PATH.xml, and the weights as PATH.bin.

    Errors: OSError when OpenVINO writes less than all.
    """
    openvino = import_openvino()
    model.set_rt_info(spec.to_json(), METADATA_KEY)
    # Unless told not to, `save_model` halves all weights, the tone head's too: openvinotoolkit/openvino#22995
    openvino.save_model(model, path, compress_to_fp16=False)
    weights = hash_weights(path)
    model.set_rt_info(weights, WEIGHTS_KEY)  # known only after the .bin is written
    openvino.save_model(model, path, compress_to_fp16=False)
    if hash_weights(path) != weights or not path.read_bytes().rstrip().endswith(b"</net>"):
        raise OSError(errno.ENOSPC, "OpenVINO wrote a part of it and said nothing")


def _require_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cache_dir should be a folder but {folder} cannot be used as one ({error}); name another, or leave it out"
        ) from error
    return folder


def _require_device(core: Any, device: str, path: Path) -> None:
    """Check that the device exists; "GPU" means the first of several GPUs."""
    available = core.available_devices
    if device not in {name for found in available for name in (found, found.partition(".")[0])}:
        raise ArtifactError(
            f"{path} should run on one of OpenVINO's devices here ({', '.join(available)}) "
            f"but {device!r} was asked for; choose another, or install its driver"
        )


def _read(core: Any, path: Path) -> Any:
    """Read the model from the .xml and the .bin."""
    weights = weights_path(path)
    if not weights.exists():
        raise ArtifactError(
            f"{path} should have its weights beside it but {weights.name} does not exist; "
            "copy both files, or export it again"
        )
    try:
        with path.open("rb") as file:
            if b"<net" not in file.read(1000):  # else OpenVINO would try all formats and print their errors
                raise ArtifactError(f"{path} should be an OpenVINO IR but does not begin like one; export it again")
        return core.read_model(path, weights)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} should be an OpenVINO IR but does not load ({_reason(error)}); export it again"
        ) from error


def _entry(model: Any, key: str) -> str | None:
    """Return a text from the model's rt_info, or None if there is none."""
    value = model.get_rt_info(key).value if model.has_rt_info(key) else None
    return value if isinstance(value, str) else None


def _require_weights(model: Any, path: Path) -> None:
    """Check that the weights are from the same export; those of another export of the network would load, too."""
    if _entry(model, WEIGHTS_KEY) != hash_weights(path):
        raise ArtifactError(
            f"{path} should have the weights of the same export beside it but {weights_path(path).name} is from "
            "another one or was changed; copy both files of one export, or export it again"
        )


def _compile(core: Any, model: Any, device: str, options: dict[str, object], path: Path) -> Any:
    try:
        return core.compile_model(model, device, options)
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} should compile for {device} with {options} but does not ({_reason(error)}); "
            "try device='CPU', or fewer options"
        ) from error


def _running_precision(compiled: Any) -> str:
    """Return OpenVINO's name of the precision in which the compiled model computes."""
    return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())


def _match(openvino: ModuleType, model: Any, spec: ImageSpec, path: Path) -> None:
    """Check the input and the output of the graph against the spec; ArtifactError when they differ."""
    kind = {"float32": "f32", "uint8": "u8"}[spec.dtype]
    batches = _shapes_to_check(spec)
    shapes = [spec.output_shapes(*batch) for batch in batches]
    pictures = [[n, 3, h, w] if spec.layout == "NCHW" else [n, h, w, 3] for n, h, w in batches]
    wanted = f"{kind} {spec.layout} for {spec.shapes} (N x H x W)"
    inputs = {spec.input_name: (kind, pictures)}
    if spec.controls:
        inputs[CONTROLS] = ("f32", [[n, 2] for n, _, _ in batches])
    kinds = {spec.output_name: kind, TONE: "f32", MAPS: "f32"}
    outputs = {name: (kinds[name], [list(shape[name]) for shape in shapes]) for name in spec.outputs}
    for end, found, expected in (("input", model.inputs, inputs), ("output", model.outputs, outputs)):
        if not _agree(openvino, found, expected):
            came = ", ".join(
                f"{'/'.join(sorted(e.names))} {e.element_type.to_string()} {e.partial_shape}" for e in found
            )
            names = f"{('one', 'two', 'three')[len(expected) - 1]} {end}{'s' * (len(expected) > 1)}, "
            names += " and ".join(map(repr, expected))
            raise ArtifactError(
                f"{path} should have {names}, {wanted}, as its spec says, but has {came or 'none'}; export it again"
            )


def _agree(openvino: ModuleType, found: Sequence[Any], expected: Mapping[str, tuple[str, list[list[int]]]]) -> bool:
    """Whether the inputs or outputs of a graph are the expected ones: by name, the type and the shapes to accept."""
    if len(found) != len(expected):
        return False
    for end, (name, (kind, shapes)) in zip(found, expected.items(), strict=True):
        accepted = all(end.partial_shape.compatible(openvino.PartialShape(shape)) for shape in shapes)
        if name not in end.names or end.element_type.to_string() != kind or not accepted:
            return False
    return True


def _shapes_to_check(spec: ImageSpec) -> Sequence[tuple[int, int, int]]:
    """Return the shapes that a graph must accept: every fixed one, or the two ends of a range."""
    return spec.shapes.fixed or spec.shapes.bounds or ()


def _reason(error: Exception) -> str:
    """Return the last line of an OpenVINO error; the lines before it are places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
