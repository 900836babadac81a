"""Every format that this machine can make of one generator, each behind its own parity check."""

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
    """What became of one format at one precision.

    status: the verdict's label, "measured" or "predicted"; "rejected" if the check failed; "not run" if there is
    nothing to check. reason: why, for the last two. size: bytes. details: as in the spec.
    """

    form: Format
    precision: str
    shapes: ShapeSet
    path: Path
    status: str
    reason: str = ""
    size: int | None = None
    verdict: Verdict | None = None
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of every format alike.

    shape: N, H, W where shapes are fixed. dynamic: a range in the formats that take one, instead.
    photos: pictures to check on, calibration: pictures to calibrate int8 on, both scikit-image's if None.
    """

    shape: tuple[int, int, int]
    dynamic: bool
    io: str
    photos: Mapping[str, Pixels] | None
    calibration: Mapping[str, Pixels] | None

    def shapes(self, form: Format) -> ShapeSet:
        """The format's range, if one is asked for and it has one; else the fixed shape."""
        return form.free_shapes() if self.dynamic and form.ranges else ShapeSet.of(self.shape)


def planned(exporters: Iterable[Exporter]) -> list[tuple[Exporter, str]]:
    """Every exporter with each precision of its format."""
    return [(exporter, precision) for exporter in exporters for precision in exporter.form.precisions]


def export_all(
    model: FoldedGenerator, folder: Path, name: str, plan: Sequence[tuple[Exporter, str]], wish: Wish
) -> Iterator[Entry]:
    """Export each of the plan to `folder`/`name`-PRECISION.SUFFIX. One that fails does not stop the next."""
    for exporter, precision in plan:
        form = exporter.form
        shapes = wish.shapes(form)
        path = folder / f"{name}-{precision}{form.suffix}"
        options = {"precision": precision, "shapes": shapes, "io": wish.io, "photos": wish.photos}
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
