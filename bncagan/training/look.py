"""Train a look: a tone head for what a folder of finished photographs has in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bncagan.data.camera import render_mild
from bncagan.data.look import Look, look_of
from bncagan.network.tone import ToneHead
from bncagan.training.tone import STEPS, fit_tone, reduced
from runtimes.image import Pixels, to_uint8

SHARE = 1 / 3  # of the renderings of the shipped head; with all of them a look is no better and takes longer
FROM_NOTHING = 200  # photographs from which a head should be trained from nothing; with fewer it starts from another


def left_out(names: Sequence[str], seed: int) -> list[str]:
    """Which photographs are left out of the training, to be judged: a tenth, but at least 6 and at most 24."""
    count = min(max(6, len(names) // 10), 24)
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[number] for number in sorted(chosen)]


def train_look(photographs: Sequence[Pixels], start: ToneHead | None, seed: int) -> tuple[ToneHead, Look]:
    """Train a head on finished photographs, each H x W x 3; returns it with the look that it gives.

    start: the head to start from; None for nothing.
    """
    look = look_of([reduced(each) for each in photographs])
    return fit_tone(photographs, seed=seed, start=start, steps=STEPS, look=look, share=SHARE), look


def dull(pixels: Pixels, look: Look, seed: int) -> Pixels:
    """A finished photograph, H x W x 3, as a camera would have rendered it without the look."""
    plain = look.undone(pixels.astype(np.float32) / np.float32(255))
    return to_uint8(render_mild(plain, np.random.default_rng(seed)))
