"""The wrapper of TensorRT plans (.engine). The spec of a plan is in the .engine.json file beside it."""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import import_backend
from runtimes.base import Runtime
from runtimes.cuda_memory import Cuda, Gpu
from runtimes.errors import ArtifactError, BackendMissingError
from runtimes.plan_record import PlanRecord, sidecar_path
from runtimes.plan_shapes import input_bytes, input_shapes, output_bytes, output_shapes, tensor_shape
from runtimes.seal import digest_of
from runtimes.spec import CONTROLS, MAPS, TONE, ImageSpec

KEPT_MESSAGES = 3  # number of TensorRT's last errors that an ArtifactError quotes


class TensorRtRuntime(Runtime):
    """A TensorRT plan on one GPU. GPU and TensorRT version must be those that the plan was built with.

    Opening reserves memory for the largest shape, and `close` releases it.

    cuda_graph: run a fixed shape as one CUDA graph, which is captured on opening. A plan with a range of shapes runs
        without a graph.
    mapped_memory: let the GPU access the host's memory directly, for boards on which both share one DRAM (Jetson).
    device: number of the GPU, from 0.

    Errors: BackendMissingError without TensorRT or cuda-python. ArtifactError when the record is missing or does not
    match the plan, when the plan was built by another version or GPU, or when a CUDA call fails.
    """

    def __init__(
        self, path: Path, *, cuda_graph: bool = True, mapped_memory: bool = False, device: int | str = 0
    ) -> None:
        trt = import_tensorrt()
        self.path = path
        self.name = f"tensorrt {trt.__version__}"
        record = self._record = PlanRecord.read(path)
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
            sizes = input_bytes(self.spec, _largest(self.spec))
            self._inputs = {name: self._cuda.buffer(size, mapped=mapped_memory) for name, size in sizes.items()}
            sizes = output_bytes(self.spec, _largest(self.spec))
            self._results = {name: self._cuda.buffer(size, mapped=mapped_memory) for name, size in sizes.items()}
            for name, buffer in {**self._inputs, **self._results}.items():
                self._done(self._context.set_tensor_address(name, buffer.device), f"bind {name!r}")
            self._shape: tuple[int, ...] = ()
            self._launch = self._enqueue
            if cuda_graph and self.spec.shapes.fixed:
                self._capture()
            undo.pop_all()

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        batch = inputs[self.spec.input_name]
        self._cuda.select()
        self._take(batch.shape)
        for name, given in inputs.items():
            self._inputs[name].host[: given.nbytes] = given.reshape(-1).view(np.uint8)
        self._launch()
        self._cuda.synchronize()
        results = {}
        for name, size in output_bytes(self.spec, batch.shape).items():
            values = self._results[name].host[:size].copy().view(self.spec.output_dtype(name))
            results[name] = values.reshape(output_shapes(self.spec, batch.shape)[name])
        return results

    def content_sha256(self) -> str:
        """Return the SHA-256 of the record, which holds that of the plan, without the spec."""
        fields = json.loads(self._record.to_json())
        del fields["spec"]
        return digest_of(fields)

    def close(self) -> None:
        """Release the engine and its memory."""
        if not self._closed:
            self._context = self._engine = None
            self._cuda.close()
        super().close()

    def _take(self, shape: tuple[int, ...]) -> None:
        """Prepare the context for batches of this shape."""
        if shape == self._shape:
            return
        for given, wanted in input_shapes(self.spec, shape).items():
            self._done(self._context.set_input_shape(given, wanted), f"take the shape {wanted}")
        for name, wanted in output_shapes(self.spec, shape).items():
            found = tuple(self._context.get_tensor_shape(name))
            if found != wanted:
                raise ArtifactError(
                    f"{self.path} should return shape {wanted} but would return {found}; export it again"
                )
        self._shape = shape

    def _enqueue(self) -> None:
        """Enqueue one batch on the stream: upload, inference, download."""
        sizes = input_bytes(self.spec, self._shape)
        for name, size in sizes.items():
            self._cuda.upload(self._inputs[name], size)
        self._done(self._context.execute_async_v3(self._cuda.stream), "enqueue its work")
        for name, size in output_bytes(self.spec, self._shape).items():
            self._cuda.download(self._results[name], size)

    def _capture(self) -> None:
        """Capture the work for the fixed shape as a CUDA graph."""
        # TensorRT defers some set-up to the first run, which a graph cannot capture, so the work runs once before.
        self._take(tensor_shape(self.spec, self.spec.shapes.fixed[0]))
        self._enqueue()
        self._cuda.synchronize()
        try:
            self._launch = self._cuda.capture(self._enqueue)
        except ArtifactError as error:
            raise ArtifactError(
                f"{self.path} should be captured as a CUDA graph but is not ({error}); open it with cuda_graph=False"
            ) from error

    def _done(self, result: Any, what: str) -> Any:
        """Return the result of a call to TensorRT; ArtifactError if it is None or False, which means failure."""
        if result is None or result is False:
            raise ArtifactError(
                f"{self.path} should {what} but TensorRT could not ({said(self._log)}); "
                "check the free memory, or build it again on this device"
            )
        return result


def _ordinal(device: int | str) -> int:
    """Parse the number of a GPU; ArtifactError if it is none."""
    if not str(device).isdigit():
        raise ArtifactError(
            f"device should be the number of a GPU, from 0, but is {device!r}; leave it out for the first GPU"
        )
    return int(device)


def import_tensorrt() -> ModuleType:
    """Import TensorRT's Python package.

    Errors: BackendMissingError when it is not installed; the message says where TensorRT comes from.
    """
    try:
        return import_backend(".engine")
    except BackendMissingError as error:
        raise BackendMissingError(
            f"{error}, and TensorRT itself from JetPack (a virtual environment needs --system-site-packages) "
            "or NVIDIA's package for your CUDA version"
        ) from error


@functools.cache
def logger_of(trt: ModuleType) -> Any:
    """Return the one logger of this process, which keeps TensorRT's last errors in `kept`.

    There is only one, because TensorRT continues to use the first logger that it is given.
    """

    class LastErrors(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.kept: collections.deque[str] = collections.deque(maxlen=KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR}:
                self.kept.append(" ".join(message.split()))

    return LastErrors()


def said(log: Any) -> str:
    """Return TensorRT's last errors on one line and remove them from the log."""
    text = "; ".join(log.kept) or "it gave no reason"
    log.kept.clear()
    return text


def deserialize(trt: ModuleType, plan: bytes, path: Path) -> Any:
    """Make the engine from a plan; ArtifactError, naming the file, when TensorRT refuses it."""
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
    """Read the plan; ArtifactError when its hash is not that of the record."""
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} should be a TensorRT plan but cannot be read ({error}); export it again"
        ) from error
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise ArtifactError(
            f"{path} should be the plan that {sidecar_path(path).name} describes but is another or was changed; "
            "copy both files of one export, or export it again"
        )
    return plan


def _require_home(path: Path, record: PlanRecord, version: str, gpu: Gpu) -> None:
    """Check that the plan was built by this TensorRT on this GPU.

    TensorRT would refuse another plan, too, but without naming the version or the GPU.
    """
    if (record.tensorrt, record.home) != (version, gpu):
        raise ArtifactError(
            f"{path} should run where it was built, with TensorRT {record.tensorrt} on {record.home}, "
            f"but is opened with TensorRT {version} on {gpu}; build it here from its ONNX file: "
            f"bncagan export tensorrt --onnx FILE.onnx --out {path.name}"
        )


def _largest(spec: ImageSpec) -> tuple[int, ...]:
    shapes = spec.shapes
    return tensor_shape(spec, shapes.fixed[0] if shapes.bounds is None else shapes.bounds[1])


def _match(trt: ModuleType, engine: Any, spec: ImageSpec, path: Path) -> None:
    """Check the input, the output and the range of a plan against the spec; ArtifactError when they differ."""
    kind = {"float32": trt.DataType.FLOAT, "uint8": trt.DataType.UINT8}[spec.dtype]
    batch = tensor_shape(spec, (spec.shapes.fixed or spec.shapes.bounds or ())[0])
    shapes = input_shapes(spec, batch)
    kinds = {spec.input_name: kind, CONTROLS: trt.DataType.FLOAT}
    wanted = [(name, trt.TensorIOMode.INPUT, kinds[name], shape) for name, shape in shapes.items()]
    kinds = {spec.output_name: kind, TONE: trt.DataType.FLOAT, MAPS: trt.DataType.FLOAT}
    results = output_shapes(spec, batch)
    wanted += [(name, trt.TensorIOMode.OUTPUT, kinds[name], shape) for name, shape in results.items()]
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = [
        (name, engine.get_tensor_mode(name), engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))
        for name in names
    ]
    if spec.shapes.bounds is not None:  # the free axes are those of the profile, which is compared below
        wanted, found = ([(*end[:3], _fixed_axes(spec, end[0], end[3])) for end in ends] for ends in (wanted, found))
    if sorted(found, key=str) != sorted(wanted, key=str):
        came = ", ".join(f"{name} {dtype} {tuple(engine.get_tensor_shape(name))}" for name, _, dtype, _ in found)
        named, results_named = (" and ".join(map(repr, ends)) for ends in (shapes, results))
        raise ArtifactError(
            f"{path} should have the input {named} and the output {results_named}, {spec.dtype} "
            f"{spec.layout} of {spec.shapes} (N x H x W), as its spec says, but has {came}; export it again"
        )
    if spec.shapes.bounds is not None:
        low, _, high = (tuple(shape) for shape in engine.get_tensor_profile_shape(spec.input_name, 0))
        if (low, high) != tuple(tensor_shape(spec, shape) for shape in spec.shapes.bounds):
            raise ArtifactError(
                f"{path} should take {spec.shapes} (N x H x W), as its spec says, but takes {low} to {high}; "
                "export it again"
            )


def _fixed_axes(spec: ImageSpec, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axis of a tensor that a range of shapes leaves fixed: the channels, or what is second in an array."""
    axis = spec.layout.index("C") if name in {spec.input_name, spec.output_name} else 1
    return shape[axis : axis + 1]
