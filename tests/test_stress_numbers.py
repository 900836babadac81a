"""Every number of the stress test, computed in a second way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from bncagan.evaluation.metrics import LUMA, mean_luma
from bncagan.evaluation.stress import ladder, size
from bncagan.evaluation.stress.amplification import amplification, patched
from bncagan.evaluation.stress.amplification import check as check_amplification
from bncagan.evaluation.stress.grey import colour_cast, fall, halos, monotony
from bncagan.evaluation.stress.intent import brightening, changes, largest_change
from bncagan.evaluation.stress.ladder import STOPS, rendered
from bncagan.evaluation.stress.photographs import bundled_photographs, exposure, ranked
from bncagan.evaluation.stress.pictures import Ramp, dark_frames, edges, flat_colours, greys, ramps
from bncagan.evaluation.stress.repetition import already_good, enhancing_again, repeat
from bncagan.evaluation.stress.size import reduced, sizes_of
from runtimes.image import Pixels
from tests.folders import picture, write_pictures

LEVELS = np.arange(256)


def ever_brighter(pixels: Pixels) -> Pixels:
    return np.minimum(pixels.astype(int) + 10, 255).astype(np.uint8)


def lab_of(rgb: NDArray[np.generic]) -> NDArray[np.float64]:
    """IEC 61966-2-1 and CIE 15, written from the standards: ... x 3 of 0..255 to L*, a*, b*."""
    v = rgb / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    t = linear @ np.array(matrix).T / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.moveaxis(np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lightness(level: float) -> float:
    return float(lab_of(np.full(3, level))[0])


def grey(levels: NDArray[np.generic]) -> Pixels:
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


def test_chroma() -> None:
    tints = {"flat": np.full((10, 10, 3), (200, 190, 180), np.uint8), "spot": np.full((10, 10, 3), 90, np.uint8)}
    tints["spot"][:2, 0] = (120, 60, 60)
    outcome = colour_cast({name: rgb2lab(pixels) for name, pixels in tints.items()})
    for name, pixels in tints.items():
        chroma = sorted(float(np.hypot(a, b)) for _, a, b in lab_of(pixels).reshape(-1, 3))
        assert outcome.pictures[name]["mean chroma"] == pytest.approx(sum(chroma) / 100, abs=0.05)
        assert outcome.pictures[name]["p99 chroma"] == pytest.approx(
            chroma[98] + 0.01 * (chroma[99] - chroma[98]), abs=0.05
        )
    assert [measure.detail for measure in outcome.measures] == ["flat", "spot"]


@pytest.mark.parametrize("far", [0, 31])
def test_overshoot_and_undershoot(far: int) -> None:
    edge = edges()["edge 64 | 192 across"]
    levels = edge.pixels[..., 0].copy()
    levels[:, 128 + far] = 203
    levels[:, 127 - far] = 47
    levels[:, 250] = 255  # beyond 32 px, where only the median counts
    outcome = halos({"drawn": (rgb2lab(grey(levels)), edge)})
    found = {measure.name: measure.value for measure in outcome.measures}
    assert found["overshoot, L*"] == pytest.approx(lightness(203) - lightness(192), abs=0.01)
    assert found["undershoot, L*"] == pytest.approx(lightness(64) - lightness(47), abs=0.01)


def test_a_glow_up_to_the_plateau_is_a_halo() -> None:
    edge = edges()["edge 64 | 192 across"]
    levels = edge.pixels[..., 0].copy()
    levels[:, 128 : 128 + 66] = 203
    assert halos({"": (rgb2lab(grey(levels)), edge)}).measures[0].value == pytest.approx(
        lightness(203) - lightness(192), abs=0.01
    )


def test_changes_that_are_not_halos() -> None:
    edge = edges()["edge 64 | 192 across"]
    levels = edge.pixels[..., 0].copy()
    levels[:, 128 + 33] = levels[:, 250] = 255  # too far away
    levels[:, 130] = 150  # a soft edge
    levels[:, 126] = 100
    levels[::2, 140], levels[1::2, 140] = 200, 180  # noise, a little darker on average
    assert all(measure.value < 1e-9 for measure in halos({"": (rgb2lab(grey(levels)), edge)}).measures)


def test_a_ring_around_the_disc() -> None:
    disc = edges()["disc 192 on 32"]
    rows, columns = np.indices(disc.distance.shape) - 127.5
    ring = np.abs(np.sqrt(rows**2 + columns**2) - 106.5) < 2
    levels = np.where(ring, 16, disc.pixels[..., 0])
    over, under = halos({"": (rgb2lab(grey(levels)), disc)}).measures
    assert over.value < 1e-9
    assert under.value == pytest.approx(lightness(32) - lightness(16), abs=0.01)


def test_the_largest_fall() -> None:
    for seed in range(5):
        profile = np.cumsum(np.random.default_rng(seed).normal(0.1, 1, 60))
        pairs = [profile[i] - profile[j] for j in range(60) for i in range(j + 1)]
        assert fall(profile) == pytest.approx(max(pairs))
    assert fall(np.linspace(0, 1, 9)) == 0


def test_a_fall_is_averaged_across_the_ramp_only() -> None:
    ramp = ramps()["ramp 0 to 255 down"]
    levels = ramp.pixels[..., 0].copy()
    levels[100, ::2] = 60  # every other pixel of a row
    before, after = lightness(99), (lightness(60) + lightness(100)) / 2
    assert monotony({"": (rgb2lab(grey(levels)), ramp)}).measures[0].value == pytest.approx(before - after, abs=0.01)
    turned = Ramp(grey(levels.T), 1)
    assert monotony({"": (rgb2lab(turned.pixels), turned)}).measures[0].value == pytest.approx(before - after, abs=0.01)


def difference(first: float, second: float) -> float:
    """CIEDE2000 of two lightnesses without colour: Sharma, Wu, Dalal 2005, eq. 22 without the terms that are 0."""
    off = ((first + second) / 2 - 50) ** 2
    return abs(second - first) / (1 + 0.015 * off / (20 + off) ** 0.5)


def test_changes_and_lightness_of_repeated_enhancement() -> None:
    flats = {level: np.full((8, 8, 3), level, np.uint8) for level in (40, 120, 200)}
    repeats = {f"{level}": repeat(ever_brighter, pixels) for level, pixels in flats.items()}
    expected = {}
    for level in flats:
        steps = [lightness(level + 10 * times) for times in range(4)]
        expected[level] = [difference(*steps[i : i + 2]) for i in range(3)]
        np.testing.assert_allclose(repeats[f"{level}"].changes, expected[level], atol=0.01)
        np.testing.assert_allclose(repeats[f"{level}"].lightness, steps, atol=0.01)
        assert [int(tile[0, 0, 0]) - level for tile in repeats[f"{level}"].tiles] == [0, 10, 30]
    first, second, third = (sum(changes[i] for changes in expected.values()) / 3 for i in range(3))
    good = already_good(repeats).measures[0]
    assert good.value == pytest.approx(first, abs=0.01)
    most = sorted(flats, key=lambda level: -expected[level][0])
    assert [part.split()[0] for part in good.detail.split(", ")] == [f"{level}" for level in most]
    found = {measure.name: measure.value for measure in enhancing_again(repeats).measures}
    brighter = sum(lightness(level + 30) - lightness(level + 10) for level in flats) / 3
    assert found == pytest.approx(
        {
            "second change / first": second / first,
            "third change / second": third / second,
            "brightening after first, L*": brighter,
        },
        abs=0.01,
    )


def test_invisible_changes_are_not_divided_by() -> None:
    noise = iter([1, 3, 6])

    def stirred(pixels: Pixels) -> Pixels:
        output = pixels.copy()
        output[0, : next(noise)] += 20
        return output

    measures = enhancing_again({"": repeat(stirred, np.full((8, 8, 3), 120, np.uint8))}).measures
    changes = [float(text) for text in measures[0].detail.removeprefix("CIEDE2000 ").split(", ")]
    assert 0 < changes[0] < changes[1] < changes[2] < 1
    assert all(measure.passed for measure in measures)


def test_the_drawn_pictures() -> None:
    for ramp in ramps().values():
        assert (np.diff(ramp.pixels[..., 0].astype(int), axis=ramp.axis) >= 0).all()
        assert (np.diff(ramp.pixels[..., 0].astype(int), axis=1 - ramp.axis) == 0).all()
    for edge in edges().values():
        dark, bright = (np.unique(edge.pixels[side]) for side in (edge.distance < 0, edge.distance > 0))
        assert len(dark) == len(bright) == 1 < bright[0] - dark[0]
        for side in (edge.distance, -edge.distance):
            steps = {int(px) for px in side[(side > 0) & (side < 32)]}
            assert steps == set(range(32)), "no pixel at one of the distances"
            assert (side > 64).sum() > 100, "no plateau"
    drawn = [each.pixels for each in (*ramps().values(), *edges().values())] + list(greys().values())
    assert all(np.ptp(pixels, axis=2).max() == 0 for pixels in drawn)
    assert {(pixels.dtype, pixels.ndim) for pixels in drawn} == {(np.dtype(np.uint8), 3)}


def test_exposure() -> None:
    pixels = picture(3, 20, 24)
    luma = [0.299 * int(r) + 0.587 * int(g) + 0.114 * int(b) for row in pixels for r, g, b in row]
    mean = sum(luma) / 480
    spread = (sum((value - mean) ** 2 for value in luma) / 480) ** 0.5
    clipped = sum(value <= 2 or value >= 253 for value in luma) / 480
    middle = mean / 118 if mean < 118 else (255 - mean) / 137
    assert exposure(pixels) == pytest.approx(middle * (1 - 10 * clipped) * min(1, spread / 64))
    assert 0 < exposure(pixels // 4) < exposure(pixels // 2) < exposure(pixels)
    assert exposure(np.full((9, 9, 3), 118, np.uint8)) == pytest.approx(0)
    bright = pixels // 4 + 150  # no clipped pixel
    luma_of_bright = bright @ np.array([0.299, 0.587, 0.114])
    assert exposure(bright) == pytest.approx((255 - luma_of_bright.mean()) / 137 * luma_of_bright.std() / 64)
    burnt = pixels.copy()
    burnt[:3] = 255
    assert exposure(burnt) == 0


def test_the_best_exposed_of_a_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", ["good.png"], seed=3)
    for name, dim in (("dark", 4), ("dull", 2)):
        Image.fromarray(picture(3) // dim).save(tmp_path / "photos" / f"{name}.png")
    Image.fromarray(picture(3, 600, 720) // 8).save(tmp_path / "photos" / "large.png")
    assert [path.stem for path in ranked(tmp_path / "photos")] == ["good", "dull", "dark", "large"]


def test_bundled_photographs() -> None:
    assert {name: photo.shape for name, photo in bundled_photographs().items()} == {
        "astronaut": (512, 512, 3),
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
    }


def test_what_is_dark_on_purpose() -> None:
    before, after = picture(1) // 3, picture(2) // 2
    found = changes(before, after)
    luma = [sorted((pixels @ LUMA).ravel()) for pixels in (before, after)]
    place = 0.05 * (len(luma[0]) - 1)
    low, high = (
        values[int(place)] + (place - int(place)) * (values[int(place) + 1] - values[int(place)]) for values in luma
    )
    assert found["5 % quantile raised, codes"] == pytest.approx(high - low)
    assert found["mean luma raised, codes"] == pytest.approx(sum(luma[1]) / 7680 - sum(luma[0]) / 7680)
    night, day = (np.full((8, 8, 3), level, np.uint8) for level in (40, 70))
    assert changes(night, day)["mean CIEDE2000"] == pytest.approx(difference(lightness(40), lightness(70)), abs=0.01)
    assert brightening(night, day) == {"light in a dark frame, codes": pytest.approx(30)}
    day[3, 3, 2] = 30
    assert largest_change(night, day) == {"change of a flat colour, codes": 30}
    assert largest_change(day, night)["change of a flat colour, codes"] == 30


def test_the_pictures_without_light_and_of_one_colour() -> None:
    for frame in dark_frames().values():
        assert np.percentile(frame, 99) <= 12
        assert frame.max() > 200, "no hot pixel"
        assert 0 < mean_luma(frame) < 2
    flat = flat_colours()
    assert all((pixels == pixels[0, 0]).all() for pixels in flat.values())
    colours = {tuple(pixels[0, 0].tolist()) for pixels in flat.values()}
    assert len(colours) == 27
    assert {(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 255), (96, 96, 96)} <= colours


@pytest.mark.parametrize("stops", STOPS)
def test_exposures(stops: int) -> None:
    def expose(code: int) -> int:
        v = code / 255
        light = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) * 2**stops
        if light > 1:
            return 255
        return int(255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055) + 0.5)

    codes = rendered(grey(LEVELS.reshape(16, 16)), stops)
    assert (codes == codes[..., :1]).all()
    assert codes[..., 0].ravel().tolist() == [expose(code) for code in range(256)]


def test_the_exposure_ladder() -> None:
    lumas = {"a": [150, 120, 110, 126, 101, 131], "b": [160, 100, 104, 90, 109, 60]}
    answers = iter([level for levels in lumas.values() for level in levels])
    photographs = {name: picture(0) for name in lumas}
    outcome = ladder.check(lambda pixels: np.full_like(pixels, next(answers)), photographs).outcomes[0]
    found = {measure.name: measure for measure in outcome.measures}
    assert {name: measure.value for name, measure in found.items()} == pytest.approx(
        {
            "-1 stops against 0, codes": (10 + 4) / 2,
            "-2 stops against 0, codes": (6 + 10) / 2,
            "-3 stops against 0, codes": (19 + 9) / 2,
            "-4 stops against 0, codes": (11 + 40) / 2,
            "rise as stops fall, codes": 1,  # of the means 155, 110, 107, 108, 105, 95.5
        }
    )
    assert found["-3 stops against 0, codes"].detail == "a 19.0, b 9.0"
    assert found["rise as stops fall, codes"].detail == "mean luma 155, 110, 107, 108, 105, 96; most a 30.0"
    assert outcome.pictures["b"]["rise as stops fall, codes"] == pytest.approx(19)


def test_the_largest_rise() -> None:
    for seed in range(5):
        lumas = np.random.default_rng(seed).normal(100, 9, 6).tolist()
        pairs = [lumas[i] - lumas[j] for j in range(6) for i in range(j, 6)]
        assert ladder.rise(lumas) == pytest.approx(max(pairs))


SATURATED = 0.8 * (LUMA + 1.5 * (np.eye(3) - LUMA))  # the slope 0.8 and the saturation 1.5


@pytest.mark.parametrize(("luma", "chroma"), [(1, 1), (1.5, 1), (1, 1.5), (0.5, 0.5)])
def test_amplification(luma: float, chroma: float) -> None:
    """Luma and chroma of the noise grow by known factors beyond the slopes."""
    drawn = patched()["coffee"]
    row, column = drawn.patches["sky"]
    block = (slice(row, row + 72), slice(column, column + 72))
    clean_in, noisy_in = drawn.clean[block], drawn.noisy[block]
    noise = noisy_in.astype(float) - clean_in
    clean_out = (clean_in - 128.0) @ SATURATED.T + 128
    grown = SATURATED @ (luma * np.ones((3, 1)) * LUMA + chroma * (np.eye(3) - LUMA))
    outputs = (np.round(each).astype(np.uint8) for each in (clean_out, clean_out + noise @ grown.T))
    found = amplification(clean_in, noisy_in, *outputs)
    assert found["luma noise / slope"] == pytest.approx(luma, rel=0.03)
    assert found["chroma noise / slope and saturation"] == pytest.approx(chroma, rel=0.03)
    assert found["slope"] == pytest.approx(0.8, rel=0.03)


@pytest.mark.parametrize("power", [0.4, 0.7, 1, 1.6])
@pytest.mark.parametrize("saturation", [0.6, 1, 1.5])
def test_a_tone_curve_with_saturation_passes(power: float, saturation: float) -> None:
    def curve(pixels: Pixels) -> Pixels:
        y = (pixels / 255) ** power
        luma = (y @ LUMA)[..., None]
        return np.round(255 * (luma + saturation * (y - luma)).clip(0, 1)).astype(np.uint8)

    outcome = check_amplification(curve).outcomes[0]
    assert all(0.9 < measure.value < 1.13 for measure in outcome.measures), outcome.measures


def test_patches_that_clip_are_left_out() -> None:
    outcome = check_amplification(lambda pixels: np.clip(pixels * 1.2, 0, 255).astype(np.uint8)).outcomes[0]
    assert outcome.left_out == (
        "patches that are black or white after enhancement: astronaut, light grey; coffee, light grey"
    )
    assert len(outcome.pictures) == 14
    assert outcome.passed
    nothing = check_amplification(np.zeros_like).outcomes[0]
    assert (nothing.measures, len(nothing.left_out.split("; "))) == ((), 16)


def test_the_patches() -> None:
    for drawn in patched().values():
        assert len(drawn.patches) == 4
        noise = drawn.noisy.astype(int) - drawn.clean
        for row, column in drawn.patches.values():
            squares = [
                (slice(row + 24 * i, row + 24 * i + 24), slice(column + 24 * j, column + 24 * j + 24))
                for i in range(3)
                for j in range(3)
            ]
            colours = np.array([drawn.clean[square][0, 0] for square in squares], int)
            assert all((drawn.clean[square] == drawn.clean[square][0, 0]).all() for square in squares)
            assert np.linalg.matrix_rank(colours - colours[0]) == 3
            assert (np.abs(colours - colours[0]).max(1) == 12).sum() == 8
            spread = [noise[square].std() for square in squares]
            assert np.mean(spread) == pytest.approx(4, rel=0.03)


def test_sizes() -> None:
    shapes = {"a": (200, 240), "b": (300, 256), "c": (1400, 1000), "d": (1500, 2048), "e": (2100, 3000)}
    photographs = {name: np.zeros((*shape, 3), np.uint8) for name, shape in shapes.items()}
    assert {name: sizes_of(pixels) for name, pixels in photographs.items()} == {
        "a": [240],
        "b": [256, 300],
        "c": [256, 512, 1024, 1400],
        "d": [256, 512, 1024, 2048],
        "e": [256, 512, 1024, 2048],
    }
    assert size.calls(photographs) == 14
    assert size.left_out(photographs) == (
        "photographs are not enlarged: 256 px was reached by 4 of 5, 512 px by 3, 1024 px by 3, 2048 px by 2"
    )
    assert size.left_out({"e": photographs["e"]}) == ""
    assert reduced(photographs["c"], 512).shape == (512, 366, 3)


def test_differences_between_sizes() -> None:
    outputs = [np.full((side, 2 * side, 3), level, np.uint8) for side, level in ((32, 100), (64, 104), (128, 97))]
    assert size.differences(outputs) == pytest.approx(
        {"mean luma, codes": 4, "CIEDE2000": difference(lightness(100), lightness(104))}, abs=0.01
    )
    stripes = outputs[0].repeat(2, 0).repeat(2, 1)
    stripes[::2] += 40
    stripes[1::2] -= 40
    found = size.differences([outputs[0], stripes])
    assert found["mean luma, codes"] == pytest.approx(0, abs=0.5)
    assert found["CIEDE2000"] < 1, "details that the small picture cannot have count"
