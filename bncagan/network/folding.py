"""Folding: turn the trained generator into a smaller network for inference, which cannot be turned back.

`fold` returns a converted copy and leaves its argument unchanged. It consists of six rewrites. Each is a function whose
docstring says why it is exact; `bncagan fold` and the tests measure its error in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from bncagan.network.folded import (
    ConstantNorm,
    ConvUp,
    FixedBNR,
    FixedResidualBlock,
    FoldedGenerator,
    FoldedNorm,
    MergedTail,
    Parts,
    SummedBNR,
    UnitOutput,
)
from bncagan.network.layers import BNM, RESIDUALS, RhoNorm
from bncagan.network.model import Generator, Tail, UpConv

Module = TypeVar("Module", bound=nn.Module)


# The rewrites, in the order in which `fold` applies them. Each returns a new module and leaves its argument unchanged.


def drop_training_parts(generator: Generator) -> FoldedGenerator:
    """Rewrite 1: remove the style heads and the classifier, and make the running style constant.

    Exact because `Generator.forward` uses neither and does not change its running style.
    """
    source = copy.deepcopy(generator).requires_grad_(False).eval()
    if source.width == 0:
        alone = FoldedGenerator(0, source.tone, None)
        alone.licence = source.licence
        return alone.eval()
    gamma, beta = source.running_style
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
    parts = Parts(source.encoder, source.mask, bnr, source.decoder)
    folded = FoldedGenerator(source.width, source.tone, parts, untoned=source.untoned)
    folded.licence = source.licence
    return folded.eval()


def fold_normalization(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 2: compute eq. 3 as one multiply-add with constant gains.

    Exact for rho in [0, 1], where training keeps it; a rho outside is clipped.
    """

    def folded(norm: ConstantNorm) -> FoldedNorm:
        rho = norm.rho.clamp(0, 1)
        return FoldedNorm(norm.gamma * rho, norm.gamma * (1 - rho), norm.beta.detach())

    return replaced(model, ConstantNorm, folded)


def convolve_before_upsampling(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 3: move each 1x1 convolution from after an interpolation to before it, for a quarter of the work.

    Exact because (1) the convolution mixes only channels and the interpolation only positions, and (2) the weights of
    the interpolation sum to 1, so it does not change the bias.
    """
    return replaced(model, UpConv, lambda part: ConvUp(part.conv))


def absorb_range(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 4: merge the conversions between [0, 1] and [-1, 1] into the first convolution and the last addition.

    Exact because the first convolution pads by reflection; with zeros, the offset would be wrong at the border.
    """
    model = copy.deepcopy(model)
    if model.width == 0:
        return model
    first = model.encoder.conv1
    with torch.no_grad():
        assert first.bias is not None
        first.bias -= first.weight.sum((1, 2, 3))
        first.weight *= 2
    model.to_network = nn.Identity()
    model.output = UnitOutput()
    return model


def merge_tail(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 5: merge the 3x3 and the 7x7 convolution of the tail into one 9x9 that computes 2 x 2 pixels at once.

    Exact because (1) there is nothing between the two, (2) the padding comes before both, and (3) height and width are
    even. The new weights are computed in float64, so that hardly any CPU rounds one of them differently, which would
    change their hash. In ONNX Runtime on a CPU, a plain 9x9 measured 3 to 6 % slower; in blocks of 2 x 2, the whole
    network measured 10 % (width 32) to 13 % (width 16) faster.
    """

    def merged(tail: Tail) -> MergedTail:
        first, second = tail.conv1, tail.conv2
        assert first.bias is not None
        assert second.bias is not None
        dtype, outer = first.weight.dtype, second.weight.double()
        weight = F.conv_transpose2d(outer, first.weight.double()).to(dtype)  # 3 x w x 9 x 9
        bias = (second.bias + outer.sum((2, 3)) @ first.bias.double()).to(dtype)
        windows = [F.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)]  # one per pixel of a block
        conv = nn.Conv2d(first.in_channels, 12, 10, stride=2, dtype=dtype, device=weight.device)
        conv.weight = nn.Parameter(torch.stack(windows, dim=1).flatten(0, 1), requires_grad=False)
        conv.bias = nn.Parameter(bias.repeat_interleave(4), requires_grad=False)
        return MergedTail(conv)

    return replaced(model, Tail, merged)


def sum_residuals(model: FoldedGenerator) -> FoldedGenerator:
    """Rewrite 6: split the 1x1 convolution of six concatenated residuals into six, and add up their results.

    Exact because a 1x1 convolution of a concatenation is the sum over its parts. Five residuals need not be kept in
    memory, and in ONNX Runtime on a CPU it is 0 to 3 % faster.
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

    return replaced(model, FixedBNR, summed)


Rewrite = Callable[[FoldedGenerator], FoldedGenerator]
REWRITES: tuple[Rewrite, ...] = (
    fold_normalization,
    convolve_before_upsampling,
    absorb_range,
    merge_tail,
    sum_residuals,
)


def fold(generator: Generator, rewrites: Sequence[Rewrite] = REWRITES) -> FoldedGenerator:
    """Fold a generator for inference; the argument stays unchanged.

    rewrites: rewrites to apply after the first.

    Example:

        generator, _ = load_generator("small")
        model = fold(generator)
        enhanced = model(torch.rand(1, 3, 64, 96))  # 1 x 3 x 64 x 96 in [0, 1]
    """
    model = drop_training_parts(generator)
    for rewrite in rewrites:
        model = rewrite(model)
    return model


def to_half(model: FoldedGenerator) -> FoldedGenerator:
    """A copy with half-precision weights; the tone head, statistics, their constants and the images stay in float32."""
    # The casts are in the module, because converters of graphs to fp16 leave mixed types or an invalid order of nodes:
    # microsoft/onnxconverter-common#208, microsoft/onnxruntime#20189
    model = copy.deepcopy(model)
    kept = set() if model.tone is None else set(model.tone.modules())
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and part not in kept:
            part.half()
    return model


def replaced(model: FoldedGenerator, kind: type[Module], make: Callable[[Module], nn.Module]) -> FoldedGenerator:
    """A copy of the model in which each part of type `kind` is replaced by `make(part)`."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                parent.add_module(name, make(child))
    return model
