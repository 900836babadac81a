"""The registry of file formats; `load`, `bncagan export`, `doctor`, the table of formats and the tests read it."""

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
    """One file format."""

    name: str
    """Its name as a subcommand of `bncagan export`."""
    title: str
    """Its name in tables and messages."""
    suffix: str
    """Suffix of its files, by which `load` finds the wrapper."""
    runtime: str
    """The wrapper as "module:class"; it is imported only when it is used."""
    library: str
    """The library that runs it."""
    also: tuple[str, ...] = ()
    """Other libraries that running it needs."""
    precisions: tuple[str, ...]
    """Its precisions; the first is the default."""
    ios: tuple[str, ...] = IOS
    """Its pixel types; the first is the default."""
    several: bool = False
    """Whether one file may hold several fixed shapes."""
    widest: tuple[Shape, Shape, Shape] | None = ((1, 16, 16), (1, 512, 512), (8, 4096, 4096))
    """Smallest, usual and largest N x H x W of the range that is offered; None if a file can hold no range."""
    runs_on: str
    """The machines that run it, for people."""
    checked: str
    """How this project checked it, "measured", "predicted" or "not run", and on what."""
    platform: str | None = None
    """The only value of sys.platform on which it runs; None for all."""

    def wrapper(self) -> type[Any]:
        """Import and return the runtime class; this imports no backend."""
        module, _, name = self.runtime.partition(":")
        kind: type[Any] = getattr(importlib.import_module(module), name)
        return kind

    def missing(self) -> str | None:
        """Say why this machine cannot run the format; None if it can."""
        reason = absent((self.library, *self.also))
        if reason is None and self.platform not in {None, sys.platform}:
            reason = f"only on {self.runs_on}"
        return reason

    @property
    def extra(self) -> str:
        """The extra of bncagan that installs the library."""
        return EXTRAS[self.library]

    @property
    def ranges(self) -> bool:
        """Whether one file may hold a range of shapes."""
        return self.widest is not None

    def free_shapes(self) -> ShapeSet:
        """Return the widest range of shapes; ArtifactError if the format has none."""
        if self.widest is None:
            raise ArtifactError(
                f"the {self.title} file should have fixed shapes but a range was asked for; name them with --shape"
            )
        return ShapeSet.between(*self.widest)

    def require(self, *, precision: str, io: str, shapes: ShapeSet) -> None:
        """Check that the format supports these; ArtifactError says what it does support."""
        require_one_of(precision, self.precisions, f"the precision of {self.title}")
        require_one_of(io, self.ios, f"the pixel type of {self.title}")
        if shapes.bounds is not None and not self.ranges:
            raise ArtifactError(
                f"the {self.title} file should have fixed shapes but {shapes} was asked for; name them with --shape"
            )
        if len(shapes.fixed) > 1 and not self.several:
            raise ArtifactError(
                f"the {self.title} file should have one fixed shape{' or a range' if self.ranges else ''} "
                f"but {shapes} were asked for; export one file for each"
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
            widest=((1, 16, 16), (1, 512, 512), (1, 1536, 1536)),  # memory is reserved for the largest shape
            precisions=("fp16", "fp32", "int8"),
            runs_on="NVIDIA GPUs and Jetson, TensorRT 10.3 to 11",
            checked="not run; the ONNX it is built from: measured",
        ),
        Format(
            name="litert",
            title="LiteRT",
            suffix=".tflite",
            runtime="runtimes.litert:LiteRtRuntime",
            library="ai_edge_litert",
            precisions=("fp32", "fp16"),
            widest=None,
            runs_on="Android 8 and newer; Linux, macOS, Windows",
            checked="measured, LiteRT on a CPU",
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
