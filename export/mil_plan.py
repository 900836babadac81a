"""A function of an ML Program, prepared to run many times: constants are computed once, and memory is reused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.mil_operations import ELEMENTWISE, IN_HALVES, KEEPING, OPERATIONS, VIEWS, Inputs, Operation, torch_dtype

SMALLEST_NORMAL = 2.0**-14  # the smallest normal number in half precision


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation of the program."""

    kind: str
    """Kind of the operation, such as conv."""
    constants: Inputs
    """Its inputs that do not depend on the function's inputs, converted as `compute` wants them."""
    variables: dict[str, Any]
    """Its other inputs: variables, or lists of variables and constants."""
    outputs: dict[Any, torch.dtype]
    """Its results and their declared types."""
    compute: Operation | None
    """What computes it; None for an elementwise operation."""
    widened: bool
    """Whether halves are converted to float32 before and rounded after; torch does it inside of other operations."""
    reused: str | None
    """Name of the input that may be overwritten by the result."""
    released: tuple[Any, ...]
    """Variables that no later step needs."""


class Prepared:
    """A function of an ML Program. Arithmetic as in `export.mil.MilEvaluator`."""

    def __init__(self, function: Any, *, pessimistic: bool = False) -> None:
        self._function, self._pessimistic = function, pessimistic
        self._constants: dict[Any, Tensor] = {}
        operations = [operation for operation in function.operations if operation.op_type != "const"]
        last = {var: i for i, operation in enumerate(operations) for var in _variables(operation)}
        last |= dict.fromkeys(function.outputs, len(operations))
        owned = _owned(operations)
        self._steps: list[Step] = []
        for i, operation in enumerate(operations):
            ending = {var for var in _variables(operation) if last[var] == i} - self._constants.keys()
            step = self._step(operation, ending, owned)
            if step.variables:
                self._steps.append(step)
            else:
                self._constants |= self._results(step, {})

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The function's outputs, in their declared types."""
        values = {var: inputs[name].to(torch_dtype(var.dtype)) for name, var in self._function.inputs.items()}
        for step in self._steps:
            values |= self._results(step, values)
            for var in step.released:
                del values[var]
        return [values[var] if var in values else self._constants[var] for var in self._function.outputs]

    def _step(self, operation: Any, ending: set[Any], owned: set[Any]) -> Step:
        kind, outputs = operation.op_type, {var: torch_dtype(var.dtype) for var in operation.outputs}
        in_halves = self._pessimistic and torch.float16 in outputs.values() and kind in IN_HALVES
        widened = kind not in ELEMENTWISE and kind not in KEEPING
        constants: Inputs = {}
        variables: dict[str, Any] = {}
        for name, var in operation.inputs.items():
            if var is None:
                continue
            found = self._constant(var, widened)
            if isinstance(var, list | tuple) and any(part is None for part in found):
                variables[name] = [part if value is None else value for part, value in zip(var, found, strict=True)]
            elif found is None:
                variables[name] = var
            else:
                constants[name] = found
        reused = next((name for name in ("x", "y") if variables.get(name) in ending & owned), None)
        compute = None if kind in ELEMENTWISE else (IN_HALVES if in_halves else OPERATIONS)[kind]
        return Step(kind, constants, variables, outputs, compute, widened, reused, tuple(ending))

    def _constant(self, var: Any, widened: bool) -> Any:
        """The value of an input, or of each part of a list, if it is known before the function runs; otherwise None."""
        if isinstance(var, list | tuple):
            return [self._constant(part, widened) for part in var]
        if var in self._constants:
            return _widened(self._constants[var]) if widened else self._constants[var]
        if var.op is None or var.op.op_type != "const":
            return None
        if isinstance(var.val, str):
            return var.val
        value = self._rounded(torch.from_numpy(np.array(var.val)), torch_dtype(var.dtype))
        return _widened(value) if widened else value

    def _results(self, step: Step, values: Mapping[Any, Tensor]) -> dict[Any, Tensor]:
        given = dict(step.constants)
        for name, var in step.variables.items():
            if isinstance(var, list):
                given[name] = [part if isinstance(part, Tensor) else values[part] for part in var]
            else:
                given[name] = _widened(values[var]) if step.widened else values[var]
        computed = step.compute(given) if step.compute else ELEMENTWISE[step.kind](given, _room(step, given))
        results = computed if isinstance(computed, list) else [computed]
        return {
            var: self._rounded(value, dtype) for (var, dtype), value in zip(step.outputs.items(), results, strict=True)
        }

    def _rounded(self, value: Tensor, dtype: torch.dtype) -> Tensor:
        value = value.to(dtype)
        if self._pessimistic and dtype == torch.float16:
            return torch.where(value.abs() < SMALLEST_NORMAL, torch.zeros_like(value), value)
        return value


def _room(step: Step, given: Inputs) -> Tensor | None:
    """The input that the result may overwrite, if it has the result's type and shape."""
    if step.reused is None:
        return None
    candidate: Tensor = given[step.reused]
    (dtype,) = step.outputs.values()
    shape = np.broadcast_shapes(*(value.shape for value in given.values()))
    return candidate if candidate.dtype == dtype and candidate.shape == shape else None


def _owned(operations: list[Any]) -> set[Any]:
    """The variables whose memory is their own, not that of an input, a constant or another variable."""
    made = {var for operation in operations if operation.op_type not in VIEWS for var in operation.outputs}
    viewed = {var for operation in operations if operation.op_type in VIEWS for var in _variables(operation)}
    return made - viewed


def _variables(operation: Any) -> Iterator[Any]:
    """The inputs of an operation that are not constants of the program."""
    for given in operation.inputs.values():
        for var in given if isinstance(given, list | tuple) else (given,):
            if var is not None and (var.op is None or var.op.op_type != "const"):
                yield var


def _widened(value: Any) -> Any:
    """Halves converted to float32, which is exact."""
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.float16 else value
