"""Noise grows no more than the tone curve and the saturation make it grow.

A photograph with patches of flat colour is enhanced with noise and without. Each patch is a block of 3 x 3 smaller ones
with slightly different colours; what becomes of these in the picture without noise tells the enhancer's slopes there: a
3 x 3 matrix J from small changes of R, G, B to changes of the output. It holds the slope of the tone curve and the
saturation. Noise of covariance C should come back with the covariance J C J^T, and the rounding to 8 bits adds 1/12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import skimage.data
from numpy.typing import NDArray

from bncagan.evaluation.metrics import LUMA, Enhancer
from bncagan.evaluation.stress.ladder import rendered
from bncagan.evaluation.stress.outcome import Outcome, Result, Strip, enhanced, largest, titles
from runtimes.image import Pixels

NOISE = 4.0  # codes; standard deviation of each channel
STEP = 12  # codes between the colours of a patch: 3 times the noise, so that 8-bit rounding changes J by 4 % at most
SIDE = 24  # px of each of the 9 squares of a patch
MARGIN = 4  # px along the border of a square that are not measured

CLIPPED = 0.01  # share of codes 0 and 255 in an enhanced patch above which it is left out: J is not its slope there

# The numbers must be smaller. The curvature of a tone curve within the noise makes up to 1.10 (powers from 0.3 to 2,
# with any saturation), a curve that is chosen by a picture, and so a little by its noise, 1.13. 1.25 is 2 dB of noise.
LIMIT = 1.25

# Colours of a patch minus its middle colour.
OFFSETS = STEP * np.array(
    [[0, 0, 0], [1, 1, 1], [-1, -1, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
)
COLOURS = {"dark grey": (48, 48, 48), "light grey": (208, 208, 208), "skin": (190, 150, 130), "sky": (110, 140, 180)}
UNDER = -2  # stops
UNDER_COLOURS = {"dark grey": (28, 28, 28), "grey": (80, 80, 80), "skin": (92, 70, 60), "sky": (48, 64, 86)}

LUMA_NAME, CHROMA_NAME = "luma noise / slope", "chroma noise / slope and saturation"
OPPONENT = np.eye(3) - LUMA  # R, G, B minus luma: the chroma of a change


class Patched(NamedTuple):
    """A photograph with patches of flat colour."""

    clean: Pixels
    """H x W x 3."""
    noisy: Pixels
    """The same with noise."""
    patches: Mapping[str, tuple[int, int]]
    """The top left corner of each patch, (row, column), by its name."""


def calls() -> int:
    """The number of times that `check` enhances."""
    return 2 * len(patched())


def check(enhancer: Enhancer) -> Result:
    """8. In flat areas, luma noise grows by the slope of the tone curve, chroma noise by this times the saturation."""
    found, tiles, clipped = {}, {}, []
    for name, drawn in patched().items():
        clean = enhanced(enhancer, drawn.clean, f"{name}, without noise")
        noisy = enhanced(enhancer, drawn.noisy, f"{name}, with noise")
        for patch, corner in drawn.patches.items():
            block = tuple(slice(start, start + 3 * SIDE) for start in corner)
            blocks = [each[block] for each in (drawn.clean, drawn.noisy, clean, noisy)]
            if np.isin(noisy[block], (0, 255)).mean() > CLIPPED:
                clipped.append(f"{name}, {patch}")
            else:
                found[f"{name}, {patch}"] = amplification(*blocks)
                tiles[f"{name}, {patch}"] = [blocks[1], blocks[3], blocks[2]]
    measures = largest(found, {LUMA_NAME: LIMIT, CHROMA_NAME: LIMIT}) if found else ()
    left_out = f"patches that are black or white after enhancement: {'; '.join(clipped)}" if clipped else ""
    examples = [Strip(title, tiles[name], "enhanced without noise") for name, title in titles(measures).items()]
    return Result([Outcome("amplification", measures, found, left_out)], examples)


def patched() -> dict[str, Patched]:
    """Two photographs of scikit-image at two exposures, each with four patches, by name."""
    found = {}
    for name in ("astronaut", "coffee"):
        photograph = getattr(skimage.data, name)()
        found[name] = _patched(photograph, COLOURS)
        found[f"{name}, {UNDER} stops"] = _patched(rendered(photograph, UNDER), UNDER_COLOURS)
    return found


def _patched(photograph: Pixels, colours: Mapping[str, tuple[int, int, int]]) -> Patched:
    """The patches lie in the middle of each quarter of the photograph."""
    clean = photograph.copy()
    height, width = (side // 4 for side in clean.shape[:2])
    middles = [(rows * height, columns * width) for rows in (1, 3) for columns in (1, 3)]
    patches = {}
    for (name, colour), (row, column) in zip(colours.items(), middles, strict=True):
        patches[name] = top, left = row - 3 * SIDE // 2, column - 3 * SIDE // 2
        block = (colour + OFFSETS).reshape(3, 3, 3).repeat(SIDE, 0).repeat(SIDE, 1)
        clean[top : top + 3 * SIDE, left : left + 3 * SIDE] = block
    noise = np.random.default_rng(0).normal(0, NOISE, clean.shape)
    return Patched(clean, np.round(clean + noise).clip(0, 255).astype(np.uint8), patches)


def amplification(clean_in: Pixels, noisy_in: Pixels, clean_out: Pixels, noisy_out: Pixels) -> dict[str, float]:
    """How much more a patch's noise grows than by the slopes of the enhancer; all blocks are 72 x 72 x 3.

    The numbers are standard deviations divided by the expected ones: of luma, and of R, G and B minus luma.
    """
    before, after = (_covariance(noisy, clean) for noisy, clean in ((noisy_in, clean_in), (noisy_out, clean_out)))
    slopes = _slopes(clean_in, clean_out)
    expected = slopes @ before @ slopes.T + np.eye(3) / 12
    luma, chroma = (
        np.sqrt(np.trace(weights @ after @ weights.T) / np.trace(weights @ expected @ weights.T))
        for weights in (LUMA[None], OPPONENT)
    )
    return {LUMA_NAME: float(luma), CHROMA_NAME: float(chroma), "slope": float(LUMA @ slopes @ np.ones(3))}


def _slopes(clean_in: Pixels, clean_out: Pixels) -> NDArray[np.float64]:
    """J by least squares over the mean colours of the 9 squares, 3 x 3: change of output by change of input."""
    colours_in, colours_out = (_squares(block).mean(1) for block in (clean_in, clean_out))
    fitted = np.linalg.lstsq(np.column_stack([colours_in, np.ones(9)]), colours_out, rcond=None)[0]
    return np.asarray(fitted[:3].T)


def _covariance(noisy: Pixels, clean: Pixels) -> NDArray[np.float64]:
    """Covariance of R, G and B of the noise, 3 x 3; each square's mean is taken out."""
    noise = _squares(noisy) - _squares(clean)
    noise -= noise.mean(1, keepdims=True)
    return np.asarray(np.cov(noise.reshape(-1, 3).T))


def _squares(block: Pixels) -> NDArray[np.float64]:
    """The 9 squares of a patch without their margins, 9 x pixels x 3."""
    squares = block.reshape(3, SIDE, 3, SIDE, 3).swapaxes(1, 2).reshape(9, SIDE, SIDE, 3)
    inner = slice(MARGIN, SIDE - MARGIN)
    return np.asarray(squares[:, inner, inner].reshape(9, -1, 3), np.float64)
