"""Scores against other implementations on random pictures, and intervals of means against plain resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from bncagan.evaluation import metrics
from bncagan.evaluation.intervals import t_interval
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


@pytest.mark.parametrize("band", [1, 23 * 5, 23 * 16])
def test_scores_do_not_depend_on_the_bands(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = draw_pair(7, 100)
    whole = score(*pair)
    monkeypatch.setattr(metrics, "BAND", band)
    assert len(list(metrics.bands(17, 23))) > 1
    assert [each for rows in metrics.bands(17, 23) for each in range(rows.start, rows.stop)] == list(range(17))
    assert score(*pair) == pytest.approx(whole, rel=1e-12)
    assert psnr(*pair) == whole.psnr


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


@pytest.mark.parametrize("count", [2, 7, 40])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_interval_is_scipys(count: int, share: float) -> None:
    values = draw_values(count)
    theirs = ttest_1samp(values, 0).confidence_interval(share)
    assert t_interval(values, share) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("count", [6, 11, 20])
def test_95_of_100_intervals_hold_the_true_mean(count: int) -> None:
    """Within three standard deviations of 2000 trials; the percentile bootstrap of six values holds it in 86."""
    rng = np.random.default_rng(count)
    held = [low < 1 < high for low, high in (t_interval(rng.normal(1, 2, count)) for _ in range(2000))]
    assert abs(np.mean(held) - 0.95) < 0.015


def test_one_value_says_nothing_of_others() -> None:
    assert all(math.isnan(end) for end in t_interval([3.0]))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="scores should be finite numbers"):
        t_interval(values)
