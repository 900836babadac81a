"""The objectives, one equation each. Images are N x 3 x H x W in [-1, 1]; score maps come one list per batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bncagan.data.rendering import LUMA
from bncagan.training.perceptual import PerceptualFeatures

IDENTITY_SCALES = ((1, 1.0), (2, 0.5), (4, 0.25))  # divisor of the size, weight
GRADIENT_SCALES = (1, 4, 16)  # divisors of the size
GRADIENT_WEIGHT = 3.0
COLOUR_WEIGHT = 5.0

Scores = Sequence[Tensor]


def relativistic_hinge_d(high: Scores, low: Scores, fake: Scores) -> Tensor:
    """L_D, eq. 4: high-quality scores above both raw and enhanced low-quality ones; summed over the score maps."""
    return sum(
        (
            F.relu(1 - (h - other.mean())).mean() + F.relu(1 + (other - h.mean())).mean()
            for h, low_map, fake_map in zip(high, low, fake, strict=True)
            for other in (low_map, fake_map)
        ),
        start=torch.zeros((), device=high[0].device),
    )


def relativistic_hinge_g(high: Scores, fake: Scores) -> Tensor:
    """L_adv^G, eq. 5: enhanced scores above the high-quality ones; summed over the score maps."""
    return sum(
        (
            F.relu(1 - (f - h.mean())).mean() + F.relu(1 + (h - f.mean())).mean()
            for h, f in zip(high, fake, strict=True)
        ),
        start=torch.zeros((), device=high[0].device),
    )


def perceptual(features: PerceptualFeatures, image: Tensor, translated: Tensor) -> Tensor:
    """One direction of L_per, eq. 6: weighted mean squared distance of normalized backbone features."""
    pairs = zip(features.weights, features(image), features(translated), strict=True)
    return sum((weight * F.mse_loss(b, a) for weight, a, b in pairs), start=image.new_zeros(()))


def identity(target: Tensor, translated: Tensor) -> Tensor:
    """One direction of L_idt, eq. 7: L1 at full, half and quarter size, weighted 1, 1/2, 1/4.

    As the equation has it, the target is the other domain's unpaired image, so what is learned is its colour and
    contrast on average, not its content.
    """
    return sum(
        (
            weight * F.l1_loss(F.avg_pool2d(translated, divisor), F.avg_pool2d(target, divisor))
            for divisor, weight in IDENTITY_SCALES
        ),
        start=target.new_zeros(()),
    )


def gradient_difference(target: Tensor, image: Tensor) -> Tensor:
    """Mean distance of the steps between neighbours, down and across, of the pictures at the sizes `GRADIENT_SCALES`.

    Mathieu, Couprie and LeCun, Deep multi-scale video prediction beyond mean square error (2016), without the absolute
    value of each gradient. Steps of 16 px are those of halos.
    """
    total = target.new_zeros(())
    for divisor in GRADIENT_SCALES:
        error = F.avg_pool2d(image - target, divisor)
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return total


def supervised(original: Tensor, enhanced: Tensor) -> Tensor:
    """L_sup, beyond the paper: eq. 7 for the luma (ITU-R BT.601), for the three colours less the luma, and their steps.

    For a rendering's original as the target. How bright it was cannot be known, and an enhancement that is too dark or
    too bright pulls every pixel the same way, whatever its colour and its neighbours: with the distance of R, G and B
    alone, colours then come back pale, and with colours apart, edges get halos. Colours weigh more than luma because
    they differ less: a tint that is seen on grey is an error of few codes.
    """
    luma, target = ((image * image.new_tensor(LUMA).view(3, 1, 1)).sum(1, True) for image in (enhanced, original))
    colours = identity(original - target, enhanced - luma)
    steps = gradient_difference(original, enhanced)
    return identity(target, luma) + COLOUR_WEIGHT * colours + GRADIENT_WEIGHT * steps


def domain_classification(logit_high: Tensor, logit_low: Tensor) -> Tensor:
    """L_cla, eq. 8: cross-entropy of C(x) = sigmoid(logit), high-quality images being class 1. Logits are N x 1."""
    return F.softplus(-logit_high).mean() + F.softplus(logit_low).mean()
