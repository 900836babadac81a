"""The registry of file formats: it drives `load`, `bncagan export`, `doctor`, the table of formats and the tests."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import Any

from runtimes.errors import ArtifactError
from runtimes.installation import EXTRAS, absent
from runtimes.spec import IOS, Shape, ShapeSet
from runtimes.verdict import require_one_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One file format. Code is named as "module:attribute", and imported only when it is called for.

    name: what `bncagan export` calls it. suffix: of its files, by which `load` finds the wrapper.
    library: what runs it. also: what else running takes.
    precisions, ios: the first is the default.
    several: whether one file may hold several fixed shapes.
    widest: the smallest, usual and largest N x H x W of the range that is offered; None if it can hold none.
    runs_on: the machines, for people. platform: sys.platform where alone it runs.
    checked: what this project's own tests and results rest on: "measured", "predicted" or "not run", and where.
    """

    name: str
    title: str
    suffix: str
    runtime: str
    library: str
    also: tuple[str, ...] = ()
    precisions: tuple[str, ...]
    ios: tuple[str, ...] = IOS
    several: bool = False
    widest: tuple[Shape, Shape, Shape] | None = ((1, 16, 16), (1, 512, 512), (8, 4096, 4096))
    runs_on: str
    checked: str
    platform: str | None = None

    def wrapper(self) -> type[Any]:
        """The runtime class; importing it imports no backend."""
        module, _, name = self.runtime.partition(":")
        kind: type[Any] = getattr(importlib.import_module(module), name)
        return kind

    def missing(self) -> str | None:
        """What stands in the way of running this format here, in a sentence; None for nothing."""
        reason = absent((self.library, *self.also))
        if reason is None and self.platform not in {None, sys.platform}:
            reason = f"only on {self.runs_on}"
        return reason

    @property
    def extra(self) -> str:
        """The extra of this package that installs the library."""
        return EXTRAS[self.library]

    @property
    def ranges(self) -> bool:
        """Whether one file may hold a range of shapes."""
        return self.widest is not None

    def free_shapes(self) -> ShapeSet:
        """The widest range; ArtifactError if the format has none."""
        if self.widest is None:
            raise ArtifactError(f"{self.title} takes fixed shapes but was asked for a range; name the shapes you need")
        return ShapeSet.between(*self.widest)

    def require(self, *, precision: str, io: str, shapes: ShapeSet) -> None:
        """Do nothing if the format can hold this; ArtifactError naming what it can."""
        require_one_of(precision, self.precisions, f"the precision of {self.title}")
        require_one_of(io, self.ios, f"the pixel type of {self.title}")
        if shapes.bounds is not None and not self.ranges:
            raise ArtifactError(f"{self.title} takes fixed shapes but was asked for {shapes}; name the shapes you need")
        if len(shapes.fixed) > 1 and not self.several:
            raise ArtifactError(
                f"{self.title} takes one fixed shape{' or a range' if self.ranges else ''} but was asked for {shapes}; "
                "export one file for each"
            )


FORMATS = {
    form.name: form
    for form in (
        Format(
            name="onnx",
            title="ONNX",
            suffix=".onnx",
            runtime="runtimes.ort:OnnxRuntime",
            library="onnxruntime",
            precisions=("fp32", "fp16", "int8"),
            runs_on="wherever ONNX Runtime does",
            checked="measured, ONNX Runtime on a CPU",
        ),
        Format(
            name="openvino",
            title="OpenVINO IR",
            suffix=".xml",
            runtime="runtimes.ov:OpenVinoRuntime",
            library="openvino",
            precisions=("fp32", "fp16", "int8"),
            runs_on="x86 and Arm CPUs; Intel GPUs and NPUs",
            checked="measured, OpenVINO on a CPU",
        ),
        Format(
            name="coreml",
            title="Core ML",
            suffix=".mlpackage",
            runtime="runtimes.coreml:CoreMlRuntime",
            library="coremltools",
            precisions=("fp16", "fp32", "palette8", "palette6"),
            several=True,
            widest=None,
            runs_on="macOS 13, iOS 16 and newer",
            platform="darwin",
            checked="predicted, by an evaluator of the saved package",
        ),
        Format(
            name="tensorrt",
            title="TensorRT",
            suffix=".engine",
            runtime="runtimes.trt:TensorRtRuntime",
            library="tensorrt",
            also=("cuda",),
            widest=((1, 16, 16), (1, 512, 512), (1, 1536, 1536)),  # every buffer is as large as the largest shape
            precisions=("fp16", "fp32", "int8"),
            runs_on="NVIDIA GPUs and Jetson, TensorRT 10.3 to 11",
            checked="not run; the ONNX it is built from: measured",
        ),
        Format(
            name="pt2",
            title="PyTorch program",
            suffix=".pt2",
            runtime="runtimes.pt:ExportedProgramRuntime",
            library="torch",
            precisions=("fp32",),
            runs_on="wherever PyTorch does",
            checked="measured, PyTorch on a CPU",
        ),
    )
}
BY_SUFFIX = {form.suffix: form for form in FORMATS.values()}
