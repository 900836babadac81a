"""Run a TensorRT plan, an .engine artifact with its spec in the .engine.json beside it, with TensorRT."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend, read_spec
from runtimes.base import Runtime
from runtimes.cuda_memory import Cuda, Gpu
from runtimes.errors import ArtifactError, BackendMissingError
from runtimes.schema import build, parse_object
from runtimes.spec import ImageSpec, Shape
from runtimes.verdict import FORMAT_VERSION

SIDECAR = ".engine.json"
KEPT_MESSAGES = 3  # of TensorRT's errors, for our own sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What lies beside a plan, because NVIDIA's tools load no plan with a header: spec, origin and hash.

    tensorrt, gpu, compute_capability: where it was built, and alone runs.
    onnx_sha256, plan_sha256: of the file that it was built from, and of the plan.
    """

    spec: ImageSpec
    tensorrt: str
    gpu: str
    compute_capability: str
    onnx_sha256: str
    plan_sha256: str

    @property
    def home(self) -> Gpu:
        """Where the plan was built."""
        return Gpu(self.gpu, self.compute_capability)

    def to_json(self) -> str:
        """The record as JSON text."""
        fields = dataclasses.asdict(self) | {"spec": json.loads(self.spec.to_json())}
        return json.dumps(fields, indent=2, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> PlanRecord:
        """The record of the plan at `path`, parsed as data.

        Errors: ArtifactError, naming the file, when it is missing, damaged, or says that the parity check failed.
        """
        sidecar = sidecar_path(path)
        try:
            fields = parse_object(sidecar.read_text(encoding="utf-8"), str(sidecar))
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path} should have its spec beside it but {sidecar.name} does not exist; copy both files, "
                "or export it again"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{sidecar} should be a JSON file but is not ({error}); export it again") from error
        spec = read_spec(json.dumps(fields.get("spec")), sidecar)
        newer = spec.format_version if spec.format_version > FORMAT_VERSION else None
        return build(cls, fields | {"spec": spec}, str(sidecar), newer=newer)


class TensorRtRuntime(Runtime):
    """A TensorRT plan on one GPU, of the kind and the TensorRT version that it was built with.

    Memory for the largest shape is taken when it is opened, and given back by `close`.

    cuda_graph: enqueue the work of a fixed shape as one CUDA graph, captured on opening. A plan with a range of shapes
    runs without. mapped_memory: let the GPU read and write the host's memory itself, for boards on which both share
    one DRAM (Jetson). device: number of the GPU.

    Errors: BackendMissingError without TensorRT or cuda-python; ArtifactError for a plan without, or unlike, what lies
    beside it, one that was built elsewhere, or a CUDA call that fails.
    """

    def __init__(
        self, path: Path, *, cuda_graph: bool = True, mapped_memory: bool = False, device: int | str = 0
    ) -> None:
        trt = import_tensorrt()
        self.path = path
        self.name = f"tensorrt {trt.__version__}"
        record = PlanRecord.read(path)
        plan = _read_plan(path, record)
        self.spec = record.spec
        with contextlib.ExitStack() as undo:
            self._cuda = undo.enter_context(contextlib.closing(Cuda(_ordinal(device))))
            gpu = self._cuda.gpu()
            self.device = str(gpu)
            _require_home(path, record, trt.__version__, gpu)
            self._engine = deserialize(trt, plan, path)
            _match(trt, self._engine, self.spec, path)
            self._log = logger_of(trt)
            self._context = self._done(self._engine.create_execution_context(), "create an execution context")
            size = math.prod(_largest(self.spec)) * np.dtype(self.spec.dtype).itemsize
            self._input = self._cuda.buffer(size, mapped=mapped_memory)
            self._output = self._cuda.buffer(size, mapped=mapped_memory)
            for name, buffer in ((self.spec.input_name, self._input), (self.spec.output_name, self._output)):
                self._done(self._context.set_tensor_address(name, buffer.device), f"bind {name!r}")
            self._shape: tuple[int, ...] = ()
            self._launch = self._enqueue
            if cuda_graph and self.spec.shapes.fixed:
                self._capture()
            undo.pop_all()

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        self._cuda.select()
        self._take(batch.shape)
        self._input.host[: batch.nbytes] = batch.reshape(-1).view(np.uint8)
        self._launch()
        self._cuda.synchronize()
        result: NDArray[Any] = self._output.host[: batch.nbytes].copy().view(batch.dtype).reshape(batch.shape)
        return result

    def close(self) -> None:
        """Release engine and memory."""
        if not self._closed:
            self._context = self._engine = None
            self._cuda.close()
        super().close()

    def _take(self, shape: tuple[int, ...]) -> None:
        """Make the context ready for batches of this shape."""
        if shape == self._shape:
            return
        name = self.spec.output_name
        self._done(self._context.set_input_shape(self.spec.input_name, shape), f"take the shape {shape}")
        found = tuple(self._context.get_tensor_shape(name))
        if found != shape:
            raise ArtifactError(f"{self.path} should answer {shape} with that shape but plans {found}; export it again")
        self._shape = shape

    def _enqueue(self) -> None:
        """Put the copies of one batch, and the work between them, on the stream."""
        size = math.prod(self._shape) * np.dtype(self.spec.dtype).itemsize
        self._cuda.upload(self._input, size)
        self._done(self._context.execute_async_v3(self._cuda.stream), "enqueue its work")
        self._cuda.download(self._output, size)

    def _capture(self) -> None:
        """Run once, which settles what TensorRT defers to the first run, and keep the same work as a CUDA graph."""
        self._take(tensor_shape(self.spec, self.spec.shapes.fixed[0]))
        self._enqueue()
        self._cuda.synchronize()
        try:
            self._launch = self._cuda.capture(self._enqueue)
        except ArtifactError as error:
            raise ArtifactError(
                f"{self.path} should become a CUDA graph but does not ({error}); open it with cuda_graph=False"
            ) from error

    def _done(self, result: Any, what: str) -> Any:
        """The result itself; ArtifactError when it is None or False, TensorRT's ways of having failed."""
        if result is None or result is False:
            raise ArtifactError(
                f"{self.path} should {what} but TensorRT could not ({said(self._log)}); "
                "check the free memory, or build it again on this device"
            )
        return result


def _ordinal(device: int | str) -> int:
    """The number of a GPU."""
    if not str(device).isdigit():
        raise ArtifactError(
            f"device should be the number of a GPU, from 0, but is {device!r}; leave it out for the first"
        )
    return int(device)


def import_tensorrt() -> ModuleType:
    """TensorRT's Python package.

    Errors: BackendMissingError, naming the extra and where TensorRT itself comes from, when it is not installed.
    """
    try:
        return import_backend(".engine")
    except BackendMissingError as error:
        raise BackendMissingError(
            f"{error}, and TensorRT itself from JetPack (a virtual environment needs --system-site-packages) "
            "or NVIDIA's package for your CUDA version"
        ) from error


def sidecar_path(path: Path) -> Path:
    """Where the record of a plan lies: beside it, under its name with .engine.json."""
    return path.with_suffix(SIDECAR)


def tensor_shape(spec: ImageSpec, shape: Shape) -> tuple[int, ...]:
    """The axes of a batch of shape (N, H, W) in the spec's layout."""
    n, h, w = shape
    return (n, 3, h, w) if spec.layout == "NCHW" else (n, h, w, 3)


@functools.cache
def logger_of(trt: ModuleType) -> Any:
    """The logger of this process, which keeps TensorRT's last errors: TensorRT goes on using the first one it met."""

    class LastErrors(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.kept: collections.deque[str] = collections.deque(maxlen=KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR}:
                self.kept.append(" ".join(message.split()))

    return LastErrors()


def said(log: Any) -> str:
    """TensorRT's last errors in one line, each once: they are forgotten with it."""
    text = "; ".join(log.kept) or "it gave no reason"
    log.kept.clear()
    return text


def deserialize(trt: ModuleType, plan: bytes, path: Path) -> Any:
    """The engine in a plan; ArtifactError, naming the file, when TensorRT does not take it."""
    log = logger_of(trt)
    log.kept.clear()
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtifactError(
            f"{path} should be a plan of TensorRT {trt.__version__} but does not load ({said(log)}); "
            "build it again on this device from its ONNX file"
        )
    return engine


def _read_plan(path: Path, record: PlanRecord) -> bytes:
    """The plan; ArtifactError when it is not the one that the record is about."""
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} should be a TensorRT plan but cannot be read ({error}); export it again"
        ) from error
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise ArtifactError(
            f"{path} should be the plan that {sidecar_path(path).name} is about but is another or was changed; "
            "copy both files of one export, or export it again"
        )
    return plan


def _require_home(path: Path, record: PlanRecord, version: str, gpu: Gpu) -> None:
    """Refuse a plan of another TensorRT or GPU before TensorRT does, which would name neither."""
    if (record.tensorrt, record.home) != (version, gpu):
        raise ArtifactError(
            f"{path} should run where it was built, with TensorRT {record.tensorrt} on {record.home}, but here are "
            f"TensorRT {version} and {gpu}; build it here from its ONNX file: "
            f"bncagan export tensorrt --onnx FILE.onnx --out {path.name}"
        )


def _largest(spec: ImageSpec) -> tuple[int, ...]:
    shapes = spec.shapes
    return tensor_shape(spec, shapes.fixed[0] if shapes.bounds is None else shapes.bounds[1])


def _match(trt: ModuleType, engine: Any, spec: ImageSpec, path: Path) -> None:
    """Refuse a plan whose input or output is not what the spec says it is, or that was tuned for another range."""
    kind = {"float32": trt.DataType.FLOAT, "uint8": trt.DataType.UINT8}[spec.dtype]
    told = slice(None) if spec.shapes.fixed else slice(spec.layout.index("C"), spec.layout.index("C") + 1)
    axes = tensor_shape(spec, (spec.shapes.fixed or spec.shapes.bounds or ())[0])[told]
    input_end = (spec.input_name, trt.TensorIOMode.INPUT, kind, axes)
    output_end = (spec.output_name, trt.TensorIOMode.OUTPUT, kind, axes)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = [
        (name, engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))[told])
        for name in names
    ]
    if sorted(found, key=str) != sorted((input_end, output_end), key=str):
        came = ", ".join(f"{name} {dtype} {tuple(engine.get_tensor_shape(name))}" for name, _, dtype, _ in found)
        raise ArtifactError(
            f"{path} should have the input {spec.input_name!r} and the output {spec.output_name!r}, {spec.dtype} "
            f"{spec.layout} of {spec.shapes} (N x H x W), as its spec says, but has {came}; export it again"
        )
    if spec.shapes.bounds is not None:
        low, _, high = (tuple(shape) for shape in engine.get_tensor_profile_shape(spec.input_name, 0))
        if (low, high) != tuple(tensor_shape(spec, shape) for shape in spec.shapes.bounds):
            raise ArtifactError(
                f"{path} should take {spec.shapes} (N x H x W), as its spec says, but takes {low} to {high}; "
                "export it again"
            )
