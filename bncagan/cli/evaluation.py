"""evaluate: scores as in the paper's Table 1, for any methods and data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.progress import Progress

from bncagan.cli.methods import Given, named_methods, open_enhancer, refuse_same_names
from bncagan.cli.score_tables import markdown, terminal_table, text_below
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.files import write_text

if TYPE_CHECKING:
    from bncagan.evaluation.methods import DataSets, Method
    from bncagan.evaluation.protocols import Protocol
    from bncagan.evaluation.scores import Measure
    from runtimes.image import Pixels


@dataclass(frozen=True)
class Evaluate:
    """Score checkpoints, artifacts and other programs' pictures on paired photographs, as in the paper's Table 1.

    At least one method is needed. Methods are named by the ends of their paths that tell them apart, or by NAME=PATH.
    Every mean has a 95 % t interval over the pictures. The gain is the PSNR minus that of the input, picture by
    picture, and has such an interval too. Baselines have rows of their own: Pillow's autocontrast, a gamma, and the
    tone head alone of checkpoints with one. Everything is read and checked before the first picture is scored.
    """

    data: tuple[Path, ...]
    """Data sets: folders that contain low (or raw, iphone) and label (or high, exp, canon), paired by file name."""
    out: Path
    """Folder for scores.csv, summary.json, table.md and examples.jpg."""
    checkpoint: tuple[str, ...] = ()
    """Generator files, or names of shipped weights."""
    artifact: tuple[str, ...] = ()
    """Exported files."""
    outputs: tuple[str, ...] = ()
    """Folders of other programs' pictures, named like the inputs; for several data sets, a subfolder named as each."""
    groups: tuple[str, ...] = ()
    """Patterns of names without suffix, such as 'fivek_*'; matching photographs get tables of their own."""
    keep: Path | None = None
    """Photographs to leave alone, which get a table; if not given, the folder keep beside a data set, if it exists."""
    no_baselines: Flag = False
    """Leave out the rows of the baselines."""
    best_controls: Flag = False
    """Add a column: PSNR at the strength and exposure that suit each picture best; takes seconds for each."""
    nima: Path | None = None
    """Weights of NIMA (MobileNetV2 or VGG16), .safetensors or .pth; if not given, there is no NIMA column."""
    protocol: Literal["both", "paper", "native"] = "both"
    """paper: 512 x 512 px, without a border of 4 px; native: every picture at its own size."""
    device: str = "cpu"
    """Where checkpoints and NIMA run, in PyTorch's words: cpu, cuda:0, mps."""
    max_side: int = 1536
    """Longest side that a network sees, px; it sees larger photographs reduced, and its change is scaled up."""
    json: Flag = False
    """Print the summary as JSON instead of tables."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Evaluate under each protocol and write the results; the picture shows at most four methods."""
        from bncagan.evaluation.scores import (
            check_pictures,
            evaluate,
            evaluate_keep,
            find_data_sets,
            refuse_empty_groups,
        )
        from bncagan.evaluation.tables import refuse_unwritable, write_results

        given = self._given()
        refuse_unwritable(self.out)
        sets = find_data_sets(self.data)
        refuse_empty_groups(sets, self.groups)
        keep = self._keep(sets)
        protocols: list[Protocol] = ["paper", "native"] if self.protocol == "both" else [self.protocol]
        console = terminal(stderr=True)
        with ExitStack() as stack:
            methods = {} if self.no_baselines else _baselines()
            for name, one in given.items():
                opened = self._open(name, one, sets, stack)
                refuse_same_names(opened, methods)
                methods |= opened
            left_alone = self._on_kept(methods, given, keep)
            nima = self._nima()
            check_pictures(sets, methods, protocols, keep, left_alone)
            progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
            total = sum(map(len, sets.values())) * len(protocols) + len(keep)
            advance = partial(progress.advance, progress.add_task("evaluating", total=total))
            rows, examples = evaluate(sets, methods, protocols, nima=nima, best=self._best(), advance=advance)
            rows += evaluate_keep(keep, left_alone, advance=advance)
        about = {
            "data": {name: str(folder) for name, folder in zip(sets, self.data, strict=True)},
            "methods": {name: f"{option} {what}" for name, (option, what) in given.items()},
            "keep": str(keep[0].parent) if keep else None,
            "nima": None if self.nima is None else str(self.nima),
            "device": self.device,
            "max_side": self.max_side,
        }
        summary = write_results(self.out, rows, examples, about, self.groups)
        write_text(self.out / "table.md", markdown(summary))
        if self.json:
            print(json.dumps(summary, indent=2))
            return 0
        for table in summary["tables"]:
            terminal().print(terminal_table(table))
        terminal().print(text_below(summary))
        print(f"written to {self.out}: scores.csv summary.json table.md examples.jpg")
        return 0

    def _given(self) -> dict[str, Given]:
        """The methods by the names of their rows, in the order of the tables."""
        from bncagan.evaluation.baselines import BASELINES
        from bncagan.evaluation.scores import INPUT

        asked = [Given(name, what) for name in ("checkpoint", "artifact", "outputs") for what in getattr(self, name)]
        if not asked:
            raise InputError(
                "methods to score should be at least one but are none; name one with --checkpoint, --artifact or "
                "--outputs; `bncagan rate` rates photographs without references"
            )
        if self.max_side < 16:
            raise InputError(f"--max-side should be at least 16 px but is {self.max_side}; raise it")
        if self.device != "cpu" and not self.checkpoint and self.nima is None:
            raise InputError(
                f"--device should be left out without --checkpoint and --nima but is {self.device}; artifacts run "
                "where their runtime does"
            )
        return named_methods(asked, {INPUT, *BASELINES})

    def _keep(self, sets: DataSets) -> list[Path]:
        """The photographs to leave alone; InputError if a data set has their name."""
        from bncagan.data.folders import KEEP_NAME, keep_photographs

        parents = [Path(os.path.abspath(folder)).parent for folder in self.data]  # noqa: PTH100 (as in find_data_sets)
        keep = next((found for parent in parents if (found := keep_photographs(parent, self.keep))), [])
        if keep and KEEP_NAME in sets:
            raise InputError(
                f"--data should name no data set {KEEP_NAME}, as the photographs to leave alone are named, but does; "
                "rename the folder"
            )
        return keep

    def _open(self, name: str, given: Given, sets: DataSets, stack: ExitStack) -> dict[str, Method]:
        """The methods that an option names: an enhancer, with its tone head alone, or another program's pictures."""
        from bncagan.evaluation.methods import device_named, network_method, outputs_of

        option, what = given
        if option == "outputs":
            return {name: outputs_of(Path(what), sets)}
        if option == "artifact":
            return {name: _ignoring_pairs(open_enhancer(option, what, stack, self.max_side))}
        from bncagan.network.checkpoint import load_generator
        from bncagan.network.inference import head_alone

        device = device_named(self.device)
        generator, _ = load_generator(what)
        alone = None if self.no_baselines else head_alone(generator)
        networks = {name: generator} if alone is None else {name: generator, f"{name}, head alone": alone}
        return {title: network_method(network.to(device), self.max_side) for title, network in networks.items()}

    def _on_kept(self, methods: dict[str, Method], given: dict[str, Given], keep: list[Path]) -> dict[str, Method]:
        """The methods for the photographs to leave alone; of other programs, those with pictures in a folder keep."""
        from bncagan.data.folders import KEEP_NAME, Pair
        from bncagan.evaluation.methods import outputs_of

        found, pairs = dict(methods), {KEEP_NAME: [Pair(path, path) for path in keep]}
        for name, (option, what) in given.items():
            if option == "outputs":
                del found[name]
                if keep and (Path(what) / KEEP_NAME).is_dir():
                    found[name] = outputs_of(Path(what), pairs)
        return found

    def _best(self) -> Measure | None:
        if not self.best_controls:
            return None
        from bncagan.evaluation.best_controls import best_psnr

        return best_psnr

    def _nima(self) -> Callable[[Pixels], float] | None:
        if self.nima is None:
            return None
        from bncagan.evaluation.methods import device_named
        from bncagan.evaluation.nima import load_nima, nima

        model = load_nima(self.nima).to(device_named(self.device))
        return lambda picture: nima(model, picture)


def _baselines() -> dict[str, Method]:
    from bncagan.evaluation.baselines import BASELINES

    return {name: _ignoring_pairs(baseline) for name, baseline in BASELINES.items()}


def _ignoring_pairs(enhancer: Callable[[Pixels], Pixels]) -> Method:
    return lambda _, low: enhancer(low)
