"""export all: make every file that this machine can, and one table of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table

from benchmarks.machine import memory
from benchmarks.tables import markdown_table
from bncagan.cli.source import CALIBRATED_ON, Source, large_photos, read_folder
from bncagan.cli.time_left import TimeLeft
from export.exporters import EXPORTERS, Exporter
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.files import write_json, write_text
from runtimes.spec import parse_size
from runtimes.verdict import require_one_of

if TYPE_CHECKING:
    from export.catalogue import Entry, Wish

COLUMNS = ("format", "precision", "shapes", "size", "PSNR", "bias", "mean dE", "parity", "time", "notes")
MOST_JOBS = 4
JOB_BYTES = 3 * 2**30  # memory for each file that is made at the same time
# About how long a file takes in relation to one in float32
EFFORTS = {"int8": 1.4, "fp16": 1.2, "palette8": 1.6, "palette6": 1.6}


@dataclass(frozen=True, kw_only=True)
class ExportAll(Source):
    """Export every format and precision that this machine can make, each with its own parity check.

    The files, report.md and report.json are written to the folder. The exit code is 1 if a file was rejected.
    """

    out: Path
    """Folder for the files; created if needed."""
    shape: str = "512x512"
    """HEIGHTxWIDTH of files with a fixed shape."""
    dynamic: Flag = False
    """Accept a range of shapes in the formats that support it."""
    controls: Flag = False
    """Give every file the second input `controls`: strength and exposure of each picture."""
    output: Literal["picture", "maps", "both"] = "picture"
    """What every file returns: the picture at the network's size, its change as maps for any size, or both."""
    calibration: Path | None = None
    """Folder of dark and bright photographs to calibrate int8 on, instead of scikit-image's."""
    litert_python: Path | None = None
    """Python of an environment with litert-torch; that of `make litert` if not given."""
    formats: tuple[str, ...] = ()
    """Export only these formats."""

    jobs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """How many files are made at a time; as many as cores and memory allow, at most 4, if not given."""

    def run(self) -> int:
        """Export all files, several at a time; returns 1 if one was rejected."""
        from export.catalogue import REJECTED, export_all, planned

        for name in self.formats:
            require_one_of(name, tuple(EXPORTERS), "--formats")
        plan = planned([made for name, made in EXPORTERS.items() if not self.formats or name in self.formats])
        if self.controls and self.output == "maps":
            raise InputError(
                "--controls should change a picture but --output maps returns none; choose --output both, "
                "or leave --controls out"
            )
        jobs = self.how_many(len(plan))
        wish = self.wish()
        model = self.folded()
        self._make_folder()
        places = {(exporter.form.name, precision): i for i, (exporter, precision) in enumerate(plan)}
        entries: list[Entry] = []
        rows = self._write_report(entries)
        with TimeLeft({place: effort(*pair) for place, pair in zip(places, plan, strict=True)}) as left:
            exported = export_all(
                model, self.out, Path(self.checkpoint).stem, plan, wish, jobs=jobs, prepared=left.prepared
            )
            for entry in exported:
                print(f"{entry.path.name}: {entry.status}{f', {entry.reason}' if entry.reason else ''}")
                left.finished((entry.form.name, entry.precision))
                entries = sorted([*entries, entry], key=lambda made: places[made.form.name, made.precision])
                rows = self._write_report(entries)  # after each file, so that a crash loses nothing
        terminal().print(table(rows), *remarks(rows), f"How fast they are: bncagan benchmark {self.out}", sep="\n")
        return 1 if any(entry.status == REJECTED for entry in entries) else 0

    def how_many(self, files: int) -> int:
        """How many of the files to make at a time."""
        if self.jobs is not None:
            if self.jobs < 1:
                raise InputError(f"--jobs should be at least 1 but is {self.jobs}; leave it out")
            return min(self.jobs, files)
        total = memory(Path("/"))
        return max(1, min(MOST_JOBS, os.cpu_count() or 1, files, 1 if total is None else total // JOB_BYTES))

    def _write_report(self, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
        """Write report.md and report.json; returns the rows of the table."""
        rows = [row(entry) for entry in entries]
        write_text(self.out / "report.md", markdown_table(COLUMNS, rows, others="---"))
        write_json(self.out / "report.json", [as_json(entry) for entry in entries])
        return rows

    def wish(self) -> Wish:
        """The options for all formats."""
        from export.catalogue import Wish

        return Wish(
            shape=(1, *parse_size(self.shape)),
            dynamic=self.dynamic,
            io=self.io,
            controls=self.controls,
            photos=read_folder(self.photos),
            calibration=read_folder(self.calibration, CALIBRATED_ON),
            output=self.output,
            large_photos=None if self.output == "picture" else large_photos(self.photos),
            litert_python=self.litert_python,
        )

    def _make_folder(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"--out {self.out} should be a folder but is a file; choose another --out")
        self.out.mkdir(parents=True, exist_ok=True)


def effort(exporter: Exporter, precision: str) -> float:
    """About how long a file takes in relation to others, to estimate the time left."""
    if exporter.missing() is not None:
        return 0.01
    return (2 if exporter.form.name == "coreml" else 1) * EFFORTS.get(precision, 1)


def row(entry: Entry) -> tuple[str, ...]:
    """The cells of one entry's row, in the order of `COLUMNS`."""
    verdict = entry.verdict
    numbers = ("", "", "")
    if verdict is not None:
        psnr = "identical" if verdict.psnr_min is None else f"{verdict.psnr_min:.1f} dB"
        de = "" if verdict.de_mean is None else f"{verdict.de_mean:.2f}"
        numbers = (psnr, f"{verdict.bias_max:.2f}", de)
    notes = "; ".join([entry.reason] * bool(entry.reason) + [f"{k}: {v}" for k, v in entry.details.items()])
    size = "" if entry.size is None else f"{entry.size / 2**20:.2f} MiB"
    return (
        entry.form.title,
        entry.precision,
        str(entry.shapes),
        size,
        *numbers,
        entry.status,
        f"{entry.seconds:.0f} s",
        notes,
    )


def table(rows: Sequence[tuple[str, ...]]) -> Table:
    """The rows without their notes, for the terminal; the numbers are those of each file's worst picture."""
    made = Table(*COLUMNS[:-1], title="parity with PyTorch on the worst picture")
    for cells in rows:
        made.add_row(*cells[:-1], style="red" if cells[COLUMNS.index("parity")] == "rejected" else None)
    return made


def remarks(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The notes, each only once, after the formats and precisions that they belong to."""
    noted: dict[str, list[str]] = {}
    for cells in rows:
        noted.setdefault(cells[-1], []).append(" ".join(cells[:2]))
    return [f"{', '.join(names)}: {note}" for note, names in noted.items() if note]


def as_json(entry: Entry) -> dict[str, object]:
    """One entry for report.json, with every number."""
    return {
        "format": entry.form.name,
        "precision": entry.precision,
        "shapes": str(entry.shapes),
        "file": entry.path.name,
        "bytes": entry.size,
        "status": entry.status,
        "reason": entry.reason,
        "seconds": round(entry.seconds, 1),
        "details": dict(entry.details),
        "parity": None if entry.verdict is None else dataclasses.asdict(entry.verdict),
        "fidelity": None if entry.fidelity is None else dataclasses.asdict(entry.fidelity),
    }
