"""Renderings that leave work for the generator: uneven light, and deep under-exposure with noise, 8 bits and JPEG.

The tone head, whose curve is the same for the whole photograph, can undo neither.
"""

from __future__ import annotations

import numpy as np

from bncagan.data.camera import LUMA, Code, as_jpeg, develop, rounded, to_code, to_linear
from bncagan.data.uneven import backlight, gain_field
from runtimes.image import Pixels, to_uint8

SHARES = {"uneven": 0.45, "uneven frame": 0.07, "deep": 0.35, "mild": 0.06, "intact": 0.07}
DEEP_STOPS = (-4.5, -2.0)
MILD_STOPS = (-1.6, -0.1)
JPEG_QUALITY = (70, 96)


def grey(pixels: Pixels) -> Pixels:
    """A grey version of a photograph, H x W x 3: its luma in all three channels."""
    luma = np.rint(pixels @ LUMA).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def render(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A rendering of a random kind; the photograph itself if it is to stay as it is."""
    kind = rng.choice(list(SHARES), p=list(SHARES.values()))
    if kind == "intact":
        return pixels
    code = pixels / np.float32(255)
    if kind == "uneven":
        return to_uint8(render_lit(code, rng))
    if kind == "uneven frame":
        code = render_lit(code, rng, (0, 0))
    return render_frame(code, rng.uniform(*(DEEP_STOPS if kind == "deep" else MILD_STOPS)), rng)


def render_lit(code: Code, rng: np.random.Generator, stops: tuple[float, float] = (-1.5, 0)) -> Code:
    """The picture against the light, darker as a whole, and in 60 % of cases under a smooth random field as well."""
    field = backlight(code, rng) + (gain_field(code, rng) if rng.random() < 0.6 else 0)
    gain = np.exp2(field + rng.uniform(*stops)).astype(np.float32)
    return rounded(to_code(to_linear(code) * gain[..., None]))


def render_frame(code: Code, stops: float, rng: np.random.Generator) -> Pixels:
    """An unfinished frame of another exposure, after it was a JPEG file."""
    frame = develop(to_linear(code) * np.float32(2**stops), rng)
    return as_jpeg(to_uint8(frame), int(rng.integers(*JPEG_QUALITY)))
