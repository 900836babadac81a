"""Run the ML Program of a saved Core ML package with torch, on any system, to predict what Core ML will answer.

Every operation that the package holds is executed in the type that it declares, so errors of the converter are found.
The results are labelled `predicted`, because Apple's hardware may round differently.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.mil_operations import IN_HALVES, OPERATIONS, torch_dtype
from runtimes import ArtifactError, Runtime
from runtimes.base import batch_shape
from runtimes.coreml import hash_content, import_coremltools, quiet, read_package

SMALLEST_NORMAL = 2.0**-14  # the smallest normal number in half precision
LARGEST_POOL = 13  # px; the largest side of a pooling kernel that the Neural Engine takes


class MilEvaluator(Runtime):
    """A saved package whose ML Program is executed on the CPU by torch.

    Each operation computes in float32, and its result is rounded once to the type that the program declares; the sums
    in a convolution or a mean stay in float32. Output pictures are truncated to whole codes: Core ML does not document
    how it rounds, so a correct program has to round by itself.

    path: package, a .mlpackage folder.
    pessimistic: assume the worst of the hardware's half precision. Subnormal numbers become 0, and means over axes are
    rounded after each addition.

    Errors: BackendMissingError without coremltools; ArtifactError for an operation that this evaluator does not know,
    or as `runtimes.coreml.read_package`.
    """

    def __init__(self, path: Path, *, pessimistic: bool = False) -> None:
        package = self._package = read_package(path)
        self.path = path
        self.spec = package.spec
        self.name = f"ML Program evaluator, torch {torch.__version__}"
        self.device = "cpu, pessimistic" if pessimistic else "cpu"
        program = load_program(package.model)
        self._functions = {shape: program.functions[name] for shape, name in package.functions.items()}
        self._pessimistic = pessimistic
        for function in self._functions.values():
            for operation in function.operations:
                if operation.op_type not in {"const", *OPERATIONS}:
                    raise ArtifactError(
                        f"{path} should hold only operations that the evaluator knows but holds {operation.op_type}; "
                        "check the package on a Mac, or export it again"
                    )

    def content_sha256(self) -> str:
        """Return the SHA-256 of the program and its weights."""
        return hash_content(self._package.model)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        name = self.spec.input_name
        function = self._functions[batch_shape(inputs[name], self.spec)]
        given = {each: torch.tensor(array) for each, array in inputs.items()}
        if self.spec.io == "float32":
            return execute(function, given, pessimistic=self._pessimistic)[0].numpy()
        given[name] = given[name].permute(0, 3, 1, 2)
        codes = execute(function, given, pessimistic=self._pessimistic)[0]
        # Cut to whole codes below, because Core ML's own rounding is undocumented: apple/coremltools#2213
        picture: NDArray[Any] = np.nan_to_num(codes.clamp(0, 255).permute(0, 2, 3, 1).numpy())
        return picture.astype(np.uint8, order="C")


@torch.inference_mode()
def execute(function: Any, inputs: Mapping[str, Tensor], *, pessimistic: bool = False) -> list[Tensor]:
    """Run one function of an ML Program; returns its outputs in their declared types. Arithmetic as in MilEvaluator."""
    values = {var: inputs[name].to(_dtype(var)) for name, var in function.inputs.items()}
    for operation in function.operations:
        if operation.op_type != "const":
            given = {name: _read(var, values, pessimistic) for name, var in operation.inputs.items() if var is not None}
            in_halves = pessimistic and _dtype(operation.outputs[0]) == torch.float16
            computed = (OPERATIONS | IN_HALVES if in_halves else OPERATIONS)[operation.op_type](given)
            for output, value in zip(
                operation.outputs, computed if isinstance(computed, list) else [computed], strict=True
            ):
                values[output] = _rounded(value, _dtype(output), pessimistic)
    return [values[output] for output in function.outputs]


def _read(var: Any, values: Mapping[Any, Tensor], pessimistic: bool) -> Any:
    """The value of an operation's input; halves are converted to float32, which is exact."""
    if isinstance(var, list | tuple):
        return [_read(part, values, pessimistic) for part in var]
    if var not in values and isinstance(var.val, str):
        return var.val
    value = values[var] if var in values else _rounded(torch.from_numpy(np.array(var.val)), _dtype(var), pessimistic)
    return value.float() if value.dtype == torch.float16 else value


def _rounded(value: Tensor, dtype: torch.dtype, pessimistic: bool) -> Tensor:
    value = value.to(dtype)
    if pessimistic and dtype == torch.float16:
        return torch.where(value.abs() < SMALLEST_NORMAL, torch.zeros_like(value), value)
    return value


def load_program(model: Any) -> Any:
    """The ML Program of a `coremltools.models.MLModel`: its functions by name, with operations and weights."""
    import_coremltools()
    spec = model.get_spec()
    loader = importlib.import_module("coremltools.converters.mil.frontend.milproto.load")
    with quiet():
        return loader.load(spec, spec.specificationVersion, model.weights_dir)


class Leaving(NamedTuple):
    """An operation that probably does not run on the Apple Neural Engine."""

    function: str
    """Function of the ML Program."""
    operation: str
    """Kind of the operation, such as conv."""
    output: str
    """Name of its result."""
    reason: str
    """Why it leaves the Neural Engine."""


def placement_warnings(package: Any) -> list[Leaving]:
    """The operations of a `coremltools.models.MLModel` that are predicted to leave the Neural Engine.

    The type conversions of inputs and outputs are not counted. On a Mac, `CoreMlRuntime.placement` measures instead.
    """
    return [
        Leaving(name, operation.op_type, operation.outputs[0].name, reason)
        for name, function in load_program(package).functions.items()
        for operation in function.operations
        for reason in _reasons_to_leave(operation)
    ]


def _reasons_to_leave(operation: Any) -> Iterator[str]:
    kind, given = operation.op_type, operation.inputs
    if kind != "cast" and not _is_constant(operation) and _dtype(operation.outputs[0]) == torch.float32:
        yield "computes in fp32"
    if kind.startswith("gather"):
        yield "gathers"
    if kind == "conv" and max(given["dilations"].val) > 1:
        yield f"is dilated by {max(given['dilations'].val)}"
    if kind.endswith("_pool") and max(given["kernel_sizes"].val) > LARGEST_POOL:
        yield f"pools over {max(given['kernel_sizes'].val)} > {LARGEST_POOL}"


def _is_constant(operation: Any) -> bool:
    kind: str = operation.op_type
    return kind == "const" or kind.startswith("constexpr_")


def _dtype(var: Any) -> torch.dtype:
    """The type that the program declares; integers smaller than a byte are stored as bytes."""
    return torch_dtype(var.dtype)
