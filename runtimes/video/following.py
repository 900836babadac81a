"""The change of each frame: predicted now and then, blended in between, and new at once after a cut."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.image import Pixels

EVERY_S = 0.5  # between two predictions
SETTLING_S = 1.0  # after which 63 % of a change of the prediction are followed
STEP = 4  # the frames are compared on every 4th pixel of every 4th row
COMPARED = (32, 18)  # size of the copies that are compared, px
CUT = 10.0  # mean difference of two frames, in 256 steps of equal visibility, from which they may be of two scenes

C = TypeVar("C", bound="Change")


class Change(Protocol):
    """What becomes of a frame."""

    def applied(self, image: Pixels) -> Pixels:
        """Return the changed frame, uint8 H x W x 3."""

    def towards(self: C, other: C, share: float) -> C:
        """Return the change that lies between this one (share 0) and another (share 1)."""


class Follower(Generic[C]):
    """Gives every frame its change; the frames come in the order of time."""

    def __init__(self, predict: Callable[[Pixels], C]) -> None:
        self._predict = predict
        self._change: C | None = None
        self._target: C | None = None
        self._predicted = self._time = -math.inf
        self._copy: NDArray[np.float32] | None = None
        self._difference = 0.0
        self._jumped = False

    def change(self, frame: Pixels, time: float) -> C:
        """Return the change of a frame, uint8 H x W x 3, shown at `time` in s.

        After a cut the prediction is taken as it is, and once more at the next frame, because a cut may take two.
        """
        jumped = self._jumps(frame)
        anew = self._change is None or jumped or self._jumped
        if anew or time - self._predicted >= EVERY_S:
            self._target, self._predicted = self._predict(frame), time
        assert self._target is not None
        if anew or self._change is None:
            self._change = self._target
        else:
            share = 1 - math.exp(-max(0.0, time - self._time) / SETTLING_S)
            self._change = self._change.towards(self._target, share)
        self._time, self._jumped = time, jumped
        return self._change

    def _jumps(self, frame: Pixels) -> bool:
        """Whether the frame differs from the one before by more than a steady motion explains."""
        sparse = Image.fromarray(np.ascontiguousarray(frame[::STEP, ::STEP])).convert("L")
        copy = 16 * np.sqrt(np.asarray(sparse.resize(COMPARED, Image.Resampling.BOX), np.float32))
        difference = 0.0 if self._copy is None else float(np.abs(copy - self._copy).mean())
        before, self._difference, self._copy = self._difference, difference, copy
        return min(difference, abs(difference - before)) > CUT
