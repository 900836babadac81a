"""Export one generator to every format and precision that this machine can make, each with its own parity check."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bncagan.network.folded import FoldedGenerator
from export.exporters import Exporter
from export.parity import ParityError
from runtimes import ArtifactError, BackendMissingError, ShapeSet, Verdict
from runtimes.formats import Format
from runtimes.image import Pixels

REJECTED, NOT_RUN = "rejected", "not run"


@dataclasses.dataclass(frozen=True)
class Entry:
    """The result of exporting one format at one precision."""

    form: Format
    """Format of the file."""
    precision: str
    """Precision of the file."""
    shapes: ShapeSet
    """Shapes that it accepts."""
    path: Path
    """Where it is written."""
    status: str
    """Label of a passed check ("measured" or "predicted"), "rejected" if it failed, "not run" if nothing was made."""
    reason: str = ""
    """Why the file was rejected or not made."""
    size: int | None = None
    """Bytes."""
    verdict: Verdict | None = None
    """Result of the parity check; None if it did not run."""
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further facts, as in the spec."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """The options that all formats share."""

    shape: tuple[int, int, int]
    """Fixed shape: N, H, W."""
    dynamic: bool
    """Export a range of shapes in the formats that support one."""
    io: str
    """Type of the pixels, float32 or uint8."""
    controls: bool
    """Whether the files have the second input `controls`."""
    photos: Mapping[str, Pixels] | None
    """Photographs for the parity check, by name; None for scikit-image's."""
    calibration: Mapping[str, Pixels] | None
    """Photographs to calibrate int8 on, by name; None for scikit-image's."""

    def shapes(self, form: Format) -> ShapeSet:
        """The format's range if `dynamic` is set and the format supports ranges; otherwise the fixed shape."""
        return form.free_shapes() if self.dynamic and form.ranges else ShapeSet.of(self.shape)


def planned(exporters: Iterable[Exporter]) -> list[tuple[Exporter, str]]:
    """All pairs of an exporter and a precision of its format."""
    return [(exporter, precision) for exporter in exporters for precision in exporter.form.precisions]


def export_all(
    model: FoldedGenerator, folder: Path, name: str, plan: Sequence[tuple[Exporter, str]], wish: Wish
) -> Iterator[Entry]:
    """Export every pair of the plan to FOLDER/NAME-PRECISION.SUFFIX; a failure does not stop the rest."""
    for exporter, precision in plan:
        form = exporter.form
        shapes = wish.shapes(form)
        path = folder / f"{name}-{precision}{form.suffix}"
        options = {"precision": precision, "shapes": shapes, "io": wish.io, "photos": wish.photos}
        options["controls"] = wish.controls
        if precision == "int8":
            options["calibration"] = wish.calibration
        entry = Entry(form, precision, shapes, path, NOT_RUN)
        try:
            artifact = exporter(model, path, **options)
        except ParityError as error:
            yield dataclasses.replace(
                entry,
                status=REJECTED,
                reason="; ".join(error.report.verdict.failures[:1]),
                verdict=error.report.verdict,
            )
        except (BackendMissingError, ArtifactError) as error:
            yield dataclasses.replace(entry, reason=str(error))
        else:
            verdict = artifact.report.verdict
            yield dataclasses.replace(
                entry, status=verdict.label, size=artifact.size, verdict=verdict, details=artifact.spec.details
            )
