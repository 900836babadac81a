"""What a model does to a frame, as a change that other frames can receive."""

from __future__ import annotations

import dataclasses

from runtimes.apply.applying import applied
from runtimes.apply.change import Change
from runtimes.base import Runtime
from runtimes.controls import Controls
from runtimes.image import Pixels

SIDE = 512  # px: longest side of what the model sees


@dataclasses.dataclass(frozen=True, eq=False)
class FrameChange:
    """What a model changes in a frame, and the controls."""

    change: Change
    """Without a remainder, which is detail of one frame and would stand still while the next frames move."""
    controls: Controls

    def applied(self, image: Pixels) -> Pixels:
        """Return the changed frame, uint8 H x W x 3 of any size. It is computed on the thread that calls."""
        return applied(image, self.change, self.controls, threads=1)

    def towards(self, other: FrameChange, share: float) -> FrameChange:
        """Return the change that lies between this one (share 0) and another (share 1)."""
        return FrameChange(self.change.towards(other.change, share), other.controls)


def predict(runtime: Runtime, frame: Pixels, controls: Controls, *, max_side: int = SIDE) -> FrameChange:
    """Ask a model what it would change in a frame, uint8 H x W x 3; it sees a copy of at most `max_side` px."""
    change = runtime.change(frame, max_side=max_side)
    return FrameChange(Change(change.tone, change.maps), controls)
