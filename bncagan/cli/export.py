"""export: from weights to a checked file of any format."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from bncagan.cli.export_all import ExportAll
from bncagan.cli.options import summary_line
from bncagan.cli.source import CALIBRATED_ON, Source, read_folder
from export.exporters import EXPORTERS
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.formats import FORMATS, Format
from runtimes.spec import parse_shape, parse_size

if TYPE_CHECKING:
    from export.publishing import Artifact
    from runtimes import ShapeSet


def precisions(form: Format) -> Any:
    """How --help shows the precisions of a format, which itself refuses others."""
    return tyro.conf.arg(metavar="{" + ",".join(form.precisions) + "}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Source):
    """What every format is asked; `form` is the format."""

    form: ClassVar[Format]

    out: Path
    """File to write."""
    precision: str
    """Of weights and arithmetic."""
    shape: tuple[str, ...] = ()
    """The one HEIGHTxWIDTH that the file accepts, multiples of 8 (Core ML: or several); 512x512 if not given."""
    batch: int = 1
    """Pictures at a time, with fixed shapes."""
    dynamic: Flag = False
    """Accept every multiple of 8 from 16 to 4096 px a side, and 1 to 8 pictures at a time (TensorRT: to 1536 px, 1)."""
    range: Annotated[tuple[str, str, str] | None, tyro.conf.arg(metavar="SMALLEST USUAL LARGEST")] = None
    """Accept a range of your own: the smallest, usual and largest BATCHxHEIGHTxWIDTH."""

    def run(self) -> int:
        """Export and check."""
        shapes = self.shapes()
        self.form.require(precision=self.precision, io=self.io, shapes=shapes)
        options = {"precision": self.precision, "io": self.io, "shapes": shapes, "photos": read_folder(self.photos)}
        return announce(EXPORTERS[self.form.name](self.folded(), self.out, **options, **self.own_options()))

    def shapes(self) -> ShapeSet:
        """The shapes asked for; InputError for a contradiction or a side that is no multiple of 8."""
        from runtimes import ShapeSet

        fixed = " and ".join(["--shape"] * bool(self.shape) + ["--batch"] * (self.batch != 1))
        ways = ["--dynamic"] * self.dynamic + ["--range"] * (self.range is not None) + [fixed] * bool(fixed)
        if len(ways) > 1:
            raise InputError(f"expected one description of the shapes, got {' and '.join(ways)}; keep one of them")
        if self.range is not None:
            smallest, usual, largest = (parse_shape(text) for text in self.range)
            return ShapeSet.between(smallest, usual, largest)
        if self.dynamic:
            return self.form.free_shapes()
        return ShapeSet.of(*((self.batch, *parse_size(text)) for text in self.shape or ("512x512",)))

    def own_options(self) -> dict[str, Any]:
        """The options that only this format has."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Calibrated(ExportOptions):
    """A format that has int8."""

    calibration: Path | None = None
    """Folder of photographs, dark and bright ones, to calibrate int8 on, instead of scikit-image's."""

    def own_options(self) -> dict[str, Any]:
        """The calibration photographs; InputError if they are given and nothing needs them."""
        if self.calibration is None:
            return {}
        if self.precision != "int8":
            raise InputError(
                f"expected --calibration with --precision int8 only, got it with {self.precision}; leave it out"
            )
        return {"calibration": read_folder(self.calibration, CALIBRATED_ON)}


@dataclass(frozen=True, kw_only=True)
class Onnx(Calibrated):
    """ONNX, opset 18, one file; FP16 is strongly typed, so that TensorRT 10 and 11 build it as it is."""

    form: ClassVar[Format] = FORMATS["onnx"]

    precision: Annotated[str, precisions(FORMATS["onnx"])] = FORMATS["onnx"].precisions[0]
    """fp16: half weights and arithmetic, with statistics, input and output in float32. int8: convolutions, as far as
    the pictures allow."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Source):
    """What each convolution alone would cost in int8: worst PSNR and colour bias on the calibration pictures."""

    shape: str = "512x512"
    """HEIGHTxWIDTH of the pictures, which are judged at 128 px a side at most."""
    calibration: Path | None = None
    """Folder of photographs, dark and bright ones, instead of scikit-image's."""

    def run(self) -> int:
        """Print the table, the costliest first."""
        from export.int8.ranges import calibration_pictures
        from export.int8.search import sensitivity, sensitivity_table
        from runtimes import ShapeSet

        shapes = ShapeSet.of((1, *parse_size(self.shape)))
        pictures = calibration_pictures(shapes, read_folder(self.calibration, CALIBRATED_ON))
        terminal().print(sensitivity_table(sensitivity(self.folded(), pictures.judged)))
        return 0


@dataclass(frozen=True, kw_only=True)
class OpenVino(Calibrated):
    """OpenVINO IR: an .xml with its weights in a .bin beside it."""

    form: ClassVar[Format] = FORMATS["openvino"]

    precision: Annotated[str, precisions(FORMATS["openvino"])] = FORMATS["openvino"].precisions[0]
    """fp32, fp16: of the stored weights; the arithmetic is float32 with both, unless the runtime is asked for
    bfloat16. int8: convolutions, as far as the pictures allow."""


@dataclass(frozen=True, kw_only=True)
class CoreMl(ExportOptions):
    """Core ML package (ML Program); several shapes become one multifunction package."""

    form: ClassVar[Format] = FORMATS["coreml"]

    precision: Annotated[str, precisions(FORMATS["coreml"])] = FORMATS["coreml"].precisions[0]
    """fp16 is what the Neural Engine runs; a palette stores each weight in 8 or 6 bits."""
    target: str | None = None
    """Oldest system it runs on: iOS16 and newer; if not given, iOS16, or iOS18 with several shapes."""

    def own_options(self) -> dict[str, Any]:
        """The deployment target."""
        return {"target": self.target}


@dataclass(frozen=True, kw_only=True)
class TensorRt(Calibrated):
    """TensorRT engine, built on the NVIDIA device that will run it.

    From a checkpoint, which needs torch, or with --onnx from a file of `bncagan export onnx`, which does not.
    """

    form: ClassVar[Format] = FORMATS["tensorrt"]

    precision: Annotated[str, precisions(FORMATS["tensorrt"])] = FORMATS["tensorrt"].precisions[0]
    """Of weights and arithmetic; it is in the ONNX graph, and the engine's layers are checked for it."""
    onnx: Path | None = None
    """Build this .onnx artifact, with its golden pictures beside it; it decides precision, pixels and shapes."""
    workspace_mib: int | None = None
    """Memory for the layers' scratch, MiB; all there is if not given."""
    timing_cache: Path | None = None
    """File with the timings of earlier builds, which shortens the next; written if it is not there."""
    plan_cache: Path | None = None
    """Folder with earlier engines, by ONNX file, TensorRT version, GPU and options; created if need be."""
    weak_typing: Flag = False
    """Let TensorRT choose each layer's precision; TensorRT 10 only."""

    def run(self) -> int:
        """Build from the ONNX file, or export one first."""
        if self.onnx is None:
            return super().run()
        default = {field.name: field.default for field in dataclasses.fields(self)}
        free = {"onnx", "out", "debug", *self.build_options()}
        given = sorted(name for name in default.keys() - free if getattr(self, name) != default[name])
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(f"expected the ONNX file to decide, got also {options}; leave those out, or --onnx")
        from export.to_tensorrt import build_engine

        return announce(build_engine(self.onnx, self.out, **self.build_options()))

    def own_options(self) -> dict[str, Any]:
        """The calibration photographs, and how to build."""
        return super().own_options() | self.build_options()

    def build_options(self) -> dict[str, Any]:
        """How to build, whatever it is built from."""
        return {
            "workspace_mib": self.workspace_mib,
            "timing_cache": self.timing_cache,
            "plan_cache": self.plan_cache,
            "weak_typing": self.weak_typing,
        }


@dataclass(frozen=True, kw_only=True)
class Pt2(ExportOptions):
    """PyTorch exported program: runs with torch alone, without this project."""

    form: ClassVar[Format] = FORMATS["pt2"]

    precision: Annotated[str, precisions(FORMATS["pt2"])] = FORMATS["pt2"].precisions[0]
    """Of weights and arithmetic."""


@dataclass(frozen=True)
class Export:
    """Fold a generator, export it, and refuse the file unless its pictures equal PyTorch's."""

    format: Annotated[
        Annotated[Onnx, tyro.conf.subcommand("onnx")]
        | Annotated[OpenVino, tyro.conf.subcommand("openvino")]
        | Annotated[CoreMl, tyro.conf.subcommand("coreml")]
        | Annotated[TensorRt, tyro.conf.subcommand("tensorrt")]
        | Annotated[Pt2, tyro.conf.subcommand("pt2")]
        | Annotated[ExportAll, tyro.conf.subcommand("all")]
        | Annotated[Sensitivity, tyro.conf.subcommand("sensitivity")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Export to the chosen format."""
        return self.format.run()


def announce(artifact: Artifact) -> int:
    """Say what was exported and how it compared."""
    spec, size = artifact.spec, artifact.size / 2**20
    print(f"{artifact.path}: {spec.precision}, {spec.io}, {spec.shapes}, {size:.2f} MiB")
    for name, fact in spec.details.items():
        print(f"{name}: {fact}")
    print(summary_line(artifact.report.verdict))
    return 0
