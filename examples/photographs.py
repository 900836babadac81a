"""Copy three public-domain photographs that scikit-image ships into a folder: python examples/photographs.py FOLDER."""

import sys
from pathlib import Path

import skimage.data
from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name in ("coffee", "rocket", "astronaut"):
    Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
