"""Conditioning: float32 equals float64, and noise is not amplified, even in pictures with hardly any contrast."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.checkpoint import load_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold, replaced
from bncagan.network.inference import to_unit
from bncagan.network.layers import CONTRAST, Contrast
from bncagan.network.model import Generator
from export.artifact import rounding_of
from export.coreml_norm import HalfContrast, in_halves
from runtimes.image import resize
from tests.conftest import randomise

Picture = NDArray[np.uint8]

CODE = 0.02  # codes; largest change of a pixel that float32, or noise of NOISE in the input, may cause
NOISE = 1e-6
SIZES = [(64, 64), (40, 64)]
COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "yellow": (255, 255, 0),
    "grey 63": (63, 63, 63),
    "grey 118": (118, 118, 118),
    "grey 200": (200, 200, 200),
    "skin": (205, 150, 125),
}


@pytest.fixture(scope="module", params=["small", "base"])
def shipped(request: pytest.FixtureRequest) -> FoldedGenerator:
    """The folded network with shipped weights."""
    return fold(load_generator(request.param)[0])


@pytest.fixture(scope="module", params=["small", "base", "head and small", "head alone"])
def network(request: pytest.FixtureRequest) -> FoldedGenerator:
    """The folded network with shipped weights, or with a tone head that changes every picture a lot."""
    if request.param in {"small", "base"}:
        return fold(load_generator(request.param)[0])
    generator, _ = load_generator("nano" if request.param == "head alone" else "small")
    assert generator.tone is not None
    randomise(generator.tone, seed=1)
    return fold(generator)


def flat(h: int, w: int, colour: tuple[int, int, int] = (63, 63, 63)) -> Picture:
    return np.full((h, w, 3), colour, np.uint8)


def almost_flat(h: int, w: int) -> dict[str, Picture]:
    """Pictures whose contrast is at most one code, or in one place only, or too fine for the encoder's stride of 8."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((h, w))
    one, star, patch, blue = flat(h, w), flat(h, w, (0, 0, 0)), flat(h, w), flat(h, w, (0, 0, 254))
    one[h // 2, w // 3] += 1
    star[h // 2, w // 3] = 255
    patch[8:16, 8:16] += 1
    halves = flat(h, w)
    halves[:, w // 2 :] += 1
    ramp = flat(h, w) + np.round(np.linspace(0, 3, w)).astype(np.uint8)[:, None]
    checker = np.repeat(((rows + columns) % 2 * 255)[:, :, None], 3, axis=2).astype(np.uint8)
    stripes = np.repeat((20 + columns // 4 % 2 * 20)[:, :, None], 3, axis=2).astype(np.uint8)
    return {
        "dither": blue + rng.integers(0, 2, (h, w, 3), np.uint8),
        "one pixel, one code": one,
        "one white pixel": star,
        "patch of one code": patch,
        "halves, one code apart": halves,
        "ramp of three codes": ramp,
        "checkerboard of single pixels": checker,
        "stripes of 4 pixels": stripes,
    }


def photograph(h: int, w: int) -> Picture:
    return resize(np.asarray(data.astronaut()), h, w)


def changed_fully(model: FoldedGenerator) -> FoldedGenerator:
    """The model without `Contrast`."""
    return replaced(model, Contrast, lambda _: _Whole())


class _Whole(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.ones_like(image[:, :1, :1, :1])


@torch.no_grad()
def moved_by_noise(model: FoldedGenerator, picture: Picture) -> float:
    """The largest difference, in codes, that noise of NOISE causes, in float32 and in float64."""
    noise = NOISE * (2.0 * np.random.default_rng(1).integers(0, 2, picture.shape) - 1)
    x = to_unit(picture).double()
    noisy = x + torch.from_numpy(noise).permute(2, 0, 1)[None]
    exact = copy.deepcopy(model).double()
    single = (model(noisy.float()) - model(x.float())).abs().max().item()
    return 255 * max(single, (exact(noisy) - exact(x)).abs().max().item())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_picture_of_one_colour_comes_back_exactly(network: FoldedGenerator, size: tuple[int, int]) -> None:
    x = torch.cat([to_unit(flat(*size, colour)) for colour in COLOURS.values()])
    with torch.no_grad():
        assert torch.equal(network(x), x)


def test_noise_on_one_colour_is_not_amplified(network: FoldedGenerator) -> None:
    for name, colour in COLOURS.items():
        assert moved_by_noise(network, flat(24, 32, colour)) < CODE, name


@pytest.mark.parametrize("name", almost_flat(16, 16))
def test_float32_is_float64_and_noise_stays_noise(network: FoldedGenerator, name: str) -> None:
    picture = almost_flat(64, 64)[name]
    assert rounding_of(network, [picture]).codes < CODE
    assert moved_by_noise(network, picture) < CODE


def test_a_head_without_its_contrast_changes_one_colour(random_generator: Callable[..., Generator]) -> None:
    head = fold(random_generator(0, tone=True))
    x = torch.cat([to_unit(flat(24, 32, colour)) for colour in COLOURS.values()])
    with torch.no_grad():
        moved = (changed_fully(head)(x) - x).abs().amax((1, 2, 3))
        assert torch.equal(head(x), x)
    assert (moved > 2 / 255).sum() > len(COLOURS) / 2  # saturated colours may lie at a fixed point of the curve


def test_without_the_conditioning_both_fail(random_generator: Callable[..., Generator]) -> None:
    """Shows that the tests above would find a network without `Contrast`."""
    model = changed_fully(fold(random_generator()))
    colours = [flat(64, 64, colour) for colour in COLOURS.values()]
    for pictures in (colours, [almost_flat(64, 64)["checkerboard of single pixels"]]):
        assert rounding_of(model, pictures).codes > 5 * CODE  # 0.3 on one CPU, over 10 on another
        assert min(moved_by_noise(model, picture) for picture in pictures) > 10


def test_rounding_is_that_of_the_worst_picture(random_generator: Callable[..., Generator]) -> None:
    model = fold(random_generator())
    exact = copy.deepcopy(model).double()
    pictures = [photograph(24, 32), photograph(32, 24) // 4]
    errors = []
    for picture in pictures:
        x = to_unit(picture)
        with torch.no_grad():
            errors.append(255 * (model(x).double().numpy() - exact(x.double()).numpy()))
    found = rounding_of(model, pictures)
    assert 0 < found.codes < CODE
    assert found.codes == pytest.approx(max(np.abs(error).max() for error in errors))
    assert found.psnr == pytest.approx(min(20 * np.log10(255 / error.std()) for error in errors), abs=0.1)


def test_photographs_are_changed_as_before(shipped: FoldedGenerator) -> None:
    for picture in (photograph(64, 96), photograph(64, 64) // 8, photograph(64, 96) // 16 + 200):
        x = to_unit(picture)
        with torch.no_grad():
            assert torch.equal(shipped(x), changed_fully(shipped)(x))


def test_contrast_is_the_variance_of_overlapping_means() -> None:
    rng = np.random.default_rng(2)
    images = 0.5 + rng.normal(size=(5, 3, 24, 40)) * np.array([0, 0.01, 0.03, 0.06, 0.3])[:, None, None, None]
    found = Contrast()(torch.from_numpy(images))
    assert found.shape == (5, 1, 1, 1)
    for image, share in zip(images, found.flatten().tolist(), strict=True):
        means = [
            [image[:, i : i + 8, j : j + 8].mean((1, 2)) for j in range(0, 33, 4)] for i in range(0, 17, 4)
        ]  # rows x columns x channels
        v = np.var(np.array(means), axis=(0, 1)).mean()
        assert share == pytest.approx(min(1.0, v / CONTRAST**2), rel=1e-9, abs=1e-12)
    assert found.flatten()[0] == 0
    assert 0 < found.flatten()[1] < 0.1 < found.flatten()[2] < found.flatten()[3] < 1
    assert found.flatten()[4] == 1


def test_folding_keeps_a_share_between_none_and_all(
    random_double_generator: Callable[..., Generator],
) -> None:
    g = random_double_generator()
    smooth = F.interpolate(torch.rand(2, 3, 4, 5, dtype=torch.float64), (32, 40), mode="bilinear")
    image = 0.5 + 0.02 * smooth
    share = Contrast()(image)
    assert ((share > 0.05) & (share < 0.95)).all()
    with torch.no_grad():
        expected = (g(2 * image - 1) + 1) / 2
        assert (expected - image).abs().max() > 1e-3
        assert (fold(g)(image) - expected).abs().max() < 1e-10
        assert (in_halves(fold(g))(image) - expected).abs().max() < 1e-10


def test_a_network_trains_on_pictures_of_one_colour(random_generator: Callable[..., Generator]) -> None:
    g = random_generator().train()
    image = torch.full((1, 3, 16, 16), 0.3)
    g(image).sum().backward()
    assert all(p.grad is None or (torch.isfinite(p.grad).all() and not p.grad.any()) for p in g.parameters())


@pytest.mark.parametrize("side", [32, 1024])
def test_the_share_in_halves_is_the_same(side: int) -> None:
    """All in half precision, like Core ML: 0 for a single colour, 1 for a photograph, and values in between."""
    for colour in COLOURS.values():
        assert not HalfContrast()(to_unit(flat(side, side, colour)).half()).any()
    dim = to_unit(photograph(side, side)) / 40 + 0.4
    lone = torch.zeros_like(dim)
    lone[:, :, side // 2, side // 2] = 1
    for x in (to_unit(photograph(side, side)), dim, lone):
        expected = Contrast()(x.half())
        assert HalfContrast()(x.half()).item() == pytest.approx(expected.item(), rel=0.03, abs=0.01)
