"""Run the ML Program of a saved Core ML package with torch, on any system: a reference for what Core ML should answer.

It executes what the package holds, operation by operation in the types that it declares, so it finds what a converter
got wrong. What it finds is `predicted`: Apple's hardware may round otherwise.
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
from runtimes.coreml import import_coremltools, quiet, read_package

SMALLEST_NORMAL = 2.0**-14  # of half precision
LARGEST_POOL = 13  # side of the kernel that the Neural Engine takes


class MilEvaluator(Runtime):
    """A saved package whose ML Program torch executes on the CPU.

    Each operation computes in float32 and its result is rounded to the type that the program declares for it; so sums
    (of a convolution, a mean) are kept in float32 and rounded once. Pictures are cut to whole codes: Core ML does not
    document how it rounds, so that a program has to do it.

    pessimistic: what hardware might do at worst to halves: subnormal ones become 0, and means and sums over axes are
    rounded after each addition.

    Errors: BackendMissingError; ArtifactError as `runtimes.coreml.read_package`, or for an operation that this
    evaluator does not know.
    """

    def __init__(self, path: Path, *, pessimistic: bool = False) -> None:
        package = read_package(path)
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
                        f"{path} should hold operations that the evaluator knows but holds {operation.op_type}; "
                        "check the package on a Mac, or export it again"
                    )

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        function = self._functions[batch_shape(batch, self.spec)]
        image = torch.tensor(batch)
        if self.spec.io == "float32":
            return execute(function, {self.spec.input_name: image}, pessimistic=self._pessimistic)[0].numpy()
        codes = execute(function, {self.spec.input_name: image.permute(0, 3, 1, 2)}, pessimistic=self._pessimistic)[0]
        picture: NDArray[Any] = np.nan_to_num(codes.clamp(0, 255).permute(0, 2, 3, 1).numpy())
        return picture.astype(np.uint8, order="C")


@torch.inference_mode()
def execute(function: Any, inputs: Mapping[str, Tensor], *, pessimistic: bool = False) -> list[Tensor]:
    """The outputs of a function of an ML Program, each in its declared type; see MilEvaluator for the arithmetic."""
    values = {var: inputs[name].to(_dtype(var)) for name, var in function.inputs.items()}
    for operation in function.operations:
        if operation.op_type != "const":
            given = {name: _read(var, values, pessimistic) for name, var in operation.inputs.items() if var is not None}
            output = operation.outputs[0]
            in_halves = pessimistic and _dtype(output) == torch.float16
            known = (OPERATIONS | IN_HALVES if in_halves else OPERATIONS)[operation.op_type]
            values[output] = _rounded(known(given), _dtype(output), pessimistic)
    return [values[output] for output in function.outputs]


def _read(var: Any, values: Mapping[Any, Tensor], pessimistic: bool) -> Any:
    """What an operation computes with: halves, exactly, as float32."""
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
    """The ML Program of a `coremltools.models.MLModel`: named functions of operations, weights included."""
    import_coremltools()
    spec = model.get_spec()
    loader = importlib.import_module("coremltools.converters.mil.frontend.milproto.load")
    with quiet():
        return loader.load(spec, spec.specificationVersion, model.weights_dir)


class Leaving(NamedTuple):
    """An operation that is known to leave the Apple Neural Engine, by function and output, and why; not measured."""

    function: str
    operation: str
    output: str
    reason: str
    label: str = "predicted"


def placement_warnings(path: Path) -> list[Leaving]:
    """The operations of a package that are known to leave the Neural Engine; the conversions at its ends are none.

    Errors: as `runtimes.coreml.read_package`. Measure with `CoreMlRuntime.placement` on a Mac.
    """
    return [
        Leaving(name, operation.op_type, operation.outputs[0].name, reason)
        for name, function in load_program(read_package(path).model).functions.items()
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
    """The type that the program declares; integers of less than a byte are bytes."""
    return torch_dtype(var.dtype)
