"""A fake TensorRT and a fake CUDA runtime, which execute the ONNX graph with ONNX Runtime and need no GPU.

Classes have only the members that tensorrt_api.json lists for the emulated version, so the fake has no wrong API. Work
on the stream is executed when the stream is synchronized, device memory is separate from host memory, and memory is
freed only by the call that frees it.
"""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import enum
import functools
import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

API = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
VERSIONS: tuple[str, ...] = tuple(API["versions"])
TYPE_NAMES = {TensorProto.FLOAT: "Float", TensorProto.FLOAT16: "Half", TensorProto.INT8: "Int8"}


def members(tensorrt: Any) -> dict[str, set[str]]:
    """Return the public members of the listed classes of a real or a fake TensorRT."""
    return {
        name: {member for member in dir(getattr(tensorrt, name)) if not member.startswith("_")}
        for name in API["classes"]
    }


def api(version: str) -> dict[str, set[str]]:
    """Return the members of each class in a version, from tensorrt_api.json."""
    return {name: {*lists["all"], *lists[version]} for name, lists in API["classes"].items()}


@dataclasses.dataclass
class Board:
    """The fake machine: its properties, the calls that shall fail, and a record of all calls."""

    version: str = "10.3.0"
    gpu: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    # to fail: the CUDA function by name, at the call of that number (0: the first)
    fails: str | None = None
    fails_at: int = 0
    refuses: frozenset[str] = frozenset()  # TensorRT methods that answer None or False
    layer_type: str | None = None  # of all weights, instead of the graph's own
    report: str | None = None  # the inspector's, instead of an honest one
    # what happened
    calls: list[str] = dataclasses.field(default_factory=list)
    configs: list[Any] = dataclasses.field(default_factory=list)
    networks: list[Any] = dataclasses.field(default_factory=list)
    builds: int = 0
    device: dict[int, NDArray[np.uint8]] = dataclasses.field(default_factory=dict)
    host: dict[int, NDArray[np.uint8]] = dataclasses.field(default_factory=dict)
    handles: dict[int, list[Callable[[], None]]] = dataclasses.field(default_factory=dict)
    queue: list[Callable[[], None]] = dataclasses.field(default_factory=list)
    capturing: list[Callable[[], None]] | None = None

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.queue if self.capturing is None else self.capturing).append(work)

    def leaks(self) -> list[Any]:
        return [*self.device, *self.host, *self.handles]

    @property
    def machine(self) -> list[Any]:
        return [self.version, self.gpu, list(self.capability)]


# CUDA


def make_cudart(board: Board) -> ModuleType:
    """The used part of cuda.bindings.runtime. Each call returns an error code and then its value."""
    cudart: Any = ModuleType("cuda.bindings.runtime")
    cudart.cudaError_t = enum.IntEnum("cudaError_t", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2})
    cudart.cudaMemcpyKind = enum.IntEnum("Kind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2})
    cudart.cudaStreamCaptureMode = enum.IntEnum("Mode", {"cudaStreamCaptureModeThreadLocal": 1})
    cudart.cudaHostAllocMapped, cudart.cudaStreamNonBlocking = 2, 1
    success = cudart.cudaError_t.cudaSuccess
    cudart.cudaGetErrorName = lambda error: (success, error.name.encode())
    cudart.cudaGetErrorString = lambda _error: (success, b"out of memory")
    for name, function in vars(Cudart).items():
        if not name.startswith("_"):
            offered = "cuda" + name.title().replace("_", "")
            setattr(cudart, offered, _checked(offered, functools.partial(function, Cudart(board)), cudart, board))
    return cudart


def _checked(name: str, function: Callable[..., Any], cudart: Any, board: Board) -> Callable[..., Any]:
    def called(*arguments: Any) -> tuple[Any, ...]:
        fails = name == board.fails and board.calls.count(name) >= board.fails_at
        board.calls.append(name)
        if fails:
            return cudart.cudaError_t.cudaErrorMemoryAllocation, None
        value = function(*arguments)
        return (cudart.cudaError_t.cudaSuccess,) if value is None else (cudart.cudaError_t.cudaSuccess, value)

    called.__name__ = name
    return called


class Cudart:
    """Find the method of a CUDA function: `malloc` for cudaMalloc, for example."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def _allocate(self, place: dict[int, NDArray[np.uint8]], size: int) -> int:
        block = np.full(size, 0xA5, np.uint8)
        place[block.ctypes.data] = block
        return int(block.ctypes.data)

    def _handle(self, work: list[Callable[[], None]]) -> int:
        new = 1000 + len(self._board.calls)
        self._board.handles[new] = work
        return new

    def malloc(self, size: int) -> int:
        return self._allocate(self._board.device, size)

    def host_alloc(self, size: int, _flags: int) -> int:
        return self._allocate(self._board.host, size)

    def host_get_device_pointer(self, address: int, _flags: int) -> int:
        assert address in self._board.host
        return address

    def free(self, address: int) -> None:
        del self._board.device[address]

    def free_host(self, address: int) -> None:
        del self._board.host[address]

    def memcpy_async(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        board = self._board
        into, out = (board.device, board.host) if kind == 1 else (board.host, board.device)
        assert stream in board.handles
        assert target in into
        assert source in out

        def copy() -> None:
            into[target][:size] = out[source][:size]

        board.enqueue(copy)

    def set_device(self, _number: int) -> None:
        pass

    def get_device_properties(self, _number: int) -> Any:
        major, minor = self._board.capability
        return SimpleNamespace(name=self._board.gpu.encode() + b"\0\0", major=major, minor=minor)

    def stream_create_with_flags(self, _flags: int) -> int:
        return self._handle([])

    def stream_destroy(self, stream: int) -> None:
        del self._board.handles[stream]
        self._board.capturing = None
        self._board.queue.clear()

    def stream_synchronize(self, stream: int) -> None:
        assert stream in self._board.handles
        assert self._board.capturing is None
        while self._board.queue:
            self._board.queue.pop(0)()

    def stream_begin_capture(self, stream: int, _mode: int) -> None:
        assert stream in self._board.handles
        self._board.capturing = []

    def stream_end_capture(self, _stream: int) -> int:
        captured, self._board.capturing = self._board.capturing, None
        assert captured is not None
        return self._handle(captured)

    def graph_instantiate(self, graph: int, _flags: int) -> int:
        return self._handle(self._board.handles[graph])

    def graph_launch(self, executable: int, stream: int) -> None:
        assert stream in self._board.handles
        self._board.queue += self._board.handles[executable]

    def graph_destroy(self, graph: int) -> None:
        del self._board.handles[graph]

    def graph_exec_destroy(self, executable: int) -> None:
        del self._board.handles[executable]


# TensorRT


def make_tensorrt(board: Board) -> ModuleType:
    """Make the tensorrt package of the board's version."""
    trt = ModuleType("tensorrt")
    trt.__spec__ = ModuleSpec("tensorrt", None)  # others look whether it is installed
    trt.__version__ = board.version  # type: ignore[attr-defined]
    for name, listed in api(board.version).items():
        behaviour = BEHAVIOURS.get(name)
        made = _numbered(name, listed, board.version) if behaviour is None else _limited(behaviour, listed)
        made._trt, made._board = trt, board
        setattr(trt, name, made)
    return trt


def _numbered(name: str, listed: set[str], version: str) -> Any:
    """Make an enumeration whose numbers differ between versions, like TensorRT's."""
    names = sorted(listed - {"name", "value"}, reverse=version.startswith("11"))
    return type(name, (), {"__members__": names} | {member: _Number(i, member) for i, member in enumerate(names)})


class _Number(int):
    def __new__(cls, value: int, _name: str) -> _Number:
        return super().__new__(cls, value)

    def __init__(self, _value: int, name: str) -> None:
        self.label = name

    def __repr__(self) -> str:
        return self.label


def _limited(behaviour: type, listed: set[str]) -> Any:
    """Make a class from a behaviour: remove members that the version lacks, and add stubs for the others."""
    body = {key: value for key, value in vars(behaviour).items() if key.startswith("_") or key in listed}
    body |= {member: property(_unplayed) for member in listed - set(body)}
    body["__setattr__"] = _refuse_unlisted
    body["_listed"] = listed
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    made = type(behaviour.__name__, (), body)
    made._own = made  # type: ignore[attr-defined]
    return made


def _unplayed(_self: Any) -> Any:
    raise NotImplementedError("nobody plays this member")


def _refuse_unlisted(self: Any, name: str, value: Any) -> None:
    """Store an attribute where no stub is in the way; only a subclass may add names."""
    if type(self) is self._own and not name.startswith("_"):
        if name not in self._listed:
            raise AttributeError(f"{type(self).__name__} of TensorRT {self._board.version} has no {name}")
        name = f"_set_{name}"
    object.__setattr__(self, name, value)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self._made = True


class Builder:
    def __init__(self, logger: Any) -> None:
        assert logger._made
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        return self._trt.INetworkDefinition(flags)

    def create_builder_config(self) -> Any:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        self._board.builds += 1
        if "build_serialized_network" in self._board.refuses:
            self._logger.log(self._trt.ILogger.ERROR, "no tactic\n fits into memory")
            return None
        config._timings = b"timings of " + json.dumps(self._board.machine).encode()
        plan = {
            "machine": self._board.machine,
            "onnx": base64.b64encode(network._onnx).decode(),
            "profile": config._profiles[0]._shapes if config._profiles else {},
            "detailed": getattr(config, "_set_profiling_verbosity", None) == self._trt.ProfilingVerbosity.DETAILED,
        }
        return self._trt.IHostMemory(json.dumps(plan).encode())


class IHostMemory:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self._onnx = b""
        self._strong = flags == 1 << self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self._board.networks.append(self)


class OnnxParser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._logger, self._errors = network, logger, []

    def parse(self, model: bytes) -> bool:
        if "parse" in self._board.refuses:
            self._errors = ["no importer for\nthis node", "and another"]
            return False
        graph = onnx.load_from_string(model).graph
        self._errors = _unreadable(graph)
        self._network._onnx = model
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._trt.ParserError(self._errors[index])


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class IBuilderConfig:
    def __init__(self) -> None:
        self._flags = {self._trt.BuilderFlag.TF32}
        self._profiles: list[Any] = []
        self._pools: dict[int, int] = {}
        self._timings: bytes | None = None
        self._board.configs.append(self)

    def set_flag(self, flag: int) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: int) -> None:
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        self._pools[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        return self._trt.ITimingCache(data)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        of_here = b"timings of " + json.dumps(self._board.machine).encode()
        if cache._data not in {b"", of_here} and not ignore_mismatch:
            return False
        self._timings = cache._data
        return True

    def get_timing_cache(self) -> Any:
        return self._trt.ITimingCache(self._timings)


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> Any:
        return self._trt.IHostMemory(self._data)


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[Any]] = {}

    def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
        self._shapes[name] = [low, best, high]


class Runtime:
    def __init__(self, logger: Any) -> None:
        assert logger._made
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        try:
            content = json.loads(plan)
        except ValueError:
            content = {"machine": None}
        if content["machine"] != self._board.machine:
            self._logger.log(self._trt.ILogger.WARNING, "only a warning")
            self._logger.log(self._trt.ILogger.ERROR, "the plan's magic tag\ndoes not match")
            return None
        return self._trt.ICudaEngine(content)


class ICudaEngine:
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._onnx = base64.b64decode(plan["onnx"])
        graph = onnx.load_from_string(self._onnx).graph
        self._graph = graph
        self._ends = {end.name: end.type.tensor_type for end in (*graph.input, *graph.output)}

    @property
    def num_io_tensors(self) -> int:
        return len(self._ends)

    def get_tensor_name(self, index: int) -> str:
        return list(self._ends)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._trt.TensorIOMode
        return modes.INPUT if name in {end.name for end in self._graph.input} else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kinds = {TensorProto.FLOAT: "FLOAT", TensorProto.UINT8: "UINT8", TensorProto.FLOAT16: "HALF"}
        return getattr(self._trt.DataType, kinds[self._ends[name].elem_type])

    def get_tensor_shape(self, name: str) -> list[int]:
        return [d.dim_value if d.HasField("dim_value") else -1 for d in self._ends[name].shape.dim]

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[Any]:
        shapes: list[Any] = self._plan["profile"][name]
        return shapes

    def create_execution_context(self) -> Any:
        return None if "create_execution_context" in self._board.refuses else self._trt.IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        return self._trt.EngineInspector(self)


class IExecutionContext:
    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        profile = self._engine._plan["profile"].get(name)
        fixed = self._engine.get_tensor_shape(name)
        low, high = (profile[0], profile[2]) if profile else (fixed, fixed)
        inside = all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
        if inside and "set_input_shape" not in self._board.refuses:
            self._shapes[name] = tuple(shape)
            return True
        return False

    def get_tensor_shape(self, name: str) -> list[int]:
        if len(self._engine._graph.output) == 1:
            return list(self._shapes[self._engine._graph.input[0].name])
        given = {end.name: np.zeros(self._shapes[end.name], _kind(end)) for end in self._engine._graph.input}
        return list(_session(self._engine._onnx).run([name], given)[0].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self._board.device or address in self._board.host
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream in self._board.handles
        if "execute_async_v3" in self._board.refuses:
            return False
        shapes = dict(self._shapes)
        self._board.enqueue(lambda: self._work(shapes))
        return True

    def _work(self, shapes: dict[str, tuple[int, ...]]) -> None:
        given = {end.name: self._input(end, shapes[end.name]) for end in self._engine._graph.input}
        names = [target.name for target in self._engine._graph.output]
        for name, result in zip(names, _session(self._engine._onnx).run(names, given), strict=True):
            _bytes_at(self._addresses[name], result.nbytes)[:] = np.ascontiguousarray(result).reshape(-1).view(np.uint8)

    def _input(self, end: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """What lies at the address of an input when the work is executed."""
        kind = _kind(end)
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        return _bytes_at(self._addresses[end.name], count).copy().view(kind).reshape(shape)


def _kind(end: Any) -> Any:
    return np.uint8 if end.type.tensor_type.elem_type == TensorProto.UINT8 else np.float32


class EngineInspector:
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def get_engine_information(self, form: Any) -> str:
        assert form == self._trt.LayerInformationFormat.JSON
        if self._board.report is not None:
            return self._board.report
        layers: list[Any] = [{"Name": "reformat", "LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Float"}]}]
        for node, kind in _weighted(self._engine._graph):
            weights = {"Type": self._board.layer_type or kind, "Count": 1}
            layers.append({"Name": node.name, "LayerType": "CaskConvolution", "Weights": weights})
        if not self._engine._plan["detailed"]:
            layers = [layer["Name"] for layer in layers]
        return json.dumps({"Layers": layers, "Bindings": list(self._engine._ends)})


BEHAVIOURS = {
    kind.__name__: kind
    for kind in (
        Builder,
        EngineInspector,
        IBuilderConfig,
        ICudaEngine,
        IHostMemory,
        IExecutionContext,
        ILogger,
        INetworkDefinition,
        IOptimizationProfile,
        ITimingCache,
        OnnxParser,
        ParserError,
        Runtime,
    )
}


def _unreadable(graph: onnx.GraphProto) -> list[str]:
    """Find what the real parser would refuse: bytes that are not input of a cast, and zero points other than 0."""
    pixels = {end.name for end in graph.input if end.type.tensor_type.elem_type == TensorProto.UINT8}
    constants = {constant.name: constant for constant in graph.initializer}
    errors = []
    for node in graph.node:
        if node.op_type != "Cast" and pixels & set(node.input):
            errors.append(f"{node.op_type} takes no UINT8")
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and len(node.input) > 2:
            zero = constants[node.input[2]]
            if zero.data_type != TensorProto.INT32 and (
                zero.data_type == TensorProto.UINT8 or numpy_helper.to_array(zero).any()
            ):
                errors.append(f"{node.name}: a zero point has to be a signed 0")
    return errors


def _weighted(graph: onnx.GraphProto) -> list[tuple[Any, str]]:
    """Return the convolutions with the type of their weights."""
    types = {constant.name: constant.data_type for constant in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            types[node.output[0]] = types.get(node.input[0], TensorProto.FLOAT)
    return [(node, TYPE_NAMES[types[node.input[1]]]) for node in graph.node if node.op_type == "Conv"]


@functools.lru_cache(maxsize=4)
def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])


def _bytes_at(address: int, count: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))
