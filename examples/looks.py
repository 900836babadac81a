"""Show what --style-from makes of one photograph: the trained style, and the mean style of each folder of good ones:

    python examples/looks.py small bright/ grey/ warm/ --photo photo.jpg --out looks.png
    bncagan export onnx --checkpoint small --style-from warm/ --dynamic --out warm.onnx

Without --photo it is scikit-image's coffee. The table has the colour statistics of each look in CIELAB; those of a
folder are differences to the trained style's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
import tyro
from matplotlib.figure import Figure
from skimage.color import rgb2lab

from benchmarks.tables import markdown_table
from bncagan.cli.source import STYLE_SIDE
from bncagan.evaluation.metrics import ciede2000
from bncagan.network.checkpoint import load_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.style import MULTIPLE, style_of
from runtimes.image import Pixels, to_uint8
from runtimes.photographs import find_photographs, read_rgb

TRAINED = "trained style"
COLUMNS = ("look", "L*", "a*", "b*", "chroma", "contrast", "CIEDE2000 to trained")


def statistics(pixels: Pixels) -> list[float]:
    """Means of L*, a*, b* and chroma, and the standard deviation of L*, of H x W x 3."""
    lightness, a, b = np.moveaxis(rgb2lab(pixels), 2, 0)
    return [float(value) for value in (lightness.mean(), a.mean(), b.mean(), np.hypot(a, b).mean(), lightness.std())]


@torch.no_grad()
def look(model: FoldedGenerator, photo: Pixels) -> Pixels:
    """What the folded generator makes of H x W x 3, both sides multiples of 8."""
    batch = torch.from_numpy(photo.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return to_uint8(model(batch)[0].permute(1, 2, 0).numpy())


@dataclass
class Looks:
    """Enhance one photograph in the trained style and in that of each folder, and compare."""

    checkpoint: tyro.conf.Positional[str]
    folders: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    photo: Path | None = None

    def run(self) -> None:
        """Print the table and write the picture."""
        generator, _ = load_generator(self.checkpoint)
        photo = skimage.data.coffee() if self.photo is None else read_rgb(self.photo)
        photo = photo[: photo.shape[0] // MULTIPLE * MULTIPLE, : photo.shape[1] // MULTIPLE * MULTIPLE]
        trained = look(fold(generator), photo)
        looks = {"photograph": photo, TRAINED: trained}
        rows = [[name, *(f"{value:.2f}" for value in statistics(each)), ""] for name, each in looks.items()]
        for folder in self.folders:
            style = style_of(generator, (read_rgb(path, STYLE_SIDE) for path in find_photographs(folder)))
            name = f"style of {folder.name}"
            looks[name] = look(fold(generator, style), photo)
            differences = np.subtract(statistics(looks[name]), statistics(trained))
            rows.append([name, *(f"{value:+.2f}" for value in differences), f"{ciede2000(looks[name], trained):.2f}"])
        print(markdown_table(COLUMNS, rows), end="")
        write_picture(self.out, looks)


def write_picture(path: Path, looks: dict[str, Pixels]) -> None:
    """The looks side by side under their names."""
    figure = Figure(figsize=(4 * len(looks), 3), layout="compressed")
    for axis, (name, each) in zip(figure.subplots(1, len(looks)), looks.items(), strict=True):
        axis.imshow(each)
        axis.set_title(name, parse_math=False)  # names may hold $
        axis.axis("off")
    figure.savefig(path, dpi=100)


tyro.cli(Looks).run()
