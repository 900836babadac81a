"""Each loss against loops over single numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bncagan.training import losses
from bncagan.training.perceptual import WEIGHTS, PerceptualFeatures

SIDES = ((7, 5), (4, 3), (2, 2))  # of the score maps at three scales


def score_maps(seed: int, images: int = 3) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [1.5 * torch.randn(images, 1, *side, generator=rng, dtype=torch.float64) for side in SIDES]


def constant_maps(value: float) -> list[Tensor]:
    return [torch.full((3, 1, *side), value) for side in SIDES]


def mean_hinge(values: Tensor, reference: Tensor, sign: int) -> float:
    """E[max(0, 1 + sign * (value - E[reference]))]."""
    centre = sum(reference.flatten().tolist()) / reference.numel()
    return sum(max(0.0, 1 + sign * (v - centre)) for v in values.flatten().tolist()) / values.numel()


# Adversarial, eqs. 4 and 5


def test_relativistic_hinge_d_is_equation_4() -> None:
    high, low, fake = score_maps(1), score_maps(2), score_maps(3)
    expected = sum(
        mean_hinge(h, f_l, -1) + mean_hinge(f_l, h, +1) + mean_hinge(h, f_g, -1) + mean_hinge(f_g, h, +1)
        for h, f_l, f_g in zip(high, low, fake, strict=True)
    )
    assert losses.relativistic_hinge_d(high, low, fake).item() == pytest.approx(expected, abs=1e-12)


def test_relativistic_hinge_g_is_equation_5() -> None:
    high, fake = score_maps(1), score_maps(3)
    expected = sum(mean_hinge(f, h, -1) + mean_hinge(h, f, +1) for h, f in zip(high, fake, strict=True))
    assert losses.relativistic_hinge_g(high, fake).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("low", "fake", "expected"),
    [
        pytest.param(-0.5, -0.5, 0.0, id="perfect"),
        pytest.param(0.5, 0.5, 12.0, id="cannot tell"),  # 3 maps, two pairs, 1 + 1 each
        pytest.param(0.5, -0.5, 6.0, id="takes raw images for good"),
        pytest.param(-0.5, 0.5, 6.0, id="takes enhanced images for good"),
        pytest.param(1.5, 1.5, 24.0, id="wrong way round"),
    ],
)
def test_discriminator_is_rewarded_for_ranking_good_images_first(low: float, fake: float, expected: float) -> None:
    found = losses.relativistic_hinge_d(constant_maps(0.5), constant_maps(low), constant_maps(fake))
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize(("fake", "expected"), [(1.5, 0.0), (0.5, 6.0), (-0.5, 12.0)])
def test_generator_is_rewarded_for_the_reverse(fake: float, expected: float) -> None:
    found = losses.relativistic_hinge_g(constant_maps(0.5), constant_maps(fake))
    assert found.item() == pytest.approx(expected)


def test_adversarial_losses_refuse_lists_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        losses.relativistic_hinge_g(score_maps(1), score_maps(2)[:2])
    with pytest.raises(ValueError, match="zip"):
        losses.relativistic_hinge_d(score_maps(1), score_maps(2), score_maps(3)[:2])


# Perceptual, eq. 6


def test_perceptual_is_the_weighted_squared_distance_of_features() -> None:
    class Maps(PerceptualFeatures):
        def forward(self, image: Tensor) -> list[Tensor]:
            return [image * (j + 1) for j in range(5)]

    rng = np.random.default_rng(0)
    image, translated = rng.uniform(-1, 1, (2, 2, 3, 4, 5))
    expected = sum(w * np.mean(((j + 1) * image - (j + 1) * translated) ** 2) for j, w in enumerate(WEIGHTS))
    found = losses.perceptual(Maps("squeezenet1_0"), torch.from_numpy(image), torch.from_numpy(translated))
    assert found.item() == pytest.approx(expected, abs=1e-12)
    assert WEIGHTS == (1 / 64, 1 / 64, 1 / 32, 1 / 32, 1)


# Identity, eq. 7


def shrunk(image: np.ndarray, divisor: int) -> np.ndarray:
    """Means of divisor x divisor blocks."""
    n, c, h, w = image.shape
    out = np.zeros((n, c, h // divisor, w // divisor))
    for i in range(h // divisor):
        for j in range(w // divisor):
            block = image[:, :, i * divisor : (i + 1) * divisor, j * divisor : (j + 1) * divisor]
            out[:, :, i, j] = block.sum((2, 3)) / divisor**2
    return out


def test_identity_is_l1_at_three_sizes() -> None:
    target, translated = np.random.default_rng(1).uniform(-1, 1, (2, 2, 3, 16, 24))
    expected = sum(
        weight * np.abs(shrunk(target, divisor) - shrunk(translated, divisor)).mean()
        for divisor, weight in ((1, 1), (2, 0.5), (4, 0.25))
    )
    found = losses.identity(torch.from_numpy(target), torch.from_numpy(translated))
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_identity_at_smaller_sizes_sees_no_detail() -> None:
    """A checkerboard differs only at full size, so only the term with weight 1 is left."""
    i, j = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = (1.0 - 2 * ((i + j) % 2)).expand(1, 3, 8, 8)
    assert losses.identity(torch.zeros(1, 3, 8, 8), board).item() == pytest.approx(1.0)
    assert losses.identity(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)).item() == pytest.approx(1.75)
    assert losses.identity(board, board).item() == 0


# Supervised, beyond the paper


def test_the_supervised_loss_is_eq_7_of_luma_and_of_colour_differences_and_of_steps_and_psnr() -> None:
    original, enhanced = np.random.default_rng(5).uniform(-1, 1, (2, 2, 3, 32, 48))
    parts = []
    for image in (original, enhanced):
        red, green, blue = image.swapaxes(0, 1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        parts.append((luma[:, None], np.stack([red - luma, green - luma, blue - luma], 1)))
    expected = sum(
        share * weight * np.abs(shrunk(target, divisor) - shrunk(found, divisor)).mean()
        for target, found, share in zip(*parts, (1, 5), strict=True)
        for divisor, weight in ((1, 1), (2, 0.5), (4, 0.25))
    )
    for divisor in (1, 4, 16):
        target, found = shrunk(original, divisor), shrunk(enhanced, divisor)
        for axis in (2, 3):
            steps = np.abs(np.diff(target, axis=axis) - np.diff(found, axis=axis))
            expected += 3 * sum(map(float, steps.flat)) / steps.size
    expected += sum(2 * np.log(((a - b) ** 2).mean() + 1e-3) / 2 for a, b in zip(original, enhanced, strict=True))
    total = losses.supervised(torch.from_numpy(original), torch.from_numpy(enhanced))
    assert total.item() == pytest.approx(expected, rel=1e-6)


def test_the_supervised_loss_corrects_colour_at_any_brightness() -> None:
    """For a red that came out pale and dark, plain L1 raises all channels alike, and this loss raises red the most."""
    original = torch.tensor([0.6, 0.1, 0.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    enhanced = torch.full((1, 3, 32, 32), -0.5, requires_grad=True)
    (plain,) = torch.autograd.grad(losses.identity(original, enhanced), enhanced)
    (ours,) = torch.autograd.grad(losses.supervised(original, enhanced), enhanced)
    assert torch.allclose(plain[:, 0], plain[:, 2])
    assert (ours[:, 0] < 1.5 * ours[:, 1]).all()
    assert (ours[:, 0] < ours[:, 2]).all()


def test_the_supervised_loss_corrects_halos_at_any_brightness() -> None:
    """For a dark picture with a halo, plain L1 raises all pixels alike, and this loss raises the halo the most."""
    original = torch.zeros(1, 3, 64, 64)
    enhanced = torch.full((1, 3, 64, 64), -0.5)
    enhanced[..., 32:48] = -0.6
    enhanced.requires_grad_()
    (plain,) = torch.autograd.grad(losses.identity(original, enhanced), enhanced)
    (ours,) = torch.autograd.grad(losses.supervised(original, enhanced), enhanced)
    assert torch.allclose(plain[..., :16].mean(), plain[..., 32:48].mean())
    assert ours[..., 32:48].mean() < 1.2 * ours[..., :16].mean()


# Domain classification, eq. 8


def test_domain_classification_is_equation_8() -> None:
    logit_high, logit_low = np.random.default_rng(2).normal(0, 3, (2, 5, 1))
    c_high, c_low = 1 / (1 + np.exp(-logit_high)), 1 / (1 + np.exp(-logit_low))
    expected = -(np.log(c_high).mean() + np.log(1 - c_low).mean())
    found = losses.domain_classification(torch.from_numpy(logit_high), torch.from_numpy(logit_low))
    assert found.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("high", "low", "expected"), [(40, -40, 0), (0, 0, 2 * math.log(2)), (-200, 200, 400)])
def test_domain_classification_calls_good_images_class_1(high: float, low: float, expected: float) -> None:
    found = losses.domain_classification(torch.full((2, 1), high * 1.0), torch.full((2, 1), low * 1.0))
    assert found.item() == pytest.approx(expected, abs=1e-6)
