"""Show public photographs, made worse and enhanced again: python examples/side_by_side.py PICTURE CHECKPOINT...

Three photographs from scikit-image are each rendered flat, rendered dark, and left as they are. A line of PICTURE shows
one of these, what each generator (a file, or the name of shipped weights) makes of it, and the original.
"""

import sys
from pathlib import Path

import numpy as np
import skimage.data
from matplotlib.figure import Figure
from PIL import Image

from bncagan.data.camera import render_deep, render_mild
from bncagan.evaluation.metrics import psnr
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from runtimes.image import to_uint8

SIDE = 320
picture, checkpoints = sys.argv[1], sys.argv[2:]
generators = {Path(name).stem: load_generator(name)[0] for name in checkpoints}
photographs = {name: getattr(skimage.data, name)() for name in ("coffee", "astronaut", "chelsea")}
for name, photo in photographs.items():
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    square = Image.fromarray(photo[top : top + side, left : left + side])
    photographs[name] = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))

rows = []
for name, photo in photographs.items():
    rng = np.random.default_rng(7)
    code = photo / np.float32(255)
    rows.append((f"{name}, flat", to_uint8(render_mild(code, rng)), photo))
    rows.append((f"{name}, dark", to_uint8(render_deep(code, rng)), photo))
    rows.append((f"{name}, as it is", photo, photo))

columns = len(generators) + 2
figure = Figure(figsize=(2.5 * columns, 2.7 * len(rows)), layout="tight")
for line, (name, spoiled, original) in zip(figure.subplots(len(rows), columns), rows, strict=True):
    enhanced = {title: enhance(generator, spoiled) for title, generator in generators.items()}
    tiles = {name: spoiled, **enhanced, "original": original}
    for axis, (title, tile) in zip(line, tiles.items(), strict=True):
        same = title == "original" or np.array_equal(tile, original)
        axis.set_title(title if same else f"{title}: {psnr(tile, original):.1f} dB", fontsize=9)
        axis.imshow(tile)
        axis.axis("off")
figure.savefig(picture, dpi=80)
