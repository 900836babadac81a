"""The losses, one function per equation. Images are N x 3 x H x W in [-1, 1]; scores are lists of score maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bncagan.data.camera import LUMA
from bncagan.training.perceptual import PerceptualFeatures

IDENTITY_SCALES = ((1, 1.0), (2, 0.5), (4, 0.25))  # (divisor of the size, weight)
GRADIENT_SCALES = (1, 4, 16)  # divisors of the size
GRADIENT_WEIGHT = 3.0
COLOUR_WEIGHT = 5.0
SQUARE_WEIGHT = 2.0
SQUARE_FLOOR = 1e-3  # below it, a sample counts as good

Scores = Sequence[Tensor]
Mean = Callable[[Tensor], Tensor]


def relativistic_hinge_d(high: Scores, low: Scores, fake: Scores, expectation: Mean = torch.mean) -> Tensor:
    """L_D, eq. 4: pushes scores of high-quality images above those of raw and enhanced ones; summed over the maps.

    expectation: of a map's scores over all images of a step, where this process has only some of them.
    """
    return sum(
        (
            F.relu(1 - (h - expectation(other))).mean() + F.relu(1 + (other - expectation(h))).mean()
            for h, low_map, fake_map in zip(high, low, fake, strict=True)
            for other in (low_map, fake_map)
        ),
        start=torch.zeros((), device=high[0].device),
    )


def relativistic_hinge_g(high: Scores, fake: Scores, expectation: Mean = torch.mean) -> Tensor:
    """L_adv^G, eq. 5: pushes scores of enhanced images above those of high-quality ones; summed over the maps.

    expectation: as of `relativistic_hinge_d`.
    """
    return sum(
        (
            F.relu(1 - (f - expectation(h))).mean() + F.relu(1 + (h - expectation(f))).mean()
            for h, f in zip(high, fake, strict=True)
        ),
        start=torch.zeros((), device=high[0].device),
    )


def perceptual(features: PerceptualFeatures, image: Tensor, translated: Tensor) -> Tensor:
    """One direction of L_per, eq. 6: weighted mean squared distance of normalized features."""
    pairs = zip(features.weights, features(image), features(translated), strict=True)
    return sum((weight * F.mse_loss(b, a) for weight, a, b in pairs), start=image.new_zeros(()))


def identity(target: Tensor, translated: Tensor) -> Tensor:
    """One direction of L_idt, eq. 7: L1 at full, half and quarter size, weighted 1, 1/2, 1/4.

    The target is an unpaired image of the other domain, as in the paper. The network can therefore learn only average
    colour and contrast from it, not content.
    """
    return sum(
        (
            weight * F.l1_loss(F.avg_pool2d(translated, divisor), F.avg_pool2d(target, divisor))
            for divisor, weight in IDENTITY_SCALES
        ),
        start=target.new_zeros(()),
    )


def gradient_difference(target: Tensor, image: Tensor) -> Tensor:
    """Mean difference of the horizontal and vertical gradients, summed over the sizes of `GRADIENT_SCALES`.

    Mathieu, Couprie and LeCun, Deep multi-scale video prediction beyond mean square error (2016), but with signed
    gradients. The scale of 16 px sees halos.
    """
    total = target.new_zeros(())
    for divisor in GRADIENT_SCALES:
        error = F.avg_pool2d(image - target, divisor)
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return total


def supervised(original: Tensor, enhanced: Tensor) -> Tensor:
    """L_sup, not in the paper: distance of an enhanced rendering to its original, in luma, colours and gradients.

    Luma (ITU-R BT.601) and colours (RGB minus luma) are compared as in eq. 7, each on its own. With one distance of R,
    G and B, an error of brightness, which the network cannot avoid, outweighs the colours, and they come out pale. The
    gradients prevent halos at edges. Colours have a larger weight because their errors are small numbers: a visible
    tint of grey is only a few codes. The logarithm of each sample's mean square is its PSNR, but for a factor: it
    counts a decibel of a noisy sample as much as one of a sample in uneven light, whose errors are far larger.
    """
    luma, target = ((image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, True) for image in (enhanced, original))
    colours = identity(original - target, enhanced - luma)
    steps = gradient_difference(original, enhanced)
    squares = torch.log((enhanced - original).square().mean((1, 2, 3)) + SQUARE_FLOOR).mean()
    return identity(target, luma) + COLOUR_WEIGHT * colours + GRADIENT_WEIGHT * steps + SQUARE_WEIGHT * squares


def domain_classification(logit_high: Tensor, logit_low: Tensor) -> Tensor:
    """L_cla, eq. 8: cross-entropy of C(x) = sigmoid(logit); high-quality images are class 1. Logits are N x 1."""
    return F.softplus(-logit_high).mean() + F.softplus(logit_low).mean()
