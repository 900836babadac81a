"""Scores against other implementations on random pictures, and intervals of means against plain resampling."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

import bncagan.evaluation.intervals
from bncagan.evaluation import metrics
from bncagan.evaluation.intervals import bootstrap_interval
from bncagan.evaluation.metrics import Pixels, ciede2000, psnr, score, ssim
from runtimes.errors import InputError


def draw_pair(seed: int, spread: int) -> tuple[Pixels, Pixels]:
    """A picture and its reference, which differ by at most `spread` codes."""
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, 256, (17, 23, 3))
    picture = np.clip(reference + rng.integers(-spread, spread + 1, reference.shape), 0, 255)
    return picture.astype(np.uint8), reference.astype(np.uint8)


PAIRS = [(seed, spread) for seed in range(4) for spread in (1, 10, 100, 255)]


@pytest.mark.parametrize(("seed", "spread"), PAIRS)
def test_psnr_is_scikit_images(seed: int, spread: int) -> None:
    picture, reference = draw_pair(seed, spread)
    assert psnr(picture, reference) == pytest.approx(
        peak_signal_noise_ratio(reference, picture, data_range=255), abs=1e-9
    )
    assert psnr(picture, reference) == psnr(reference, picture), "no difference may wrap around in uint8"


def test_psnr_of_one_code_is_48_db() -> None:
    picture = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(picture + np.uint8(1), picture) == pytest.approx(20 * math.log10(255))
    assert psnr(np.zeros_like(picture), np.full_like(picture, 255)) == 0


def test_equal_pictures_score_infinity_one_and_zero() -> None:
    picture, _ = draw_pair(0, 10)
    assert score(picture, picture.copy()) == (math.inf, 1.0, 0.0)


@pytest.mark.parametrize(("seed", "spread"), PAIRS[:8])
def test_ssim_is_that_of_wang_et_al(seed: int, spread: int) -> None:
    """Means over all 7 x 7 windows inside the picture, with sample covariances as scikit-image takes them."""
    picture, reference = (p.astype(np.float64) for p in draw_pair(seed, spread))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = (np.lib.stride_tricks.sliding_window_view(p, (7, 7), (0, 1)).reshape(-1, 49) for p in (picture, reference))
    mx, my = x.mean(1), y.mean(1)
    covariance = ((x - mx[:, None]) * (y - my[:, None])).sum(1) / 48
    vx, vy = x.var(1, ddof=1), y.var(1, ddof=1)
    expected = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(*draw_pair(seed, spread)) == pytest.approx(expected.mean(), abs=1e-9)


def test_ciede2000_of_greys_is_their_difference_of_lightness() -> None:
    """Without chroma, the formula of Sharma, Wu and Dalal is |L1 - L2| / S_L."""
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (2, 16, 16, 1)).astype(np.uint8)
    picture, reference = np.repeat(grey, 3, axis=3)
    l1, l2 = rgb2lab(picture)[..., 0], rgb2lab(reference)[..., 0]
    middle = ((l1 + l2) / 2 - 50) ** 2
    expected = np.abs(l1 - l2) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    assert ciede2000(picture, reference) == pytest.approx(expected.mean(), abs=1e-2)
    assert ciede2000(picture, reference) == pytest.approx(ciede2000(reference, picture))


SHARMA = [  # pairs of Lab colours and their difference, Table 1 of the paper
    ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
    ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_of_published_pairs(
    monkeypatch: pytest.MonkeyPatch, first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    monkeypatch.setattr(metrics, "rgb2lab", lambda p: np.broadcast_to(second if p[0, 0, 0] else first, p.shape))
    assert ciede2000(black, white) == pytest.approx(expected, abs=1e-4)


def test_ciede2000_reads_colours_as_rgb() -> None:
    """Dark blue differs more from grey than dark red does."""
    flat = np.zeros((2, 2, 3), np.uint8)
    blue, red, grey = flat + np.uint8([0, 0, 128]), flat + np.uint8([128, 0, 0]), flat + np.uint8(64)
    assert ciede2000(blue, grey) > 30 > ciede2000(red, grey)


def test_score_holds_all_three() -> None:
    picture, reference = draw_pair(1, 20)
    scores = score(picture, reference)
    assert scores.psnr == psnr(picture, reference)
    assert scores.ssim == ssim(picture, reference)
    assert scores.ciede2000 == ciede2000(picture, reference)


# Intervals


def draw_values(count: int, seed: int = 0) -> list[float]:
    """Skewed, so that the two ends are not equally far from the mean."""
    return np.random.default_rng(seed).exponential(size=count).tolist()


@pytest.mark.parametrize("count", [1, 2, 7, 16])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_interval_is_that_of_a_plain_loop(count: int, share: float) -> None:
    values = draw_values(count)
    draws = np.random.default_rng(3).integers(count, size=(500, count))
    means = sorted(sum(values[index] for index in drawn) / count for drawn in draws)

    def quantile(q: float) -> float:
        place = q * (len(means) - 1)
        below = int(place)
        above = min(below + 1, len(means) - 1)
        return means[below] + (place - below) * (means[above] - means[below])

    expected = quantile((1 - share) / 2), quantile((1 + share) / 2)
    assert bootstrap_interval(values, 500, seed=3, share=share) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_the_interval_is_that_of_all_resamples(share: float) -> None:
    """Of five values there are 3125 equally likely resamples."""
    values = draw_values(5, seed=2)
    means = sorted(sum(drawn) / 5 for drawn in product(values, repeat=5))
    low, high = bootstrap_interval(np.array(values), 200_000, share=share)
    assert low == pytest.approx(means[round((1 - share) / 2 * 3125)], abs=0.01)
    assert high == pytest.approx(means[round((1 + share) / 2 * 3125)], abs=0.01)


def test_the_interval_is_scipys() -> None:
    values = draw_values(30)
    theirs = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_most_intervals_hold_the_true_mean() -> None:
    """A little fewer than 95 of 100, as the percentile bootstrap is known to do for samples of 40."""
    held = [low < 1 < high for low, high in (bootstrap_interval(draw_values(40, n), 400) for n in range(500))]
    assert 0.88 < np.mean(held) < 0.97


def test_large_samples_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = draw_values(100)
    whole = bootstrap_interval(values, 1000)
    monkeypatch.setattr(bncagan.evaluation.intervals, "DRAWS_AT_ONCE", 3000)  # 34 parts, the last of 10
    assert bootstrap_interval(values, 1000) == whole
    monkeypatch.setattr(bncagan.evaluation.intervals, "DRAWS_AT_ONCE", 1)
    assert bootstrap_interval(values, 1000) == pytest.approx(whole)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_what_cannot_be_resampled_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="expected finite values in a row to resample, at least one"):
        bootstrap_interval(values)
