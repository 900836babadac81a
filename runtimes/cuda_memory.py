"""The CUDA runtime by way of cuda-python: checked calls, one stream, memory that both sides reach, captured work."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import ArtifactError, BackendMissingError
from runtimes.installation import JETSON_CUDA, install_hint

INSUFFICIENT_DRIVER = "cudaErrorInsufficientDriver"  # error 35
NEWER_THAN_DRIVER = f"cuda-python is newer than the driver: install the one of the driver's CUDA version, {JETSON_CUDA}"
CHECK = "check the driver, the device number and the free memory"
LAYOUTS = ("cuda.bindings.runtime", "cuda.cudart")  # of cuda-python from 12.6 on, and before


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What an engine is tied to: the GPU's name, and its compute capability, e.g. "8.7"."""

    name: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


@dataclasses.dataclass(frozen=True, eq=False)
class Buffer:
    """Page-locked host memory, as bytes, and the address at which the device reads and writes its counterpart.

    mapped: the counterpart is the host memory itself.
    """

    host: NDArray[np.uint8]
    device: int
    mapped: bool


class Cuda:
    """One device with one stream. Everything handed out is freed by `close`, the newest first.

    Errors: BackendMissingError without cuda-python; ArtifactError, from every method, naming the CUDA call that failed
    and CUDA's reason.
    """

    def __init__(self, device: int) -> None:
        self._cudart = import_cuda()
        self._device = device
        self._owned = contextlib.ExitStack()
        self.select()
        self._stream = self._call(self._cudart.cudaStreamCreateWithFlags, self._cudart.cudaStreamNonBlocking)
        self._owned.callback(self._call, self._cudart.cudaStreamDestroy, self._stream)

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)

    def close(self) -> None:
        """Free everything. A second call does nothing."""
        self._owned.close()

    def select(self) -> None:
        """Make the device the one that the calling thread uses: CUDA keeps this choice per thread."""
        self._call(self._cudart.cudaSetDevice, self._device)

    def gpu(self) -> Gpu:
        """What the device is."""
        properties = self._call(self._cudart.cudaGetDeviceProperties, self._device)
        name = properties.name.split(b"\0")[0].decode(errors="replace")
        return Gpu(name, f"{properties.major}.{properties.minor}")

    def buffer(self, size: int, *, mapped: bool) -> Buffer:
        """`size` bytes on either side, set to 0 on the host."""
        cudart = self._cudart
        address = self._call(cudart.cudaHostAlloc, size, cudart.cudaHostAllocMapped if mapped else 0)
        self._owned.callback(self._call, cudart.cudaFreeHost, address)
        if mapped:
            device = self._call(cudart.cudaHostGetDevicePointer, address, 0)
        else:
            device = self._call(cudart.cudaMalloc, size)
            self._owned.callback(self._call, cudart.cudaFree, device)
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))
        host[:] = 0
        return Buffer(host, int(device), mapped)

    def upload(self, buffer: Buffer, size: int) -> None:
        """Enqueue copying the first `size` bytes to the device, where that is another place."""
        if not buffer.mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._call(self._cudart.cudaMemcpyAsync, buffer.device, buffer.host.ctypes.data, size, kind, self._stream)

    def download(self, buffer: Buffer, size: int) -> None:
        """Enqueue copying the first `size` bytes from the device, where that is another place."""
        if not buffer.mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._call(self._cudart.cudaMemcpyAsync, buffer.host.ctypes.data, buffer.device, size, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""
        self._call(self._cudart.cudaStreamSynchronize, self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` puts on the stream, as one CUDA graph: calling the result enqueues all of it at once.

        It keeps the addresses and shapes of the capture, and needs that the same work has run once before.
        """
        cudart = self._cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(cudart.cudaStreamBeginCapture, self._stream, mode)
        try:
            enqueue()
        finally:
            graph = self._call(cudart.cudaStreamEndCapture, self._stream)
            self._owned.callback(self._call, cudart.cudaGraphDestroy, graph)
        executable = self._call(cudart.cudaGraphInstantiate, graph, 0)
        self._owned.callback(self._call, cudart.cudaGraphExecDestroy, executable)

        def launch() -> None:
            self._call(cudart.cudaGraphLaunch, executable, self._stream)

        return launch

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The one value that a CUDA function returns after its error code, None if there is none."""
        error, *values = function(*arguments)
        if error != self._cudart.cudaError_t.cudaSuccess:
            name = self._cudart.cudaGetErrorName(error)[1].decode()
            text = self._cudart.cudaGetErrorString(error)[1].decode()
            raise ArtifactError(
                f"{function.__name__} should succeed on CUDA device {self._device} but returned {name} ({text}); "
                + (NEWER_THAN_DRIVER if name == INSUFFICIENT_DRIVER else CHECK)
            )
        return values[0] if values else None


def import_cuda() -> ModuleType:
    """cuda-python's CUDA runtime, in its newer or its older layout.

    Errors: BackendMissingError, naming the extra, when neither can be imported.
    """
    reasons = []
    for layout in LAYOUTS:
        try:
            return importlib.import_module(layout)
        except ImportError as error:
            reasons.append(str(error))
    raise BackendMissingError(
        f"Running .engine files needs cuda-python, which cannot be imported ({'; '.join(reasons)}); "
        f"install the one of your CUDA version, or: {install_hint('tensorrt')}; {JETSON_CUDA}"
    )
