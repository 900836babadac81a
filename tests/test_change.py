"""`Runtime.enhance` and `Runtime.change`: what the network says of a reduced copy reaches every pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import Image

import runtimes
from runtimes import ShapeSet
from runtimes.apply import oracle, tone_fit
from runtimes.apply.change import IDENTITY, Change
from runtimes.apply.probing import COLOURS, GREYS
from runtimes.apply.reducing import reduced
from runtimes.controls import Controls
from runtimes.errors import ArtifactError
from runtimes.image import Pixels, resize, to_uint8
from tests.test_apply import noise, random_tone
from tests.tiny_models import NumpyRuntime, make_spec


def photo() -> Pixels:
    """A picture of 600 x 400 px."""
    return np.asarray(skimage.data.coffee())


def largest(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


class Teller(NumpyRuntime):
    """An artifact that returns the picture unchanged, and a change that depends on how bright the picture is."""

    def __init__(self, output: str, shapes: ShapeSet) -> None:
        super().__init__(lambda images: images, make_spec(shapes, output=output))

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        (batch,) = inputs.values()
        self.seen.append(batch)
        n, _, h, w = batch.shape
        maps = np.zeros((n, 12, h // 8, w // 8), np.float32)
        maps[:, 0] = batch.mean()
        maps[:, 7] = np.linspace(0, 0.2, w // 8)
        told = {"tone": np.tile(random_tone(3), (n, 1)), "maps": maps}
        return told if self.spec.output == "maps" else {"enhanced": batch, **told}


@pytest.mark.parametrize("controls", [Controls(), Controls(0.5, 1)])
@pytest.mark.parametrize("output", ["maps", "both"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_large_photograph_receives_the_maps(output: str, batch: int, controls: Controls) -> None:
    teller = Teller(output, ShapeSet.of((batch, 64, 96)))
    produced = teller.enhance(photo(), strength=controls.strength, exposure=controls.exposure)
    (seen,) = teller.seen
    assert seen.shape == (batch, 3, 64, 96)
    maps = np.zeros((12, 8, 12), np.float32)
    maps[0] = resize(photo(), 64, 96).mean() / 255
    maps[7] = np.linspace(0, 0.2, 12)
    assert largest(produced, oracle.applied(photo(), Change(random_tone(3), maps), controls)) <= 1
    assert largest(produced, photo()) > 20


def test_a_photograph_that_fits_the_network_gets_its_own_answer() -> None:
    small = photo()[:64, :96]
    np.testing.assert_array_equal(Teller("both", ShapeSet.of((1, 64, 96))).enhance(small), small)
    by_maps = Teller("maps", ShapeSet.of((1, 64, 96)))
    assert largest(by_maps.enhance(small), oracle.applied(small, by_maps.change(small))) <= 1


def test_nan_in_the_maps_is_refused() -> None:
    class Broken(Teller):
        def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            told = super()._run(inputs)
            told["maps"][0, 3] = np.nan
            return told

    with pytest.raises(ArtifactError, match="should return finite numbers on cpu but the first of 96"):
        Broken("both", ShapeSet.of((1, 64, 96))).enhance(photo())


def test_pictures_alone_give_fitted_maps() -> None:
    network = NumpyRuntime(lambda images: (images * 0.5).astype(np.float32), make_spec(ShapeSet.of((1, 64, 96))))
    change = network.change(photo())
    assert change.maps is not None
    assert change.remainder is not None
    assert largest(network.enhance(photo()), to_uint8(photo() / 510)) <= 2  # codes of the reduced pair are rounded


def head(tone: np.ndarray) -> NumpyRuntime:
    """A tone head that returns pictures alone."""

    def answer(images: NDArray[Any]) -> NDArray[Any]:
        return (
            oracle.toned(images.transpose(0, 2, 3, 1), tone.astype(np.float64)).transpose(0, 3, 1, 2).astype(np.float32)
        )

    return NumpyRuntime(answer, make_spec(ShapeSet.of((1, 96, 144)), width=0))


@pytest.mark.parametrize("seed", range(4))
def test_a_tone_is_measured(seed: int) -> None:
    tone = random_tone(seed)
    tone[12] = 1
    runtime = head(tone)
    change = runtime.change(photo())
    assert change.maps is None
    error = oracle.toned(photo() / 255, change.tone.astype(float)) - oracle.toned(photo() / 255, tone.astype(float))
    assert 255 * np.sqrt(np.mean(error**2)) < 0.5
    assert largest(runtime.enhance(photo()), oracle.applied(photo(), Change(tone))) <= 4


def test_a_measured_tone_of_no_change_is_none() -> None:
    fitted = tone_fit.fit_tone(GREYS, COLOURS, COLOURS)
    np.testing.assert_allclose(fitted[:14], IDENTITY[:14], atol=1e-4)


def test_nano_by_its_tone_equals_nano() -> None:
    """The packaged file, whatever it returns."""
    with runtimes.load("nano", threads=1) as nano:
        whole, by_tone = nano.enhance(photo(), max_side=600), nano.enhance(photo(), max_side=256)
    error = whole.astype(float) - by_tone
    assert np.sqrt(np.mean(error**2)) < 0.7
    assert np.abs(whole.astype(float) - photo()).mean() > 5


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (396, 598), (397, 599), (450, 700)])
def test_the_reduced_copy_is_pillow_s(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.apply.reducing.STRIP", 600 * 50)
    height, width = size
    image = photo()[:397, :599]  # no multiples of the blocks
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    np.testing.assert_array_equal(reduced(image, height, width, threads=2), expected)


def test_the_reduced_copy_of_a_sliver() -> None:
    assert reduced(noise(3000, 9), 64, 96).shape == (64, 96, 3)
