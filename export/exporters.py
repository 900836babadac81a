"""What makes the files of each format: the registry of exporters, beside `runtimes.formats`, that of the files."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtimes.formats import FORMATS, Format
from runtimes.installation import absent

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator
    from export.publishing import Artifact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporter:
    """What makes one format. Its code is imported only when it is called.

    function: "module:function". needs: the libraries that it imports. made_on: the machines that have them, for people.
    """

    form: Format
    function: str
    needs: tuple[str, ...]
    made_on: str = "Linux, macOS, Windows"

    def __call__(self, model: FoldedGenerator, path: Path, **options: Any) -> Artifact:
        """Export and check: see `export.to_onnx.to_onnx` for what each of them takes, returns and raises."""
        module, _, name = self.function.partition(":")
        made: Artifact = getattr(importlib.import_module(module), name)(model, path, **options)
        return made

    def missing(self) -> str | None:
        """What stands in the way of exporting here, in a sentence; None for nothing."""
        return absent(self.needs)


EXPORTERS = {
    exporter.form.name: exporter
    for exporter in (
        Exporter(
            form=FORMATS["onnx"],
            function="export.to_onnx:to_onnx",
            needs=("torch", "onnx", "onnxscript", "onnxruntime"),
        ),
        Exporter(
            form=FORMATS["openvino"],
            function="export.to_openvino:to_openvino",
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
            needs=("tensorrt", "cuda", "onnxruntime"),  # from a checkpoint, what ONNX needs as well
            made_on="the NVIDIA device that runs it",
        ),
        Exporter(
            form=FORMATS["pt2"],
            function="export.to_pt2:to_pt2",
            needs=("torch",),
        ),
    )
}
