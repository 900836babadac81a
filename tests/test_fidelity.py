"""The halo and seam numbers of maps, on errors that are drawn, and on a network whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.fidelity import IDENTICAL, SIDES, edge, halo, measure, ramp, seam
from runtimes import ImageSpec, ShapeSet
from runtimes.apply.change import IDENTITY
from runtimes.base import Maps, Runtime
from tests.folders import picture
from tests.tiny_models import make_spec

HEIGHT, WIDTH = 48, 64
FIXED = ShapeSet.of((1, 48, 64))


def columns(values: NDArray[Any]) -> NDArray[np.float64]:
    """A picture of these columns, alike in all rows and channels."""
    return np.broadcast_to(values[None, :, None], (HEIGHT, len(values), 3)).astype(float)


def sharpened(values: NDArray[Any], radius: int, amount: float) -> NDArray[np.float64]:
    """Unsharp masking by a moving mean of 2 radius + 1 values."""
    padded = np.pad(values.astype(float), radius, mode="edge")
    mean = np.convolve(padded, np.full(2 * radius + 1, 1 / (2 * radius + 1)), "valid")
    return values + amount * (values - mean)


@pytest.mark.parametrize("radius", [1, 4, 9])
def test_a_halo_is_the_overshoot_of_a_sharpened_edge(radius: int) -> None:
    """Beside a step of height s, unsharp masking overshoots by amount * s * r / (2 r + 1)."""
    step = edge(HEIGHT, WIDTH)[0, :, 0].astype(float)
    assert sorted(set(step)) == [64, 192]
    error = columns(sharpened(step, radius, 0.5) - step)
    assert halo(error) == pytest.approx(0.5 * 128 * radius / (2 * radius + 1))
    assert halo(-error) == pytest.approx(halo(error))


def test_a_halo_of_one_side_and_channel_counts_in_full() -> None:
    for column, channel in ((WIDTH // 2 - 1, 0), (WIDTH // 2, 1), (WIDTH // 2 + 6, 2)):
        error = np.zeros((HEIGHT, WIDTH, 3))
        error[:, column, channel] = -7
        assert halo(error) == pytest.approx(7)


def test_flat_areas_that_are_off_and_noise_are_no_halo() -> None:
    error = np.zeros((HEIGHT, WIDTH, 3))
    error[:, : WIDTH // 2], error[:, WIDTH // 2 :] = (3, 2, 1), (-5, 0, 9)
    assert halo(error) == pytest.approx(0)
    noise = np.random.default_rng(0).normal(0, 1, error.shape)
    assert halo(error + noise - noise.mean(0)) == pytest.approx(0)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("place", [1, 20, WIDTH - 1])
def test_a_seam_is_the_step_on_a_ramp(turned: bool, place: int) -> None:
    """On a ramp of 0.25 codes a column, a step of 3 codes downwards is one of 2.75."""
    values = 0.25 * np.arange(WIDTH)
    values[place:] -= 3
    error = columns(values)
    assert seam(error.transpose(1, 0, 2) if turned else error) == pytest.approx(2.75)


def test_a_seam_across_part_of_a_picture_counts_by_its_length() -> None:
    error = np.zeros((HEIGHT, WIDTH, 3))
    error[: HEIGHT // 4, 30:, 1] = 8
    assert seam(error) == pytest.approx(max(8 / 4, 8 * (WIDTH - 30) / WIDTH))


def test_smooth_errors_have_hardly_a_seam() -> None:
    wave = columns(5 * np.sin(2 * np.pi * np.arange(WIDTH) / WIDTH))
    assert seam(wave) < 5 * 2 * np.pi / WIDTH


def test_the_ramp_itself_is_smooth() -> None:
    assert seam(ramp(768, 1024).astype(float)) <= 1


class Unchanging(Runtime):
    """An artifact whose maps change nothing."""

    name = device = "none"
    path = Path("none")

    def __init__(self) -> None:
        super().__init__()
        self.spec: ImageSpec = make_spec(FIXED, output="maps", width=0)

    def maps(self, batch: NDArray[Any]) -> Maps:
        return Maps(np.repeat(IDENTITY[None], len(batch), axis=0))

    def _run(self, inputs: Any) -> Any:
        raise NotImplementedError


class Drawn(nn.Module):
    """A network that adds `codes` everywhere, `beside` in the middle column, and `below` from the lower half on.

    To the grey of the edge's bright half it adds `bright`; no other picture here has much of it.
    """

    def __init__(self, codes: float, beside: float = 0, below: float = 0, bright: float = 0) -> None:
        super().__init__()
        self.codes, self.beside, self.below, self.bright = codes, beside, below, bright

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        added = torch.full_like(image, self.codes)
        added[:, :, height // 2 :] += self.below
        added[:, :, :, width // 2] += self.beside
        added += self.bright * (255 * image - 192).abs().lt(0.1).all(1, keepdim=True)
        return image + added / 255


def test_a_known_network_is_measured() -> None:
    photos = {"smooth": 64 + picture(0) // 2}
    still = measure(Unchanging(), Drawn(0), photos)  # type: ignore[arg-type]
    assert (still.psnr_min, still.de_p99_max) == ((IDENTICAL,) * 2, (0, 0))
    assert (still.halo, still.seam) == (pytest.approx(0, abs=1e-3), pytest.approx(0, abs=1e-3))
    assert (still.photographs, still.enlarged, still.network, still.sides) == (tuple(photos), True, (48, 64), SIDES)
    found = measure(Unchanging(), Drawn(2, beside=-6, below=4, bright=-3), photos)  # type: ignore[arg-type]
    assert found.halo == pytest.approx(6, abs=1e-3)
    assert found.seam == pytest.approx(6, abs=0.05)
    for psnr, side in zip(found.psnr_min, SIDES, strict=True):
        squares = (4 + 36) / 2 + (16 - 4) / side  # of 2 and 6, and of -4 and 0 in one column
        assert psnr == pytest.approx(10 * math.log10(255**2 / squares), abs=0.02)
