"""Measure how much of an enhancer's error is tone alone, which cannot be known from the photograph:

    python examples/tone_limits.py base --data DATA/test DATA/val --groups 'fivek_*'

Prints the tables of `bncagan evaluate`, at native size. The best power and the best curves (polynomials of degree 4,
one for each channel) are fitted to the reference, so they are upper bounds and not methods.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tyro

from bncagan.cli.score_tables import terminal_table
from bncagan.data.folders import Pair
from bncagan.evaluation.methods import Method
from bncagan.evaluation.metrics import psnr
from bncagan.evaluation.scores import evaluate, find_data_sets, refuse_empty_groups
from bncagan.evaluation.tables import summarize
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from runtimes.console import terminal
from runtimes.image import Pixels, to_uint8
from runtimes.photographs import read_rgb

POWERS = np.geomspace(0.4, 2.5, 60)
DEGREE = 4


def best_power(pixels: Pixels, reference: Pixels) -> Pixels:
    """Correct a picture by the power that comes closest to the reference."""
    return max((to_uint8((pixels / 255) ** power) for power in POWERS), key=lambda each: psnr(each, reference))


def best_curves(pixels: Pixels, reference: Pixels) -> Pixels:
    """Correct each channel of a picture by a polynomial, fitted to the reference by least squares."""
    channels = [(pixels[..., c] / 255, reference[..., c] / 255) for c in range(3)]
    return to_uint8(np.stack([np.polyval(np.polyfit(x.ravel(), y.ravel(), DEGREE), x) for x, y in channels], axis=2))


@dataclass
class ToneLimits:
    """Score the input and the enhanced picture, without and with the best corrections of tone."""

    checkpoint: tyro.conf.Positional[str]
    """Generator file, or name of shipped weights."""
    data: tuple[Path, ...]
    """Data sets: folders with low and label."""
    groups: tuple[str, ...] = ()
    """Patterns of names whose photographs get tables of their own."""

    def methods(self) -> dict[str, Method]:
        """The methods to score, by the names of their rows."""
        generator, _ = load_generator(self.checkpoint)

        @lru_cache(maxsize=1)  # all rows of one picture are scored before the next picture
        def enhanced(pair: Pair) -> Pixels:
            return enhance(generator, read_rgb(pair.low))

        return {
            "Input, best power": lambda pair, low: best_power(low, read_rgb(pair.label)),
            "Input, best curves": lambda pair, low: best_curves(low, read_rgb(pair.label)),
            self.checkpoint: lambda pair, _: enhanced(pair),
            f"{self.checkpoint}, best power": lambda pair, _: best_power(enhanced(pair), read_rgb(pair.label)),
            f"{self.checkpoint}, best curves": lambda pair, _: best_curves(enhanced(pair), read_rgb(pair.label)),
        }

    def run(self) -> None:
        """Score and print the tables."""
        sets = find_data_sets(self.data)
        refuse_empty_groups(sets, self.groups)
        rows, _ = evaluate(sets, self.methods(), ["native"])
        for table in summarize(rows, self.groups):
            terminal().print(terminal_table(table))


tyro.cli(ToneLimits).run()
