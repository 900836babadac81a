"""Stress tests: each planted fault fails exactly its own check, and every number is computed in a second way."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.evaluation.stress import (
    Outcome,
    Ramp,
    already_good,
    colour_cast,
    enhancements,
    enhancing_again,
    fall,
    halos,
    monotony,
    repeat,
    rgb2lab,
    stress,
    summary_of,
)
from bncagan.evaluation.stress_pictures import best_exposed, bundled_photographs, edges, exposure, greys, ramps
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import picture, write_pictures

LEVELS = np.arange(256)


def photographs() -> dict[str, Pixels]:
    return {f"{seed}": picture(seed, 96, 120) for seed in range(3)}


def same(pixels: Pixels) -> Pixels:
    return pixels.copy()


def tinted(pixels: Pixels) -> Pixels:
    """Grey becomes warm; colours stay as they are."""
    grey = np.ptp(pixels, axis=2) == 0
    warm = np.clip(pixels + np.array([9, 0, -9]), 0, 255).astype(np.uint8)
    return np.where(grey[..., None], warm, pixels)


def sharpened(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius=3, percent=40, threshold=16)))


def folded_ramp(pixels: Pixels) -> Pixels:
    """Levels 118 to 122 fall to 110, below the levels before them; a second time changes nothing."""
    return np.where((LEVELS >= 118) & (LEVELS <= 122), 110, LEVELS).astype(np.uint8)[pixels]


def lifted(pixels: Pixels) -> Pixels:
    """A large change the first time, and none after it."""
    return np.maximum(pixels, 140)


def ever_brighter(pixels: Pixels) -> Pixels:
    return np.minimum(pixels.astype(int) + 10, 255).astype(np.uint8)


def ever_more_contrast(pixels: Pixels) -> Pixels:
    """A change that is small enough for a good photograph, but grows each time."""
    return np.clip(np.round((pixels - 127.5) * 1.12 + 127.5), 0, 255).astype(np.uint8)


FAULTS: list[tuple[Callable[[Pixels], Pixels], set[str]]] = [
    (same, set()),
    (tinted, {"mean chroma", "p99 chroma"}),
    (sharpened, {"overshoot, L*", "undershoot, L*"}),
    (folded_ramp, {"fall, L*"}),
    (lifted, {"mean CIEDE2000"}),
    (ever_brighter, {"brightening after first, L*"}),
    (ever_more_contrast, {"second change / first"}),
]


@cache
def outcomes_of(enhancer: Callable[[Pixels], Pixels]) -> list[Outcome]:
    return stress(enhancer, photographs())[0]


@pytest.mark.parametrize(("enhancer", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_planted_fault_fails_its_own_check_only(enhancer: Callable[[Pixels], Pixels], expected: set[str]) -> None:
    outcomes = outcomes_of(enhancer)
    failed = {measure.name for outcome in outcomes for measure in outcome.measures if not measure.passed}
    assert failed == expected, [outcome.measures for outcome in outcomes]
    assert summary_of(outcomes)["passed"] == (not expected)
    assert sum(not outcome.passed for outcome in outcomes) == min(1, len(expected))


def test_an_enhancer_that_changes_nothing_measures_0() -> None:
    for outcome in outcomes_of(same):
        assert all(measure.value < 0.02 for measure in outcome.measures), outcome


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
    found = best_exposed(tmp_path / "photos", 2)
    assert list(found) == ["good.png", "dull.png"]
    np.testing.assert_array_equal(found["good.png"], picture(3))
    everything = best_exposed(tmp_path / "photos", 9)
    assert list(everything) == ["good.png", "dull.png", "dark.png", "large.png"]
    assert everything["large.png"].shape == (512, 614, 3)


def test_bundled_photographs() -> None:
    assert {name: photo.shape for name, photo in bundled_photographs().items()} == {
        "astronaut": (512, 512, 3),
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
    }


def test_another_shape_another_type_and_no_photograph_are_refused() -> None:
    with pytest.raises(InputError, match=r"ramp 0 to 255 across should be .* uint8"):
        stress(lambda pixels: pixels[:-1], photographs())
    with pytest.raises(InputError, match=r"should be .* uint8 .* but became float64"):
        stress(lambda pixels: pixels / 255, photographs())  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match=r"at least one but are none; .*--photos"):
        stress(same, {})


def test_examples_and_the_number_of_enhancements() -> None:
    calls = []
    _, examples = stress(lambda pixels: calls.append(1) or pixels, photographs())
    assert len(calls) == enhancements(3)
    assert [len(example.tiles) for example in examples if example.title.startswith(("0\n", "1\n", "2\n"))] == [3] * 3
    assert all(len(example.tiles) == 2 for example in examples[:-3])


def test_the_command(
    tmp_path: Path, random_generator: Callable[..., Generator], capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator(tmp_path / "g.safetensors", random_generator(8), ModelConfig(width=8), {})
    write_pictures(tmp_path / "photos", ["$a^$.png", "$b^$.png"])
    given = ["stress", "--checkpoint", f"{tmp_path}/g.safetensors", "--photos", f"{tmp_path}/photos", "--count", "1"]
    assert main([*given, "--out", f"{tmp_path}/out"]) == 1, "a random network passed"
    told = capsys.readouterr().out
    assert "stress FAIL: colour cast" in told
    written = json.loads((tmp_path / "out" / "stress.json").read_text())
    assert not written["passed"]
    assert written["photographs"] == [next(iter(best_exposed(tmp_path / "photos", 1)))]
    assert list(written["checks"]) == ["colour cast", "halo", "monotony", "already good", "enhancing again"]
    with Image.open(tmp_path / "out" / "stress.png") as image:
        assert image.width > 600


def test_the_command_passes_an_enhancer_that_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = []
    monkeypatch.setattr("bncagan.cli.stress.open_enhancer", lambda *given: opened.append(given[:2]) or same)
    monkeypatch.setattr("bncagan.evaluation.stress_pictures.bundled_photographs", photographs)
    assert main(["stress", "--artifact", "a.onnx", "--out", f"{tmp_path}/out", "--json"]) == 0
    assert opened == [("artifact", "a.onnx")]
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "stress.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "should have one enhancer but has no --checkpoint or --artifact; "),
        (["--checkpoint", "small", "--artifact", "a.onnx"], "both --checkpoint and --artifact; "),
        (["--checkpoint", "small", "--count", "3"], "--count 3 should be used with --photos"),
        (["--checkpoint", "small", "--photos", ".", "--count", "0"], "--count should be at least 1 but is 0; "),
        (["--checkpoint", "small", "--photos", "nowhere"], "nowhere should be a photograph or a folder of them"),
        (["--artifact", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_refusals(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["stress", *arguments, "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
