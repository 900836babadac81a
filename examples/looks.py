"""Compare the looks that --style-from gives to one photograph: the trained style, and the mean style of each folder:

    python examples/looks.py small bright/ grey/ warm/ --photo photo.jpg --out looks.png
    bncagan export onnx --checkpoint small --style-from warm/ --dynamic --out warm.onnx

Without --photo the photograph is scikit-image's coffee. The table shows colour statistics of each look in CIELAB; those
of a folder are differences to the trained style.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import tyro
from matplotlib.figure import Figure
from skimage.color import rgb2lab

from benchmarks.tables import markdown_table
from bncagan.cli.source import STYLE_SIDE
from bncagan.evaluation.metrics import ciede2000
from bncagan.network.checkpoint import load_generator
from bncagan.network.folding import fold
from bncagan.network.inference import enhance_exactly
from bncagan.network.style import style_of
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb

TRAINED = "trained style"
COLUMNS = ("look", "L*", "a*", "b*", "chroma", "contrast", "CIEDE2000 to trained")


def statistics(pixels: Pixels) -> list[float]:
    """Means of L*, a*, b* and chroma, and the standard deviation of L*, of a picture (H x W x 3)."""
    lightness, a, b = np.moveaxis(rgb2lab(pixels), 2, 0)
    return [float(value) for value in (lightness.mean(), a.mean(), b.mean(), np.hypot(a, b).mean(), lightness.std())]


@dataclass
class Looks:
    """Enhance one photograph in the trained style and in the style of each folder, and compare."""

    checkpoint: tyro.conf.Positional[str]
    """Generator file, or name of shipped weights."""
    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of photographs that have the wanted style."""
    out: Path
    """Picture to write."""
    photo: Path | None = None
    """Photograph to enhance; scikit-image's coffee if not given."""

    def run(self) -> None:
        """Print the table and write the picture."""
        generator, _ = load_generator(self.checkpoint)
        photo = skimage.data.coffee() if self.photo is None else read_rgb(self.photo)
        photo = photo[: photo.shape[0] // 8 * 8, : photo.shape[1] // 8 * 8]
        trained = enhance_exactly(fold(generator), photo)
        looks = {"photograph": photo, TRAINED: trained}
        rows = [[name, *(f"{value:.2f}" for value in statistics(each)), ""] for name, each in looks.items()]
        for folder in self.folders:
            style = style_of(generator, (read_rgb(path, STYLE_SIDE) for path in find_photographs(folder)))
            name = f"style of {folder.name}"
            looks[name] = enhance_exactly(fold(generator, style), photo)
            differences = np.subtract(statistics(looks[name]), statistics(trained))
            rows.append([name, *(f"{value:+.2f}" for value in differences), f"{ciede2000(looks[name], trained):.2f}"])
        print(markdown_table(COLUMNS, rows), end="")
        write_picture(self.out, looks)


def write_picture(path: Path, looks: dict[str, Pixels]) -> None:
    """Write the looks side by side, each under its name."""
    figure = Figure(figsize=(4 * len(looks), 3), layout="compressed")
    for axis, (name, each) in zip(figure.subplots(1, len(looks)), looks.items(), strict=True):
        axis.imshow(each)
        axis.set_title(name, parse_math=False)  # names may hold $
        axis.axis("off")
    figure.savefig(path, dpi=100)


tyro.cli(Looks).run()
