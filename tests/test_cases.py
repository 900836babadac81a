"""Awkward photographs of every kind, drawn by ../shared/cases where that exists: the right pixels, or one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes import ArtifactError, read
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
    "camera.dng": "a format that cannot be read",
    "still.heic": "a format that cannot be read",
    "heic-inside.jpg": "a format that cannot be read",
}
LOSSY = {".jpg", ".jpe", ".jfif", ".avif"}
# Largest difference in codes, or for lossy files the mean one.
WITHIN = {
    "jpeg.tif": 2.0,
    "lab.tif": 2.0,
    "q60-420.jpg": 4.0,  # quality 60, with half of the colour
    "prophoto16.tif": 9.0,  # 16-bit colour is read by its upper 8 bits
}
MEAN = {"jpeg.tif", "lab.tif"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the cases, and that of what a right reader sees."""
    folder = tmp_path_factory.mktemp("cases")
    cases, right = folder / "cases", folder / "right"
    subprocess.run([sys.executable, MAKE, cases, "--right", right], check=True, capture_output=True)
    return cases, right


def test_every_case_gives_the_right_pixels_or_one_sentence(drawn: tuple[Path, Path]) -> None:
    cases, right = drawn
    read_well = 0
    for path in sorted(cases.iterdir()):
        if not path.is_file() or path.suffix == ".json":
            continue
        if path.name in REFUSED:
            refused(path, REFUSED[path.name])
            continue
        photo = read(path)
        np.testing.assert_array_equal(photo.pixels, read_rgb(path), err_msg=path.name)
        expected = right / f"{path.name}.png"
        if expected.exists():
            judge(path, photo.pixels, photo.alpha, np.asarray(Image.open(expected)).astype(int))
            read_well += 1
    assert read_well > 70


def refused(path: Path, reason: str) -> None:
    for reader in (read, read_rgb):
        with pytest.raises(ArtifactError, match=reason) as caught:
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
            assert np.abs(alpha - expected[..., 3]).max() <= 1, path.name
    lossy = path.suffix in LOSSY and path.name != "png-inside.jpg"
    limit = WITHIN.get(path.name, 2.0 if lossy else 1.0)
    off = difference.mean() if lossy or path.name in MEAN else difference.max()
    assert off <= limit, f"{path.name}: {off}"


def test_odd_names_are_read(drawn: tuple[Path, Path]) -> None:
    found = list((drawn[0] / "names").iterdir())
    assert len(found) >= 10
    for path in found:
        assert read(path).pixels.shape == (120, 160, 3), os.fsencode(path.name)
