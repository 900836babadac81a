"""The tone head: one curve and one saturation for a whole photograph, chosen from a small copy of it.

This is not in the paper. There, the generator also decides how bright a photograph should be. Its normalized features
are a poor judge of that: every photograph came back with nearly the same mean, night skies as grey day, and the
decision changed with the size of the picture. The head decides from a 48 x 48 copy of the whole photograph, so that
the size, tiles and strips do not matter, and the generator repairs what the curve reveals: enhanced = G(T(x)).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bncagan.network.layers import Contrast, statistics_dtype
from runtimes.image import LUMA_WEIGHTS

SIDE = 48  # height and width of the copy, px
STEPS = 6  # quadratic steps of the curve
CURVE = STEPS + 5  # parameters of the curve: black, white, steps, S, lift, saturation
# Levels of a soft histogram of luma, denser in the dark, and the widths of its steps
LEVELS = (0.004, 0.008, 0.014, 0.022, 0.032, 0.044, 0.058, 0.075, 0.095, 0.12, 0.15, 0.185, 0.22, 0.26, 0.3, 0.35, 0.4,
          0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97, 0.985)  # fmt: skip
LEVEL_WIDTHS = tuple(min(max(level / 2, 0.008), 0.1) for level in LEVELS)
# Levels of a soft histogram of light relative to the brightest parts, in stops, and the width of its steps
STOPS = tuple(stop / 2 for stop in range(-15, 3))
STOP_WIDTH = 0.7
BORDER = 1  # cells of the copy that are not looked at on each side: there lie frames, and what the runtimes pad
HIDDEN = 64
MEMBERS = 4  # decisions whose mean is taken
FEATURES = len(LEVELS) + 9 + len(STOPS) + 2 + 4


def area_weights(length: int, like: Tensor) -> Tensor:
    """The share of each of `length` pixels in the mean of each of 48 equal cells; 48 x length, every row sums to 1."""
    cell = length / SIDE
    first = torch.arange(SIDE, dtype=like.dtype, device=like.device)[:, None] * cell
    pixel = torch.arange(length, dtype=like.dtype, device=like.device)[None]
    covered = torch.minimum(first + cell, pixel + 1) - torch.maximum(first, pixel)
    return covered.clamp(min=0) / cell


def area_mean(image: Tensor) -> Tensor:
    """The means over 48 x 48 equal cells of an image of any size. N x C x H x W -> N x C x 48 x 48.

    Two matrix products, because adaptive pooling cannot be exported with free shapes.
    """
    height, width = image.shape[2:]
    return area_weights(height, image) @ (image @ area_weights(width, image).transpose(0, 1))


def luma(image: Tensor) -> Tensor:
    """N x 3 x H x W -> N x 1 x H x W."""
    red, green, blue = LUMA_WEIGHTS
    return image[:, :1] * red + image[:, 1:2] * green + image[:, 2:] * blue


def shares_above(values: Tensor, levels: Tensor, widths: Tensor) -> Tensor:
    """A soft histogram: the share of P values above each of L levels, with linear steps. N x P -> N x L."""
    return ((values[:, None] - levels[:, None]) / widths[:, None] + 0.5).clamp(0, 1).mean(2)


class Decision(nn.Module):
    """The parameters of the curve from the features of a photograph, N x FEATURES -> N x CURVE.

    A multilayer perceptron and a linear layer beside it. It starts with parameters of 0, which change nothing.
    """

    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, CURVE)
        )
        self.direct = nn.Linear(FEATURES, CURVE, bias=False)
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        for parameter in (last.weight, last.bias, self.direct.weight):
            nn.init.zeros_(parameter)
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_deviation", torch.ones(FEATURES))

    def forward(self, features: Tensor) -> Tensor:
        return self.from_normalized((features - self.feature_mean) / self.feature_deviation)

    def from_normalized(self, features: Tensor) -> Tensor:
        """The same for features of mean 0 and deviation 1."""
        decided: Tensor = self.mlp(features) + self.direct(features)
        return decided


class ToneHead(nn.Module):
    """T: black and white level, six quadratic steps, an S and a saturation for each photograph.

    Takes and returns RGB, N x 3 x H x W in [0, 1]. It starts as the identity. The parameters are the mean of what four
    members decide, which were trained alike on other renderings: one alone depends on chance. A picture with hardly any
    contrast receives less of the change, and one of a single colour none; see `Contrast`.
    """

    warmth: Tensor  # logarithm of the gain of red against green and of green against blue; 0 unless it is a look

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Decision() for _ in range(MEMBERS))
        self.register_buffer("warmth", torch.zeros(()))
        self.register_buffer("red_to_blue", torch.tensor([1.0, 0, -1]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("levels", torch.tensor(LEVELS), persistent=False)
        self.register_buffer("level_widths", torch.tensor(LEVEL_WIDTHS), persistent=False)
        self.register_buffer("stops", torch.tensor(STOPS), persistent=False)
        self.register_buffer("stop_widths", torch.full((len(STOPS),), STOP_WIDTH), persistent=False)
        self.contrast: nn.Module = Contrast()

    def features(self, small: Tensor) -> Tensor:
        """What the decision is made from; N x 3 x 48 x 48 in [0, 1] -> N x FEATURES.

        `tones` and `colours` tell how bright the photograph is. `shape` and `ratios` do not change with the exposure:
        from them comes that a photograph looks the same after any of several exposures.
        """
        small = small[:, :, BORDER:-BORDER, BORDER:-BORDER]
        y = luma(small).flatten(1)  # N x P
        return torch.cat([self.tones(y), self.colours(small, y), self.shape(y), self.ratios(small, y)], 1)

    def tones(self, y: Tensor) -> Tensor:
        """The shares of luma (N x P) above 30 levels, its log mean, mean and deviation."""
        mean = y.mean(1, keepdim=True)
        deviation = torch.sqrt((y - mean).square().mean(1, keepdim=True) + 1e-8)
        shares = shares_above(y, self.get_buffer("levels"), self.get_buffer("level_widths"))
        return torch.cat([shares, torch.log(y + 0.02).mean(1, keepdim=True), mean, deviation], 1)

    def colours(self, small: Tensor, y: Tensor) -> Tensor:
        """Colourfulness, the cast of each channel, the share of clipped pixels and the mean saturation."""
        highest, lowest = small.amax(1).flatten(1), small.amin(1).flatten(1)
        span = highest - lowest
        cast = small.flatten(2).mean(2) - y.mean(1, keepdim=True)
        clipped = ((highest - 0.95) / 0.04).clamp(0, 1).mean(1, keepdim=True)
        return torch.cat(
            [span.mean(1, keepdim=True), cast, clipped, (span / (highest + 0.02)).mean(1, keepdim=True)], 1
        )

    def shape(self, y: Tensor) -> Tensor:
        """The shares of light above 18 levels relative to the top, the top in stops, and the mean relative light.

        The top is the mean of the fourth powers to the power 1/4, which needs no sorting.
        """
        light = torch.exp(2.4 * torch.log((y.clamp(min=0) + 0.055) / 1.055))  # sRGB's, without its linear part
        light = (light - 8e-4).clamp(min=1e-5)
        top = torch.sqrt(torch.sqrt(light.square().square().mean(1, keepdim=True)))
        relative = torch.log(light / top + 2**-9) / math.log(2)
        shares = shares_above(relative, self.get_buffer("stops"), self.get_buffer("stop_widths"))
        return torch.cat([shares, torch.log(top) / math.log(2), relative.mean(1, keepdim=True)], 1)

    def ratios(self, small: Tensor, y: Tensor) -> Tensor:
        """Colourfulness and the cast of each channel relative to the mean luma."""
        span = (small.amax(1) - small.amin(1)).flatten(1).mean(1, keepdim=True)
        mean = y.mean(1, keepdim=True)
        return torch.cat([span, small.flatten(2).mean(2) - mean], 1) / (mean + 0.01)

    def decide(self, small: Tensor) -> Tensor:
        """The parameters of the curve for the 48 x 48 copy of a photograph, N x 3 x 48 x 48 -> N x CURVE."""
        features = self.features(small)
        first, *others = (member(features) for member in self.members)
        decided: Tensor = sum(others, first) / MEMBERS
        return decided

    def applied(self, image: Tensor, parameters: Tensor) -> Tensor:
        """The curve, the saturation and the warmth. N x 3 x H x W in [0, 1] and N x CURVE -> N x 3 x H x W in [0, 1].

        The parameters of a small copy serve the photograph at any size.
        """
        p = parameters[:, :, None, None, None].unbind(1)  # each N x 1 x 1 x 1
        y = curved(image, p)
        y = y + (y - luma(y)) * (torch.exp(0.5 * p[CURVE - 1]) - 1)
        return (y * torch.exp(self.warmth * self.get_buffer("red_to_blue"))).clamp(0, 1)

    def forward(self, image: Tensor) -> Tensor:
        z = image.to(statistics_dtype(image))
        return self.changed(z, self.decide(area_mean(z))).to(image.dtype)

    def changed(self, image: Tensor, parameters: Tensor) -> Tensor:
        """As `applied`, with the change scaled by the contrast of the image."""
        mixed: Tensor = image + (self.applied(image, parameters) - image) * self.contrast(image)
        return mixed


def curved(image: Tensor, p: tuple[Tensor, ...]) -> Tensor:
    """Black and white level, the quadratic steps y + a y (1 - y), the S, and the lift, for each channel alike."""
    # What is added is summed on its own: it is small, and half precision is finer near 0.
    start = ((image - 0.2 * p[0]) * torch.exp(0.2 * p[1])).clamp(0, 1)
    first, *others = p[2 : 2 + STEPS]
    added = torch.tanh(first) * (start * (1 - start))
    y = start + added
    for step in others:
        added = added + torch.tanh(step) * (y * (1 - y))
        y = start + added
    s, lift = p[2 + STEPS], p[3 + STEPS]
    added = added + torch.tanh(s) * (y * (1 - y)) * (2 * y - 1)
    y = start + added
    return start + (added + 0.1 * lift * (1 - y))
