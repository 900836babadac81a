"""The parts of the network, compared with plain formulations of the paper's equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.layers import (
    BNM,
    BNR,
    CAM,
    EPS,
    AttentionMask,
    ResidualBlock,
    RhoNorm,
    Style,
    StyledInstanceNorm,
    StyleHead,
    clip_rho,
    conv,
    pool,
)
from tests.conftest import randomise

CHANNELS = 6
EXACT = {"rtol": 0, "atol": 1e-12}


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Features whose channels differ in mean and scale, so that IN and LN give very different results."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    channel = torch.randn(1, shape[1], 1, 1, generator=rng, dtype=torch.float64)
    return x * channel.exp() + 2 * channel


def random_style(images: int, channels: int = CHANNELS) -> Style:
    rng = torch.Generator().manual_seed(2)
    gamma, beta = torch.randn(2, images, channels, 1, 1, generator=rng, dtype=torch.float64)
    return Style(gamma, beta)


def randomised(module: nn.Module) -> nn.Module:
    randomise(module)
    return module.double()


def plain_bnm(x: Tensor, rho: Tensor, style: Style) -> Tensor:
    """Eq. 3 computed with torch's own normalizations."""
    mixed = rho * F.instance_norm(x, eps=EPS) + (1 - rho) * F.layer_norm(x, x.shape[1:], eps=EPS)
    return style.gamma * mixed + style.beta


def plain_conv(x: Tensor, module: nn.Conv2d) -> Tensor:
    """A convolution after an explicit reflection padding."""
    n = module.weight.shape[2] // 2
    return F.conv2d(F.pad(x, (n, n, n, n), mode="reflect"), module.weight, module.bias, module.stride)


def plain_block(x: Tensor, block: ResidualBlock, style: Style, rhos: tuple[Tensor, Tensor]) -> Tensor:
    y = torch.clamp(plain_bnm(plain_conv(x, block.conv1), rhos[0], style), min=0)
    return x + plain_bnm(plain_conv(y, block.conv2), rhos[1], style)


# Normalization, eq. 3


def test_bnm_is_the_mix_of_torchs_instance_and_layer_norm() -> None:
    bnm, x, style = randomised(BNM(CHANNELS)), draw(3, CHANNELS, 9, 7), random_style(3)
    torch.testing.assert_close(bnm(x, style), plain_bnm(x, bnm.rho, style), **EXACT)


def test_bnm_without_the_mix_is_instance_norm_under_the_style() -> None:
    x, style = draw(3, CHANNELS, 9, 7), random_style(3)
    expected = style.gamma * F.instance_norm(x, eps=EPS) + style.beta
    torch.testing.assert_close(StyledInstanceNorm()(x, style), expected, **EXACT)


@pytest.mark.parametrize("with_rho", [True, False])
@pytest.mark.parametrize(("dtype", "offset", "step"), [(torch.bfloat16, 256, 2.0), (torch.float16, 1024, 1.0)])
def test_statistics_of_half_precision_input_are_float32(
    with_rho: bool, dtype: torch.dtype, offset: float, step: float
) -> None:
    """Around `offset` the dtype has steps of `step`, so a mean rounded to it would be visibly wrong."""
    rng = torch.Generator().manual_seed(3)
    codes = torch.randint(0, 8, (2, CHANNELS, 16, 16), generator=rng) + torch.arange(CHANNELS)[:, None, None]
    x = (offset + step * codes).to(dtype)
    assert torch.equal(x.double(), offset + step * codes)
    style = random_style(2)
    norm = randomised(BNM(CHANNELS)) if with_rho else StyledInstanceNorm()
    rho = norm.rho if isinstance(norm, BNM) else torch.ones(1, 1, 1, 1)
    expected = plain_bnm(x.double(), rho, style)
    found = norm.float()(x, Style(style.gamma.float(), style.beta.float()))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-4)


def test_clip_rho_clips_every_rho_and_nothing_else() -> None:
    module = nn.ModuleList([BNM(4), RhoNorm(4), BNR(4, use_bnm=True)])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(-1, 2, parameter.numel()).view_as(parameter))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    clip_rho(module)
    for name, value in module.state_dict().items():
        expected = before[name].clamp(0, 1) if name.endswith("rho") else before[name]
        assert torch.equal(value, expected), name
    assert sum(name.endswith("rho") for name in before) == 4


def test_rho_norm_starts_as_layer_norm() -> None:
    x = draw(2, CHANNELS, 8, 8)
    torch.testing.assert_close(RhoNorm(CHANNELS).double()(x), F.layer_norm(x, x.shape[1:], eps=EPS), **EXACT)


def test_rho_norm_has_a_style_of_its_own() -> None:
    norm, x = randomised(RhoNorm(CHANNELS)), draw(2, CHANNELS, 8, 8)
    torch.testing.assert_close(norm(x), plain_bnm(x, norm.bnm.rho, Style(norm.gamma, norm.beta)), **EXACT)


# Attention and style, eq. 2


def test_pool_is_means_then_maxima() -> None:
    u = draw(2, CHANNELS, 5, 7)
    pooled = pool(u)
    assert pooled.shape == (2, 2 * CHANNELS)
    for n in range(2):
        for c in range(CHANNELS):
            values = [u[n, c, i, j].item() for i in range(5) for j in range(7)]
            assert pooled[n, c].item() == pytest.approx(sum(values) / 35, abs=1e-12)
            assert pooled[n, CHANNELS + c].item() == max(values)


def test_attention_mask_is_the_sigmoid_of_a_linear_layer() -> None:
    mask, pooled = randomised(AttentionMask(CHANNELS)), draw(2, 2 * CHANNELS, 1, 1).flatten(1)
    found = mask(pooled)
    assert found.shape == (2, CHANNELS)
    for n in range(2):
        for c in range(CHANNELS):
            logit = sum(w * p for w, p in zip(mask.fc.weight[c], pooled[n], strict=True)) + mask.fc.bias[c]
            assert found[n, c].item() == pytest.approx(1 / (1 + torch.exp(-logit).item()), abs=1e-12)


def test_style_head_starts_around_gamma_1_and_beta_0() -> None:
    style = StyleHead(CHANNELS)(torch.zeros(3, 2 * CHANNELS))
    assert torch.equal(style.gamma, torch.ones(3, CHANNELS, 1, 1))
    assert torch.equal(style.beta, torch.zeros(3, CHANNELS, 1, 1))


def test_style_head_gives_gamma_first_then_beta() -> None:
    head, pooled = randomised(StyleHead(CHANNELS)), draw(3, 2 * CHANNELS, 1, 1).flatten(1)
    expected = pooled @ head.fc.weight.T + head.fc.bias
    gamma, beta = head(pooled)
    assert gamma.shape == beta.shape == (3, CHANNELS, 1, 1)
    torch.testing.assert_close(torch.cat([gamma, beta], dim=1).flatten(1), expected, **EXACT)


# The residual module, Fig. 2(a)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 7])
def test_conv_pads_by_reflection_and_divides_the_size_by_its_stride(kernel: int, stride: int) -> None:
    module, x = randomised(conv(CHANNELS, 4, kernel, stride)), draw(2, CHANNELS, 16, 24)
    assert module(x).shape == (2, 4, 16 // stride, 24 // stride)
    torch.testing.assert_close(module(x), plain_conv(x, module), **EXACT)


@pytest.mark.parametrize("use_bnm", [True, False])
def test_bnr_is_one_shared_block_six_times_then_a_fusion(use_bnm: bool) -> None:
    bnr, u, style = randomised(BNR(CHANNELS, use_bnm=use_bnm)), draw(2, CHANNELS, 6, 5), random_style(2)
    block, one = bnr.block, torch.ones(1, 1, 1, 1)
    rhos = (block.norm1.rho, block.norm2.rho) if use_bnm else (one, one)
    x1 = plain_block(u, block, style, rhos)
    x2 = plain_block(x1, block, style, rhos)
    x3 = plain_block(x2, block, style, rhos)
    x4 = plain_block(x3, block, style, rhos)
    x5 = plain_block(x4, block, style, rhos)
    x6 = plain_block(x5, block, style, rhos)
    fuse = bnr.fuse.weight[:, :, 0, 0]
    expected = torch.einsum("oi,nihw->nohw", fuse, torch.cat([x1, x2, x3, x4, x5, x6], dim=1))
    expected = expected + bnr.fuse.bias[:, None, None] + u
    torch.testing.assert_close(bnr(u, style), expected, rtol=1e-12, atol=1e-11)


# Colour attention, Fig. 1(c)


def mixed_colours(image: Tensor, part: nn.Conv2d) -> Tensor:
    """A 1x1 convolution, written as a sum."""
    return torch.einsum("oi,nihw->nohw", part.weight[:, :, 0, 0], image) + part.bias[:, None, None]


def test_cam_is_attention_between_three_colours() -> None:
    cam, features = randomised(CAM(CHANNELS)), 0.2 * draw(2, CHANNELS, 4, 5)
    image = mixed_colours(features, cam.project)
    q, k, v = (mixed_colours(image, part) for part in (cam.query, cam.key, cam.value))
    logits = torch.einsum("nihw,njhw->nij", q, k) / (4 * 5)
    A = logits.exp() / logits.exp().sum(2, keepdim=True)
    expected = cam.gate * torch.einsum("nij,nihw->njhw", A, v) + image
    assert expected.shape == (2, 3, 4, 5)
    assert 0.01 < A.amax().item() < 0.99, "a saturated softmax would not tell its axes apart"
    torch.testing.assert_close(cam(features), expected, **EXACT)


def test_cam_starts_as_the_projection_alone() -> None:
    cam, features = CAM(CHANNELS).double(), draw(2, CHANNELS, 4, 5)
    torch.testing.assert_close(cam(features), mixed_colours(features, cam.project), **EXACT)
    assert cam.gate.requires_grad
