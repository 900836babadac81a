"""data fivek, data split and data check: photographs for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from runtimes.command import Flag
from runtimes.console import terminal, tracked
from runtimes.errors import InputError

PAPER_COUNTS = (2250, 2250, 100, 400)


@dataclass(frozen=True)
class FiveK:
    """Make pictures of MIT-Adobe FiveK's archive: sRGB, PNG, reduced to a short side of 512 px.

    DNG files, also in sub-folders, are developed neutrally by LibRaw (rawpy). Published tables use Lightroom's
    rendering instead, which differs: the collections Inputs/InputAsShotZeroed and Experts/C of fivek.lrcat, exported as
    PNG, sRGB, 8 bit, short edge 512 px. The same command continues after an interruption.
    """

    archive: tyro.conf.Positional[Path]
    """Folder of the unpacked archive, or of a part of it."""
    out: Path
    """Folder for input and, with --expert, expert: what `bncagan data split` takes as --raw and --expert."""
    expert: Path | None = None
    """Folder of one expert's TIFF files, such as tiff16_c."""
    short_side: int = 512
    """Short side of the pictures, px; smaller ones stay."""
    workers: int = 2
    """Photographs to develop at a time."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Write the pictures; returns 1 if a file cannot be read."""
        from bncagan.data.fivek import EXPERT_NAME, INPUT_NAME, find_photographs_of, prepare, require_rawpy

        for name in ("short_side", "workers"):
            if getattr(self, name) < 1:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} should be at least 1 but is {getattr(self, name)}; raise it")
        jobs = find_photographs_of(self.archive, self.expert)
        require_rawpy()
        without = sum(job.expert is None for job in jobs.values()) if self.expert else 0
        steps = prepare(jobs, self.out, self.short_side, self.workers)
        broken = [message for message, _ in zip(steps, tracked(jobs, "developing"), strict=True) if message is not None]
        for message in broken:
            print(message)
        print(f"{self.out / INPUT_NAME}: {len(jobs) - len(broken)} of {len(jobs)} photographs")
        if without:
            print(f"{without} photographs have no picture in {self.expert}; `data split` needs all, so add them")
        if self.expert is None:
            print(f"without --expert there are no references; the pictures go to {self.out / EXPERT_NAME} with it")
        return 1 if broken else 0


@dataclass(frozen=True)
class Split:
    """Split FiveK: unpaired raw and expert photographs for training, pairs for validation and test."""

    raw: Path
    """Folder of unedited photographs."""
    expert: Path
    """Folder of the same photographs after editing, with the same names."""
    out: Path
    """New folder for train/{raw,exp}, val/{raw,label}, test/{raw,label}."""
    counts: tuple[int, int, int, int] = PAPER_COUNTS
    """Number of photographs for train/raw, train/exp, val and test; every scene goes to only one of them."""
    order: str = "random"
    """random, as the paper says; number, as the authors' folders are (a0001 to a2250 expert, to a4500 raw, to a4900
    test, to a5000 validation); or a text file of names, one a line, that go to the parts in the order of --counts."""
    seed: int = 0
    """Seed of the random choice."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Copy the photographs and print how many there are."""
        from bncagan.data.splitting import split

        counts = split(self.raw, self.expert, self.out, self.counts, seed=self.seed, order=self.order)
        terminal().print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        return 0


@dataclass(frozen=True)
class Check:
    """Check a data set: its folders, what cannot be decoded, and what train, evaluate and ablate would refuse."""

    data: tyro.conf.Positional[Path]
    """Folder with train/{low,high} and, optionally, val and test with {low,label}, and keep; or one phone's of DPED."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Decode every photograph; returns 1 if one cannot be decoded, or if a command would refuse something."""
        from bncagan.data.checking import check

        table = Table("folder", "photographs", "smallest side, px", "not decodable")
        report = check(self.data)
        for folder, photographs in report.folders.items():
            table.add_row(str(folder), str(photographs.total), str(photographs.smallest), str(len(photographs.broken)))
        terminal().print(table)
        told = [message for message in report.broken if not any(message in line for line in report.refused)]
        lines = [*told, *(f"refused by {line}" for line in report.refused), *(f"note: {line}" for line in report.notes)]
        for line in lines:
            print(line)
        return 1 if report.broken or report.refused else 0


@dataclass(frozen=True)
class Data:
    """Prepare photographs for training."""

    task: Annotated[
        Annotated[FiveK, tyro.conf.subcommand("fivek")]
        | Annotated[Split, tyro.conf.subcommand("split")]
        | Annotated[Check, tyro.conf.subcommand("check")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Run the chosen task."""
        return self.task.run()
