"""16 bits: a change that is known reaches every level, by the formula of the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import runtimes
from bncagan.cli import main
from runtimes import Photograph
from runtimes.apply.applying import applied
from runtimes.apply.change import IDENTITY, Change
from runtimes.apply.deep import deep_answer
from runtimes.apply.oracle import changed
from runtimes.controls import DEFAULT, Controls
from runtimes.photographs.profiles import space_of
from tests.photograph_files import png, profile

TONE = np.array([0.01, 1.3, 0.4, 0.3, 0.2, 0.1, -0.1, 0.2, 0.2, 0.01, 0.3, 1.02, 1, 0.98, 0.9, 0], np.float32)


def some_change(*, maps: bool = True) -> Change:
    rng = np.random.default_rng(0)
    return Change(TONE, rng.normal(0, 0.05, (12, 3, 5)).astype(np.float32) if maps else None)


def dark_gradient(height: int = 64, width: int = 2048) -> np.ndarray:
    """A night sky of 16 bits, of some twenty codes of 8 bits."""
    line = np.linspace(200, 6000, width)
    return np.rint(np.stack([np.broadcast_to(gain * line, (height, width)) for gain in (1, 0.9, 1.1)], 2)).astype(
        np.uint16
    )


@pytest.mark.parametrize("controls", [DEFAULT, Controls(0.5, 1), Controls(1.5, -1)])
@pytest.mark.parametrize("maps", [True, False])
def test_it_is_the_oracles_formula(maps: bool, controls: Controls) -> None:
    codes = np.random.default_rng(1).integers(0, 65536, (40, 56, 3)).astype(np.uint16)
    change = some_change(maps=maps)
    expected = 65535 * changed(codes / 65535, change, controls)
    answer = deep_answer(change, 40, 56, controls)
    produced = np.concatenate([answer(codes[:13], 0), answer(codes[13:], 13)])
    assert produced.dtype == np.float32
    assert np.abs(produced - expected).max() < 4  # of 65535: a 64th of a code of 8 bits


def test_a_change_of_nothing_keeps_every_level() -> None:
    codes = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    kept = np.rint(deep_answer(Change(IDENTITY), 256, 256)(codes, 0))
    np.testing.assert_array_equal(kept, codes)


def test_a_dark_gradient_stays_smooth() -> None:
    """Through the answer of 8 bits, its largest step is many times that of the change itself."""
    own = dark_gradient()
    seen = np.rint(own / 257).astype(np.uint8)
    change = some_change()
    photo, enhanced = Photograph(seen, own), applied(seen, change)
    exact = 65535 * changed(own / 65535, change)
    largest = np.abs(np.diff(exact, axis=1)).max()
    carried = photo.changed(enhanced).own
    direct = photo.changed(enhanced, deep_answer(change, *own.shape[:2])).own
    assert carried is not None
    assert direct is not None
    assert np.abs(np.diff(direct.astype(float), axis=1)).max() < largest + 8
    assert np.abs(direct - exact).max() < 5
    assert np.abs(np.diff(carried.astype(float), axis=1)).max() > 3 * largest


def test_a_wide_gamut_receives_it_too() -> None:
    """Grey has the same codes in sRGB and in a space of sRGB's curve and other primaries."""
    line = np.linspace(300, 60000, 512).round().astype(np.uint16)
    own = np.broadcast_to(line[None, :, None], (16, 512, 3)).copy()
    change = Change(np.array([*TONE[:10], 0, 1, 1, 1, 1, 0], np.float32))
    seen = np.rint(own / 257).astype(np.uint8)
    photo = Photograph(seen, own, space_of(profile("p3", None)))
    direct = photo.changed(applied(seen, change), deep_answer(change, 16, 512)).own
    assert direct is not None
    assert np.abs(direct - 65535 * changed(own / 65535, change)).max() < 70  # a quarter of a code of 8 bits


def test_files_of_16_bits_are_enhanced_by_it(tmp_path: Path) -> None:
    own = dark_gradient(64, 1600)
    (tmp_path / "a.png").write_bytes(png(own))
    nano = Path(runtimes.__file__).parent / "models" / "nano.onnx"
    assert (
        main(["enhance", str(nano), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--exposure", "0.5"]) == 0
    )
    with runtimes.load("nano", threads=1) as runtime:
        change = runtime.change(np.rint(own / 257).astype(np.uint8))
    produced = runtimes.open_photograph(tmp_path / "out" / "a.png").own
    assert produced is not None
    assert np.abs(produced - 65535 * changed(own / 65535, change, Controls(1, 0.5))).max() < 5
