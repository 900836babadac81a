"""train, evaluate, data split: what is done with photographs before there is an artifact."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.progress import Progress
from rich.table import Table

from bncagan.cli.options import Flag, terminal
from bncagan.config import TrainConfig
from bncagan.errors import InputError

if TYPE_CHECKING:
    from bncagan.evaluation import Method, Protocol

PAPER_COUNTS = (2250, 2250, 100, 400)


@dataclass(frozen=True)
class Train:
    """Train a generator on unpaired photographs; the defaults are the paper's."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Train to the last step."""
        from bncagan.training import train

        train(self.config)
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Score a checkpoint, an artifact or another program's pictures on paired photographs."""

    data: Path
    """Folder with low (raw, iphone) and label (high, exp, canon), paired by name."""
    out: Path
    """Folder for scores.csv, summary.json and examples.jpg."""
    checkpoint: str | None = None
    """Generator file, or the name of shipped weights."""
    artifact: Path | None = None
    """Exported file."""
    outputs: Path | None = None
    """Folder with another program's pictures, named like the inputs."""
    protocol: Literal["both", "paper", "native"] = "both"
    """paper: 512 x 512, 4 px of border left out; native: every picture at its own size."""
    json: Flag = False
    """Print the summary as JSON instead of a table."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Evaluate under each protocol; the picture shows the last."""
        from bncagan.data import find_pairs
        from bncagan.evaluation import Example, Row, evaluate, write_results

        if sum(option is not None for option in (self.checkpoint, self.artifact, self.outputs)) != 1:
            raise InputError("expected exactly one of --checkpoint, --artifact and --outputs; name what to score")
        pairs = find_pairs(self.data)
        protocols: list[Protocol] = ["paper", "native"] if self.protocol == "both" else [self.protocol]
        rows: list[Row] = []
        examples: list[Example] = []
        console = terminal(stderr=True)
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
            task = progress.add_task("evaluating", total=len(pairs) * len(protocols))
            enhance = self._enhance(stack)
            for protocol in protocols:
                method = enhance or self._outputs(protocol)
                found, examples = evaluate(pairs, method, protocol, lambda: progress.advance(task))
                rows += found
        about = {"data": str(self.data), "method": str(self.checkpoint or self.artifact or self.outputs)}
        summary = write_results(self.out, rows, examples, about)
        if self.json:
            print(json.dumps(summary, indent=2))
        else:
            terminal().print(_table(summary))
            print(f"written to {self.out}: scores.csv summary.json examples.jpg")
        return 0

    def _enhance(self, stack: ExitStack) -> Method | None:
        """What enhances a picture at its own size; None where another program already has."""
        if self.artifact is not None:
            import runtimes

            runtime = stack.enter_context(runtimes.load(self.artifact))
            return lambda _, low: runtime.enhance(low, max_side=max(runtimes.base.MAX_SIDE, *low.shape))
        if self.checkpoint is None:
            return None
        from bncagan.checkpoint import load_generator
        from bncagan.monitoring import enhance

        generator, _ = load_generator(self.checkpoint)
        return lambda _, low: enhance(generator, low)

    def _outputs(self, protocol: Protocol) -> Method:
        from bncagan.evaluation import outputs_of

        return outputs_of(Path(str(self.outputs)), protocol)


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['method']} on {summary['data']}")
    for name in ("protocol", "", "pictures", "PSNR dB", "SSIM", "CIEDE2000"):
        table.add_column(name, justify="left" if name in ("protocol", "") else "right")
    for protocol, means in summary["protocols"].items():
        for which in ("input", "output"):
            scores = means[which]
            psnr = "identical" if scores["psnr"] is None else f"{scores['psnr']:.2f}"
            numbers = (psnr, f"{scores['ssim']:.3f}", f"{scores['ciede2000']:.2f}")
            table.add_row(protocol, which, str(means["pictures"]), *numbers)
    return table


@dataclass(frozen=True)
class Split:
    """Make the paper's FiveK split: raw and expert photographs of different scenes for training, pairs to validate
    and test."""

    raw: Path
    """Folder of unedited photographs."""
    expert: Path
    """Folder of the same photographs edited, same names."""
    out: Path
    """New folder for train/{raw,exp}, val/{raw,label}, test/{raw,label}."""
    counts: tuple[int, int, int, int] = PAPER_COUNTS
    """Photographs for train/raw, train/exp, val and test; no scene stands in two of them."""
    seed: int = 0
    """Decides which photograph goes where."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Copy the photographs and count them."""
        from bncagan.splitting import split

        counts = split(self.raw, self.expert, self.out, self.counts, self.seed)
        terminal().print(", ".join(f"{name}: {count}" for name, count in counts.items()))
        return 0


@dataclass(frozen=True)
class Check:
    """Look through a data set: which folders are found, how many photographs, which cannot be decoded."""

    data: tyro.conf.Positional[Path]
    """Folder with train/{low,high} and, if there, val and test with {low,label}."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Decode every photograph; exit code 1 if one cannot be."""
        from bncagan.data import check

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
        """Run the task."""
        return self.task.run()
