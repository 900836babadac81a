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

from export.mil_operations import ELEMENTWISE, OPERATIONS, torch_dtype
from export.mil_plan import Prepared
from runtimes import ArtifactError, Runtime
from runtimes.base import batch_shape
from runtimes.coreml import hash_content, import_coremltools, quiet, read_package

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
        functions = {shape: program.functions[name] for shape, name in package.functions.items()}
        for function in functions.values():
            for operation in function.operations:
                if operation.op_type not in {"const", *ELEMENTWISE, *OPERATIONS}:
                    raise ArtifactError(
                        f"{path} should hold only operations that the evaluator knows but holds {operation.op_type}; "
                        "check the package on a Mac, or export it again"
                    )
        self._functions = {shape: Prepared(function, pessimistic=pessimistic) for shape, function in functions.items()}

    def content_sha256(self) -> str:
        """Return the SHA-256 of the program and its weights."""
        return hash_content(self._package.model)

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        name = self.spec.input_name
        function = self._functions[batch_shape(inputs[name], self.spec)]
        given = {each: torch.tensor(array) for each, array in inputs.items()}
        if self.spec.io == "uint8":
            given[name] = given[name].permute(0, 3, 1, 2)
        results = function.run(given)
        outputs = {each: result.numpy() for each, result in zip(self.spec.outputs, results, strict=True)}
        codes = outputs.get(self.spec.output_name)
        if self.spec.io == "uint8" and codes is not None:
            # Cut to whole codes below, because Core ML's own rounding is undocumented: apple/coremltools#2213
            picture = np.nan_to_num(codes.clip(0, 255).transpose(0, 2, 3, 1))
            outputs[self.spec.output_name] = picture.astype(np.uint8, order="C")
        return outputs


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
    if kind != "cast" and not _is_constant(operation) and torch_dtype(operation.outputs[0].dtype) == torch.float32:
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
