"""The CUDA runtime, called through cuda-python: checked calls, one stream, buffers and CUDA graphs."""

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
# The wheels of cuda-python link a CUDA runtime, which may be newer than the driver: NVlabs/FoundationStereo#209
NEWER_THAN_DRIVER = f"install the cuda-python of the driver's CUDA version, as it is newer now; {JETSON_CUDA}"
CHECK = "check the driver, the device number and the free memory"
LAYOUTS = ("cuda.bindings.runtime", "cuda.cudart")  # module names in cuda-python from 12.6 on, and before


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The GPU that an engine was built for and runs on."""

    name: str
    """NVIDIA's name of the GPU."""
    compute_capability: str
    """Its compute capability, such as "8.7"."""

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


@dataclasses.dataclass(frozen=True, eq=False)
class Buffer:
    """A buffer in page-locked host memory and its counterpart on the device."""

    host: NDArray[np.uint8]
    """The host memory, as bytes."""
    device: int
    """Address of the counterpart on the device."""
    mapped: bool
    """Whether the counterpart is the host memory itself."""


class Cuda:
    """One device with one stream. `close` frees all buffers and graphs, the newest first.

    Errors: BackendMissingError without cuda-python. Every method raises ArtifactError when a CUDA call fails; the
    message names the call and CUDA's reason.
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
        """Handle of the stream."""
        return int(self._stream)

    def close(self) -> None:
        """Free the stream, all buffers and all graphs. A second call does nothing."""
        self._owned.close()

    def select(self) -> None:
        """Select the device for the calling thread; CUDA keeps this choice for each thread."""
        self._call(self._cudart.cudaSetDevice, self._device)

    def gpu(self) -> Gpu:
        """Return the device's name and compute capability."""
        properties = self._call(self._cudart.cudaGetDeviceProperties, self._device)
        name = properties.name.split(b"\0")[0].decode(errors="replace")
        return Gpu(name, f"{properties.major}.{properties.minor}")

    def buffer(self, size: int, *, mapped: bool) -> Buffer:
        """Allocate `size` bytes on the host and on the device; those on the host are set to 0."""
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
        """Enqueue a copy of the first `size` bytes to the device; nothing is needed for mapped memory."""
        if not buffer.mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._call(self._cudart.cudaMemcpyAsync, buffer.device, buffer.host.ctypes.data, size, kind, self._stream)

    def download(self, buffer: Buffer, size: int) -> None:
        """Enqueue a copy of the first `size` bytes from the device; nothing is needed for mapped memory."""
        if not buffer.mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._call(self._cudart.cudaMemcpyAsync, buffer.host.ctypes.data, buffer.device, size, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until all enqueued work is done."""
        self._call(self._cudart.cudaStreamSynchronize, self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Capture the work that `enqueue` puts on the stream as a CUDA graph.

        Returns a function that enqueues the whole graph. The graph keeps the addresses and shapes of the capture. The
        same work must have run once before.
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
        """Call a CUDA function, check its error code and return its one value, or None if it has none."""
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
    """Import the CUDA runtime of cuda-python, in its newer or its older layout.

    Errors: BackendMissingError, naming the extra, when neither can be imported.
    """
    reasons = []
    for layout in LAYOUTS:
        try:
            return importlib.import_module(layout)
        except ImportError as error:
            reasons.append(str(error))
    raise BackendMissingError(
        f"cuda-python, which runs .engine files, should be importable but is not ({'; '.join(reasons)}); "
        f"install the one of your CUDA version, or run: {install_hint('tensorrt')}; {JETSON_CUDA}"
    )
