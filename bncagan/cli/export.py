"""export: make a file of any format from weights, and check it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import tyro

from bncagan.cli.export_all import ExportAll
from bncagan.cli.options import summary_line
from bncagan.cli.source import CALIBRATED_ON, Source, large_photos, read_folder
from export.exporters import EXPORTERS, Exporter
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.formats import FORMATS, Format
from runtimes.spec import parse_shape, parse_size

if TYPE_CHECKING:
    from export.publishing import Artifact
    from runtimes import ShapeSet


def precisions(form: Format, about: str | None = None) -> Any:
    """How --help shows the precisions of a format, with what it says `about` them; the format itself refuses others."""
    return tyro.conf.arg(metavar="{" + ",".join(form.precisions) + "}", help=about)


@dataclass(frozen=True, kw_only=True)
class Shaped(Source):
    """Options that describe what goes into a file and what comes out."""

    shape: tuple[str, ...] = ()
    """HEIGHTxWIDTH that the file accepts, multiples of 8; Core ML takes several. 512x512 if not given."""
    batch: int = 1
    """Number of pictures in a batch, for fixed shapes."""
    dynamic: Flag = False
    """Accept sides of 16 to 4096 px, multiples of 8, and 1 to 8 pictures (TensorRT: up to 1536 px, 1 picture)."""
    controls: Flag = False
    """Give the file the second input `controls`: strength and exposure of each picture."""
    output: Literal["picture", "maps", "both"] = "picture"
    """What the file returns: the picture at the network's size, its change as maps for any size, or both."""
    range: Annotated[tuple[str, str, str] | None, tyro.conf.arg(metavar="SMALLEST USUAL LARGEST")] = None
    """Accept a range of your own: the smallest, usual and largest BATCHxHEIGHTxWIDTH."""

    def shapes_of(self, form: Format) -> ShapeSet:
        """The shapes that the options describe; InputError for a contradiction or a side that is no multiple of 8."""
        from runtimes import ShapeSet

        fixed = " and ".join(["--shape"] * bool(self.shape) + ["--batch"] * (self.batch != 1))
        ways = ["--dynamic"] * self.dynamic + ["--range"] * (self.range is not None) + [fixed] * bool(fixed)
        if len(ways) > 1:
            raise InputError(f"shapes should be described by one option but are by {' and '.join(ways)}; keep one")
        if self.range is not None:
            smallest, usual, largest = (parse_shape(text) for text in self.range)
            return ShapeSet.between(smallest, usual, largest)
        if self.dynamic:
            return form.free_shapes()
        return ShapeSet.of(*((self.batch, *parse_size(text)) for text in self.shape or ("512x512",)))


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Shaped):
    """Options that all formats share; `form` is the format."""

    form: ClassVar[Format]

    out: Path
    """File to write."""
    precision: str
    """Precision of weights and arithmetic."""

    def run(self) -> int:
        """Export, check and print the result."""
        shapes = self.shapes()
        self.form.require(precision=self.precision, io=self.io, shapes=shapes)
        options = {"precision": self.precision, "io": self.io, "controls": self.controls, "shapes": shapes}
        options["output"] = self.output
        if self.output != "picture":
            options["large_photos"] = large_photos(self.photos)
        options |= {"photos": read_folder(self.photos), **self.own_options()}
        return announce(EXPORTERS[self.form.name](self.folded(), self.out, **options))

    def shapes(self) -> ShapeSet:
        """The shapes that the options describe, see `shapes_of`."""
        return self.shapes_of(self.form)

    def own_options(self) -> dict[str, Any]:
        """Options that only this format has, as keyword arguments of its exporter."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Calibrated(ExportOptions):
    """Options of a format that supports int8."""

    calibration: Path | None = None
    """Folder of dark and bright photographs to calibrate int8 on, instead of scikit-image's."""

    def own_options(self) -> dict[str, Any]:
        """The calibration photographs; InputError if they are given with another precision than int8."""
        if self.calibration is None:
            return {}
        if self.precision != "int8":
            raise InputError(
                f"--calibration should be used with --precision int8 but is with {self.precision}; leave it out"
            )
        return {"calibration": read_folder(self.calibration, CALIBRATED_ON)}


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Source):
    """Show the error of each convolution alone in int8: worst PSNR and colour bias on the calibration pictures."""

    shape: str = "512x512"
    """HEIGHTxWIDTH of the pictures; sides over 128 px are reduced to that."""
    calibration: Path | None = None
    """Folder of dark and bright photographs to calibrate on, instead of scikit-image's."""

    def run(self) -> int:
        """Print a table, the convolutions with the largest errors first."""
        from export.int8.ranges import calibration_pictures
        from export.int8.search import sensitivity, sensitivity_table
        from runtimes import ShapeSet

        shapes = ShapeSet.of((1, *parse_size(self.shape)))
        pictures = calibration_pictures(shapes, read_folder(self.calibration, CALIBRATED_ON))
        terminal().print(sensitivity_table(sensitivity(self.folded(), pictures.judged)))
        return 0


@dataclass(frozen=True, kw_only=True)
class CoreMl(ExportOptions):
    """Export to a Core ML package (ML Program); several shapes become one package with several functions."""

    form: ClassVar[Format] = FORMATS["coreml"]

    precision: Annotated[str, precisions(FORMATS["coreml"])] = FORMATS["coreml"].precisions[0]
    """The Neural Engine runs fp16; palettes are fp16 with each weight stored in 8 or 6 bits."""
    target: str | None = None
    """Oldest system that must run it: iOS16, iOS17 or iOS18; if not given, iOS16, or iOS18 for several shapes."""

    def own_options(self) -> dict[str, Any]:
        """The deployment target."""
        return {"target": self.target}


@dataclass(frozen=True, kw_only=True)
class LiteRt(ExportOptions):
    """Export to LiteRT (TensorFlow Lite), with a converter that lives in an environment of its own: make litert."""

    form: ClassVar[Format] = FORMATS["litert"]

    precision: Annotated[str, precisions(FORMATS["litert"])] = FORMATS["litert"].precisions[0]
    """fp16: half weights of convolutions; a CPU computes in float32, a GPU may compute in half."""
    litert_python: Path | None = None
    """Python of an environment with litert-torch; that of `make litert` if not given."""

    def own_options(self) -> dict[str, Any]:
        """The converter's Python."""
        return {"litert_python": self.litert_python}


@dataclass(frozen=True, kw_only=True)
class TensorRt(Calibrated):
    """Build a TensorRT engine on the NVIDIA device that will run it.

    It is built from a checkpoint, which needs torch, or with --onnx from a file of `bncagan export onnx`, which does
    not.
    """

    form: ClassVar[Format] = FORMATS["tensorrt"]

    precision: Annotated[str, precisions(FORMATS["tensorrt"])] = FORMATS["tensorrt"].precisions[0]
    """Precision of weights and arithmetic; the engine's layers are checked for it."""
    onnx: Path | None = None
    """.onnx artifact to build, with its golden pictures beside it; it decides precision, pixels and shapes."""
    workspace_mib: int | None = None
    """Scratch memory for the layers, MiB; if not given, all there is."""
    timing_cache: Path | None = None
    """File with the timings of earlier builds, which make the next one faster; created if needed."""
    plan_cache: Path | None = None
    """Folder of earlier engines, used again for the same ONNX file, TensorRT, GPU and options; created if needed."""
    weak_typing: Flag = False
    """Let TensorRT choose the precision of each layer; TensorRT 10 only."""

    def run(self) -> int:
        """Build from the ONNX file, or export one first."""
        if self.onnx is None:
            return super().run()
        default = {field.name: field.default for field in dataclasses.fields(self)}
        free = {"onnx", "out", "debug", *self.build_options()}
        given = sorted(name for name in default.keys() - free if getattr(self, name) != default[name])
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise InputError(
                f"--onnx should be used without options that the file decides but is with {options}; leave those out"
            )
        from export.to_tensorrt import build_engine

        return announce(build_engine(self.onnx, self.out, **self.build_options()))

    def own_options(self) -> dict[str, Any]:
        """The calibration photographs and the options of the build."""
        return super().own_options() | self.build_options()

    def build_options(self) -> dict[str, Any]:
        """Options of the build, whether from a checkpoint or from an ONNX file."""
        return {
            "workspace_mib": self.workspace_mib,
            "timing_cache": self.timing_cache,
            "plan_cache": self.plan_cache,
            "weak_typing": self.weak_typing,
        }


def plain_options(exporter: Exporter) -> type[ExportOptions]:
    """The command of a format without options of its own, out of the format's row in the registry."""
    form = exporter.form
    shown = precisions(form, exporter.about_precisions)
    precision = ("precision", Annotated[str, shown], dataclasses.field(default=form.precisions[0]))
    return dataclasses.make_dataclass(
        form.name,
        [precision],
        bases=(Calibrated if "int8" in form.precisions else ExportOptions,),
        namespace={"form": form, "__doc__": exporter.about},
        frozen=True,
        kw_only=True,
    )


WITH_OPTIONS: dict[str, type[ExportOptions]] = {"coreml": CoreMl, "tensorrt": TensorRt, "litert": LiteRt}
if TYPE_CHECKING:
    Commands = ExportOptions
else:
    Commands = Union[  # noqa: UP007 # of as many commands as there are formats
        tuple(
            Annotated[WITH_OPTIONS.get(name) or plain_options(exporter), tyro.conf.subcommand(name)]
            for name, exporter in EXPORTERS.items()
        )
    ]


@dataclass(frozen=True)
class Export:
    """Fold a generator, export it, and refuse the file if its pictures differ from PyTorch's."""

    format: Annotated[
        Commands
        | Annotated[ExportAll, tyro.conf.subcommand("all")]
        | Annotated[Sensitivity, tyro.conf.subcommand("sensitivity")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Export to the chosen format."""
        return self.format.run()


def announce(artifact: Artifact) -> int:
    """Print what was exported and the result of its parity check; returns the exit code."""
    spec, size = artifact.spec, artifact.size / 2**20
    print(f"{artifact.path}: {spec.precision}, {spec.io}, {spec.shapes}, {size:.2f} MiB")
    for name, fact in spec.details.items():
        print(f"{name}: {fact}")
    print(summary_line(artifact.report.verdict))
    if spec.fidelity is not None:
        print(spec.fidelity)
    if artifact.report.rounding is not None:
        print(artifact.report.rounding)
    return 0
