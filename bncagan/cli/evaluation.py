"""evaluate: scores as in the paper's Table 1, for any methods and data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.progress import Progress
from rich.table import Table

from benchmarks.tables import markdown_table
from bncagan.cli.options import method_of
from runtimes.command import Flag
from runtimes.console import terminal
from runtimes.errors import InputError
from runtimes.files import write_text

if TYPE_CHECKING:
    from bncagan.evaluation.scores import DataSets, Measure, Method, Protocol
    from runtimes.image import Pixels

# Heading and number format of each column, by the name of the score.
COLUMNS = {
    "psnr": ("PSNR dB", ".2f"),
    "best": ("best dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "nima": ("NIMA", ".3f"),
    "ciede2000": ("CIEDE2000", ".2f"),
    "gain": ("gain dB", "+.2f"),
    "luma": ("mean luma", ".1f"),
    "rise": ("5 % quantile", "+.1f"),
}


@dataclass(frozen=True)
class Evaluate:
    """Score checkpoints, artifacts and other programs' pictures on paired photographs, as in the paper's Table 1.

    At least one method is needed; methods are named after their files and folders. Every mean has a 95 % t interval
    over the pictures. The gain is the PSNR minus that of the input, picture by picture, and has such an interval too.
    Baselines have rows of their own: Pillow's autocontrast, a gamma, and the tone head alone of checkpoints with one.
    """

    data: tuple[Path, ...]
    """Data sets: folders that contain low (or raw, iphone) and label (or high, exp, canon), paired by file name."""
    out: Path
    """Folder for scores.csv, summary.json, table.md and examples.jpg."""
    checkpoint: tuple[str, ...] = ()
    """Generator files, or names of shipped weights."""
    artifact: tuple[Path, ...] = ()
    """Exported files."""
    outputs: tuple[Path, ...] = ()
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
    """Weights of NIMA (VGG16), .safetensors or .pth; if not given, there is no NIMA column."""
    protocol: Literal["both", "paper", "native"] = "both"
    """paper: 512 x 512 px, without a border of 4 px; native: every picture at its own size."""
    json: Flag = False
    """Print the summary as JSON instead of tables."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Evaluate under each protocol and write the results; the picture shows at most four methods."""
        from bncagan.evaluation.scores import evaluate, evaluate_keep, find_data_sets, refuse_empty_groups
        from bncagan.evaluation.tables import write_results

        given = self._given()
        sets = find_data_sets(self.data)
        refuse_empty_groups(sets, self.groups)
        keep = self._keep(sets)
        protocols: list[Protocol] = ["paper", "native"] if self.protocol == "both" else [self.protocol]
        console = terminal(stderr=True)
        with ExitStack() as stack:
            methods = {} if self.no_baselines else _baselines()
            for name, (option, what) in given.items():
                methods |= self._open(name, option, what, sets, stack)
            left_alone = self._on_kept(methods, keep)
            nima = self._nima()
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

    def _given(self) -> dict[str, tuple[str, str]]:
        """The option and the value that name each method, by the method's name, in the order of the tables."""
        from bncagan.evaluation.baselines import BASELINES
        from bncagan.evaluation.scores import INPUT
        from bncagan.network.checkpoint import shipped_names

        asked = [("checkpoint", text, text if text in shipped_names() else Path(text).stem) for text in self.checkpoint]
        asked += [("artifact", str(path), path.absolute().stem) for path in self.artifact]
        asked += [("outputs", str(path), path.absolute().name) for path in self.outputs]
        if not asked:
            raise InputError(
                "methods to score should be at least one but are none; name one with --checkpoint, --artifact or "
                "--outputs"
            )
        given: dict[str, tuple[str, str]] = {}
        for option, what, name in asked:
            if name in {INPUT, *BASELINES, *given}:
                other = f"--{' '.join(given[name])}" if name in given else "the row of the input or of a baseline"
                raise InputError(
                    f"--{option} {what} should have a name of its own but has {name!r}, which is also the name of "
                    f"{other}; rename the file or folder"
                )
            given[name] = (option, what)
        return given

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

    def _open(self, name: str, option: str, what: str, sets: DataSets, stack: ExitStack) -> dict[str, Method]:
        """The methods that an option names: an enhancer, with its tone head alone, or another program's pictures."""
        if option == "outputs":
            from bncagan.evaluation.scores import outputs_of

            return {name: outputs_of(Path(what), sets)}
        if option == "artifact":
            return {name: _ignoring_pairs(open_enhancer(option, what, stack))}
        from bncagan.network.checkpoint import load_generator
        from bncagan.network.inference import enhance, head_alone

        generator, _ = load_generator(what)
        alone = None if self.no_baselines else head_alone(generator)
        networks = {name: generator} if alone is None else {name: generator, f"{name}, head alone": alone}
        return {name: _ignoring_pairs(partial(enhance, network)) for name, network in networks.items()}

    def _on_kept(self, methods: dict[str, Method], keep: list[Path]) -> dict[str, Method]:
        """The methods for the photographs to leave alone; of other programs, those with pictures in a folder keep."""
        from bncagan.data.folders import KEEP_NAME, Pair
        from bncagan.evaluation.scores import outputs_of

        found, pairs = dict(methods), {KEEP_NAME: [Pair(path, path) for path in keep]}
        for folder in self.outputs:
            del found[folder.absolute().name]
            if keep and (folder / KEEP_NAME).is_dir():
                found[folder.absolute().name] = outputs_of(folder, pairs)
        return found

    def _best(self) -> Measure | None:
        if not self.best_controls:
            return None
        from bncagan.evaluation.best_controls import best_psnr

        return best_psnr

    def _nima(self) -> Callable[[Pixels], float] | None:
        if self.nima is None:
            return None
        from bncagan.evaluation.nima import load_nima, nima

        model = load_nima(self.nima)
        return lambda picture: nima(model, picture)


def _baselines() -> dict[str, Method]:
    from bncagan.evaluation.baselines import BASELINES

    return {name: _ignoring_pairs(baseline) for name, baseline in BASELINES.items()}


def _ignoring_pairs(enhancer: Callable[[Pixels], Pixels]) -> Method:
    return lambda _, low: enhancer(low)


def open_enhancer(option: str, what: str, stack: ExitStack) -> Callable[[Pixels], Pixels]:
    """A function that enhances uint8 H x W x 3 at its own size.

    option: "artifact" for an exported file, which `stack` closes, or "checkpoint".
    what: the file, or the name of shipped weights.
    """
    if option == "artifact":
        import runtimes

        runtime = stack.enter_context(runtimes.load(what))
        return lambda pixels: runtime.enhance(pixels, max_side=max(runtimes.base.MAX_SIDE, *pixels.shape))
    from bncagan.network.checkpoint import load_generator
    from bncagan.network.inference import enhance

    generator, _ = load_generator(what)
    return lambda pixels: enhance(generator, pixels)


def title_of(table: dict[str, Any]) -> str:
    """The title of a table: data set, group, protocol and number of pictures."""
    group = "" if table["group"] is None else f" {table['group']}"
    count = table["pictures"]
    return f"{table['data']}{group}, {table['protocol']} protocol, {count} picture{'s' if count > 1 else ''}"


def columns_of(table: dict[str, Any]) -> list[str]:
    """The names of the scores that at least one row has, in the order of `COLUMNS`."""
    return [name for name in COLUMNS if any(name in row for row in table["rows"].values())]


def cells_of(row: dict[str, Any], columns: Sequence[str], separator: str) -> list[str]:
    """Mean and interval for each column, with `separator` between them; empty where the row has no such score."""
    return ["" if name not in row else _cell(row[name], name, separator) for name in columns]


def _cell(estimate: dict[str, float | None], name: str, separator: str) -> str:
    if estimate["mean"] is None:
        return "identical" if name in {"psnr", "best"} else "undefined"
    mean, *ends = (format(number, COLUMNS[name][1]) for number in estimate.values() if number is not None)
    return f"{mean}{separator}[{', '.join(ends)}]" if ends else mean


def text_below(summary: dict[str, Any]) -> str:
    """Explains the intervals, the gain and the table of photographs to leave alone."""
    interval = summary["interval"]
    text = (
        f"In brackets: {100 * interval['share']:g} % {method_of(interval)} intervals of the means over the pictures of "
        "a table; gain: PSNR minus that of the input, picture by picture."
    )
    if summary.get("keep") is None:
        return text
    return (
        f"{text} keep: photographs to leave alone, with PSNR (at most 60 dB) and CIEDE2000 to themselves, and the rise "
        "of the 5 % quantile of luma, in codes."
    )


def markdown(summary: dict[str, Any]) -> str:
    """The text of table.md: the tables with their titles, and the explanation."""
    parts = ["# Scores"]
    for table in summary["tables"]:
        columns = columns_of(table)
        lines = [[name, *cells_of(row, columns, " ")] for name, row in table["rows"].items()]
        heading = ["method", *(COLUMNS[name][0] for name in columns)]
        parts.append(f"{title_of(table)}:\n\n{markdown_table(heading, lines)}".rstrip("\n"))
    return "\n\n".join([*parts, text_below(summary)]) + "\n"


def terminal_table(table: dict[str, Any]) -> Table:
    """A table for the terminal, with each interval below its mean."""
    columns = columns_of(table)
    drawn = Table(title=title_of(table), title_justify="left")
    drawn.add_column("method", overflow="fold")
    for name in columns:
        drawn.add_column(COLUMNS[name][0], justify="right", overflow="fold")
    for name, row in table["rows"].items():
        drawn.add_row(name, *cells_of(row, columns, "\n"))
    return drawn
