"""The `bncagan` command.

Each subcommand is a dataclass: its fields are the options, and its `run` does the work.

This package is the only one that may import all others. Subcommands import what they need when they run, so that
`enhance`, `verify` and `doctor` work without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from benchmarks.compare import Compare
from bncagan.cli.ablation import Ablate
from bncagan.cli.artifacts import Fold, SelfTest, Verify
from bncagan.cli.benchmark import BenchmarkAll
from bncagan.cli.bundle import MakeBundle
from bncagan.cli.data import Data
from bncagan.cli.doctor import Doctor
from bncagan.cli.enhance import Enhance
from bncagan.cli.evaluation import Evaluate
from bncagan.cli.export import Export
from bncagan.cli.look import Look
from bncagan.cli.rating import Rate
from bncagan.cli.serve import Serve
from bncagan.cli.stress import Stress
from bncagan.cli.training import Average, Train, resumed_run
from runtimes import command

DESCRIPTION = "Train BNCAGAN, export it, enhance photographs and measure latency; every command has --help."

Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Look, tyro.conf.subcommand("look")]
    | Annotated[Average, tyro.conf.subcommand("average")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Rate, tyro.conf.subcommand("rate")]
    | Annotated[Stress, tyro.conf.subcommand("stress")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Fold, tyro.conf.subcommand("fold")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[MakeBundle, tyro.conf.subcommand("bundle")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[SelfTest, tyro.conf.subcommand("selftest")]
    | Annotated[Enhance, tyro.conf.subcommand("enhance")]
    | Annotated[BenchmarkAll, tyro.conf.subcommand("benchmark")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def parse(arguments: Sequence[str]) -> Any:
    """Turn the arguments into a command; InputError if they are wrong.

    The defaults of `train --resume RUN` are the options of that run.
    """
    run = resumed_run(arguments)
    if run is not None:
        from bncagan.training.folder import options_of

        return command.parse(Train, arguments[1:], prog="bncagan train", default=Train(options_of(run)))
    return command.parse(Command, arguments, prog="bncagan", description=DESCRIPTION)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, as `runtimes.command.run` describes it.

    argv: arguments without the program's name; None for those of the process.

    Example:

        status = main(["export", "onnx", "--shape", "512x512", "--out", "small.onnx"])
        assert status == 0  # 1: the parity check failed; 2: an option or a file is wrong
    """
    return command.run("bncagan", parse, argv)
