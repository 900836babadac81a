"""Folding: the one-way door from the trained generator to a small fixed inference graph.

`fold` returns a converted copy; its argument stays as it is. The six rewrites are functions, each with the cases in
which it is exact; `bncagan fold --report` and the tests measure each one's error in float64. The folded network's
arithmetic is what converters keep: `torch.sqrt` and a division, biased variances, means in two stages, no
normalization nodes (each of the alternatives is rewritten into something else by some converter).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.layers import (
    BNM,
    EPS,
    RESIDUALS,
    AttentionMask,
    RhoNorm,
    Style,
    instance_norm,
    layer_norm,
    statistics_dtype,
)
from bncagan.model import Decoder, Encoder, Generator, Tail, UpConv, upsample

Module = TypeVar("Module", bound=nn.Module)


class ConstantNorm(nn.Module):
    """Eq. 3 under a fixed style: gamma * (rho * IN + (1 - rho) * LN) + beta; parameters 1 x C x 1 x 1."""

    def __init__(self, rho: Tensor, gamma: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.rho, self.gamma, self.beta = (nn.Parameter(t.clone(), requires_grad=False) for t in (rho, gamma, beta))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * (self.rho * instance_norm(x) + (1 - self.rho) * layer_norm(x)) + self.beta


class FoldedNorm(nn.Module):
    """Eq. 3 under a fixed style as one multiply-add on the image, the statistics in float32.

    m and v are the mean and variance of each channel. Those of the whole image follow from them,
    M = mean(m) and V = mean(v) + mean((m - M)^2), so one pass over the image finds both.
    """

    def __init__(self, instance_gain: Tensor, layer_gain: Tensor, beta: Tensor) -> None:
        super().__init__()
        constants = (instance_gain, layer_gain, beta)
        self.instance_gain, self.layer_gain, self.beta = (nn.Parameter(t, requires_grad=False) for t in constants)

    def forward(self, x: Tensor) -> Tensor:
        z = x.to(statistics_dtype(x))
        m = z.mean(3, keepdim=True).mean(2, keepdim=True)  # N x C x 1 x 1
        d = z - m
        v = (d * d).mean(3, keepdim=True).mean(2, keepdim=True)
        M = m.mean(1, keepdim=True)  # N x 1 x 1 x 1
        m_minus_M = m - M
        V = v.mean(1, keepdim=True) + (m_minus_M * m_minus_M).mean(1, keepdim=True)
        layer_gain = self.layer_gain / torch.sqrt(V + EPS)
        A = self.instance_gain / torch.sqrt(v + EPS) + layer_gain
        B = self.beta + layer_gain * m_minus_M
        return (d * A + B).to(x.dtype)


class FixedResidualBlock(nn.Module):
    """The shared residual block under a fixed style. N x C x H x W in and out."""

    def __init__(self, conv1: nn.Module, norm1: nn.Module, conv2: nn.Module, norm2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.norm1, self.conv2, self.norm2 = conv1, norm1, conv2, norm2

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return added


class FixedBNR(nn.Module):
    """BNR under a fixed style: six residuals concatenated and fused by a 1x1, plus the input."""

    def __init__(self, block: FixedResidualBlock, fuse: nn.Conv2d) -> None:
        super().__init__()
        self.block, self.fuse = block, fuse

    def forward(self, u: Tensor) -> Tensor:
        x, residuals = u, []
        for _ in range(RESIDUALS):
            x = self.block(x)
            residuals.append(x)
        fused: Tensor = self.fuse(torch.cat(residuals, dim=1)) + u
        return fused


class SummedBNR(nn.Module):
    """FixedBNR as a running sum of six 1x1 convolutions; only the first has a bias."""

    def __init__(self, block: FixedResidualBlock, parts: list[nn.Conv2d]) -> None:
        super().__init__()
        self.block, self.parts = block, nn.ModuleList(parts)

    def forward(self, u: Tensor) -> Tensor:
        x, total = u, u
        for part in self.parts:
            x = self.block(x)
            total = total + part(x)
        return total


class ConvUp(nn.Module):
    """A 1x1 convolution, then twice the size by bilinear interpolation."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return upsample(self.conv(x))


class MergedTail(nn.Module):
    """The tail as one 9x9 convolution on the same reflection padding. N x w x H x W -> N x 3 x H x W."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv(F.pad(x, (4, 4, 4, 4), mode="reflect"))
        return change


class SignedRange(nn.Module):
    """[0, 1] to the network's [-1, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        return 2 * image - 1


class SignedOutput(nn.Module):
    """Image and change in [-1, 1] to the enhanced image in [0, 1]."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return ((2 * image - 1 + change).clamp(-1, 1) + 1) / 2


class UnitOutput(nn.Module):
    """Image in [0, 1] and change in (-1, 1) to the enhanced image in [0, 1]; the addition is in the image's dtype."""

    def forward(self, image: Tensor, change: Tensor) -> Tensor:
        return (image + 0.5 * change.to(image.dtype)).clamp(0, 1)


class FoldedGenerator(nn.Module):
    """The generator for inference: `image` to `enhanced`, both RGB N x 3 x H x W, float32 in [0, 1].

    H and W are multiples of 8, at least 16. The style is fixed. The parts compute in the dtype of their weights
    (`to_half`); the image itself stays in its own dtype from input to output.
    """

    def __init__(
        self, width: int, encoder: Encoder, mask: AttentionMask | None, bnr: nn.Module, decoder: Decoder
    ) -> None:
        super().__init__()
        self.width = width
        self.to_network: nn.Module = SignedRange()
        self.encoder = encoder
        self.mask = mask
        self.bnr = bnr
        self.decoder = decoder
        self.output: nn.Module = SignedOutput()

    def forward(self, image: Tensor) -> Tensor:
        skips, u = self.encoder(self.to_network(image).to(self.encoder.conv1.weight.dtype))
        if self.mask is not None:
            u = u * self.mask(pool_for_inference(u))[:, :, None, None]
        enhanced: Tensor = self.output(image, self.decoder(self.bnr(u), skips))
        return enhanced


def pool_for_inference(u: Tensor) -> Tensor:
    """F_gp of eq. 2 with the mean taken in float32. N x C x H x W -> N x 2C."""
    z = u.to(statistics_dtype(u))
    return torch.cat([z.mean(3).mean(2).to(u.dtype), u.amax((2, 3))], dim=1)


# The rewrites, in order. Each takes and returns a module of [0, 1] images; none changes its argument.


def drop_training_parts(generator: Generator, style: Style | None = None) -> FoldedGenerator:
    """Rewrite 1: style heads and classifier go; the style becomes constant.

    Exact (1) for the deploy path, which uses the running style, if `style` is None; (2) for `decode` under `style`,
    each part 1 x 8w x 1 x 1, if it is given.
    """
    source = copy.deepcopy(generator).requires_grad_(False).eval()
    gamma, beta = style or source.running_style
    ones = torch.ones_like(gamma)
    block = source.bnr.block

    def fixed(norm: nn.Module) -> ConstantNorm:
        return ConstantNorm(norm.rho if isinstance(norm, BNM) else ones, gamma, beta)

    bnr = FixedBNR(
        FixedResidualBlock(block.conv1, fixed(block.norm1), block.conv2, fixed(block.norm2)), source.bnr.fuse
    )
    for stage in (source.decoder.stage1, source.decoder.stage2):
        norm = stage.norm
        assert isinstance(norm, RhoNorm)
        stage.norm = ConstantNorm(norm.bnm.rho, norm.gamma, norm.beta)
    return FoldedGenerator(source.encoder.conv1.out_channels, source.encoder, source.mask, bnr, source.decoder).eval()


def fold_normalization(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 2: eq. 3 becomes one multiply-add with constant gains.

    Exact for every rho: outside [0, 1] it is clipped, as eq. 3 does after each training step.
    """

    def folded(norm: ConstantNorm) -> FoldedNorm:
        rho = norm.rho.clamp(0, 1)
        return FoldedNorm(norm.gamma * rho, norm.gamma * (1 - rho), norm.beta.detach())

    return _replaced(model, ConstantNorm, folded)


def convolve_before_upsampling(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 3: each 1x1 after an interpolation moves before it, a quarter of the work.

    Exact because (1) a 1x1 mixes channels and interpolation mixes positions, and (2) the weights of the interpolation
    sum to 1, so that the bias passes through.
    """
    return _replaced(model, UpConv, lambda part: ConvUp(part.conv))


def absorb_range(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 4: [0, 1] <-> [-1, 1] goes into the first convolution and the last addition.

    Exact because the first convolution pads by reflection: with zeros, the offset would differ at the border.
    """
    model = copy.deepcopy(model)
    first = model.encoder.conv1
    with torch.no_grad():
        assert first.bias is not None
        first.bias -= first.weight.sum((1, 2, 3))
        first.weight *= 2
    model.to_network = nn.Identity()
    model.output = UnitOutput()
    return model


def merge_tail(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 5: the 3x3 and the 7x7 of the tail become one 9x9.

    Exact because (1) nothing stands between them and (2) the padding comes before both.
    """

    def merged(tail: Tail) -> MergedTail:
        first, second = tail.conv1, tail.conv2
        assert first.bias is not None
        assert second.bias is not None
        conv = nn.Conv2d(first.in_channels, 3, 9, dtype=first.weight.dtype, device=first.weight.device)
        conv.requires_grad_(False)
        conv.weight.copy_(F.conv_transpose2d(second.weight, first.weight))
        conv.bias = nn.Parameter(second.bias + second.weight.sum((2, 3)) @ first.bias, requires_grad=False)
        return MergedTail(conv)

    return _replaced(model, Tail, merged)


def sum_residuals(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 6: the 1x1 over six concatenated residuals becomes a running sum of six 1x1.

    Exact because a 1x1 over a concatenation is the sum over its parts. Five residuals need not be kept.
    """

    def summed(bnr: FixedBNR) -> SummedBNR:
        parts = []
        for i, weight in enumerate(bnr.fuse.weight.chunk(RESIDUALS, dim=1)):
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=i == 0, dtype=weight.dtype, device=weight.device)
            conv.weight = nn.Parameter(weight.clone(), requires_grad=False)
            if i == 0:
                assert bnr.fuse.bias is not None
                conv.bias = nn.Parameter(bnr.fuse.bias.clone(), requires_grad=False)
            parts.append(conv)
        return SummedBNR(bnr.block, parts)

    return _replaced(model, FixedBNR, summed)


Rewrite = Callable[[FoldedGenerator], FoldedGenerator]
REWRITES: tuple[Rewrite, ...] = (
    fold_normalization,
    convolve_before_upsampling,
    absorb_range,
    merge_tail,
    sum_residuals,
)


def fold(generator: Generator, style: Style | None = None) -> FoldedGenerator:
    """The folded generator; with `style` (each part 1 x 8w x 1 x 1) another look than the trained one is baked in."""
    model = drop_training_parts(generator, style)
    for rewrite in REWRITES:
        model = rewrite(model)
    return model


def to_half(model: FoldedGenerator) -> FoldedGenerator:
    """A copy with half-precision weights; statistics, their constants, image in and image out stay float32.

    The casts stand in the module, so that every converter sees a strongly typed FP16 graph.
    """
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.half()
    return model


def _replaced(model: FoldedGenerator, kind: type[Module], make: Callable[[Module], nn.Module]) -> FoldedGenerator:
    """A copy of the model in which each part of `kind` is what `make` makes of it."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                parent.add_module(name, make(child))
    return model
