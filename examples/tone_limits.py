"""Say how much of an enhancer's distance to the references is tone alone, which no photograph tells:

    python examples/tone_limits.py base DATA/val --match 'fivek_*'

Each row is a mean over the pairs, at native size. The best power and the best curves (of degree 4, one per channel) are
fitted to the reference itself, so they are bounds and no methods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.tables import markdown_table
from bncagan.checkpoint import load_generator
from bncagan.data import find_pairs
from bncagan.metrics import psnr, ssim
from bncagan.monitoring import enhance
from bncagan.photographs import Pixels, read_rgb

POWERS = np.geomspace(0.4, 2.5, 60)
DEGREE = 4
Correction = Callable[[Pixels, Pixels], Pixels]


def codes(values: np.ndarray) -> Pixels:
    """H x W x 3 in [0, 1] as code values."""
    return np.asarray((values * 255 + 0.5).clip(0, 255), dtype=np.uint8)


def best_power(pixels: Pixels, reference: Pixels) -> Pixels:
    """One power for the whole picture."""
    return max((codes((pixels / 255) ** power) for power in POWERS), key=lambda each: psnr(each, reference))


def best_curves(pixels: Pixels, reference: Pixels) -> Pixels:
    """One polynomial for each channel, by least squares."""
    channels = [(pixels[..., c] / 255, reference[..., c] / 255) for c in range(3)]
    return codes(np.stack([np.polyval(np.polyfit(x.ravel(), y.ravel(), DEGREE), x) for x, y in channels], axis=2))


CORRECTIONS: dict[str, Correction] = {
    "": lambda pixels, _: pixels,
    ", best power": best_power,
    ", best curves": best_curves,
}


@dataclass
class ToneLimits:
    """Score the input and the enhanced picture as they are, and under the best corrections of tone."""

    checkpoint: tyro.conf.Positional[str]
    data: tyro.conf.Positional[Path]
    match: str = "*"

    def run(self) -> None:
        """Print the table."""
        generator, _ = load_generator(self.checkpoint)
        scores: dict[str, list[tuple[float, float]]] = {}
        for pair in find_pairs(self.data):
            if not pair.low.match(self.match + pair.low.suffix):
                continue
            low, reference = read_rgb(pair.low), read_rgb(pair.label)
            for name, pixels in {"input": low, self.checkpoint: enhance(generator, low)}.items():
                for words, correct in CORRECTIONS.items():
                    corrected = correct(pixels, reference)
                    scores.setdefault(name + words, []).append((psnr(corrected, reference), ssim(corrected, reference)))
        means = {name: np.mean(values, axis=0) for name, values in scores.items()}
        rows = [[name, f"{mean[0]:.2f}", f"{mean[1]:.3f}"] for name, mean in means.items()]
        print(markdown_table(("picture", "PSNR dB", "SSIM"), rows), end="")


tyro.cli(ToneLimits).run()
