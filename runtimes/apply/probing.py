"""What a tone head does to single colours, measured in the part of a photograph that it does not look at.

A tone head decides from the whole photograph how every colour changes. It does not look at the outermost of 48 x 48
cells (`bncagan.network.tone`): the colours take the place of the pixels in these cells, and the network answers for
each of them as it does for the photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.applying import applied
from runtimes.apply.change import SHARE, Change
from runtimes.apply.tone_fit import fit_tone
from runtimes.errors import InputError
from runtimes.image import Pixels, to_uint8

if TYPE_CHECKING:
    from runtimes.base import Runtime

CELLS = 48  # on each side of the photograph; the outermost are not looked at
SPARSE = 4  # every 4th pixel of every 4th row tells how much of the change is received

Colours = NDArray[np.float32]  # ... x 3, RGB in [0, 1]

GREYS: Colours = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 3, axis=1)
COLOURS: Colours = np.stack(np.meshgrid(*[np.linspace(0, 1, 9, dtype=np.float32)] * 3), axis=-1).reshape(-1, 3)


def measurable(small: Pixels) -> bool:
    """Whether a picture is large enough to be measured."""
    return all(side >= CELLS for side in small.shape[:2])


def measure_tone(runtime: Runtime, small: Pixels, batch: int) -> Change:
    """Measure the change of a photograph, of a shape that the artifact runs in batches of `batch`."""
    answer, answers = probe(runtime, small, batch, np.concatenate([GREYS, COLOURS]))
    change = Change(fit_tone(answers[:256], COLOURS, answers[256:]))
    tone = change.tone.copy()
    tone[SHARE] = share_received(small, answer, lambda picture: applied(picture, change))
    return Change(tone)


def probe(runtime: Runtime, small: Pixels, batch: int, colours: Colours) -> tuple[Colours, Colours]:
    """Ask the network what becomes of a photograph, uint8 h x w x 3, and of colours, N x 3, as if they were in it.

    Returns its answer to the photograph, and the answers to the colours.

    Errors: InputError when the photograph is smaller than 48 px.
    """
    if not measurable(small):
        raise InputError(
            f"a picture should have at least {CELLS} px a side to be measured but has "
            f"{small.shape[1]} x {small.shape[0]}; take a larger one"
        )
    unseen = np.argwhere(border(*small.shape[:2]))
    x = np.divide(small, np.float32(255), dtype=np.float32)
    answers = []
    for first in range(0, len(colours), len(unseen)):
        some, changed = colours[first : first + len(unseen)], x.copy()
        places = tuple(unseen[: len(some)].T)
        changed[places] = some
        answers.append(_run(runtime, changed, batch)[places])
    return _run(runtime, x, batch), np.concatenate(answers)


def border(height: int, width: int) -> NDArray[np.bool_]:
    """The pixels that lie wholly in the outermost cells of a picture, height x width."""
    unseen = np.ones((height, width), bool)
    rows, columns = height // CELLS, width // CELLS
    unseen[rows : height - rows, columns : width - columns] = False
    return unseen


def share_received(seen: Pixels, answer: Colours, applied: Callable[[Pixels], Pixels]) -> float:
    """The share of the measured change that the photograph receives: less than 1 if it has hardly any contrast.

    The measured colours have contrast, so a black picture among them would be changed in full.
    """
    some = np.ascontiguousarray(seen[::SPARSE, ::SPARSE])
    whole = applied(some) - some.astype(np.float64)
    length = float(np.sum(whole**2))
    share = float(np.sum(whole * (255 * answer[::SPARSE, ::SPARSE] - some))) / length if length else 1.0
    return 1.0 if share > 0.98 else max(share, 0.0)  # rounding alone makes it 0.995


def _run(runtime: Runtime, image: Colours, batch: int) -> Colours:
    """The network's answer to a picture in [0, 1], H x W x 3; byte artifacts see it rounded."""
    pictures = np.repeat(image[None], batch, axis=0)
    if runtime.spec.io == "uint8":
        codes: Colours = runtime.infer(to_uint8(pictures))[0] / np.float32(255)
        return codes
    answer: Colours = runtime.infer(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))[0].transpose(1, 2, 0)
    return np.clip(answer, 0, 1)
