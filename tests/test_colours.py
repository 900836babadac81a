"""One reader for training, evaluation and `enhance`: the same pixels from every mode, profile and orientation."""

from __future__ import annotations

import itertools
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bncagan.cli import main
from bncagan.config import LossWeights, TrainConfig
from bncagan.data.folders import Pair
from bncagan.data.samples import UnpairedDataset
from bncagan.evaluation.scores import evaluate
from bncagan.network.inference import from_signed
from runtimes import InputError, open_photograph
from runtimes.image import Pixels
from runtimes.photographs import read_rgb
from tests.photograph_files import MODES, SPACES, chunk, colorants, png, profile, right, to_srgb, write_file
from tests.tiny_models import make_spec, write_gain

RNG = np.random.default_rng(0)


def noise(channels: int = 3, side: int = 64) -> np.ndarray:
    return RNG.integers(0, 256, (side, side, channels), np.uint8)


def icc_chunk(icc: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc))


def furthest(path: Path, codes: np.ndarray) -> float:
    """Return how much the read picture differs from unrounded codes, beyond the 0.5 of rounding."""
    return float(np.abs(open_photograph(path).seen - codes).max() - 0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profiled", [False, True])
def test_every_mode_and_orientation(tmp_path: Path, mode: str, profiled: bool) -> None:
    for orientation in range(1, 9):
        path = write_file(tmp_path, mode, profiled=profiled, orientation=orientation, side=(24, 16))
        expected, alpha = right(mode, profiled=profiled, orientation=orientation, side=(24, 16))
        photo = open_photograph(path)
        assert photo.seen.shape == ((24, 16, 3) if orientation < 5 else (16, 24, 3))
        visible = np.ones(expected.shape[:2], bool) if alpha is None else alpha > 0
        assert np.abs(photo.seen - expected)[visible].max() <= (1.0 if profiled or mode == "CMYK" else 0.5001)
        if alpha is None:
            assert photo.alpha is None
        else:
            np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of each mode, with and without a profile, in each orientation."""
    folder = tmp_path_factory.mktemp("grid") / "train" / "high"
    folder.mkdir(parents=True)
    every = itertools.product(MODES, (False, True), range(1, 9))
    return sorted(write_file(folder, mode, profiled=icc, orientation=turn) for mode, icc, turn in every)


def test_training_sees_the_same_pixels(grid: list[Path]) -> None:
    """Crops of full size are the photographs themselves, and half of them are mirrored."""
    (grid[0].parents[1] / "low").symlink_to(grid[0].parent)
    config = TrainConfig(
        data=grid[0].parents[2], out=grid[0].parents[2] / "run", size=64, crop=64, batch=1, loss=LossWeights(),
        workers=0,
    )  # fmt: skip
    dataset = UnpairedDataset(config)
    drawn = (from_signed(dataset[number].high) for number in range(len(grid)))
    assert sorted(map(mirrored, drawn)) == sorted(mirrored(open_photograph(path).seen) for path in grid)


def mirrored(pixels: Pixels) -> bytes:
    """The same for a picture and its mirror image."""
    return min(pixels.tobytes(), pixels[:, ::-1].tobytes())


def test_evaluation_sees_the_same_pixels(grid: list[Path]) -> None:
    seen: list[Pixels] = []
    pairs = [Pair(path, path) for path in grid]
    rows, _ = evaluate({"grid": pairs}, {"seen": lambda _, low: seen.append(low) or low}, ("native",))
    assert all(np.array_equal(low, open_photograph(path).seen) for low, path in zip(seen, grid, strict=True))
    assert {row.scores["psnr"] for row in rows} == {float("inf")}


def test_enhance_sees_the_same_pixels(grid: list[Path], tmp_path: Path) -> None:
    """An artifact that changes nothing writes what was read: PNG and TIFF keep every code."""
    artifact = write_gain(tmp_path / "same.onnx", make_spec(), 1.0)
    assert main(["enhance", str(artifact), str(grid[0].parent), "--out", str(tmp_path / "out")]) == 0
    for path in grid:
        np.testing.assert_array_equal(read_rgb(tmp_path / "out" / path.name), open_photograph(path).seen)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("gamma", [None, 1.0, 1.8, 2.2])
def test_matrix_profiles(tmp_path: Path, space: str, gamma: float | None) -> None:
    pixels = noise()
    (tmp_path / "a.png").write_bytes(png(pixels, icc_chunk(profile(space, gamma))))
    assert furthest(tmp_path / "a.png", to_srgb(pixels / 255, space, gamma)) <= 1


def test_profiles_for_other_channels(tmp_path: Path) -> None:
    """A grey picture may have an RGB profile; an RGB picture ignores a grey profile."""
    grey = noise(1)
    (tmp_path / "grey.png").write_bytes(png(grey, icc_chunk(profile("adobe", 1.8))))
    assert furthest(tmp_path / "grey.png", to_srgb(np.repeat(grey, 3, 2) / 255, "adobe", 1.8)) <= 1
    colour = noise()
    (tmp_path / "colour.png").write_bytes(png(colour, icc_chunk(profile(None, 1.8))))
    np.testing.assert_array_equal(read_rgb(tmp_path / "colour.png"), colour)


def test_dark_tones_of_16_bits_go_through_the_profile_before_they_are_rounded(tmp_path: Path) -> None:
    """Linear grey: the lowest 2,570 levels are ten codes of 8 bits and 88 codes of sRGB."""
    levels = np.arange(2560, dtype=np.uint16).reshape(40, 64, 1)
    (tmp_path / "dark.png").write_bytes(png(levels, icc_chunk(profile(None, 1.0))))
    assert furthest(tmp_path / "dark.png", to_srgb(np.repeat(levels, 3, 2) / 65535, "srgb", 1.0)) <= 1
    assert len(np.unique(read_rgb(tmp_path / "dark.png"))) > 50


def test_a_transparent_level_of_16_bits(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8, 1) * 1000
    (tmp_path / "key.png").write_bytes(png(levels, chunk(b"tRNS", struct.pack(">H", 5000))))
    np.testing.assert_array_equal(
        open_photograph(tmp_path / "key.png").alpha, np.where(levels[..., 0] == 5000, 0, 65535)
    )


@pytest.mark.parametrize(
    ("chunks", "space", "gamma"),
    [
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], "p3", None),
        ([chunk(b"cICP", bytes([9, 14, 0, 1]))], "bt2020", None),
        ([chunk(b"cICP", bytes([1, 8, 0, 1]))], "srgb", 1.0),
        ([chunk(b"cICP", bytes([12, 4, 0, 1])), icc_chunk(profile("swapped", 1.8))], "p3", 2.2),
        ([chunk(b"cICP", bytes([99, 13, 0, 1])), icc_chunk(profile("swapped", 1.8))], "swapped", 1.8),
        ([chunk(b"gAMA", struct.pack(">I", 100000))], "srgb", 1.0),
        ([chunk(b"gAMA", struct.pack(">I", 45455))], "srgb", None),
        ([chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100000))], "srgb", None),
        ([icc_chunk(profile("adobe", 1.8)), chunk(b"gAMA", struct.pack(">I", 100000))], "adobe", 1.8),
    ],
)
def test_what_png_says_of_its_colours(tmp_path: Path, chunks: list[bytes], space: str, gamma: float | None) -> None:
    pixels = noise()
    (tmp_path / "a.png").write_bytes(png(pixels, *chunks))
    assert furthest(tmp_path / "a.png", to_srgb(pixels / 255, space, gamma)) <= 1


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused(tmp_path: Path, transfer: int) -> None:
    (tmp_path / "hdr.png").write_bytes(png(noise(), chunk(b"cICP", bytes([9, transfer, 0, 1]))))
    with pytest.raises(InputError, match=r"hdr\.png should have standard dynamic range .*; save it as sRGB"):
        open_photograph(tmp_path / "hdr.png")


@pytest.mark.parametrize("mark", ["R03", "R98"])
def test_a_camera_says_adobe_rgb_in_exif(tmp_path: Path, mark: str) -> None:
    """A written file holds the same colours and says the same of them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif[ExifTags.Base.ExifOffset] = {ExifTags.Base.ColorSpace: 65535, ExifTags.IFD.Interop: {1: mark}}
    pixels = noise()
    (tmp_path / "a.png").write_bytes(png(pixels, chunk(b"eXIf", exif.tobytes()[6:])))
    space, gamma = ("adobe", 563 / 256) if mark == "R03" else ("srgb", None)
    assert furthest(tmp_path / "a.png", to_srgb(pixels / 255, space, gamma)) <= 1
    photo = open_photograph(tmp_path / "a.png")
    photo.write(tmp_path / "again.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "again.png"), photo.seen)
    with Image.open(tmp_path / "again.png") as stored:
        assert stored.getexif()[ExifTags.Base.Make] == "Camera"
        assert stored.getexif().get_ifd(ExifTags.IFD.Interop)[1] == mark


@pytest.mark.parametrize(("most", "white"), [(255, 255), (256, 65535), (65535, 65535)])
def test_whole_numbers_of_32_bits(tmp_path: Path, most: int, white: int) -> None:
    values = np.linspace(0, most, 4096).astype(np.int32).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert furthest(tmp_path / "a.tif", np.repeat(values[..., None], 3, 2) * 255 / white) <= 0


@pytest.mark.parametrize("value", [-1, 65536])
def test_whole_numbers_beyond_16_bits_are_refused(tmp_path: Path, value: int) -> None:
    Image.fromarray(np.array([[0, value]], np.int32)).save(tmp_path / "a.tif")
    for reader in (open_photograph, read_rgb):
        with pytest.raises(InputError, match=r"a\.tif should hold numbers from 0 to 65535 but holds .*; save it"):
            reader(tmp_path / "a.tif")


def test_threads_leave_the_settings_of_the_process_alone(tmp_path: Path) -> None:
    """Pillow's limit and Python's warnings are off only while a file is opened."""
    path = write_file(tmp_path, "RGB", profiled=True, orientation=6)
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    threads = [threading.Thread(target=lambda: [open_photograph(path) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def test_the_reference_knows_published_colorants() -> None:
    """Compare Display P3 and Adobe RGB with their published profiles."""
    p3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
    adobe = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
    np.testing.assert_allclose(colorants("p3"), p3, atol=3e-4)
    np.testing.assert_allclose(colorants("adobe"), adobe, atol=3e-4)
