"""The `bncagan` command.

Each subcommand is a dataclass: its fields are the options, its `run` does the work.

This package is the one place that may import every layer. Subcommands import what they need when they run, so that
`enhance`, `verify` and `doctor` work without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from benchmarks.compare import Compare
from bncagan.cli.ablation import Ablate
from bncagan.cli.artifacts import Enhance, Fold, Verify
from bncagan.cli.benchmark import BenchmarkAll
from bncagan.cli.doctor import Doctor
from bncagan.cli.evaluation import Evaluate
from bncagan.cli.export import Export
from bncagan.cli.stress import Stress
from bncagan.cli.training import Average, Data, Train
from runtimes.errors import BackendMissingError, InputError, UserError

DESCRIPTION = "Train BNCAGAN, export it, enhance photographs, measure latency; each command has --help."
# What the torch side imports; a device that only runs artifacts does without.
TRAIN_LIBRARIES = {"torch", "lightning_fabric", "safetensors", "skimage", "matplotlib", "onnx", "onnxscript"}

Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Average, tyro.conf.subcommand("average")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Stress, tyro.conf.subcommand("stress")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Fold, tyro.conf.subcommand("fold")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Enhance, tyro.conf.subcommand("enhance")]
    | Annotated[BenchmarkAll, tyro.conf.subcommand("benchmark")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def parse(arguments: Sequence[str]) -> Command:
    """The command that the arguments ask for; SystemExit with code 2 if they ask for none."""
    command: Command = tyro.cli(Command, prog="bncagan", description=DESCRIPTION, args=arguments)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn errors that a user can mend into one sentence; returns the exit code.

    0: done. 1: done, but a parity check failed or training diverged. 2: the input or the options cannot be used.
    `--debug` lets every error through with its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return parse(arguments).run()
    except UserError as error:
        return _explain(error, arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in TRAIN_LIBRARIES:
            raise
        message = f'this command needs {error.name}; install it with: pip install "bncagan[train]"'
        return _explain(BackendMissingError(message), arguments)
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}; check the path, its permissions and the space on its disk"
        return _explain(InputError(message), arguments)


def _explain(error: UserError, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        raise error
    print(f"bncagan: {error}", file=sys.stderr)
    return error.exit_code
