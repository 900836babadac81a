"""Renderings of finished photographs: what they change, by how much, and what they ask for."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from skimage.color import rgb2lab

from bncagan.data import under_exposed
from bncagan.data.camera import (
    LUMA,
    Camera,
    Code,
    as_jpeg,
    develop,
    exposed,
    render_covered_lens,
    render_deep,
    render_dim,
    render_low_key,
    render_mild,
    render_night,
    render_varied,
    saturated,
    scene,
    to_code,
    to_linear,
)
from bncagan.data.mixture import COMPONENTS, Photographs, uses_range
from bncagan.data.rendering import render_lit
from bncagan.data.uneven import backlight, gain_field, under_tones_of

EXACT = Camera(cast=0, flare=0, noise=(-9, -9), gamma=0, black=0, saturation=(1, 1))


@pytest.fixture(scope="module")
def photograph() -> Code:
    return (skimage.data.coffee()[::4, ::4] / 255).astype(np.float32)


def lightness(code: Code) -> float:
    return float(rgb2lab(np.asarray(code, np.float64))[..., 0].mean())


def test_linear_light_is_scikit_images(photograph: Code) -> None:
    expected = rgb2lab(np.asarray(photograph, np.float64))[..., 0]
    y = to_linear(photograph) @ np.array([0.2126729, 0.7151522, 0.0721750])
    f = np.where(y > 0.008856, np.cbrt(y), 7.787 * y + 16 / 116)
    assert np.abs(116 * f - 16 - expected).max() < 0.01
    assert np.abs(to_code(to_linear(photograph)) - photograph).max() < 1e-6


def test_an_exposure_halves_the_light_for_each_stop(photograph: Code) -> None:
    darker = to_linear(exposed(photograph, -1))
    bright = photograph > 0.3
    assert np.abs(darker[bright] / to_linear(photograph)[bright] - 0.5).max() < 0.02  # 8 bits
    assert exposed(photograph, 1).max() == 1


def test_the_undone_curve_is_the_inverse_of_the_s() -> None:
    t = np.linspace(0, 1, 101, dtype=np.float32)
    grey = np.repeat(t[:, None, None], 3, 2)
    flat = to_code(scene(grey, 0, 1))
    assert np.abs(3 * flat**2 - 2 * flat**3 - grey).max() < 1e-5
    assert np.abs(to_code(scene(grey, 0, 0)) - grey).max() < 1e-6
    lights = to_linear(grey)[-1, 0, 0] * 4
    assert scene(grey, 2, 0)[-1, 0, 0] == pytest.approx(lights)
    assert np.array_equal(scene(grey, 2, 0)[:40], scene(grey, 0, 0)[:40])  # dark parts receive none


def test_a_camera_without_faults_only_rounds(photograph: Code) -> None:
    # The cast that cameras share, a gain of red against blue, is always there: the green channel shows the rest.
    code = develop(to_linear(photograph), np.random.default_rng(0), EXACT)
    assert np.abs(code[..., 1] - photograph[..., 1]).max() <= 0.5 / 255 + 1e-4


def test_saturation_leaves_luma(photograph: Code) -> None:
    assert np.abs(saturated(photograph, 0.4) @ LUMA - photograph @ LUMA).max() < 1e-6
    assert np.abs(saturated(photograph, 0)[..., 0] - photograph @ LUMA).max() < 1e-6


@pytest.mark.parametrize(("render", "darkest", "brightest"), [(render_mild, -35, 12), (render_deep, -60, -5)])
def test_unfinished_frames_are_darker(render: object, darkest: float, brightest: float, photograph: Code) -> None:
    assert callable(render)
    bright = exposed(photograph, 0.7)
    changes = [lightness(render(bright, np.random.default_rng(seed))) - lightness(bright) for seed in range(12)]
    assert darkest < min(changes)
    assert max(changes) < brightest
    assert np.mean(changes) < -3
    assert np.std(changes) > 2  # each is another one


def test_deep_frames_have_the_tones_that_were_measured() -> None:
    """A picture of even tones: in stops the middle falls most, the lights keep 2.2 of 3.4 stops of it."""
    grey = np.repeat(np.linspace(0.02, 1, 4096, dtype=np.float32).reshape(64, 64, 1), 3, 2)
    stops = []
    for seed in range(60):
        light = to_linear(render_deep(grey, np.random.default_rng(seed))).mean(2).ravel()
        before = to_linear(grey)[..., 0].ravel()
        stops.append([np.log2((light[i] + 1e-4) / (before[i] + 1e-4)) for i in (2048, 4000)])
    middle, top = np.mean(stops, 0)
    assert middle == pytest.approx(-3.9, abs=0.6)
    assert top - middle > 1.5


def test_dim_frames_have_the_tones_of_under_exposed_ones_whatever_the_photograph() -> None:
    """Over many draws: the mean and the deviation of the light at the quantiles that 8 bits still tell apart."""
    grey = np.repeat(np.linspace(0.3, 1, 4096, dtype=np.float32).reshape(64, 64, 1), 3, 2)
    frames = [to_linear(render_dim(grey, np.random.default_rng(seed)) @ LUMA) for seed in range(300)]
    quantiles = np.log2([np.quantile(frame, np.arange(10, 16) / 16) + 1e-9 for frame in frames])
    assert quantiles.mean(0) == pytest.approx(under_exposed.MEAN[10:16], abs=0.35)
    deviations = np.sqrt((under_exposed.DIRECTIONS[:, 10:16] ** 2).sum(0))
    assert quantiles.std(0) == pytest.approx(deviations, rel=0.25)


def test_night_and_low_key_are_dark_and_colourful(photograph: Code) -> None:
    bright = exposed(photograph, 0.7)
    for render in (render_night, render_low_key):
        many = [render(bright, np.random.default_rng(seed)) for seed in range(12)]
        assert np.mean([lightness(each) for each in many]) < lightness(bright) - 8
        assert all(each.shape == bright.shape and 0 <= each.min() <= each.max() <= 1 for each in many)


def test_a_covered_lens_shows_noise_on_black(photograph: Code) -> None:
    many = [render_covered_lens(photograph, np.random.default_rng(seed)) for seed in range(20)]
    assert all(each.shape == photograph.shape and each.mean() < 0.05 and 0.0005 < each.std() < 0.05 for each in many)


def test_the_target_is_the_photograph_where_a_lift_is_asked_for(photograph: Code) -> None:
    photographs = Photographs.sort([photograph])
    for component in COMPONENTS.values():
        frame, target = component.make(photographs, np.random.default_rng(3))
        assert np.array_equal(target, photograph if component.lift else frame)


def test_photographs_are_sorted_by_brightness_and_range() -> None:
    ramp = np.repeat(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20, 1), 3, 2)
    dark, flat = ramp**4, 0.4 + 0.1 * ramp
    found = Photographs.sort([ramp] * 8 + [dark] * 8 + [flat] * 8)
    assert [uses_range(each) for each in (ramp, dark, flat, 0.5 * ramp)] == [True, True, False, False]
    assert len(found.wide) == 16
    assert all(each is not flat for each in found.wide)
    assert len(found.bright) == 8
    assert all(each is ramp for each in found.bright)
    assert len(found.special) == 8
    assert all(each is dark for each in found.special)
    assert len(Photographs.sort([flat] * 5).bright) == 5  # too few of a kind: all of them


def test_a_seed_gives_the_same_rendering(photograph: Code) -> None:
    for render in (render_mild, render_deep, render_dim, render_night, render_low_key, render_varied, render_lit):
        once, again, other = (render(photograph, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(once, again)
        assert once.shape != other.shape or not np.array_equal(once, other)


def test_fields_of_light_are_smooth_and_differ_across_the_picture(photograph: Code) -> None:
    for field in (gain_field, backlight):
        stops = field(photograph, np.random.default_rng(0))
        assert stops.shape == photograph.shape[:2]
        assert np.ptp(stops) > 0.3
        assert max(np.abs(np.diff(stops, axis=axis)).max() for axis in (0, 1)) < 0.25 * np.ptp(stops)


def test_backlight_darkens_what_is_dark() -> None:
    halves = np.full((96, 144, 3), 0.15, np.float32)
    halves[:, 72:] = 0.85
    stops = backlight(halves, np.random.default_rng(0))
    assert stops[:, :48].max() < 0 < stops[:, 96:].min()


def test_no_curve_undoes_uneven_light(photograph: Code) -> None:
    """Pixels of one grey become several; a curve would map all of them alike."""
    grey = np.full((96, 144, 3), 0.5, np.float32)
    assert np.ptp(render_lit(grey, np.random.default_rng(0))) > 0.05


def test_the_target_under_other_tones_has_their_quantiles_and_its_own_colours(photograph: Code) -> None:
    toned = 0.1 + 0.6 * photograph**1.5
    moved = under_tones_of(photograph, toned.astype(np.float32))
    levels = np.linspace(0.02, 0.98, 25)
    assert np.abs(np.quantile(moved @ LUMA, levels) - np.quantile(toned @ LUMA, levels)).max() < 0.02
    bright = (photograph @ LUMA > 0.1) & (moved.max(2) < 1)
    ratios = [each[..., 0][bright] / each[..., 2][bright] for each in (photograph + 1e-4, moved + 1e-4)]
    assert np.median(np.abs(ratios[0] - ratios[1])) < 0.01
    assert np.abs(under_tones_of(photograph, photograph) - photograph).max() < 0.02


def test_a_jpeg_changes_little_at_high_quality(photograph: Code) -> None:
    pixels = (photograph * 255).astype(np.uint8)
    errors = [np.abs(as_jpeg(pixels, quality).astype(float) - pixels).mean() for quality in (95, 60)]
    assert 0 < errors[0] < errors[1] < 15
