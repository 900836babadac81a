"""Run an OpenVINO IR, an .xml artifact with its weights in the .bin beside it, with OpenVINO."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend, read_spec, require_threads
from runtimes.base import Runtime
from runtimes.errors import ArtifactError
from runtimes.spec import METADATA_KEY, ImageSpec
from runtimes.verdict import require_one_of

PRECISIONS = ("f32", "bf16")
WEIGHTS_KEY = "bncagan_weights_sha256"  # rt_info entry with the hash of the .bin that the .xml was written with


class OpenVinoRuntime(Runtime):
    """An OpenVINO IR, compiled for one device.

    threads: CPU threads of one inference; None leaves it to OpenVINO (one per physical core).
    device: in OpenVINO's words, e.g. "CPU" or "GPU.1"; one that chooses among others ("AUTO") is refused.
    precision: of the arithmetic, whatever the type of the stored weights: "f32", or "bf16", faster where the CPU has
    it and outside of what the parity check promised. OpenVINO takes it as a hint; `device` ends in what really runs.
    cache_dir: folder for compiled models, created if need be, which makes the next start faster; None for none.

    Threads: `infer` and `enhance` may be called from several threads at once, and take turns at the one inference
    request; `close` may not meet them.

    Errors: BackendMissingError; ArtifactError for a damaged or missing file of the two, a file without or unlike its
    spec, a device that is absent or cannot run it, an unknown precision, or a number of threads below 1.
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
        require_one_of(precision, PRECISIONS, "precision")
        options: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = require_threads(threads)
        if cache_dir is not None:
            options["CACHE_DIR"] = str(_require_folder(Path(cache_dir)))
        core = openvino.Core()
        _require_device(core, device, path)
        model = _read(core, path)
        self.spec = read_spec(_entry(model, METADATA_KEY), path)
        _require_weights(model, path)
        _match(openvino, model, self.spec, path)
        compiled = _compile(core, model, device, options, path)
        self.device = f"{', '.join(compiled.get_property('EXECUTION_DEVICES'))}, {_running_precision(compiled)}"
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        with self._turn:
            results = self._request.infer({self.spec.input_name: batch}, share_inputs=True)  # the outputs are copied
        return np.asarray(results[self.spec.output_name])

    def close(self) -> None:
        """Release the compiled model."""
        super().close()
        self._request = None


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would write to the home folder and call out on import.

    Where the telemetry package cannot be imported, OpenVINO uses a stub of its own.

    Errors: BackendMissingError when OpenVINO is not installed.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        return import_backend(".xml")
    sys.modules[name] = None  # type: ignore[assignment] # how Python marks a module that must not be imported
    try:
        return import_backend(".xml")
    finally:
        sys.modules.pop(name, None)


def weights_path(path: Path) -> Path:
    """Where the weights of an IR lie: beside the .xml, under its name with .bin."""
    return path.with_suffix(".bin")


def hash_weights(path: Path) -> str:
    """SHA-256 of the .bin of the IR at `path`."""
    return hashlib.sha256(weights_path(path).read_bytes()).hexdigest()


def _require_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cache_dir should be a folder but {folder} cannot be one ({error}); name another, or leave it out"
        ) from error
    return folder


def _require_device(core: Any, device: str, path: Path) -> None:
    """Refuse a device that is not here; "GPU" stands for the first of several."""
    available = core.available_devices
    if device not in {name for found in available for name in (found, found.partition(".")[0])}:
        raise ArtifactError(
            f"{path} should run on a device that openvino has here ({', '.join(available)}) but {device!r} is none; "
            "choose another, or install its driver"
        )


def _read(core: Any, path: Path) -> Any:
    """The model in the two files."""
    weights = weights_path(path)
    if not weights.exists():
        raise ArtifactError(
            f"{path} should have its weights beside it but {weights.name} does not exist; copy both files, "
            "or export it again"
        )
    try:
        with path.open("rb") as file:
            if b"<net" not in file.read(1000):  # OpenVINO would try every other format, and print what they say
                raise ArtifactError(f"{path} should be an OpenVINO IR but does not begin like one; export it again")
        return core.read_model(path, weights)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} should be an OpenVINO IR but does not load ({_reason(error)}); export it again"
        ) from error


def _entry(model: Any, key: str) -> str | None:
    """A text of the model's rt_info; None when there is none."""
    value = model.get_rt_info(key).value if model.has_rt_info(key) else None
    return value if isinstance(value, str) else None


def _require_weights(model: Any, path: Path) -> None:
    """Refuse weights of another export: of the same network, they would fit."""
    if _entry(model, WEIGHTS_KEY) != hash_weights(path):
        raise ArtifactError(
            f"{path} should have beside it the weights it was exported with but {weights_path(path).name} is another "
            "file or was changed; copy both files of one export, or export it again"
        )


def _compile(core: Any, model: Any, device: str, options: dict[str, object], path: Path) -> Any:
    try:
        return core.compile_model(model, device, options)
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} should run on {device} but openvino cannot compile it there with {options} ({_reason(error)}); "
            "try device='CPU', or fewer options"
        ) from error


def _running_precision(compiled: Any) -> str:
    """The precision of the compiled arithmetic, in OpenVINO's words."""
    return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())


def _match(openvino: ModuleType, model: Any, spec: ImageSpec, path: Path) -> None:
    """Refuse a graph whose input or output is not what the spec says it is."""
    kind = {"float32": "f32", "uint8": "u8"}[spec.dtype]
    shapes = [[n, 3, h, w] if spec.layout == "NCHW" else [n, h, w, 3] for n, h, w in _telling_shapes(spec)]
    for end, found, name in (("input", model.inputs, spec.input_name), ("output", model.outputs, spec.output_name)):
        if len(found) == 1 and name in found[0].names and found[0].element_type.to_string() == kind:
            taken = found[0].partial_shape
            if all(taken.compatible(openvino.PartialShape(shape)) for shape in shapes):
                continue
        came = ", ".join(f"{'/'.join(sorted(e.names))} {e.element_type.to_string()} {e.partial_shape}" for e in found)
        raise ArtifactError(
            f"{path} should have one {end}, {name!r} {kind} {spec.layout} for {spec.shapes} (N x H x W), "
            f"as its spec says, but {came}; export it again"
        )


def _telling_shapes(spec: ImageSpec) -> Sequence[tuple[int, int, int]]:
    """The shapes that tell whether a graph fits: every fixed one, or the ends of a range."""
    return spec.shapes.fixed or spec.shapes.bounds or ()


def _reason(error: Exception) -> str:
    """What went wrong: the last line of an OpenVINO error, which begins with places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
