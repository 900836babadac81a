"""look: train the tone head on a folder of one's own finished photographs."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from rich.table import Table

from runtimes.command import Flag
from runtimes.console import terminal, tracked
from runtimes.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bncagan.evaluation.look import Row
    from bncagan.evaluation.scores import Comparison
    from bncagan.network.model import Generator
    from runtimes.image import Pixels

FEWEST = 30  # photographs below which a look would be that of a few scenes
MOST = 1000  # photographs that are read, at most
SHOWN_SIDE = 320  # px; short side of the photographs that the sheet shows


@dataclass(frozen=True)
class Look:
    """Train a look of your own on a folder of finished photographs, in minutes on a CPU.

    The head learns the tones, the saturation and the warmth that the photographs have in common, and gives them to any
    photograph. Some photographs are left out of the training; a picture beside the file shows them.
    """

    folder: tyro.conf.Positional[Path]
    """Folder of at least 30 finished photographs, better 200, of all the things you photograph."""
    out: Path
    """Generator file to write (.safetensors), with the sheet (.png) beside it."""
    init: str = "nano"
    """Weights to compare with, and to start from if there are few photographs; a generator in them stays."""
    seed: int = 0
    """Seed of all random choices."""
    debug: Flag = False
    """Show the traceback of an error."""

    def run(self) -> int:
        """Read, train, compare, and write the file and its sheet."""
        from bncagan.config import model_config_from_dict
        from bncagan.evaluation.tables import write_picture
        from bncagan.network.checkpoint import load_generator, save_generator

        if self.out.suffix != ".safetensors":
            raise InputError(f"--out should end in .safetensors but is {self.out}; rename it")
        shipped, description = load_generator(self.init)
        if shipped.tone is None:
            raise InputError(f"--init should have a tone head but {self.init} has none; use weights such as nano")
        photographs = read_finished(self.folder)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        mine, about, rows, lines = self._train(shipped, photographs)
        origin = {"look": about, "init": {"licence": shipped.licence, "training": description["training"]}}
        save_generator(self.out, mine, model_config_from_dict(description["model"], self.init), origin)
        sheet = self.out.with_suffix(".png")
        write_picture(sheet, lines)
        terminal().print(_table(rows))
        print(f"written to {self.out.parent}: {self.out.name} {sheet.name}")
        return 0

    def _train(
        self, shipped: Generator, photographs: Mapping[str, Pixels]
    ) -> tuple[Generator, dict[str, Any], dict[str, Row], list[Comparison]]:
        """Train the head; returns the generator with it, how it came about, and what the photographs left out show."""
        from bncagan.evaluation.look import compare_looks
        from bncagan.network.inference import enhance
        from bncagan.training.look import FROM_NOTHING, dull, left_out, train_look

        assert shipped.tone is not None
        names = left_out(list(photographs), self.seed)
        training = [pixels for name, pixels in photographs.items() if name not in names]
        few = len(photographs) < FROM_NOTHING
        start = f"{self.init}, since there are fewer than {FROM_NOTHING}" if few else "nothing"
        print(f"training on {len(training)} of {len(photographs)} photographs, starting from {start}", flush=True)
        head, look = train_look(training, shipped.tone if few else None, self.seed)
        mine = copy.deepcopy(shipped)
        mine.tone = head
        finished = [photographs[name] for name in names]
        rows, lines = compare_looks(
            names,
            [dull(each, look, self.seed + number) for number, each in enumerate(finished)],
            finished,
            {Path(self.init).stem: partial(enhance, shipped), "this look": partial(enhance, mine)},
        )
        scores = {name: {"psnr": row.psnr, **row.colours._asdict()} for name, row in rows.items()}
        about = {"photographs": len(training), "left_out": len(names), "seed": self.seed, "from_init": few}
        return mine, about | {"warmth": look.warmth, "saturation": look.saturation, "scores": scores}, rows, lines


def read_finished(folder: Path) -> dict[str, Pixels]:
    """The photographs of a folder by name, reduced to a short side of SHOWN_SIDE; at most MOST, evenly chosen ones.

    A photograph that cannot be read is named, and one without colour counted; both are skipped. InputError if fewer
    than FEWEST are left.
    """
    from bncagan.data.look import is_colourless
    from runtimes import find_photographs
    from runtimes.photographs import read_rgb

    paths = find_photographs(folder)
    found, colourless = {}, 0
    for path in tracked(paths[:: -(-len(paths) // MOST)], "reading"):
        try:
            pixels = read_rgb(path, SHOWN_SIDE)
        except InputError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        if is_colourless(pixels.astype(np.float32) / np.float32(255)):
            colourless += 1
        else:
            found[path.name] = pixels
    if colourless:
        print(f"skipped: {colourless} in black and white, which say nothing about colour", file=sys.stderr)
    if len(found) < FEWEST:
        raise InputError(
            f"{folder} should hold at least {FEWEST} finished colour photographs but holds {len(found)}; add more"
        )
    return found


def _table(rows: Mapping[str, Row]) -> Table:
    table = Table("photographs left out")
    for heading in ("PSNR dB", "L*", "chroma", "b*"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        psnr = "" if row.psnr is None else f"{row.psnr:.2f}"
        table.add_row(name, psnr, *(f"{value:.1f}" for value in row.colours))
    return table
