"""The network's change reaches the photograph's own colours: wide gamut, 16 bits, grey, and what is invisible."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes import Photograph, open_photograph
from runtimes.image import Pixels
from runtimes.photographs import read_rgb
from runtimes.photographs.profiles import space_of
from tests.photograph_files import chunk, colorants, parametric, png, profile, srgb_codes, srgb_light

RNG = np.random.default_rng(0)
Change = Callable[[np.ndarray], np.ndarray]  # sRGB codes in [0, 1] -> sRGB codes


def brighter(codes: np.ndarray) -> np.ndarray:
    return np.clip(codes, 0, 1) ** 0.6


def changed(codes: np.ndarray, change: Change) -> Pixels:
    return np.rint(255 * change(codes / 255)).clip(0, 255).astype(np.uint8)


def opened(folder: Path, pixels: np.ndarray, space: str | None = None, gamma: float | None = None) -> Photograph:
    icc = [] if space is None else [chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile(space, gamma)))]
    (folder / "a.png").write_bytes(png(pixels, *icc))
    return open_photograph(folder / "a.png")


def patches(top: int) -> np.ndarray:
    """A grid of colours, its corners included."""
    levels = np.linspace(0, top, 9)
    return np.rint(np.stack(np.meshgrid(levels, levels, levels), axis=-1)).reshape(27, 27, 3)


def test_srgb_of_8_bits_becomes_the_answer(tmp_path: Path) -> None:
    pixels, answer = RNG.integers(0, 256, (2, 40, 56, 3)).astype(np.uint8)
    photo = opened(tmp_path, pixels).changed(answer)
    np.testing.assert_array_equal(photo.own, answer)
    photo.write(tmp_path / "b.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "b.png"), answer)


def by_float64(codes: np.ndarray, seen: Pixels, answer: Pixels, space: str, gamma: float | None) -> np.ndarray:
    """The rule of docs/colour.md from chromaticities, without profiles and tables: codes of the space in [0, 1]."""
    to_srgb = np.linalg.inv(colorants("srgb")) @ colorants(space)
    x = (srgb_light(codes) if gamma is None else codes**gamma) @ to_srgb.T
    s, e = srgb_light(seen / 255), srgb_light(answer / 255)
    gain = (e @ [0.2126, 0.7152, 0.0722] + 1e-3) / (s @ [0.2126, 0.7152, 0.0722] + 1e-3)
    own = np.clip((e + gain[..., None] * (x - s)) @ np.linalg.inv(to_srgb).T, 0, 1)
    return srgb_codes(own) if gamma is None else own ** (1 / gamma)


@pytest.mark.parametrize(("space", "gamma"), [("p3", None), ("adobe", 563 / 256), ("prophoto", 1.8)])
def test_wide_gamut_of_8_bits_is_within_a_code_of_float64(tmp_path: Path, space: str, gamma: float | None) -> None:
    photo = opened(tmp_path, patches(255).astype(np.uint8), space, gamma)
    answer = changed(photo.seen, brighter)
    expected = by_float64(patches(255) / 255, photo.seen, answer, space, gamma)
    assert np.abs(photo.changed(answer).own - 255 * expected).max() <= 1


@pytest.mark.parametrize(
    "curve",
    [
        parametric(0, 1.8),
        parametric(1, 2.2, 1.1, -0.1),
        parametric(2, 2.0, 1.1, -0.1, 0.0),
        parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        parametric(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0),
        b"curv" + struct.pack(">II5H", 0, 5, 0, 3000, 15000, 36000, 65535),
    ],
)
def test_every_kind_of_curve_is_read_as_by_littlecms(tmp_path: Path, curve: bytes) -> None:
    icc = profile("adobe", None, curve)
    pixels = patches(255).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels, chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc))))
    space = space_of(icc)
    assert space is not None
    seen = 255 * srgb_codes(space.light(pixels).clip(0, 1))
    assert np.abs(read_rgb(tmp_path / "a.png") - seen).max() <= 1.5


@pytest.mark.parametrize(
    ("curve", "light"),
    [
        (parametric(2, 2.0, 0.9, -0.05, 0.02), [0.02, 0.02 + 0.4**2, 0.02 + 0.85**2]),
        (parametric(4, 2.0, 0.5, 0.25, 0.25, 0.25, 0.125, 0.0625), [0.0625, 0.125 + 0.5**2, 0.125 + 0.75**2]),
    ],
)
def test_curves_that_do_not_begin_at_black(curve: bytes, light: list[float]) -> None:
    """LittleCMS moves their black to black, so these are compared with their formula."""
    space = space_of(profile(None, None, curve))
    assert space is not None
    codes = np.array([0, 32768, 65535], np.uint16).reshape(1, 3, 1)
    np.testing.assert_allclose(space.light(codes).ravel(), light, atol=1e-4)


def light_of(photo: Photograph, space: str) -> np.ndarray:
    """Light of sRGB's primaries of the own codes, which have sRGB's curve."""
    return srgb_light(photo.own / 255) @ (np.linalg.inv(colorants("srgb")) @ colorants(space)).T


def test_saturated_p3_stays_outside_srgb(tmp_path: Path) -> None:
    photo = opened(tmp_path, patches(255).astype(np.uint8), "p3")
    outside = light_of(photo, "p3").min(axis=2) < -0.005
    assert outside.sum() > 100
    again = photo.changed(changed(photo.seen, brighter))
    assert (light_of(again, "p3")[outside].min(axis=1) < -0.005).all()
    again.write(tmp_path / "b.png")
    np.testing.assert_array_equal(open_photograph(tmp_path / "b.png").own, again.own)


def test_within_srgb_the_answer_is_exact(tmp_path: Path) -> None:
    """P3 codes that sRGB holds exactly: the result looks like the answer, within the rounding to 8 bits of P3."""
    srgb = RNG.integers(32, 224, (40, 56, 3)).astype(np.uint8)
    light = srgb_light(srgb / 255) @ (np.linalg.inv(colorants("p3")) @ colorants("srgb")).T
    photo = opened(tmp_path, np.rint(65535 * srgb_codes(light)).astype(np.uint16), "p3")
    answer = changed(photo.seen, brighter)
    photo.changed(answer).write(tmp_path / "b.png")
    assert np.abs(read_rgb(tmp_path / "b.png").astype(int) - answer).max() <= 1


@pytest.mark.parametrize("space", [None, "p3", "adobe"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_change_changes_nothing(tmp_path: Path, space: str | None, depth: type, channels: int) -> None:
    pixels = RNG.integers(0, np.iinfo(depth).max + 1, (40, 56, channels)).astype(depth)
    photo = opened(tmp_path, pixels, space)
    difference = np.abs(photo.changed(photo.seen).own.astype(int) - pixels)
    assert difference.max() <= (0 if depth is np.uint8 else 64)  # a quarter of a code of 8 bits
    assert difference.mean() <= (0 if depth is np.uint8 else 4)


@pytest.mark.parametrize(("top", "least"), [(65536, 40000), (2621, 2000)])
@pytest.mark.parametrize("change", [brighter, lambda codes: 0.7 * codes + 0.1])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_ramp_of_16_bits_stays_smooth(tmp_path: Path, top: int, least: int, change: Change, channels: int) -> None:
    ramp = np.resize(np.arange(top, dtype=np.uint16), (64, 2621, 1))
    photo = opened(tmp_path, np.repeat(ramp, channels, axis=2))
    result = photo.changed(changed(photo.seen, change)).own[..., 0].ravel()[:top].astype(int)
    assert len(np.unique(result)) >= min(least, 0.6 * top)
    assert np.diff(result).min() >= 0  # no bands
    visible = np.arange(top) >= 257  # below, the first code of the copy is all there is to a steep curve
    assert np.abs(result - 65535 * change(np.arange(top) / 65535))[visible].max() <= 2 * 257


def test_a_local_change_of_16_bits_is_kept(tmp_path: Path) -> None:
    pixels = RNG.integers(8000, 40000, (256, 256, 3)).astype(np.uint16)
    photo = opened(tmp_path, pixels)
    answer = photo.seen.copy()
    answer[:128] += 40
    result = photo.changed(answer).own.astype(int)
    assert np.abs((result[:128] - pixels[:128]) / 257 - 40).max() <= 1
    assert np.abs((result[128:] - pixels[128:]) / 257).max() <= 1


def test_grey_stays_grey(tmp_path: Path) -> None:
    photo = opened(tmp_path, RNG.integers(0, 256, (40, 56, 1)).astype(np.uint8))
    answer = np.minimum(photo.seen.astype(int) * [1.1, 1.0, 0.9], 255).astype(np.uint8)  # tinted
    result = photo.changed(answer)
    luminance = srgb_codes(srgb_light(answer / 255) @ [0.2126, 0.7152, 0.0722])
    assert np.abs(result.own[..., 0] - 255 * luminance).max() <= 0.51
    result.write(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as stored:
        assert stored.mode == "L"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_is_invisible_does_not_count_and_stays(tmp_path: Path, suffix: str) -> None:
    picture = RNG.integers(0, 256, (40, 57, 3)).astype(np.uint8)
    alpha = np.where(np.arange(57) < 20, 255, 0) * np.ones((40, 1), int)
    seen = []
    for hidden in (0, 255, RNG.integers(0, 256, picture.shape)):
        pixels = np.dstack([np.where(alpha[..., None] > 0, picture, hidden), alpha]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
        photo = open_photograph(tmp_path / f"a{suffix}")
        seen.append(photo.seen)
        photo.changed(255 - photo.seen).write(tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as stored:
            again = np.asarray(stored)
        np.testing.assert_array_equal(again[..., 3], alpha)
        np.testing.assert_array_equal(again[:, :20, :3], 255 - picture[:, :20])
        np.testing.assert_array_equal(again[:, 20:, :3], pixels[:, 20:, :3])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[0][:, :20], picture[:, :20])
    inside = seen[0][:, 20:].astype(int)
    assert np.abs(inside[:, :3].mean(axis=(0, 1)) - picture[:, 17:20].mean(axis=(0, 1))).max() < 25
