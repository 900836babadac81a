"""A reduced copy of a large photograph, in strips and on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from runtimes.apply.applying import STRIP
from runtimes.cores import cores
from runtimes.image import Pixels, resize

GAP = 2  # the means of blocks are at least this many times larger than the copy, which hides the blocks


def reduced(image: Pixels, height: int, width: int, *, threads: int | None = None) -> Pixels:
    """Resample uint8 H x W x 3 to height x width px: means of blocks, then an antialiasing Lanczos filter.

    threads: None for one on each core.
    """
    down, across = (
        max(1, int(large / small / GAP)) for large, small in zip(image.shape, (height, width), strict=False)
    )
    if down == across == 1:
        return resize(image, height, width)
    rows = max(1, STRIP // image.shape[1] // down) * down

    def means(top: int) -> Pixels:
        return np.asarray(Image.fromarray(image[top : top + rows]).reduce((across, down)))

    with ThreadPoolExecutor(threads or cores()) as crew:
        blocks = np.concatenate(list(crew.map(means, range(0, len(image), rows))))
    box = (0, 0, image.shape[1] / across, image.shape[0] / down)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.LANCZOS, box=box))
