"""The change of a photograph as a curve and local colour maps, which apply at any size: docs/maps.md.

The tone head's curve is exact at any size. What the generator adds to it is small and local: on each window of the
network's picture it is fitted as A t + b, where t is the picture after the curve. The fit is by least squares, with a
ridge that makes A small where a window does not determine it. Covariances within windows and the mean change are then
averaged over neighbouring windows, because the network's change of a large photograph is smoother than that of its
reduced copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.folded import FoldedGenerator
from bncagan.network.layers import statistics_dtype
from bncagan.network.tone import CURVE, STEPS, ToneHead, area_mean
from runtimes.apply.change import IDENTITY
from runtimes.spec import WINDOW

PLANES = 21  # of statistics
RIDGE = 1e-3  # variance in [0, 1]^2, about (8 codes)^2, below which A shrinks to 0: docs/full-size.md
SMOOTHED = 2  # times that neighbouring windows are averaged
TOGETHER = 7  # parts of a concatenation: a shader of WebGPU has 8 buffers at least, and one is the result's


class ToldTone(nn.Module):
    """The tone head, which also tells the constants of its formula.

    N x 3 x H x W in [0, 1] -> the same after the curve, and N x 16 (see `constants`).
    """

    def __init__(self, head: ToneHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        z = image.to(statistics_dtype(image))
        decided = self.head.decide(area_mean(z))
        share = self.head.contrast(z)
        toned = z + (self.head.applied(z, decided) - z) * share
        return toned.to(image.dtype), constants(self.head, decided, share)


def constants(head: ToneHead, decided: Tensor, share: Tensor) -> Tensor:
    """The constants of the curve's formula in docs/maps.md. N x CURVE and N x 1 x 1 x 1 -> N x 16."""
    black, white, *others = (decided[:, i : i + 1] for i in range(CURVE))
    steps, (s, lift, saturation) = others[:STEPS], others[STEPS:]
    told = [0.2 * black, torch.exp(0.2 * white), *(torch.tanh(step) for step in steps), torch.tanh(s), 0.1 * lift]
    told.append(torch.exp(0.5 * saturation) - 1)
    still = torch.zeros_like(black)
    gains = torch.exp(head.warmth * head.get_buffer("red_to_blue")).flatten()
    return joined([*told, *(still + gain for gain in gains), share.flatten(1), still])


class WithMaps(nn.Module):
    """A folded generator that returns the constants of its curve and the maps of its change, all in float32.

    N x 3 x H x W in [0, 1] -> [the enhanced picture, if `picture`,] N x 16[, N x 12 x H/WINDOW x W/WINDOW, unless the
    generator is a tone head alone].
    """

    untoned: Tensor

    def __init__(self, model: FoldedGenerator, *, picture: bool, window: int = WINDOW, ridge: float = RIDGE) -> None:
        super().__init__()
        self.picture, self.window, self.ridge = picture, window, ridge
        self.generator = copy.deepcopy(model)
        head, self.generator.tone = self.generator.tone, None
        self.tone = None if head is None else ToldTone(head)
        self.register_buffer("untoned", torch.from_numpy(IDENTITY[None].copy()), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.tone is None:
            toned, told = image, self.untoned.repeat(image.shape[0], 1)
        else:
            toned, told = self.tone(image)
        enhanced, outputs = toned, [told]
        if self.generator.width:
            change = self.generator.change(toned, image)
            enhanced = self.generator.output(toned, change)
            outputs.append(colour_maps(toned, 0.5 * change, self.windows, self.ridge))
        return (enhanced, *outputs) if self.picture else tuple(outputs)

    def windows(self, values: Tensor) -> Tensor:
        """The means over windows of `window` px."""
        return F.avg_pool2d(values, self.window)


def smoothed(values: Tensor, times: int) -> Tensor:
    """The means over 3 x 3 windows, taken so many times, N x C x h x w in and out; h and w are at least 2."""
    for _ in range(times):
        values = F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="reflect"), 3, 1)
    return values


def colour_maps(
    toned: Tensor,
    change: Tensor,
    means_of: Callable[[Tensor], Tensor],
    ridge: float,
    times: int = SMOOTHED,
) -> Tensor:
    """Fit change = A toned + b on each window: N x 3 x H x W each -> N x 12 x h x w, the rows of (A | b).

    A = C (S + ridge I)^-1, b = mean(change) - A mean(toned), where S is the covariance of `toned` and C that of
    `change` with it.

    means_of: takes the means over windows, N x C x H x W -> N x C x h x w.
    times: how often S, C and mean(change) are averaged over 3 x 3 windows, mirrored at the border.
    """
    t = toned.to(statistics_dtype(toned))
    c = change.to(t.dtype)
    red, green, blue = t.chunk(3, 1)
    products = [t * t, red * green, red * blue, green * blue, red * c, green * c, blue * c]
    means = means_of(joined([t, c, *products]))  # N x PLANES x h x w
    mean, c, squares, mixed, *with_change = means.chunk(7, 1)
    r, g, b = mean.chunk(3, 1)
    variances, mixtures = squares - mean * mean, mixed - torch.cat([r * g, r * b, g * b], 1)
    with_c = [product - channel * c for product, channel in zip(with_change, (r, g, b), strict=True)]
    variances, mixtures, *covariances, c = smoothed(joined([variances, mixtures, *with_c, c]), times).chunk(6, 1)
    diagonal, beside = (variances + ridge).chunk(3, 1), mixtures.chunk(3, 1)
    columns = solve(diagonal, beside, covariances)
    offset = c - (r * columns[0] + g * columns[1] + b * columns[2])
    return joined([part[:, i : i + 1] for i in range(3) for part in (*columns, offset)])


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the second axis, at most `TOGETHER` at a time."""
    groups = [torch.cat(list(parts[i : i + TOGETHER]), 1) for i in range(0, len(parts), TOGETHER)]
    return groups[0] if len(groups) == 1 else joined(groups)


def solve(diagonal: Sequence[Tensor], beside: Sequence[Tensor], right: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Solve S x = right for a symmetric, positive definite 3 x 3 matrix S at every place.

    diagonal: S00, S11, S22. beside: S01, S02, S12. right: its three rows, each of any number of columns.

    By S = L D L^T: in float32, a window of grey pixels with much contrast cost the quotient of adjugate and determinant
    5 % of its accuracy.
    """
    s00, s11, s22 = diagonal
    s01, s02, s12 = beside
    l01, l02 = s01 / s00, s02 / s00
    d1, rest = s11 - l01 * s01, s12 - l01 * s02
    l12 = rest / d1
    d2 = s22 - l02 * s02 - l12 * rest
    y0, y1 = right[0], right[1] - l01 * right[0]
    x2 = (right[2] - l02 * y0 - l12 * y1) / d2
    x1 = y1 / d1 - l12 * x2
    return y0 / s00 - l01 * x1 - l02 * x2, x1, x2
