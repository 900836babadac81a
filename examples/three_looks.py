"""Train three looks from photographs that are edited in three ways, and compare them on other photographs:

    python examples/three_looks.py FOLDER --out looks

The photographs of FOLDER are dealt into three folders in looks/, at most 240 each, and edited: bright, dark and muted,
warm. A table shows how each look differs from the shipped head on --photos (scikit-image's if not given), in CIELAB;
looks/looks.jpg shows pictures. A look that is there already is not trained again.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
import tyro

from benchmarks.tables import markdown_table
from bncagan.cli import main
from bncagan.evaluation.look import colours_of
from bncagan.evaluation.scores import Comparison
from bncagan.evaluation.tables import write_picture
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from runtimes.image import Pixels, to_uint8
from runtimes.photographs import Photograph, find_photographs, read_rgb

SHORT_SIDE = 320  # px of the edited photographs
MOST = 240  # photographs in a folder
LINES = 4  # photographs in the picture


class Edit(NamedTuple):
    """How to finish photographs in another taste."""

    power: float = 1.0
    """Power of the code values."""
    saturation: float = 1.0
    """Factor of the difference to luma."""
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of red, green and blue."""

    def apply(self, pixels: Pixels) -> Pixels:
        """The photograph, H x W x 3, after the edit."""
        code = (pixels / 255) ** self.power
        luma = (code @ [0.299, 0.587, 0.114])[..., None]
        return to_uint8((luma + self.saturation * (code - luma)) * self.gains)


EDITS = {"bright": Edit(0.78), "dark-muted": Edit(1.3, saturation=0.7), "warm": Edit(gains=(1.06, 1.0, 0.9))}


@dataclass
class ThreeLooks:
    """Train three looks and compare them."""

    folder: tyro.conf.Positional[Path]
    """Folder of finished photographs: at least 90, better 720."""
    out: Path
    """Folder for the edited photographs, the looks and looks.jpg."""
    photos: Path | None = None
    """Folder of photographs to compare on; scikit-image's if not given."""
    init: str = "nano"
    """Weights to compare with."""

    def run(self) -> None:
        """Edit, train, compare."""
        paths = find_photographs(self.folder)
        order = np.random.default_rng(0).permutation(len(paths))
        for number, (name, edit) in enumerate(EDITS.items()):
            if (self.out / f"{name}.safetensors").exists():
                continue
            (self.out / name).mkdir(parents=True, exist_ok=True)
            for path in (paths[place] for place in order[number :: len(EDITS)][:MOST]):
                photograph = Photograph(edit.apply(read_rgb(path, SHORT_SIDE)))
                photograph.write(self.out / name / f"{path.stem}.jpg")
            began = time.monotonic()
            options = ["--out", f"{self.out / name}.safetensors", "--init", self.init]
            if main(["look", str(self.out / name), *options]):
                return
            print(f"{name}: {time.monotonic() - began:.0f} s")
        self.compare()

    def compare(self) -> None:
        """Print the table and write the picture."""
        shipped = load_generator(self.init)[0]
        looks = {name: load_generator(self.out / f"{name}.safetensors")[0] for name in EDITS}
        rows, lines = [], []
        for photo in self.photographs():
            answers = {"photograph": photo, "shipped": enhance(shipped, photo)}
            answers |= {name: enhance(look, photo) for name, look in looks.items()}
            rows.append([colours_of(picture) for picture in answers.values()])
            lines.append(Comparison(list(answers), list(answers.values())))
        means = dict(zip(lines[0].titles, np.mean(rows, axis=0), strict=True))
        table = [[name, *(f"{value:.1f}" for value in means[name])] for name in ("photograph", "shipped")]
        table += [[name, *(f"{value:+.1f}" for value in means[name] - means["shipped"])] for name in EDITS]
        print(markdown_table(("mean of the photographs; looks: difference to shipped", "L*", "chroma", "b*"), table))
        write_picture(self.out / "looks.jpg", lines[:LINES])

    def photographs(self) -> list[Pixels]:
        """What the looks are compared on."""
        if self.photos is None:
            return [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.rocket()]
        return [read_rgb(path, SHORT_SIDE) for path in find_photographs(self.photos)]


tyro.cli(ThreeLooks).run()
