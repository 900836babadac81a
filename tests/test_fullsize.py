"""Maps that are fitted to a reduced pair and applied at full size reproduce known changes without seams or halos."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from skimage import data

from runtimes.apply import fitting, plain
from runtimes.apply.applying import applied
from runtimes.apply.fitting import fit_change
from runtimes.apply.prepared import grid
from runtimes.image import Pixels, resize, to_uint8


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A picture of 512 x 512 px."""
    return np.asarray(data.astronaut())


def transfer(full: Pixels, small: Pixels, answer: Pixels) -> Pixels:
    return applied(full, fit_change(small, answer))


def gamma(image: Pixels, exponent: float = 0.6) -> Pixels:
    return to_uint8((image / 255) ** exponent)


def psnr(first: Pixels, second: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


def largest(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize("size", [(512, 512), (256, 256), (128, 200), (64, 32), (640, 720)])
def test_no_change_changes_nothing(photo: Pixels, size: tuple[int, int]) -> None:
    small = resize(photo, *size)
    assert largest(transfer(photo, small, small), photo) == 0


@pytest.mark.parametrize("shape", [(8, 8), (17, 31), (9, 400), (400, 9)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    small = resize(image, 16, 16)
    assert largest(transfer(image, small, small), image) <= 1


@pytest.mark.parametrize("content", ["photo", "noise", "grey", "flat", "black"])
def test_global_affine_colour_change(photo: Pixels, content: str) -> None:
    image = {
        "photo": photo,
        "noise": np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8),
        "grey": np.repeat(photo[..., :1], 3, axis=2),
        "flat": np.full_like(photo, 90),
        "black": np.zeros_like(photo),
    }[content]
    matrix = np.array([[0.80, 0.05, 0.02], [0.03, 0.70, 0.04], [-0.05, 0.1, 0.75]])

    def change(pixels: Pixels) -> Pixels:
        return to_uint8(pixels / 255 @ matrix.T + [0.06, 0.05, 0.08])

    small = resize(image, 160, 160)
    # Of white noise the small picture keeps a tenth of the contrast, and its rounding counts ten times as much.
    assert largest(transfer(image, small, change(small)), change(image)) <= (2 if content == "noise" else 1)


def test_gain_that_clips(photo: Pixels) -> None:
    small = resize(photo, 160, 160)
    produced = transfer(photo, small, to_uint8(small / 255 * 1.6))
    expected = to_uint8(photo / 255 * 1.6)
    assert np.mean(np.abs(produced.astype(int) - expected) > 1) < 0.01
    assert psnr(produced, expected) > 45


def test_gamma_is_followed_closely(photo: Pixels) -> None:
    small = resize(photo, 256, 256)
    assert psnr(transfer(photo, small, gamma(small)), gamma(photo)) > 40
    assert psnr(resize(gamma(small), 512, 512), gamma(photo)) < 32  # what enlarging the small picture would give


def test_change_that_varies_over_the_picture(photo: Pixels) -> None:
    def change(pixels: Pixels) -> Pixels:
        across = np.linspace(0.5, 1.0, pixels.shape[1])[None, :, None]
        return to_uint8(pixels / 255 * across)

    small = resize(photo, 128, 128)
    assert psnr(transfer(photo, small, change(small)), change(photo)) > 45


def test_resampled_result_is_the_network_s(photo: Pixels) -> None:
    small = resize(photo, 256, 256)
    shuffled = np.roll(gamma(small), 40, axis=2)  # no local affine change at all
    produced = resize(transfer(photo, small, shuffled), 256, 256)
    assert psnr(produced, shuffled) > 35


def test_no_halo_at_a_sharp_edge() -> None:
    """Both halves have texture; the dark half becomes 60 codes brighter, and the bright half is unchanged."""
    rng = np.random.default_rng(0)
    image = np.where(np.arange(640)[None, :, None] < 321, 40, 200) + rng.integers(-10, 11, (480, 640, 1))
    image = np.repeat(image, 3, axis=2).astype(np.uint8)

    def change(pixels: Pixels) -> Pixels:
        return np.where(pixels < 120, np.minimum(pixels.astype(int) + 60, 150), pixels).astype(np.uint8)

    small = resize(image, 120, 160)
    error = transfer(image, small, change(small)).astype(int) - change(image)
    columns = np.abs(error.mean(axis=(0, 2)))
    assert columns[:312].max() < 1.5
    assert columns[330:].max() < 1.5
    assert np.abs(error[:, :300]).max() <= 4
    assert np.abs(error[:, 340:]).max() <= 4


def test_interpolation_equals_pillow() -> None:
    maps = np.random.default_rng(0).random((2, 9, 13), np.float32)
    wide = grid(maps, 70, 250)
    produced = np.concatenate([plain.enlarged(wide, rows) for rows in (slice(0, 33), slice(33, 70))], axis=1)
    for plane, enlarged in zip(maps, produced, strict=True):
        expected = Image.fromarray(plane).resize((250, 70), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(enlarged, np.asarray(expected), atol=1e-6)


def test_fit_equals_least_squares_in_one_window() -> None:
    """A single window over the whole picture is a weighted ridge regression of the residual of the global fit."""
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 4, 4)).astype(np.float32)
    produced = fitting.fit_colour(x, y).reshape(3, 4).astype(np.float64)

    flat_x = np.concatenate([x.reshape(3, -1), np.ones((1, 16))]).astype(np.float64)
    ridge = np.sqrt(16 * 1e-6) * np.eye(4)
    stacked = np.concatenate([flat_x.T, ridge])
    overall = np.linalg.lstsq(stacked, np.concatenate([y.reshape(3, -1).T, ridge[:, :3]]), rcond=None)[0].T
    left = y.reshape(3, -1) - np.clip(overall @ flat_x, 0, 1)
    tent = np.array([2.5, 3.5, 3.5, 2.5])
    weights = np.outer(tent, tent).ravel() / tent.sum() ** 2
    shrink = np.sqrt(fitting.RIDGE) * np.eye(4)[:3]
    rows = np.concatenate([flat_x.T * np.sqrt(weights)[:, None], shrink])
    targets = np.concatenate([left.T * np.sqrt(weights)[:, None], np.zeros((3, 3))])
    local = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    np.testing.assert_allclose(produced, overall + local, atol=2e-4)


def test_twelve_megapixels_in_bounded_memory(photo: Pixels) -> None:
    full = resize(photo, 3000, 4000)
    small = resize(full, 1152, 1536)
    changed = gamma(small)
    tracemalloc.start()
    try:
        produced = transfer(full, small, changed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert psnr(produced[::3], gamma(full[::3])) > 45
    assert peak - full.nbytes < 160 * 2**20
