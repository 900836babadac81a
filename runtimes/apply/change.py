"""What a network changes in one photograph: the curve of its tone head, and affine colour maps of its generator."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import ArtifactError

TONE_CONSTANTS = 16  # of a curve, in this order:
BLACK, GAIN, FIRST_STEP, S, LIFT, SATURATION, RED, SHARE = 0, 1, 2, 8, 9, 10, 11, 14
STEPS = 6  # from FIRST_STEP on
IDENTITY = np.array([0, 1, *[0] * 9, 1, 1, 1, 0, 0], np.float32)  # changes nothing
MAP_ROWS, REMAINDER = 12, 3  # channels

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """A change that every pixel of the photograph can receive, at any size; `runtimes.apply.oracle` has the formula.

    Errors: ArtifactError when an array has another type or shape, or is not finite.
    """

    tone: Floats = dataclasses.field(default_factory=IDENTITY.copy)
    """16 numbers: black level, gain, six steps, S, lift, saturation, gains of R, G and B, share, 0."""
    maps: Floats | None = None
    """12 x h x w: the rows of (A | b) of each window, as a change of its colours; None if there is no generator."""
    remainder: Floats | None = None
    """3 x h x w, of a size of its own: what is added to the maps' result; only with maps."""

    def __post_init__(self) -> None:
        _require(self.tone, "the tone", "16", self.tone.shape == (TONE_CONSTANTS,))
        for name, values, channels in (("maps", self.maps, MAP_ROWS), ("remainder", self.remainder, REMAINDER)):
            if values is not None:
                fits = values.ndim == 3 and values.shape[0] == channels and min(values.shape) > 0
                _require(values, f"the {name}", f"{channels} x h x w", fits)
        if self.remainder is not None and self.maps is None:
            raise ArtifactError("a remainder should come with maps but comes alone; give both, or neither")

    def towards(self, other: Change, share: float) -> Change:
        """Return the change that lies between this one (share 0) and another of the same shapes (share 1)."""
        mine, its = ((change.tone, change.maps, change.remainder) for change in (self, other))
        return Change(*(_between(a, b, np.float32(share)) for a, b in zip(mine, its, strict=True)))


def _between(a: Any, b: Any, share: np.float32) -> Any:
    return None if a is None or b is None else a + share * (b - a)


def _require(values: NDArray[Any], what: str, shape: str, fits: bool) -> None:
    if values.dtype != np.float32 or not fits:
        raise ArtifactError(
            f"{what} should be float32 of shape {shape} but is {values.dtype} of shape {values.shape}; "
            "take what the artifact returns for one photograph"
        )
    if not np.isfinite(values).all():
        raise ArtifactError(
            f"{what} should be finite but holds NaN or infinity; run `bncagan verify`, then export the artifact again"
        )
