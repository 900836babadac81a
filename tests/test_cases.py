"""Awkward photographs of every kind, drawn by ../shared/cases where that exists: the right pixels, or one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes import InputError, Photograph, open_photograph
from runtimes.installation import installed
from runtimes.photographs import read_rgb

MAKE = Path(__file__).resolve().parents[2] / "shared" / "cases" / "make.py"
pytestmark = pytest.mark.skipif(not MAKE.exists(), reason=f"{MAKE} does not exist")

REFUSED = {
    "half.jpg": "truncated",
    "empty.jpg": "a format that cannot be read",
    "html.jpg": "a format that cannot be read",
    "bad-crc-data.png": "unrecognized data",
    "bomb.png": "at most 250 megapixels but has 30000 x 30000 px",
    "claims-65000.jpg": "at most 250 megapixels but has 65000 x 65000 px",
    "cicp-pq.png": "standard dynamic range",
    "float-0-1.tif": "floating point",
    "pages.tif": "one picture but holds 3",
    "animated.webp": "one picture but holds 3",
    "animated.png": "one picture but holds 3",
    "animated.gif": "one picture but holds 3",
}
NEEDS = {"camera.dng": "rawpy", "still.heic": "pillow_heif", "heic-inside.jpg": "pillow_heif"}
SEVERAL = {"pages.tif", "animated.webp", "animated.png", "animated.gif"}  # training reads the first picture of them
LOSSY = {".jpg", ".jpe", ".jfif", ".avif"}
# Largest difference in codes, or for lossy files the mean one.
WITHIN = {
    "jpeg.tif": 2.0,
    "camera.dng": 3.0,
    "still.heic": 2.0,
    "heic-inside.jpg": 2.0,
    "lab.tif": 2.0,
    "q60-420.jpg": 4.0,  # quality 60, with half of the colour
}
MEAN = {"jpeg.tif", "lab.tif", "camera.dng", "still.heic", "heic-inside.jpg"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the cases, and that of what a right reader sees."""
    folder = tmp_path_factory.mktemp("cases")
    cases, right = folder / "cases", folder / "right"
    subprocess.run([sys.executable, MAKE, cases, "--right", right], check=True, capture_output=True)
    return cases, right


def test_every_case_gives_the_right_pixels_or_one_sentence(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    cases, right = drawn
    read_well = 0
    for path in sorted(cases.iterdir()):
        if not path.is_file() or path.suffix == ".json":
            continue
        if path.name in REFUSED:
            refused(path, REFUSED[path.name])
            continue
        if path.name in NEEDS and not installed(NEEDS[path.name]):
            refused(path, "install it with: pip install")
            continue
        photo = open_photograph(path)
        np.testing.assert_array_equal(photo.seen, read_rgb(path), err_msg=path.name)
        expected = right / f"{path.name}.png"
        if expected.exists():
            judge(path, photo.seen, photo.alpha, np.asarray(Image.open(expected)).astype(int))
            read_well += 1
        comes_back(photo, tmp_path / f"out{photo.suffix}")
    assert read_well > 70


def comes_back(photo: Photograph, path: Path) -> None:
    """A changed photograph keeps depth, channels, profile and alpha."""
    changed = photo.changed((photo.seen * 0.9 + 10).astype(np.uint8))
    lost = changed.write(path)
    again = open_photograph(path)
    assert photo.own is not None
    assert again.own is not None
    assert again.own.shape == photo.own.shape
    assert again.own.dtype == photo.own.dtype or "raw" in str(photo.original.format).lower()
    if not any("sRGB" in note for note in lost):
        assert again.profile == photo.profile
    if photo.alpha is not None:
        np.testing.assert_array_equal(again.alpha, photo.alpha)
    if path.suffix in {".png", ".tif"} and again.own.dtype == photo.own.dtype:
        np.testing.assert_array_equal(again.own, changed.own)
    path.unlink()


def refused(path: Path, reason: str) -> None:
    for reader in (open_photograph,) if path.name in SEVERAL else (open_photograph, read_rgb):
        with pytest.raises(InputError, match=reason) as caught:
            reader(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def judge(path: Path, pixels: np.ndarray, alpha: np.ndarray | None, expected: np.ndarray) -> None:
    assert pixels.shape[:2] == expected.shape[:2], path.name
    difference = np.abs(pixels - expected[..., :3])
    if expected.shape[2] == 4:
        difference = difference * (expected[..., 3:] > 0)
        if alpha is not None or (expected[..., 3] < 255).any():
            assert alpha is not None, path.name
            assert np.abs(alpha / (257 if alpha.dtype == np.uint16 else 1) - expected[..., 3]).max() <= 1, path.name
    lossy = path.suffix in LOSSY and path.name != "png-inside.jpg"
    limit = WITHIN.get(path.name, 2.0 if lossy else 1.0)
    off = difference.mean() if lossy or path.name in MEAN else difference.max()
    assert off <= limit, f"{path.name}: {off}"


def test_odd_names_are_read(drawn: tuple[Path, Path]) -> None:
    found = list((drawn[0] / "names").iterdir())
    assert len(found) >= 10
    for path in found:
        assert open_photograph(path).seen.shape == (120, 160, 3), os.fsencode(path.name)
