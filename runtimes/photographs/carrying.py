"""The change that the network made to the 8-bit sRGB copy, carried to the photograph's own colours and depth.

x is a colour of the photograph in linear light of sRGB's primaries, s that of the copy (8 bits, clipped to sRGB) and e
the network's answer to it. Then

    y = e + k (x - s),    k = (Y(e) + d) / (Y(s) + d),

with Y the luminance and d a small constant. What the copy could not hold, x - s, is brightened as the pixel is. Where
the copy holds the photograph exactly, the result is the network's answer; where the network changes nothing, the
result is the photograph.

More than 8 bits have many levels for one code of the copy, so the slope of the change counts. E is the mean answer to
each code of a channel, smoothed, interpolated and made to rise. s and e are then replaced by values of full depth, in
sRGB's codes: s by x clipped to sRGB, and e by E(x) plus how much this pixel's answer differs from E, less half a code,
which is the rounding of the answer. Where the change itself is known, e is its answer in full depth instead.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from runtimes.image import DeepAnswer, Pixels
from runtimes.photographs.profiles import Codes, Light, Space, srgb_codes, srgb_light

Deep = NDArray[np.float32]  # sRGB codes of 16 bits, not rounded

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
DARK = np.float32(1e-3)  # d: light below which the gain falls towards 1; code 3 of sRGB
ROUNDING = np.float32(128.5)  # half a code of 8 bits
SMOOTHING = 1.2  # 1 / variance of the second differences of E, in codes
BAND = 1 << 16  # pixels that are computed together


def carried(
    own: Codes, space: Space | None, seen: Pixels, enhanced: Pixels, answer_to: DeepAnswer | None = None
) -> Codes:
    """Return the codes of the changed photograph, in the shape, depth and space of `own`.

    own: H x W x 1 (grey) or 3.
    space: what the codes of `own` mean; None means sRGB.
    seen, enhanced: the sRGB copy before and after, uint8 H x W x 3.
    answer_to: the answer to colours of 16 bits, where it is known.
    """
    grey, deep = own.shape[2] == 1, own.dtype == np.uint16
    if space is None and not grey and not deep:
        return enhanced
    if grey or deep:
        return _refined(own, space, seen, enhanced, None if grey or not deep else answer_to)
    assert space is not None
    result = np.empty_like(own)
    for rows in bands(own):
        light = space.light(own[rows])
        result[rows] = space.codes(
            _changed(light, _light8().take(seen[rows]), _light8().take(enhanced[rows])), np.uint8
        )
    return result


def _refined(own: Codes, space: Space | None, seen: Pixels, enhanced: Pixels, answer_to: DeepAnswer | None) -> Codes:
    """`carried` for grey, and for more than 8 bits."""
    channels = own.shape[2]
    curves = _mean_answers(seen[..., :channels], enhanced) if answer_to is None else []
    result = np.empty_like(own)
    for rows in bands(own):
        light = None if space is None else space.light(own[rows])
        copy = _widened(own[rows]) if light is None else srgb_codes(light)
        if answer_to is None:
            answer = _answer(copy, seen[rows], enhanced[rows], curves, own.dtype == np.uint16)
        else:
            answer = answer_to(copy, rows.start)
        if space is None or light is None:
            result[rows] = np.rint(answer / (257 if own.dtype == np.uint8 else 1))
        else:
            before, after = _light16()[copy], _light16()[np.rint(answer).astype(np.uint16)]
            result[rows] = space.codes(_changed(light, before, after) if channels > 1 else after, own.dtype.type)
    return result


def _changed(x: Light, s: Light, e: Light) -> Light:
    """y = e + k (x - s)."""
    gain = (e @ LUMINANCE + DARK) / (s @ LUMINANCE + DARK)
    left = x - s
    left *= gain[..., None]
    left += e
    return left


def _answer(copy: NDArray[np.uint16], seen: Pixels, enhanced: Pixels, curves: list[Deep], deep: bool) -> Deep:
    """E(x) plus what this pixel's answer differs from E, in codes of 16 bits."""
    answers = _grey_or_colour(enhanced, copy.shape[2])
    for i, curve in enumerate(curves):
        own_part = answers[..., i] - curve[seen[..., i].astype(np.int32) * 257]
        if deep:
            own_part -= own_part.clip(-ROUNDING, ROUNDING)
        answers[..., i] = own_part + curve[copy[..., i]]
    return answers.clip(0, 65535, out=answers)


def _mean_answers(seen: Pixels, enhanced: Pixels) -> list[Deep]:
    """E of each channel, for the 65,536 codes of 16 bits."""
    channels = seen.shape[2]
    moments = np.zeros((channels, 3, 256))  # of the answers to each code: number, sum, sum of squares
    for rows in bands(seen):
        answers = _grey_or_colour(enhanced[rows], channels) / np.float32(257)
        for i in range(channels):
            codes, values = seen[rows][..., i].ravel(), answers[..., i].ravel()
            moments[i] += [np.bincount(codes, values**power, minlength=256) for power in range(3)]
    knots, between = np.arange(256) * 257.0, np.arange(65536.0)
    return [np.interp(between, knots, 257 * _smoothed(*each)).astype(np.float32) for each in moments]


def _smoothed(
    number: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean answer to each of the 256 codes by Whittaker's smoother, made to rise.

    The weight of a code is 1 / variance of its mean: codes of few pixels, or of pixels that were treated differently,
    follow their neighbours.
    """
    mean = total / np.maximum(number, 1)
    spread = np.maximum(squares / np.maximum(number, 1) - mean**2, 0) + 1e-3
    weights = number / (spread + number / 12)  # 1/12 is the variance of the answers' rounding
    bends = np.diff(np.eye(256), n=2, axis=0)
    curve = np.linalg.solve(np.diag(weights + 1e-6) + SMOOTHING * bends.T @ bends, weights * mean)
    return np.asarray(curve[0] + np.concatenate([[0], np.cumsum(np.diff(curve).clip(min=0))]))


def _grey_or_colour(enhanced: Pixels, channels: int) -> Deep:
    """The answer in codes of 16 bits, H x W x 3, or its luminance, H x W x 1."""
    if channels == 3:
        return np.asarray(np.multiply(enhanced, 257.0), np.float32)
    luminance = srgb_codes((_light8()[enhanced] @ LUMINANCE)[..., None])
    grey = (enhanced == enhanced[..., :1]).all(axis=2, keepdims=True)  # exactly, without a table's rounding
    return np.asarray(np.where(grey, np.multiply(enhanced[..., :1], 257.0), luminance), np.float32)


def _widened(codes: Codes) -> NDArray[np.uint16]:
    return np.asarray(codes.astype(np.uint16) * np.uint16(1 if codes.dtype == np.uint16 else 257))


def bands(picture: Codes) -> Iterator[slice]:
    """Rows that are computed together, so that memory is bounded."""
    height, width = picture.shape[:2]
    step = max(1, BAND // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


@functools.cache
def _light8() -> NDArray[np.float32]:
    return srgb_light(np.linspace(0, 1, 256)).astype(np.float32)


@functools.cache
def _light16() -> NDArray[np.float32]:
    return srgb_light(np.linspace(0, 1, 65536)).astype(np.float32)
