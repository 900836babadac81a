"""What a model does to a frame, as a change that other frames can receive."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.base import Runtime
from runtimes.controls import Controls, expose
from runtimes.cube import probe, share_received
from runtimes.fullsize import Maps, apply_maps, fit_colour, to_planes
from runtimes.image import Pixels, thumbnail, to_uint8

TONE_SIDE = 384  # px: longest side of what a tone head sees; it looks at 48 x 48 cells
SIDE = 1024  # px: longest side of what a network with a generator sees
FITTED_SIDE = 256  # px: longest side of the copies that local maps are fitted to, whose windows are 4 px
GREYS = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 3, axis=1)
COLOURS = np.stack(np.meshgrid(*[np.linspace(0, 1, 9, dtype=np.float32)] * 3), axis=-1).reshape(-1, 3)
INSIDE = 1 / 255  # distance from 0 and 1 from which an answer is not clipped


@dataclasses.dataclass(frozen=True, eq=False)
class ToneChange:
    """What a tone head does: one curve for all channels, a matrix (saturation and warmth), and the controls.

    For a frame of 1920 x 1080 px it takes a quarter of the time of a cube, and dark colours are more exact.
    """

    curve: NDArray[np.float64]
    """What becomes of the 256 codes, in [0, 1]."""
    matrix: NDArray[np.float64]
    """3 x 3, applied after the curve."""
    share: float
    """Share of the change, as `Controls.strength`."""
    exposure: float
    """Stops, as `Controls.exposure`."""

    def applied(self, image: Pixels) -> Pixels:
        """Return the changed frame, uint8 H x W x 3 of any size."""
        before = Image.fromarray(image)
        rows = np.pad(self.matrix, ((0, 0), (0, 1))).ravel().tolist()
        after = before.point(to_uint8(self.curve).tolist() * 3).convert("RGB", rows)
        if self.share != 1:
            x = image.astype(np.float32)
            mixed = x + np.float32(self.share) * (np.asarray(after) - x)
            after = Image.fromarray((mixed + np.float32(0.5)).clip(0, 255).astype(np.uint8))  # Image.blend truncates
        if self.exposure:
            after = after.point(to_uint8(expose(GREYS[:, 0], self.exposure)).tolist() * 3)
        return np.asarray(after)

    def towards(self, other: ToneChange, share: float) -> ToneChange:
        """Return the change that lies between this one (share 0) and another (share 1)."""
        return ToneChange(
            self.curve + share * (other.curve - self.curve),
            self.matrix + share * (other.matrix - self.matrix),
            self.share + share * (other.share - self.share),
            other.exposure,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LocalChange:
    """Colours A x + b at every place of a frame, for networks with a generator.

    What these maps do not hold of the network's answer is left out: it is detail of one frame, and would stand still
    while the next frames move.
    """

    maps: Maps
    """12 x h x w: the rows of (A | b) of every window."""

    def applied(self, image: Pixels) -> Pixels:
        """Return the changed frame, uint8 H x W x 3 of any size."""
        return apply_maps(image, self.maps)

    def towards(self, other: LocalChange, share: float) -> LocalChange:
        """Return the change that lies between this one (share 0) and another (share 1)."""
        return LocalChange(self.maps + np.float32(share) * (other.maps - self.maps))


def predict_tone(runtime: Runtime, frame: Pixels, controls: Controls) -> ToneChange:
    """Measure the change of a frame by a tone head without a generator.

    Errors: InputError when the frame is smaller than 48 px.
    """
    seen, answer, answers = probe(runtime, frame, np.concatenate([GREYS, COLOURS]), TONE_SIDE)
    curve = answers[:256, 1].astype(np.float64)
    before = np.interp(COLOURS, GREYS[:, 0], curve)
    matrix = np.eye(3)
    for channel, wanted in enumerate(answers[256:].T):
        inside = (wanted > INSIDE) & (wanted < 1 - INSIDE)
        matrix[channel] = np.linalg.lstsq(before[inside], wanted[inside], rcond=None)[0]
    change = ToneChange(curve, matrix, 1, 0)
    share = share_received(seen, answer, change.applied)
    return dataclasses.replace(change, share=share * controls.strength, exposure=controls.exposure)


def predict_maps(runtime: Runtime, frame: Pixels, controls: Controls) -> LocalChange:
    """Fit the change of a frame by any model."""
    small = thumbnail(frame, SIDE)
    enhanced = runtime.enhance(small, strength=controls.strength, exposure=controls.exposure)
    fitted = [to_planes(thumbnail(picture, FITTED_SIDE)) for picture in (small, enhanced)]
    return LocalChange(fit_colour(*fitted))
