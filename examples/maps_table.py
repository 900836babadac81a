"""The table of docs/full-size.md: windows, ridges and remainders of maps against the network run at full size.

    python examples/maps_table.py PHOTOS --keep DIR > table.md

The network's answers at full size take minutes, so they are kept in DIR and used again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bncagan.network.checkpoint import load_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.inference import to_unit
from bncagan.network.maps import ToldTone, colour_maps
from export.fidelity import edge, halo, ramp, seam
from runtimes.apply import oracle
from runtimes.image import Pixels, resize
from runtimes.likeness import ciede2000, psnr, srgb_to_lab
from runtimes.photographs import find_photographs, read_rgb

LARGE, SMALL = 2048, 512  # px: longer sides of the photograph and of what the network sees
SAMPLE = 100_000  # pixels of a photograph whose CIEDE2000 is computed


class Choice(NamedTuple):
    """How the change is told."""

    window: int
    """Px between the centres of two windows; 0 for the curve alone."""
    tent: bool
    """Whether windows overlap: weights 1 2 1 over three of them, in both directions."""
    ridge: float
    remainder: int = 0
    """Px of a cell of the remainder; 0 for none."""
    smoothed: int = 0
    """How often covariances and the mean change are averaged over 3 x 3 windows."""
    bound: bool = False
    """Whether the maps are fitted to the answer at full size, which no program has: what maps can reach."""

    def cells(self) -> list[str]:
        """The first cells of its row."""
        if not self.window:
            return ["none: the curve alone", "", "", "", ""]
        window = f"{self.window}, fitted to the answer at {LARGE} px" if self.bound else str(self.window)
        weights = "tent" if self.tent else "box"
        return [window, weights, f"{self.ridge:g}", str(self.remainder or ""), str(self.smoothed or "")]

    def size(self, side: int) -> int:
        """Bytes for a photograph of 4:3, with the 16 constants."""
        pixels = side * side * 3 // 4
        maps = 12 * pixels // self.window**2 if self.window else 0
        return 4 * (16 + maps + (3 * pixels // self.remainder**2 if self.remainder else 0))


CHOICES = [
    Choice(0, False, 0),
    *(Choice(window, tent, 1e-2) for window in (4, 8, 16, 32) for tent in (False, True)),
    *(Choice(8, tent, ridge) for ridge in (1e-4, 1e-3) for tent in (False, True)),
    *(Choice(8, False, 1e-2, cell) for cell in (8, 1)),
    *(Choice(8, False, ridge, smoothed=times) for ridge in (1e-2, 1e-3) for times in (1, 2)),
    Choice(8, False, 1e-4, bound=True),
]


class Scene(NamedTuple):
    """What the network answers to a photograph and to its reduced copy."""

    native: NDArray[np.float32]
    """The answer to the photograph, H x W x 3, in codes that are not rounded."""
    toned: Tensor
    """The photograph after the curve of the copy, 1 x 3 x H x W."""
    small_toned: Tensor
    small_change: Tensor


def scene_of(photo: Pixels, kept: Path, model: FoldedGenerator, small: int) -> Scene:
    """Run the network on a photograph, unless `kept` has the answer, and on its copy of `small` px."""
    assert model.tone is not None
    if not kept.exists():
        with torch.no_grad():
            np.save(kept, 255 * model(to_unit(photo))[0].permute(1, 2, 0).numpy())
    x = to_unit(resize(photo, *(side * small // LARGE for side in photo.shape[:2])))
    with torch.no_grad():
        small_toned, told = ToldTone(model.tone)(x)
        small_change = 0.5 * model.change(small_toned, x)
    toned = oracle.toned(photo / 255, told[0].double().numpy())
    return Scene(np.load(kept), planes(toned), small_toned, small_change)


def photograph_of(path: Path) -> Pixels:
    """A photograph with a longer side of `LARGE` px and sides that are multiples of 128, so that windows fit."""
    read = read_rgb(path)
    return resize(read, *(max(128, 128 * round(side * LARGE / max(read.shape) / 128)) for side in read.shape[:2]))


def planes(picture: np.ndarray) -> Tensor:
    """H x W x 3 -> 1 x 3 x H x W, float32."""
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]


def means_of(window: int, tent: bool) -> Callable[[Tensor], Tensor]:
    """The means over windows, N x C x H x W -> N x C x h x w."""

    def means(values: Tensor) -> Tensor:
        boxes = F.avg_pool2d(values, window)
        return F.avg_pool2d(F.avg_pool2d(F.pad(boxes, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1) if tent else boxes

    return means


def applied(toned: Tensor, maps: Tensor) -> Tensor:
    """The picture after the curve with the change of the maps, without a clamp."""
    rows = enlarged(maps, toned).view(3, 4, *toned.shape[2:])
    return toned + ((rows[:, :3] * toned).sum(1) + rows[:, 3])[None]


def enlarged(maps: Tensor, picture: Tensor) -> Tensor:
    """Interpolated bilinearly to the size of a picture."""
    return F.interpolate(maps, size=picture.shape[2:], mode="bilinear", align_corners=False)


def answer(scene: Scene, choice: Choice) -> NDArray[np.float32]:
    """The photograph as it is enhanced by this choice, H x W x 3, in codes that are not rounded."""
    e = scene.toned
    if choice.window:
        change = scene.small_change
        if choice.bound:
            change = F.interpolate(planes(scene.native / 255) - e, size=change.shape[2:], mode="area")
        means = means_of(choice.window, choice.tent)
        maps = colour_maps(scene.small_toned, change, means, choice.ridge, choice.smoothed)
        e = applied(e, maps)
        if choice.remainder:
            left = scene.small_toned + change - applied(scene.small_toned, maps)
            e = e + enlarged(F.avg_pool2d(left, choice.remainder), e)
    codes: NDArray[np.float32] = 255 * e.clamp(0, 1)[0].permute(1, 2, 0).numpy()
    return codes


def scores(scene: Scene, choice: Choice) -> tuple[float, float]:
    """PSNR in dB, and the 99th percentile of CIEDE2000."""
    produced, native = (np.floor(codes + 0.5).astype(np.uint8) for codes in (answer(scene, choice), scene.native))
    mse = float(np.mean((produced.astype(np.float32) - native) ** 2))
    picked = np.random.default_rng(0).choice(native.shape[0] * native.shape[1], SAMPLE)
    labs = (srgb_to_lab(codes.reshape(-1, 3)[picked]) for codes in (produced, native))
    return psnr(mse) or 100.0, float(np.percentile(ciede2000(*labs), 99))


def main() -> None:
    """Print the table, one row for each choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photographs with longer sides of at least 2048 px")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the network's answers; created if needed")
    parser.add_argument("--checkpoint", default="small")
    parser.add_argument("--side", type=int, default=SMALL, help="longer side of what the network sees, px: 512 or 1024")
    options = parser.parse_args()
    options.keep.mkdir(exist_ok=True)
    model = fold(load_generator(options.checkpoint)[0])
    found: dict[Choice, list[tuple[float, float]]] = {choice: [] for choice in CHOICES}
    for path in find_photographs(options.photos):
        scene = scene_of(photograph_of(path), options.keep / f"{path.stem}.npy", model, options.side)
        for choice in CHOICES:
            found[choice].append(scores(scene, choice))
        print(path.name, *(f"{rows[-1][0]:.1f}" for rows in found.values()), file=sys.stderr, flush=True)
    drawn = [
        scene_of(draw(LARGE * 3 // 4, LARGE), options.keep / f"{draw.__name__}.npy", model, options.side)
        for draw in (edge, ramp)
    ]
    print("| window, px | weights | ridge | remainder | smoothed | KiB | worst dB | mean dB | p99 | halo | seam |")
    print("| --- " * 11 + "|")
    for choice, rows in found.items():
        decibels, differences = zip(*rows, strict=True)
        errors = [answer(scene, choice) - scene.native for scene in drawn]
        numbers = [np.mean(decibels), max(differences), halo(errors[0]), seam(errors[1])]
        cells = [
            *choice.cells(),
            f"{choice.size(options.side) / 1024:.0f}",
            f"{min(decibels):.1f}",
            f"{numbers[0]:.1f}",
        ]
        print("|", " | ".join([*cells, *(f"{number:.2f}" for number in numbers[1:])]), "|")


if __name__ == "__main__":
    main()
