"""The registry of exporters, one for each format in `runtimes.formats`."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtimes.formats import FORMATS, Format
from runtimes.installation import PROJECT, absent

LITERT_PYTHON = PROJECT / ".venv-litert" / "bin" / "python"  # what `make litert` makes

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator
    from export.publishing import Artifact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporter:
    """The exporter of one format; its code is imported when it is first called."""

    form: Format
    """Format that it writes."""
    function: str
    """Where its code is, as "module:function"."""
    needs: tuple[str, ...]
    """Libraries that it imports."""
    about: str = ""
    """What --help says of it, if the command has no options of its own and so no class."""
    about_precisions: str = "Precision of weights and arithmetic."
    """What --help says of its precisions."""
    calls: Path | None = None
    """The Python of another environment that it calls, unless it is told another."""
    made_on: str = "Linux, macOS, Windows"
    """Machines on which these libraries run, for people."""

    def __call__(self, model: FoldedGenerator, path: Path, **options: Any) -> Artifact:
        """Export to `path` and check; options, result and errors are those of the function, see `to_onnx`."""
        module, _, name = self.function.partition(":")
        made: Artifact = getattr(importlib.import_module(module), name)(model, path, **options)
        return made

    def missing(self) -> str | None:
        """One sentence that says what prevents exporting on this machine; None if nothing does."""
        missing = absent(self.needs)
        if missing is None and self.calls is not None and not self.calls.is_file():
            return f"needs {self.calls}: make {self.form.name}, or --{self.form.name}-python"
        return missing


EXPORTERS = {
    exporter.form.name: exporter
    for exporter in (
        Exporter(
            form=FORMATS["onnx"],
            function="export.to_onnx:to_onnx",
            about="Export to ONNX: opset 18, one file. FP16 is strongly typed: TensorRT 10 and 11 build it unchanged.",
            about_precisions="fp16: half weights and arithmetic, float32 statistics and pictures. int8: as many "
            "convolutions as possible.",
            needs=("torch", "onnx", "onnxscript", "onnxruntime"),
        ),
        Exporter(
            form=FORMATS["openvino"],
            function="export.to_openvino:to_openvino",
            about="Export to OpenVINO IR: an .xml, with the weights in a .bin beside it.",
            about_precisions="fp16: half weights, float32 arithmetic unless bf16 is asked for. int8: as many "
            "convolutions as possible.",
            needs=("torch", "onnx", "onnxscript", "openvino"),
        ),
        Exporter(
            form=FORMATS["coreml"],
            function="export.to_coreml:to_coreml",
            needs=("torch", "coremltools"),
            made_on="Linux, macOS",
        ),
        Exporter(
            form=FORMATS["tensorrt"],
            function="export.to_tensorrt:to_tensorrt",
            needs=("tensorrt", "cuda", "onnxruntime"),  # exporting from a checkpoint also needs what ONNX needs
            made_on="the NVIDIA device that runs it",
        ),
        Exporter(
            form=FORMATS["litert"],
            function="export.to_litert:to_litert",
            needs=("torch", "ai_edge_litert"),
            calls=LITERT_PYTHON,
            made_on="Linux",
        ),
        Exporter(
            form=FORMATS["pt2"],
            function="export.to_pt2:to_pt2",
            about="Export to a PyTorch exported program, which runs with torch alone.",
            needs=("torch",),
        ),
    )
}
