"""The 16 numbers of a tone from what a tone head made of single colours, for artifacts that return pictures alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.apply.change import FIRST_STEP, IDENTITY, LIFT, RED, SATURATION, STEPS, Floats, S
from runtimes.image import LUMA_WEIGHTS

INSIDE = 1 / 255  # distance from 0 and 1 from which an answer is not clipped
ROUNDS = 40  # of the fit from one start
CLOSE = 1e-4  # largest error that needs no other start

Values = NDArray[np.float64]


def curve(x: Values, p: Values) -> Values:
    """The curve of a tone before saturation and gains. Its 10 numbers are the first of `Change.tone`."""
    v = np.clip((x - p[0]) * p[1], 0, 1)
    for a in p[FIRST_STEP : FIRST_STEP + STEPS]:
        v = v + a * v * (1 - v)
    v = v + p[S] * v * (1 - v) * (2 * v - 1)
    return np.asarray(v + p[LIFT] * (1 - v))


def fit_tone(greys: Floats, colours: Floats, answers: Floats) -> Floats:
    """Find the tone that makes these answers of 256 greys and N colours; its share is 1.

    greys: the answers to the codes 0 to 255 / 255, 256 x 3.
    colours, answers: N x 3 in [0, 1].
    """
    tone = IDENTITY.astype(np.float64)
    tone[:RED] = 0
    tone[: LIFT + 1] = _fit_curve(greys[:, 1].astype(np.float64))  # the gain of green is 1
    v = curve(np.linspace(0, 1, 256), tone)
    for channel in (0, 2):
        inside = _inside(greys[:, channel])
        tone[RED + channel] = v[inside] @ greys[inside, channel] / (v[inside] @ v[inside]) if inside.any() else 1
    before = curve(colours.astype(np.float64), tone)
    after = answers / tone[RED : RED + 3]
    distance = before - (before @ np.array(LUMA_WEIGHTS))[:, None]
    inside = _inside(answers)
    tone[SATURATION] = np.sum((after - before)[inside] * distance[inside]) / max(np.sum(distance[inside] ** 2), 1e-9)
    tone[RED + 3] = 1
    return tone.astype(np.float32)


def _fit_curve(y: Values) -> Values:
    """Fit the curve's 10 numbers to its values at the 256 codes, in [0, 1], from the first start that comes close."""
    fits = []
    for steps in (0, 0.3, -0.3):
        for black, gain in ((0, 1), (0.03, 1.1), (-0.02, 0.9)):
            p, error = _descend(y, np.array([black, gain, *[steps] * STEPS, 0, 0]))
            if error < CLOSE:
                return p
            fits.append((error, p))
    return min(fits, key=lambda fit: fit[0])[1]


def _descend(y: Values, p: Values) -> tuple[Values, float]:
    """Fit by the method of Levenberg and Marquardt; return the numbers and the largest error."""
    x, damping, unit = np.linspace(0, 1, 256), 1e-3, np.eye(len(p))

    def error(p: Values) -> Values:
        return np.asarray(np.clip(curve(x, p), 0, 1) - y)

    left = error(p)
    for _ in range(ROUNDS):
        slopes = np.stack([(error(p + step) - error(p - step)) / 2e-5 for step in 1e-5 * unit], axis=1)
        normal = slopes.T @ slopes
        trial = p - np.linalg.solve(normal + damping * (1e-3 * unit + np.diag(np.diag(normal))), slopes.T @ left)
        trial[FIRST_STEP : S + 1] = trial[FIRST_STEP : S + 1].clip(-1, 1)
        closer = error(trial)
        if closer @ closer < left @ left:
            p, left, damping = trial, closer, max(damping / 10, 1e-9)
        else:
            damping *= 4
        if np.abs(left).max() < CLOSE:
            break
    return p, float(np.abs(left).max())


def _inside(values: Floats) -> NDArray[np.bool_]:
    return np.asarray((values > INSIDE) & (values < 1 - INSIDE))
