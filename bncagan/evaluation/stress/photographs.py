"""Photographs for the stress tests: well exposed ones, and those that are dark or pale on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import skimage.data

from bncagan.evaluation.metrics import luma
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb

LARGEST = 2048  # px of short side up to which photographs are read that are reduced to several sizes
SHORT_SIDE = 512  # px to which photographs are reduced; at full size three enhancements would take minutes
RANKED_AT = 128  # px of short side at which the exposure of photographs is compared
MIDDLE = 118  # of 255: a grey card of 18 % reflectance in sRGB
DARKEST, BRIGHTEST = 2, 253  # luma at which a pixel counts as clipped, these values included
SPOILT = 0.1  # share of clipped pixels from which the exposure of a photograph is 0
WIDE = 64  # of 255: standard deviation of luma above which more contrast is not better


class Photographs(NamedTuple):
    """The photographs of a stress test, H x W x 3 by name."""

    good: Mapping[str, Pixels]
    """Good photographs, to be enhanced again and again."""
    exposed: Mapping[str, Pixels]
    """Good photographs, to be rendered at several exposures."""
    sized: Mapping[str, Pixels]
    """Good photographs as large as they are, to be reduced to several sizes."""
    keep: Mapping[str, Pixels]
    """Photographs that are dark or pale on purpose; there may be none."""


def bundled_photographs() -> dict[str, Pixels]:
    """Well-exposed photographs that come with scikit-image, H x W x 3, by name."""
    return {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee")}


def gather(photos: Path | None, large: Path | None, keep: Path | None, count: int, rendered: int) -> Photographs:
    """Read the photographs of a stress test; ArtifactError if a folder has none, or one cannot be decoded.

    photos: folder of good photographs, of which the `count` best exposed are taken; None means those of scikit-image.
    large: folder of good photographs to be reduced to several sizes; None means the same as `photos`.
    keep: folder of photographs that are dark or pale on purpose; None means that there are none.
    rendered: number of photographs, the best exposed first, that are rendered at several exposures and sizes.
    """
    best = [] if photos is None else ranked(photos)[:count]
    largest = best if large is None else ranked(large)
    good = read_all(best, SHORT_SIDE) if best else bundled_photographs()
    exposed = dict(islice(good.items(), rendered))
    sized = read_all(largest[:rendered], LARGEST) if largest else exposed
    return Photographs(good, exposed, sized, {} if keep is None else read_all(find_photographs(keep), SHORT_SIDE))


def read_all(paths: Sequence[Path], short_side: int) -> dict[str, Pixels]:
    """Read photographs, H x W x 3 with a short side of at most this many px, by name."""
    return {path.name: read_rgb(path, short_side) for path in paths}


def ranked(folder: Path) -> list[Path]:
    """The photographs of a folder, those with the highest `exposure` first."""
    return sorted(find_photographs(folder), key=lambda path: exposure(read_rgb(path, RANKED_AT)), reverse=True)


def exposure(pixels: Pixels) -> float:
    """How well a photograph (H x W x 3) is exposed, from 0 to 1, judged only by its luma (Rec. 601, 0 to 255).

    The product of three factors. The first is 1 at a mean of 118 and falls to 0 at black and at white. The second is 1
    without clipped pixels (at most 2 or at least 253) and falls to 0 if they are a tenth. The third is the standard
    deviation divided by 64, at most 1.
    """
    values = luma(pixels)
    mean = float(values.mean())
    middle = min(mean / MIDDLE, (255 - mean) / (255 - MIDDLE))
    clipped = float(((values <= DARKEST) | (values >= BRIGHTEST)).mean())
    return middle * max(0.0, 1 - clipped / SPOILT) * min(1.0, float(values.std()) / WIDE)
