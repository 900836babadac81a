"""Write three public-domain photographs from scikit-image, two of them under-exposed: photographs.py FOLDER."""

import sys
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

STOPS = {"coffee": 1.5, "rocket": 0.0, "astronaut": 1.2}  # stops (of linear light) by which each is darkened

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, stops in STOPS.items():
    photo = getattr(skimage.data, name)()
    Image.fromarray(np.rint(photo * 2 ** (-stops / 2.2)).astype(np.uint8)).save(folder / f"{name}.png")
