"""The appliers on a CPU agree with the oracle within 1 code, leave no trace of their strips, and need little memory."""

from __future__ import annotations

import functools
import tracemalloc

import numpy as np
import pytest

from runtimes.apply import applying, oracle, plain
from runtimes.apply.applying import Rows, applied
from runtimes.apply.change import Change
from runtimes.controls import Controls
from runtimes.image import Pixels
from tests.test_apply import CONTROLS, noise, random_change, random_tone

CHANGES = {
    "nothing": Change(),
    "curve": Change(random_tone(5)),
    "half a curve": Change(random_tone(5, 0.5)),
    "maps": Change(random_tone(6, 0.4), random_change(7).maps),
    "one window": random_change(8, (1, 1), (1, 2)),
    "remainder": random_change(9),
    "more windows than pixels": random_change(10, (60, 90), (700, 800)),
}


@pytest.fixture(params=["numpy", "numba"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Each applier in turn, as the one that is used."""
    chosen: Rows = plain.apply_rows
    if request.param == "numba":
        pytest.importorskip("numba", reason="the compiled applier is not run: needs numba")
        applying.fastest.cache_clear()
        chosen = applying.fastest()
        assert chosen is not plain.apply_rows
    monkeypatch.setattr(applying, "fastest", functools.partial(lambda same: same, chosen))
    return chosen


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("controls", CONTROLS)
@pytest.mark.parametrize("name", CHANGES)
def test_within_one_code_of_the_oracle(name: str, controls: Controls) -> None:
    image = noise(61, 300)
    difference = np.abs(
        applied(image, CHANGES[name], controls).astype(int) - oracle.applied(image, CHANGES[name], controls)
    )
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.03


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (17, 257), (700, 5)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    image, change = noise(*shape), random_change(3)
    assert np.abs(applied(image, change).astype(int) - oracle.applied(image, change)).max() <= 1


@pytest.mark.usefixtures("rows")
def test_strips_and_threads_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    image, change = noise(210, 190), random_change(4, (11, 8), (50, 48))
    whole = applied(image, change, threads=1)
    for pixels, threads in ((190, 1), (7 * 190, 3), (1 << 20, 2)):
        monkeypatch.setattr(applying, "STRIP", pixels)
        np.testing.assert_array_equal(applied(image, change, threads=threads), whole)


@pytest.mark.usefixtures("rows")
def test_no_change_is_exact() -> None:
    image = noise(40, 50)
    nothing = Change(maps=np.zeros((12, 3, 4), np.float32), remainder=np.zeros((3, 5, 5), np.float32))
    for change, controls in ((Change(), Controls()), (nothing, Controls()), (random_change(2), Controls(0))):
        np.testing.assert_array_equal(applied(image, change, controls), image)


@pytest.mark.usefixtures("rows")
def test_the_source_stays_and_may_be_a_view() -> None:
    image = noise(40, 60)
    kept, change = image.copy(), random_change(2)
    np.testing.assert_array_equal(applied(image[::2, ::2], change), applied(image[::2, ::2].copy(), change))
    np.testing.assert_array_equal(image, kept)


@pytest.mark.usefixtures("rows")
def test_memory_is_bounded() -> None:
    image, change = np.zeros((3000, 4000, 3), np.uint8), random_change(5, (48, 64), (384, 512))
    applied(image[:16], change)
    tracemalloc.start()
    try:
        result: Pixels = applied(image, change, Controls(0.9, 0.5), threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 40e6
