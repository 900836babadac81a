"""Export one generator to every format and precision that this machine can make, each with its own parity check."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from bncagan.network.folded import FoldedGenerator
from export.artifact import make_golden
from export.exporters import Exporter
from export.fidelity import SIDES, native_answers
from export.parity import ParityError
from export.sharing import Store, share, shared
from runtimes import ArtifactError, BackendMissingError, ShapeSet, Verdict
from runtimes.formats import Format
from runtimes.image import Pixels
from runtimes.verdict import Fidelity

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
    fidelity: Fidelity | None = None
    """How near its maps come to the network at full size; None if they were not compared."""
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further facts, as in the spec."""
    seconds: float = 0.0
    """How long it took, s."""


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
    output: str = "picture"
    """What the files return: "picture", "maps" or "both"."""
    large_photos: Mapping[str, Pixels] | None = None
    """Photographs on which maps are compared with the network at full size, by name; None for no comparison."""
    litert_python: Path | None = None
    """The Python that has litert-torch; None for that of `make litert`."""

    def shapes(self, form: Format) -> ShapeSet:
        """The format's range if `dynamic` is set and the format supports ranges; otherwise the fixed shape."""
        return form.free_shapes() if self.dynamic and form.ranges else ShapeSet.of(self.shape)


def planned(exporters: Iterable[Exporter]) -> list[tuple[Exporter, str]]:
    """All pairs of an exporter and a precision of its format."""
    return [(exporter, precision) for exporter in exporters for precision in exporter.form.precisions]


def export_all(
    model: FoldedGenerator,
    folder: Path,
    name: str,
    plan: Sequence[tuple[Exporter, str]],
    wish: Wish,
    *,
    jobs: int = 1,
    prepared: Callable[[], None] = lambda: None,
) -> Iterator[Entry]:
    """Export every pair of the plan to FOLDER/NAME-PRECISION.SUFFIX; a failure does not stop the rest.

    All share the golden pictures, which are drawn once for each set of shapes, and the network's answers at full size.

    jobs: how many files are made at a time, each by a process of its own; they are then yielded as they are done.
    prepared: called when these are drawn.

    Errors: ArtifactError if such a process ends without an answer.
    """
    with shared() as store:
        for shapes in {wish.shapes(exporter.form) for exporter, _ in plan if exporter.missing() is None}:
            make_golden(model, shapes, wish.photos, controls=wish.controls, output=wish.output)
        if wish.large_photos is not None:
            native_answers(model, SIDES, wish.large_photos)
        prepared()
        if jobs == 1:
            yield from (export_one(model, folder, name, pair, wish) for pair in plan)
            return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, context, _start, (threads, store)) as pool:
        # Whole, because torch would put each tensor of a model into a segment of shared memory
        common = pickle.dumps((model, folder, name, wish))
        try:
            exports = [pool.submit(_export_pickled, common, pair) for pair in plan]
            yield from (done.result() for done in as_completed(exports))
        except BrokenProcessPool as error:
            raise ArtifactError(
                f"{jobs} processes should export but one was ended from outside, probably for lack of memory; "
                "use --jobs 1"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start(threads: int, store: Store) -> None:
    """Prepare a process: its share of the CPU, what was drawn, and no bars besides that of all files."""
    torch.set_num_threads(threads)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 # until the process ends
    share(store)


def _export_pickled(common: bytes, pair: tuple[Exporter, str]) -> Entry:
    model, folder, name, wish = pickle.loads(common)
    return export_one(model, folder, name, pair, wish)


def export_one(model: FoldedGenerator, folder: Path, name: str, pair: tuple[Exporter, str], wish: Wish) -> Entry:
    """Export one format at one precision; the entry says what came of it."""
    exporter, precision = pair
    form = exporter.form
    shapes = wish.shapes(form)
    path = folder / f"{name}-{precision}{form.suffix}"
    options = {"precision": precision, "shapes": shapes, "io": wish.io, "photos": wish.photos}
    options |= {"controls": wish.controls, "output": wish.output, "large_photos": wish.large_photos}
    if precision == "int8":
        options["calibration"] = wish.calibration
    if form.name == "litert":
        options["litert_python"] = wish.litert_python
    entry = Entry(form, precision, shapes, path, NOT_RUN)
    began = time.monotonic()
    try:
        artifact = exporter(model, path, **options)
    except ParityError as error:
        verdict = error.report.verdict
        entry = dataclasses.replace(entry, status=REJECTED, reason="; ".join(verdict.failures[:1]), verdict=verdict)
    except (BackendMissingError, ArtifactError) as error:
        entry = dataclasses.replace(entry, reason=str(error))
    else:
        verdict = artifact.report.verdict
        spec = artifact.spec
        entry = dataclasses.replace(entry, status=verdict.label, size=artifact.size, verdict=verdict)
        entry = dataclasses.replace(entry, fidelity=spec.fidelity, details=spec.details)
    return dataclasses.replace(entry, seconds=time.monotonic() - began)
