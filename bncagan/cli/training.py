"""train, average, data split and data check: everything before the export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from bncagan.config import TrainConfig
from runtimes.command import Flag
from runtimes.console import terminal

PAPER_COUNTS = (2250, 2250, 100, 400)


@dataclass(frozen=True)
class Train:
    """Train a generator on unpaired photographs; the defaults are those of the paper."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Train to the last step."""
        from bncagan.training.loop import train

        train(self.config)
        return 0


@dataclass(frozen=True)
class Average:
    """Average the weights of several checkpoints into one, which costs no more to run and has smaller random errors.

    All must descend from the same weights: checkpoints of one run, or of runs with the same --init. Evaluate the result
    like any other checkpoint.
    """

    checkpoints: tyro.conf.Positional[tuple[str, ...]]
    """Two or more generator files or names of shipped weights."""
    out: Path
    """Generator file to write."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Load the checkpoints, average them, write the result."""
        from bncagan.network.averaging import average_generators
        from bncagan.network.checkpoint import save_generator

        generator, config, training = average_generators(self.checkpoints)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        save_generator(self.out, generator, config, training)
        terminal().print(f"{self.out}: mean of {len(self.checkpoints)} checkpoints")
        return 0


@dataclass(frozen=True)
class Split:
    """Split FiveK like the paper: unpaired raw and expert photographs for training, pairs for validation and test."""

    raw: Path
    """Folder of unedited photographs."""
    expert: Path
    """Folder of the same photographs after editing, with the same names."""
    out: Path
    """New folder for train/{raw,exp}, val/{raw,label}, test/{raw,label}."""
    counts: tuple[int, int, int, int] = PAPER_COUNTS
    """Number of photographs for train/raw, train/exp, val and test; every scene goes to only one of them."""
    seed: int = 0
    """Seed of the random choice."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Copy the photographs and print how many there are."""
        from bncagan.data.splitting import split

        counts = split(self.raw, self.expert, self.out, self.counts, self.seed)
        terminal().print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        return 0


@dataclass(frozen=True)
class Check:
    """Check a data set: list its folders, count their photographs, and name those that cannot be decoded."""

    data: tyro.conf.Positional[Path]
    """Folder with train/{low,high} and, optionally, val and test with {low,label}, and keep."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Decode every photograph; returns 1 if one cannot be decoded."""
        from bncagan.data.folders import check

        table = Table("folder", "photographs", "smallest side, px", "not decodable")
        found = check(self.data)
        for folder, photographs in found.items():
            table.add_row(str(folder), str(photographs.total), str(photographs.smallest), str(len(photographs.broken)))
        terminal().print(table)
        broken = [message for photographs in found.values() for message in photographs.broken]
        for message in broken:
            print(message)
        return 1 if broken else 0


@dataclass(frozen=True)
class Data:
    """Prepare photographs for training."""

    task: Annotated[
        Annotated[Split, tyro.conf.subcommand("split")] | Annotated[Check, tyro.conf.subcommand("check")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> int:
        """Run the chosen task."""
        return self.task.run()
