"""CIELAB and CIEDE2000 against scikit-image and against the published pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from runtimes.likeness import ciede2000, srgb_to_lab

# Sharma, Wu, Dalal 2005, table 1: pairs 1-3, 7, 9-11, 13, 15, 17, 18, 25, 26, 34.
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, 2.8361, -74.0200), (50.0, 0.0, -82.7485), 3.4412),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0010), 7.1792),
    ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
    ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "published"), SHARMA)
def test_published_pairs(
    first: tuple[float, float, float], second: tuple[float, float, float], published: float
) -> None:
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(published, abs=5e-5)
    assert ciede2000(np.array(second), np.array(first)) == pytest.approx(published, abs=5e-5)


def test_lab_equals_scikit_image() -> None:
    codes = np.random.default_rng(1).integers(0, 256, (64, 65, 3), np.uint8)
    codes[0] = np.arange(65)[:, None]  # dark greys: the linear foot of both curves
    np.testing.assert_allclose(srgb_to_lab(codes), rgb2lab(codes), atol=1e-9)
    floats = np.random.default_rng(2).random((1000, 3))
    np.testing.assert_allclose(srgb_to_lab(floats), rgb2lab(floats), atol=1e-9)
    assert srgb_to_lab(np.full((1, 3), 255, np.uint8)) == pytest.approx(np.array([[100, 0, 0]]), abs=0.01)


def test_difference_equals_scikit_image_on_random_colours() -> None:
    first, second = np.random.default_rng(3).uniform((0, -120, -120), (100, 120, 120), (2, 20_000, 3))
    np.testing.assert_allclose(ciede2000(first, second), deltaE_ciede2000(first, second), atol=1e-9)
    near = first + np.random.default_rng(4).normal(0, 0.5, first.shape)
    np.testing.assert_allclose(ciede2000(first, near), deltaE_ciede2000(first, near), atol=1e-6)


def test_difference_equals_scikit_image_near_grey_and_across_the_hue_wrap() -> None:
    chroma = [0.0, 1e-6, 0.5, 40.0]
    hues = [0.0, 1.0, 89.0, 179.0, 181.0, 270.0, 275.0, 359.0]
    colours = np.array(
        [(50, c * np.cos(np.radians(h)), c * np.sin(np.radians(h))) for c, h in itertools.product(chroma, hues)]
    )
    first, second = (grid.reshape(-1, 3) for grid in np.broadcast_arrays(colours[:, None], colours[None]))
    # Opposite hues are left out: rounding decides there which way round the mean hue lies, in either code.
    turn = np.degrees(np.arctan2(first[:, 2], first[:, 1]) - np.arctan2(second[:, 2], second[:, 1])) % 360
    kept = np.abs(turn - 180) > 1e-3
    np.testing.assert_allclose(ciede2000(first, second)[kept], deltaE_ciede2000(first, second)[kept], atol=1e-6)


def test_no_difference_is_zero_and_more_is_more() -> None:
    lab = srgb_to_lab(np.random.default_rng(5).integers(0, 256, (500, 3), np.uint8))
    assert np.all(ciede2000(lab, lab) == 0)
    lighter = ciede2000(lab, lab + np.array([1, 0, 0]))
    assert np.all(lighter > 0)
    assert np.all(ciede2000(lab, lab + np.array([2, 0, 0])) > lighter)
