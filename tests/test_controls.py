"""Strength and exposure: one formula in NumPy, in PyTorch and in every graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bncagan.network.controls import Controlled
from bncagan.network.controls import expose as expose_torch
from export.parity import check
from runtimes import ArtifactError, ImageSpec
from runtimes.controls import DEFAULT, Controls, adjust, adjust_batch, expose, require_rows
from runtimes.golden import Case, Golden
from runtimes.image import resize, to_uint8
from tests.tiny_models import NumpyRuntime, make_spec

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
STOPS = (-2, -1.37, -0.5, -1e-3, 0, 1e-3, 0.4, 1, 1.9, 2)
STRENGTHS = (0, 0.3, 1, 1.5)
CODES = np.concatenate(
    [np.linspace(-0.5, 1.5, 4001), np.linspace(0, 0.2, 4001), np.arange(256) / 255, np.nextafter(0.04045, [0, 1])]
)


def srgb_to_light(code: Doubles) -> Doubles:
    """IEC 61966-2-1, continued below 0 as an odd function."""
    v = np.abs(code)
    return np.sign(code) * np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: Doubles) -> Doubles:
    v = np.abs(light)
    return np.sign(light) * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


def exact(image: Doubles, enhanced: Doubles, strength: float, stops: float) -> Doubles:
    """The formula as it is stated, in float64."""
    y = image + strength * (enhanced - image)
    return light_to_srgb(2.0**stops * srgb_to_light(y)).clip(0, 1)


class Answer(nn.Module):
    """A network with a fixed answer."""

    def __init__(self, enhanced: Tensor) -> None:
        super().__init__()
        self.enhanced = enhanced

    def forward(self, image: Tensor) -> Tensor:
        return self.enhanced.to(image.dtype)


def pairs() -> tuple[Floats, Floats]:
    """Every pair of 205 levels as two pictures, 3 x 205 x 205, black, white and dark levels among them."""
    levels = np.concatenate([np.linspace(0, 1, 103), np.linspace(0, 0.13, 102)]).astype(np.float32)
    image, enhanced = (np.repeat(plane[None], 3, axis=0) for plane in np.meshgrid(levels, levels))
    return image, enhanced


def in_torch(image: Floats, enhanced: Floats, strength: float, stops: float) -> Floats:
    controls = torch.tensor([[strength, stops]], dtype=torch.float32)
    return Controlled(Answer(torch.from_numpy(enhanced)[None]))(torch.from_numpy(image)[None], controls)[0].numpy()


def in_numpy(image: Floats, enhanced: Floats, strength: float, stops: float) -> Floats:
    return adjust(image, enhanced, Controls(strength, stops))


@pytest.mark.parametrize("compute", [in_numpy, in_torch])
@pytest.mark.parametrize("stops", STOPS)
def test_the_formula(compute: Callable[..., Floats], stops: float) -> None:
    image, enhanced = pairs()
    for strength in STRENGTHS:
        result = compute(image, enhanced, strength, stops)
        assert result.dtype == np.float32
        expected = exact(image.astype(np.float64), enhanced.astype(np.float64), strength, stops)
        assert np.abs(result - expected).max() < 1e-6  # 0.0003 codes
        assert np.abs(result - in_numpy(image, enhanced, strength, stops)).max() < 1e-6


@pytest.mark.parametrize("stops", STOPS)
def test_exposure_of_every_code(stops: float) -> None:
    """Also of codes that strength put outside [0, 1]; in float64, so that a wrong piece of the curve cannot hide."""
    expected = light_to_srgb(2.0**stops * srgb_to_light(CODES.clip(0)))
    made = expose_torch(torch.from_numpy(CODES.clip(0))[None, None, None], torch.full((1, 1, 1, 1), stops).double())
    limit = 1e-7  # the constants of the standard leave gaps of 3e-8 between the parts of its curve
    assert np.abs(made.numpy().ravel() - expected).max() < limit * 2.0 ** max(stops, 0)
    assert np.abs(expose(CODES.astype(np.float32), stops) - expected).max() < 1e-6
    rising = expose_torch(torch.linspace(-0.5, 1.5, 100_001)[None, None, None], torch.full((1, 1, 1, 1), stops))
    assert (rising.diff() > -1e-6).all()


@pytest.mark.parametrize("compute", [in_numpy, in_torch])
def test_the_ends(compute: Callable[..., Floats]) -> None:
    image, enhanced = pairs()
    exactly = compute is in_numpy
    for strength, wanted in ((1, enhanced), (0, image)):
        difference = np.abs(compute(image, enhanced, strength, 0) - wanted).max()
        assert difference <= (0 if exactly else 2**-23)


def test_the_graph_is_exact_in_halves() -> None:
    """The Neural Engine computes in half precision: strength 0 still gives back every code."""
    codes = np.arange(256, dtype=np.float32)
    image, enhanced = (np.repeat(plane[None], 3, axis=0) for plane in np.meshgrid(codes, codes))
    halves = [torch.from_numpy(plane)[None].half() / 255 for plane in (image, enhanced)]
    module = Controlled(Answer(halves[1]))
    for strength, wanted in ((0, image), (1, enhanced)):
        made = module(halves[0], torch.tensor([[strength, 0]]).half())
        assert (torch.floor(made * 255 + 0.5)[0].float().numpy() == wanted).all()


def test_rows_of_a_batch() -> None:
    rng = np.random.default_rng(0)
    batch, enhanced = (rng.random((3, 3, 16, 24), np.float32) for _ in range(2))
    rows = np.array([[1, 0], [0, 0.5], [1.5, -1]], np.float32)
    adjusted = adjust_batch(batch, enhanced, rows)
    np.testing.assert_array_equal(adjusted[0], enhanced[0])
    for i in (1, 2):
        np.testing.assert_allclose(adjusted[i], exact(batch[i], enhanced[i], *rows[i]), atol=1e-6)
    pixels, answers = ((255 * x.transpose(0, 2, 3, 1)).astype(np.uint8) for x in (batch, enhanced))
    made = adjust_batch(pixels, answers, rows)
    assert made.dtype == np.uint8
    for i in range(3):
        assert np.abs(made[i] - 255 * exact(pixels[i] / 255, answers[i] / 255, *rows[i])).max() < 0.5001


@pytest.mark.parametrize(
    ("strength", "exposure", "said"),
    [
        (-0.1, 0, "strength should be a number from 0 to 1.5 but is -0.1; choose one in that range"),
        (1.51, 0, "strength should be a number from 0 to 1.5 but is 1.51; choose one in that range"),
        (float("nan"), 0, "strength should be a number from 0 to 1.5 but is nan; choose one in that range"),
        (1, 2.5, "exposure should be a number from -2 to 2 but is 2.5; choose one in that range"),
        (1, float("-inf"), "exposure should be a number from -2 to 2 but is -inf; choose one in that range"),
    ],
)
def test_values_out_of_range(strength: float, exposure: float, said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Controls(strength, exposure)
    assert str(caught.value) == said
    with pytest.raises(ArtifactError, match="should be a number from"):
        require_rows(np.array([[1, 0], [strength, exposure]], np.float32), 2)


def test_rows_of_another_shape() -> None:
    for rows in (np.ones((1, 2)), np.ones((2, 3)), np.ones(2)):
        with pytest.raises(ArtifactError, match=r"2 x 2, strength and exposure of each picture, but have shape"):
            require_rows(rows, 2)
    np.testing.assert_array_equal(require_rows(DEFAULT.rows(2).astype(np.float64), 2), [[1, 0], [1, 0]])


# Runtimes


def brighter(batch: Floats) -> Floats:
    return np.sqrt(batch)


def with_controls(batch: Floats, rows: Floats) -> Floats:
    """A network that has the formula in its graph."""
    return np.stack([exact(image, brighter(image), *row) for image, row in zip(batch, rows, strict=True)]).astype(
        np.float32
    )


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth, with a black and a white corner."""
    smooth = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    smooth[0, 0], smooth[-1, -1] = 0, 255
    return resize(smooth, height, width)


GRAPHS = [(brighter, make_spec()), (with_controls, make_spec(controls=True))]


@pytest.mark.parametrize(("network", "spec"), GRAPHS, ids=["outside the graph", "in the graph"])
def test_enhance_is_the_same_wherever_the_formula_is(network: Callable[..., Floats], spec: ImageSpec) -> None:
    image = photograph(41, 50)
    x = image / 255
    for strength, exposure in ((1, 0), (0, 0), (1.5, 1), (0.8, -1.3), (0, 2)):
        made = NumpyRuntime(network, spec).enhance(image, strength=strength, exposure=exposure)
        assert np.abs(made - 255 * exact(x, brighter(x), strength, exposure)).max() < 0.501
    np.testing.assert_array_equal(NumpyRuntime(network, spec).enhance(image, strength=0), image)


@pytest.mark.parametrize(("network", "spec"), GRAPHS, ids=["outside the graph", "in the graph"])
def test_infer_takes_a_row_for_each_picture(network: Callable[..., Floats], spec: ImageSpec) -> None:
    batch = np.random.default_rng(0).random((3, 3, 16, 24), np.float32)
    rows = np.array([[1, 0], [0.3, 0.5], [1.5, -1]])
    runtime = NumpyRuntime(network, spec)
    for row, image, made in zip(rows, batch, runtime.infer(batch, rows), strict=True):
        np.testing.assert_allclose(made, exact(image, brighter(image), *row), atol=1e-6)
    np.testing.assert_allclose(runtime.infer(batch), brighter(batch), atol=1e-6)
    for wrong, said in ((rows[:2], "3 x 2"), (rows + 1.6, "strength should be a number from 0 to 1.5 but is 2.6")):
        with pytest.raises(ArtifactError, match=said):
            runtime.infer(batch, wrong)


def test_without_controls_the_result_is_the_network_s_own() -> None:
    batch = np.random.default_rng(0).normal(0.5, 1, (1, 3, 16, 24)).astype(np.float32)
    runtime = NumpyRuntime(lambda x: x)
    np.testing.assert_array_equal(runtime.infer(batch, DEFAULT.rows(1)), batch)  # not even clamped


@pytest.mark.parametrize(("network", "spec"), GRAPHS, ids=["outside the graph", "in the graph"])
def test_large_photographs_get_them_at_full_size(network: Callable[..., Floats], spec: ImageSpec) -> None:
    """The network runs at the defaults, and the formula is applied to what its change became at full size."""
    image = photograph(150, 220)
    runtime = NumpyRuntime(network, spec)
    default = runtime.enhance(image, max_side=64)
    seen = len(runtime.seen)
    for strength, exposure in ((0, 0), (1.5, 1), (0.6, -2), (0, 1)):
        made = runtime.enhance(image, max_side=64, strength=strength, exposure=exposure)
        expected = 255 * exact(image / 255, default / 255, strength, exposure)
        # `default` is rounded to codes, and dark codes are amplified the most: by strength and by 2^exposure
        assert np.abs(made - expected).max() < 0.5 + 0.5 * strength * 2 ** max(exposure, 0) + 0.01
        assert len(runtime.seen) == (seen := seen + 1)
        np.testing.assert_array_equal(runtime.seen[-1], runtime.seen[0])
    np.testing.assert_array_equal(runtime.enhance(image, max_side=64, strength=0), image)
    np.testing.assert_array_equal(runtime.enhance(image, max_side=64, strength=1, exposure=0), default)


def test_enhance_refuses_values_out_of_range() -> None:
    runtime = NumpyRuntime(brighter)
    with pytest.raises(ArtifactError, match=r"strength should be .* from 0 to 1\.5 but is 1\.6"):
        runtime.enhance(photograph(20, 20), strength=1.6)
    with pytest.raises(ArtifactError, match="exposure should be a number from -2 to 2 but is -3"):
        runtime.enhance(photograph(20, 20), exposure=-3)
    assert not runtime.seen


def test_nan_is_still_found() -> None:
    runtime = NumpyRuntime(lambda x: np.full_like(x, np.nan))
    for settings in ({"strength": 0.0}, {"exposure": -1.0}):
        with pytest.raises(ArtifactError, match="should return finite numbers"):
            runtime.enhance(photograph(20, 20), **settings)


# Golden pictures


def test_golden_pictures_keep_their_controls(tmp_path: Path) -> None:
    image = photograph(16, 24)
    cases = [Case("a", image, image), Case("b", image, image // 2, Controls(1.5, -0.5))]
    Golden(tuple(cases)).save(tmp_path / "g.npz")
    assert [case.controls for case in Golden.load(tmp_path / "g.npz").cases] == [DEFAULT, Controls(1.5, -0.5)]
    Golden(tuple(cases[:1])).save(tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz") as arrays:
        assert "controls" not in arrays
    assert Golden.load(tmp_path / "g.npz").cases[0].controls == DEFAULT


def test_the_gate_uses_the_controls_of_each_case() -> None:
    image = photograph(32, 48)
    x = image / 255
    cases = [Case("default", image, to_uint8(brighter(x)))]
    cases += [Case(str(s), image, to_uint8(exact(x, brighter(x), *s)), Controls(*s)) for s in ((0, 0), (1.5, 1))]
    for network, spec in GRAPHS:
        assert check(NumpyRuntime(network, spec), Golden(tuple(cases))).verdict.passed
    faulty = NumpyRuntime(lambda batch, rows: with_controls(batch, rows[:, ::-1].clip(0, 1)), GRAPHS[1][1])
    assert not check(faulty, Golden(tuple(cases))).verdict.passed
