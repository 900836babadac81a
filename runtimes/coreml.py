"""The wrapper of Core ML packages (.mlpackage). They run on macOS only but can be opened and checked anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import logging
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.backends import import_backend, read_spec
from runtimes.base import Runtime, batch_shape
from runtimes.errors import ArtifactError
from runtimes.spec import CONTROLS, METADATA_KEY, ImageSpec, Shape
from runtimes.verdict import require_one_of

COMPUTE_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
WEIGHTS_KEY = "bncagan_weights_sha256"  # key of the metadata: hash of the weights that the package was written with


class Placed(NamedTuple):
    """Core ML's plan for one operation. A device is "NeuralEngine", "GPU" or "CPU"."""

    function: str
    """Name of the function."""
    operation: str
    """Type of the operation."""
    output: str
    """Name of its first output."""
    device: str
    """The device that Core ML prefers for it."""
    supported: tuple[str, ...]
    """The devices that could run it."""


class CoreMlRuntime(Runtime):
    """A Core ML package, compiled for this machine; macOS only.

    compute_units: the processors that Core ML may use: "ALL", "CPU_ONLY", "CPU_AND_GPU" or "CPU_AND_NE".

    Core ML gets a picture if the spec says uint8 and an array if it says float32. In a package with several shapes each
    shape has its own function, which is loaded for the first batch of that shape.

    Errors: BackendMissingError. ArtifactError when the system is not macOS, when the package is damaged, has no spec or
    does not match it, when this macOS cannot load it, or when the compute units are unknown.
    """

    def __init__(self, path: Path, *, compute_units: str = "ALL") -> None:
        require_one_of(compute_units, COMPUTE_UNITS, "compute_units")
        if not on_mac():
            raise ArtifactError(
                f"{path} should run on macOS or iOS, the only systems with Core ML, but is on {platform.system()}; "
                "run `bncagan verify`, which evaluates the package here (predicted)"
            )
        self._coremltools = import_coremltools()
        package = read_package(path)
        self.path = path
        self.spec = package.spec
        self.name = f"Core ML of macOS {platform.mac_ver()[0]}, coremltools {self._coremltools.__version__}"
        self.device = compute_units
        self._package = package
        self._functions = package.functions
        self._units = self._coremltools.ComputeUnit[compute_units]
        self._models: dict[Shape, Any] = {}
        with _naming_failure(path):
            self._compiled: str = self._coremltools.models.utils.compile_model(str(path))
        try:
            self._model(self.spec.shapes.fixed[0])
        except ArtifactError:
            self.close()
            raise

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        name, pictures = self.spec.input_name, self.spec.io == "uint8"
        batch = inputs[name]
        model = self._model(batch_shape(batch, self.spec))
        try:
            given = {name: Image.fromarray(batch[0])} if pictures else {}
            results = model.predict({**inputs, **given})
        except RuntimeError as error:
            raise ArtifactError(
                f"{self.path} should run on {self.device} but Core ML failed ({_reason(error)}); "
                "try compute_units='CPU_ONLY', or export it again"
            ) from error
        return {
            name: np.array(results[name].convert("RGB"))[None]
            if pictures and name == self.spec.output_name
            else np.array(results[name], dtype=np.float32)
            for name in self.spec.outputs
        }

    def content_sha256(self) -> str:
        """Return the SHA-256 of the program and its weights."""
        return hash_content(self._package.model)

    def placement(self) -> list[Placed]:
        """Return Core ML's plan for all operations except constants. Nothing is executed."""
        plans = importlib.import_module("coremltools.models.compute_plan")
        plan = plans.MLComputePlan.load_from_path(self._compiled, compute_units=self._units)
        placed = []
        for name, function in plan.model_structure.program.functions.items():
            for operation in function.block.operations:
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                if usage is not None:
                    supported = tuple(_device(device) for device in usage.supported_compute_devices)
                    output = operation.outputs[0].name
                    preferred = _device(usage.preferred_compute_device)
                    placed.append(Placed(name, operation.operator_name, output, preferred, supported))
        return placed

    def close(self) -> None:
        """Release the compiled model and delete it; Core ML would leave it in the folder for temporary files."""
        super().close()
        self._models.clear()
        shutil.rmtree(self._compiled, ignore_errors=True)

    def _model(self, shape: Shape) -> Any:
        """Return the function for a shape; load it if this is the first use."""
        if shape not in self._models:
            name = self._functions[shape] if len(self._functions) > 1 else None
            with _naming_failure(self.path):
                self._models[shape] = self._coremltools.models.CompiledMLModel(self._compiled, self._units, name)
        return self._models[shape]


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that was opened and checked, but not loaded into Core ML."""

    path: Path
    """The folder of the package."""
    spec: ImageSpec
    """What the package says about itself."""
    model: Any
    """Its `coremltools.models.MLModel`."""
    functions: dict[Shape, str]
    """Name of the ML Program's function for each shape of the spec."""


def on_mac() -> bool:
    """Whether this system has Core ML."""
    return sys.platform == "darwin"


def import_coremltools() -> ModuleType:
    """Import coremltools without its warnings about versions of other libraries and about a missing Core ML.

    Errors: BackendMissingError when it is not installed.
    """
    with quiet():
        return import_backend(".mlpackage")


@contextmanager
def quiet() -> Iterator[None]:
    """Show only errors of coremltools, no warnings."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def function_name(shape: Shape) -> str:
    """Return the name of the function for a shape in a package with several shapes."""
    return "image_" + "x".join(map(str, shape))


def hash_weights(model: Any) -> str:
    """Return the SHA-256 over the weight files of a `coremltools.models.MLModel`, in the order of their names."""
    digest = hashlib.sha256()
    folder = model.weights_dir
    for file in sorted(Path(folder).iterdir()) if folder is not None and Path(folder).is_dir() else []:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def hash_content(model: Any) -> str:
    """Return the SHA-256 of the program of a `coremltools.models.MLModel`, without its metadata, and of its weights."""
    program = model.get_spec()
    program.description.ClearField("metadata")
    return hashlib.sha256(program.SerializeToString(deterministic=True) + hash_weights(model).encode()).hexdigest()


def read_package(path: Path) -> Package:
    """Open a package without Core ML, on any system, and check that it is complete and matches its spec.

    Errors: BackendMissingError. ArtifactError when the path is no package, when the package is damaged or mixed from
    several exports, or when it was not written by bncagan.
    """
    coremltools = import_coremltools()
    model = _open(coremltools, path)
    program = model.get_spec()
    metadata = program.description.metadata.userDefined
    spec = read_spec(metadata.get(METADATA_KEY), path)
    if metadata.get(WEIGHTS_KEY) != hash_weights(model):
        raise ArtifactError(
            f"{path} should have the weights it was exported with but they are missing or were changed; "
            "copy the whole folder, or export it again"
        )
    several = {function.name: function for function in program.description.functions}
    names = {shape: function_name(shape) if several else "main" for shape in spec.shapes.fixed}
    for shape, name in names.items():
        _match(several.get(name) if several else program.description, spec, shape, path)
    return Package(path, spec, model, names)


def _open(coremltools: ModuleType, path: Path) -> Any:
    damaged = importlib.import_module("google.protobuf.message").DecodeError  # protobuf comes with coremltools
    if not (path / "Manifest.json").is_file():
        raise ArtifactError(
            f"{path} should be a Core ML package, a folder with a Manifest.json, but is none; "
            "copy the whole folder, or export it again"
        )
    try:
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
    except (OSError, RuntimeError, damaged) as error:
        raise ArtifactError(
            f"{path} should be a Core ML package but does not open ({_reason(error)}); export it again"
        ) from error
    kind = model.get_spec().WhichOneof("Type")
    if kind != "mlProgram":
        raise ArtifactError(f"{path} should have an ML Program but has {kind or 'nothing'}; export it with bncagan")
    return model


def _match(function: Any, spec: ImageSpec, shape: Shape, path: Path) -> None:
    """Check a function's input and output against the spec; a `function` of None means that it does not exist."""
    n, h, w = shape
    kind = f"RGB picture of {h}x{w}" if spec.io == "uint8" else f"FLOAT32 array of {n}x3x{h}x{w}"
    wanted = [f"{spec.input_name}, {kind}"] + [f"{CONTROLS}, FLOAT32 array of {n}x2"] * spec.controls
    wanted += [
        f"{name}, {kind if name == spec.output_name else f'FLOAT32 array of {_by_x(sizes)}'}"
        for name, sizes in spec.output_shapes(n, h, w).items()
    ]
    found = [] if function is None else [_describe(end) for end in (*function.input, *function.output)]
    if found != wanted:
        raise ArtifactError(
            f"{path} should take and return {' and '.join(wanted)}, as its spec says, "
            f"but has {' and '.join(found) or 'no such function'}; export it again"
        )


def _describe(end: Any) -> str:
    """Describe an input or output of a function by name, type and size."""
    kind = end.type.WhichOneof("Type")
    if kind == "imageType":
        picture = end.type.imageType
        colour = picture.ColorSpace.Name(picture.colorSpace)
        return f"{end.name}, {colour} picture of {picture.height}x{picture.width}"
    if kind == "multiArrayType":
        array = end.type.multiArrayType
        return f"{end.name}, {array.ArrayDataType.Name(array.dataType)} array of {_by_x(array.shape)}"
    return f"{end.name}, {kind}"


def _by_x(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _device(device: Any) -> str:
    """Return a short name of a compute device: MLNeuralEngineComputeDevice -> NeuralEngine."""
    return type(device).__name__.removeprefix("ML").removesuffix("ComputeDevice")


@contextmanager
def _naming_failure(path: Path) -> Iterator[None]:
    """Turn a failure of Core ML to compile or load the package into an ArtifactError."""
    try:
        yield
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} should load into Core ML of macOS {platform.mac_ver()[0]} but does not ({_reason(error)}); "
            "update macOS, or export it again for an older one"
        ) from error


def _reason(error: Exception) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
