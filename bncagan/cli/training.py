"""train and average: weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bncagan.config import TrainConfig
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError


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


def resumed_run(arguments: Sequence[str]) -> Path | None:
    """The folder in `train ... --resume RUN` or `--resume=RUN`; None for other arguments."""
    if list(arguments[:1]) != ["train"] or {"-h", "--help"} & set(arguments):
        return None
    for given, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = given.partition("=")
        if name == "--resume" and (equals or (following and not following.startswith("--"))):
            return Path(value if equals else following)
    return None


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

        if any(self.out.resolve() == Path(checkpoint).resolve() for checkpoint in self.checkpoints):
            raise InputError(f"--out {self.out} should be a new file but is one of those to average; choose another")
        generator, config, training = average_generators(self.checkpoints)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        save_generator(self.out, generator, config, training)
        terminal().print(f"{self.out}: mean of {len(self.checkpoints)} checkpoints")
        return 0
