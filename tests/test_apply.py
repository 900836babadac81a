"""The change of a photograph: its parts are checked, and the oracle equals PyTorch's tone head and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.apply import oracle
from runtimes.apply.change import IDENTITY, Change
from runtimes.controls import Controls, adjust
from runtimes.errors import ArtifactError

CONTROLS = [Controls(), Controls(0.5), Controls(1.5, -1), Controls(1.2, 1.5), Controls(0, 0.7)]


def random_tone(seed: int, share: float = 1) -> np.ndarray:
    """Constants of a strong but possible tone head."""
    rng = np.random.default_rng(seed)
    steps, gains = np.tanh(rng.normal(0, 0.4, 7)), np.exp(rng.normal(0, 0.05, 3))
    start = [rng.uniform(-0.03, 0.06), np.exp(rng.normal(0, 0.15)), *steps]
    return np.array([*start, rng.normal(0, 0.03), rng.normal(0.1, 0.2), *gains, share, 0], np.float32)


def random_change(seed: int, size: tuple[int, int] = (6, 9), left: tuple[int, int] | None = (11, 5)) -> Change:
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 0.1, (12, *size)).astype(np.float32)
    remainder = None if left is None else rng.normal(0, 0.03, (3, *left)).astype(np.float32)
    return Change(random_tone(seed, 0.8), maps, remainder)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_the_default_changes_nothing() -> None:
    image = noise(20, 30)
    np.testing.assert_array_equal(oracle.applied(image, Change()), image)
    np.testing.assert_array_equal(oracle.applied(image, Change(maps=np.zeros((12, 3, 2), np.float32))), image)


def test_the_curve_is_the_tone_head_s() -> None:
    torch = pytest.importorskip("torch")
    from bncagan.network.tone import ToneHead

    torch.manual_seed(0)
    head = ToneHead().double()
    head.warmth.fill_(0.07)
    p = torch.randn(1, 11, dtype=torch.float64)
    image = torch.rand(1, 3, 24, 32, dtype=torch.float64)
    q = p[0].numpy()
    gains = np.exp(0.07 * np.array([1, 0, -1]))
    tone = [0.2 * q[0], np.exp(0.2 * q[1]), *np.tanh(q[2:9]), 0.1 * q[9], np.exp(0.5 * q[10]) - 1, *gains, 1, 0]
    produced = oracle.toned(image[0].permute(1, 2, 0).numpy(), np.array(tone))
    np.testing.assert_allclose(produced, head.applied(image, p)[0].permute(1, 2, 0).detach().numpy(), atol=1e-12)
    tone[14] = float(head.contrast(image).squeeze())
    produced = oracle.toned(image[0].permute(1, 2, 0).numpy(), np.array(tone))
    np.testing.assert_allclose(produced, head.changed(image, p)[0].permute(1, 2, 0).detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("controls", CONTROLS)
def test_the_oracle_equals_a_loop_over_pixels(controls: Controls) -> None:
    height, width = 13, 17
    image, change = noise(height, width) / 255, random_change(3)
    assert change.maps is not None
    assert change.remainder is not None
    produced = oracle.changed(image, change, controls)
    toned = oracle.toned(image, change.tone.astype(np.float64))

    def value(plane: np.ndarray, row: int, column: int) -> float:
        """A tent of one window around each centre, at the edge the nearest centre."""
        h, w = plane.shape
        i = min(max((row + 0.5) / height * h - 0.5, 0), h - 1)
        j = min(max((column + 0.5) / width * w - 0.5, 0), w - 1)
        tents = np.outer(np.maximum(1 - abs(np.arange(h) - i), 0), np.maximum(1 - abs(np.arange(w) - j), 0))
        return float(np.sum(tents * plane))

    for row, column in np.ndindex(height, width):
        t = toned[row, column]
        A_b = np.array([value(plane, row, column) for plane in change.maps]).reshape(3, 4)
        r = np.array([value(plane, row, column) for plane in change.remainder])
        e = (t + A_b @ [*t, 1] + r).clip(0, 1)
        expected = adjust(image[row, column], e, controls)
        np.testing.assert_allclose(produced[row, column], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"tone": np.zeros(15, np.float32)}, r"the tone should be float32 of shape 16 but is float32 of shape \(15,\)"),
        ({"tone": np.zeros(16)}, "the tone should be float32 .* but is float64"),
        ({"tone": np.full(16, np.nan, np.float32)}, "the tone should be finite"),
        ({"maps": np.zeros((3, 4, 5), np.float32)}, "the maps should be float32 of shape 12 x h x w"),
        ({"maps": np.zeros((12, 0, 5), np.float32)}, "the maps should be float32 of shape 12 x h x w"),
        ({"maps": np.full((12, 1, 1), np.inf, np.float32)}, "the maps should be finite"),
        ({"remainder": np.zeros((3, 4, 4), np.float32)}, "a remainder should come with maps but comes alone"),
        (
            {"maps": np.zeros((12, 4, 4), np.float32), "remainder": np.zeros((1, 4, 4), np.float32)},
            "the remainder should be float32 of shape 3 x h x w",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        Change(**parts)


def test_a_change_between_two() -> None:
    first, second = random_change(1), random_change(2)
    middle = first.towards(second, 0.25)
    assert first.maps is not None
    assert second.maps is not None
    assert middle.maps is not None
    np.testing.assert_allclose(middle.tone, 0.75 * first.tone + 0.25 * second.tone, atol=1e-6)
    np.testing.assert_allclose(middle.maps, 0.75 * first.maps + 0.25 * second.maps, atol=1e-6)


def test_the_identity_is_written_out() -> None:
    assert IDENTITY.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
