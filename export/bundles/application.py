"""What an application carries: the model in the format of its platform, and the model's self-test folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.exporters import EXPORTERS, Exporter
from export.publishing import Artifact
from export.self_test import write_self_test
from runtimes import ShapeSet
from runtimes.errors import ArtifactError, InputError
from runtimes.files import new_folder, require_new
from runtimes.golden import Golden, golden_path
from runtimes.image import Pixels

if TYPE_CHECKING:
    from bncagan.network.folded import FoldedGenerator

SELF_TEST = ""  # the suffix of a self-test folder, which otherwise has the name of the model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A platform for which applications are written."""

    name: str
    """Its name as a subcommand of `bncagan bundle`."""
    about: str
    """What --help says of it."""
    form: str
    """Name of the format, a row of the registry of exporters."""
    precisions: tuple[str, ...]
    """Precisions that an application of this platform carries."""
    kinds: tuple[str, ...]
    """How its self-test reads pictures, see `export.self_test.KINDS`."""
    output: str = "picture"
    """What its file returns; "both" where the application applies the change at the photograph's size."""


TARGETS = {
    target.name: target
    for target in (
        Target(
            name="swift",
            about="Write a Core ML package and its self-test folder, for an iPhone or Mac app.",
            form="coreml",
            precisions=("fp16",),
            kinds=("rgb",),
        ),
        Target(
            name="web",
            about="Write ONNX files and their self-test folders, for a web page; fp32 for GPUs without half precision.",
            form="onnx",
            precisions=("fp16", "fp32"),
            kinds=("png",),
            output="both",
        ),
        Target(
            name="android",
            about="Write a LiteRT file and its self-test folder, for an Android app.",
            form="litert",
            precisions=("fp16",),
            kinds=("png",),
        ),
        Target(
            name="cpp",
            about="Write an ONNX file and its self-test folder, for a C++ program.",
            form="onnx",
            precisions=("fp32",),
            kinds=("rgb",),
            output="both",
        ),
    )
}


def exporter_of(target: Target) -> Exporter:
    """Return the exporter of the platform's format; ArtifactError if this version has none."""
    if target.form not in EXPORTERS:
        raise ArtifactError(
            f"{target.name} should have an exporter of the format {target.form} but there is none in this version; "
            f"choose one of {', '.join(other.name for other in TARGETS.values() if other.form in EXPORTERS)}"
        )
    return EXPORTERS[target.form]


def write_application(
    model: FoldedGenerator,
    folder: Path,
    name: str,
    target: Target,
    *,
    precisions: Sequence[str],
    shapes: ShapeSet,
    io: str = "float32",
    controls: bool = False,
    output: str = "picture",
    photos: Mapping[str, Pixels] | None = None,
) -> list[Artifact]:
    """Write NAME-PRECISION.SUFFIX and its self-test folder, NAME-PRECISION, for each precision.

    folder: a new or empty folder; it gets its name when all files are written.
    The other options are those of `export.to_onnx.to_onnx`.

    Errors: InputError for another folder; ParityError if a file fails its check; ArtifactError for an option that the
    format does not have, and for a format without an exporter.
    """
    require_new(folder)
    exporter = exporter_of(target)
    if not precisions:
        raise InputError("--precisions should name at least one precision but names none; leave it out for the usual")
    for precision in precisions:
        exporter.form.require(precision=precision, io=io, shapes=shapes)
    options: dict[str, Any] = {"shapes": shapes, "io": io, "controls": controls, "photos": photos}
    if output != "picture":  # which not every format has
        options["output"] = output
    made = []
    with new_folder(folder) as partial:
        for precision in precisions:
            path = partial / f"{name}-{precision}{exporter.form.suffix}"
            artifact = exporter(model, path, precision=precision, **options)
            pictures = golden_path(path)
            write_self_test(path.with_suffix(SELF_TEST), artifact, Golden.load(pictures), target.kinds)
            pictures.unlink()  # the self-test folder holds the same
            made.append(dataclasses.replace(artifact, path=folder / path.name))
    return made
