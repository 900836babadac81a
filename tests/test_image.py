"""Pictures in memory: joining, rounding, sizes and PNG data."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from runtimes import ArtifactError, side_by_side
from runtimes.image import decode_png, encode_png, reduced_size, thumbnail, to_uint8

RNG = np.random.default_rng(0)


def noise(h: int = 40, w: int = 56, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (h, w, channels), np.uint8).squeeze()


def test_side_by_side() -> None:
    left, right = noise(20, 10), noise(20, 30)
    both = side_by_side(left, right, gap=4)
    assert both.shape == (20, 44, 3)
    np.testing.assert_array_equal(both[:, :10], left)
    np.testing.assert_array_equal(both[:, 14:], right)
    assert (both[:, 10:14] == 255).all()
    with pytest.raises(ArtifactError, match="20 and 21 px"):
        side_by_side(left, noise(21, 30), gap=4)


def test_rounding_to_codes() -> None:
    values = np.array([-3, -0.001, 0, 0.4999 / 255, 0.5 / 255, 1.49 / 255, 1, 1.2, 300])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 0, 1, 1, 255, 255, 255])
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(codes.astype(np.float32) / np.float32(255)), codes)


def test_png_in_memory() -> None:
    image = noise(5, 7)
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)
    with pytest.raises(ArtifactError, match="should be PNG data"):
        decode_png(encode_png(image)[:40])
    grey = io.BytesIO()
    Image.fromarray(image[..., 0]).save(grey, format="PNG")
    with pytest.raises(ArtifactError, match="should be 8-bit RGB"):
        decode_png(grey.getvalue())


def test_sizes_keep_the_proportion() -> None:
    assert reduced_size((16, 4000), 200) == (16, 4000)
    assert reduced_size((4000, 16), 8) == (2000, 8)
    assert thumbnail(noise(40, 56), 14).shape == (10, 14, 3)
    assert thumbnail(noise(5, 7), 14).shape == (5, 7, 3)
