"""bundle: the model with everything that a device or an application needs to run and to test it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

import tyro

from bncagan.cli.export import Shaped
from bncagan.cli.options import summary_line
from bncagan.cli.source import CALIBRATED_ON, Weights, read_folder
from export.bundles.application import SELF_TEST, TARGETS, Target
from runtimes.spec import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from export.publishing import Artifact


@dataclass(frozen=True, kw_only=True)
class Jetson(Weights):
    """Write a folder for a Jetson: ONNX files, golden pictures, and scripts that install, build, test and measure."""

    out: Path
    """New or empty folder, or a new file that ends in .tar.gz."""
    shape: str = "512x512"
    """HEIGHTxWIDTH of the engine."""
    batch: int = 1
    """Number of pictures in a batch."""
    jetpack: Literal["6", "7"] = "6"
    """Version of JetPack on the board: 6 (Python 3.10) or 7 (Python 3.12)."""
    precisions: tuple[Literal["fp16", "int8", "fp32"], ...] = ("fp16", "int8")
    """Precisions of the model. One after the first is left out if it fails its parity check."""
    calibration: Path | None = None
    """Folder of dark and bright photographs to calibrate int8 on, instead of scikit-image's."""

    def run(self) -> int:
        """Write the bundle and print what is in it."""
        from export.bundles.for_jetson import Wish, write_jetson_bundle

        wish = Wish(
            name=Path(self.checkpoint).stem,
            shape=(self.batch, *parse_size(self.shape)),
            jetpack=self.jetpack,
            precisions=self.precisions,
            photos=read_folder(self.photos),
            calibration=read_folder(self.calibration, CALIBRATED_ON),
        )
        bundle = write_jetson_bundle(self.folded(), self.out, wish)
        announce(bundle.artifacts)
        for precision, reason in bundle.left_out.items():
            print(f"{precision} is left out: {reason}")
        print(f"{bundle.path}: copy it to the board; README.md in it says what to do there")
        return 0


@dataclass(frozen=True, kw_only=True)
class Application(Shaped):
    """The options of a bundle for an application."""

    target: ClassVar[Target]

    out: Path
    """New or empty folder."""
    precisions: tuple[str, ...]
    """Precisions, each with a file and a self-test folder of its own."""

    def run(self) -> int:
        """Write the files and print what they are."""
        from export.bundles.application import exporter_of, write_application

        exporter = exporter_of(self.target)
        artifacts = write_application(
            self.folded(),
            self.out,
            Path(self.checkpoint).stem,
            self.target,
            precisions=self.precisions,
            shapes=self.shapes_of(exporter.form),
            io=self.io,
            controls=self.controls,
            output=self.output,
            photos=read_folder(self.photos),
        )
        announce(artifacts)
        return 0


def announce(artifacts: Iterable[Artifact]) -> None:
    """Print each file and the result of its parity check."""
    for artifact in artifacts:
        print(f"{artifact.path}, self-test in {artifact.path.with_suffix(SELF_TEST).name}")
        print(summary_line(artifact.report.verdict))


def command_of(target: Target) -> type[Application]:
    """The command of a platform, out of its row in the registry."""
    return dataclasses.make_dataclass(
        target.name,
        [
            ("precisions", tuple[str, ...], dataclasses.field(default=target.precisions)),
            ("output", Literal["picture", "maps", "both"], dataclasses.field(default=target.output)),
        ],
        bases=(Application,),
        namespace={"target": target, "__doc__": target.about},
        frozen=True,
        kw_only=True,
    )


if TYPE_CHECKING:
    Commands = Application
else:
    Commands = Union[  # noqa: UP007 # of as many commands as there are platforms
        tuple(Annotated[command_of(target), tyro.conf.subcommand(name)] for name, target in TARGETS.items())
    ]


@dataclass(frozen=True)
class MakeBundle:
    """Write a folder with the model and all that a device or an application needs to run and to test it."""

    target: Annotated[Annotated[Jetson, tyro.conf.subcommand("jetson")] | Commands, tyro.conf.arg(name="")]

    def run(self) -> int:
        """Write the bundle of the chosen platform."""
        return self.target.run()
