"""Generator and discriminator, compared with plain functions of their weights; every parameter gets a gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.config import LossWeights, ModelConfig
from bncagan.network.folding import fold
from bncagan.network.layers import EPS, RESIDUALS, Style, pool
from bncagan.network.model import Discriminator, Generator, UpConv, upsample
from bncagan.training import losses
from bncagan.training.directions import Translations
from bncagan.training.perceptual import PerceptualFeatures
from tests.conftest import randomise

MakeGenerator = Callable[..., Generator]

SWITCHES = [{}, {"use_aac": False}, {"use_bnm": False}, {"use_aac": False, "use_bnm": False}]
GRADIENT_SWITCHES = [*SWITCHES, {"use_cam": False}]
AUTHORS_PARAMETERS = 10.85e6  # generator in the authors' code; most of them are unused


def switches_id(switches: Mapping[str, bool]) -> str:
    return "-".join(name.replace("use_", "no_") for name in switches) or "full"


def draw_image(images: int, height: int, width: int) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.rand(images, 3, height, width, generator=rng, dtype=torch.float64) * 1.6 - 0.8


# The whole generator as plain functions


def plain_conv(w: Mapping[str, Tensor], name: str, x: Tensor, pad: int = 0, stride: int = 1) -> Tensor:
    padded = F.pad(x, (pad, pad, pad, pad), mode="reflect") if pad else x
    return F.conv2d(padded, w[f"{name}.weight"], w.get(f"{name}.bias"), stride)


def plain_norm(x: Tensor, rho: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    mixed = rho * F.instance_norm(x, eps=EPS) + (1 - rho) * F.layer_norm(x, x.shape[1:], eps=EPS)
    return gamma * mixed + beta


def plain_upsample(x: Tensor) -> Tensor:
    """Double the size: a new pixel is 3/4 of the nearer and 1/4 of the farther old one; the border is repeated."""

    def rows(y: Tensor) -> Tensor:
        above = torch.cat([y[:, :, :1], y[:, :, :-1]], dim=2)
        below = torch.cat([y[:, :, 1:], y[:, :, -1:]], dim=2)
        return torch.stack([0.75 * y + 0.25 * above, 0.75 * y + 0.25 * below], dim=3).flatten(2, 3)

    return rows(rows(x).transpose(2, 3)).transpose(2, 3)


def plain_generator(w: Mapping[str, Tensor], image: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """G with a style, from its weights and eqs. 1 to 3; where weights are absent, the part is ablated."""

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    full = leaky(plain_conv(w, "encoder.conv1", image, 3))
    half = leaky(plain_conv(w, "encoder.conv2", full, 1, 2))
    quarter = leaky(plain_conv(w, "encoder.conv3", half, 1, 2))
    u = leaky(plain_conv(w, "encoder.conv4", quarter, 1, 2))
    if "mask.fc.weight" in w:
        pooled = torch.cat([u.flatten(2).mean(2), u.flatten(2).max(2).values], dim=1)
        u = u * torch.sigmoid(pooled @ w["mask.fc.weight"].T + w["mask.fc.bias"])[:, :, None, None]

    x, residuals, one = u, [], torch.ones(1, 1, 1, 1)
    for _ in range(RESIDUALS):
        y = plain_conv(w, "bnr.block.conv1", x, 1)
        y = plain_norm(y, w.get("bnr.block.norm1.rho", one), gamma, beta).clamp(min=0)
        y = plain_conv(w, "bnr.block.conv2", y, 1)
        x = x + plain_norm(y, w.get("bnr.block.norm2.rho", one), gamma, beta)
        residuals.append(x)
    x = plain_conv(w, "bnr.fuse", torch.cat(residuals, dim=1)) + u

    for stage, skip in (("decoder.stage1", quarter), ("decoder.stage2", half)):
        up = plain_conv(w, f"{stage}.up.conv", plain_upsample(x))
        merged = plain_conv(w, f"{stage}.merge", torch.cat([up, skip], dim=1), 1)
        norm = [w[f"{stage}.norm.{name}"] for name in ("bnm.rho", "gamma", "beta")]
        x = leaky(plain_norm(merged, *norm))
    gate = full.mean(1, keepdim=True) + full.max(1, keepdim=True).values
    x = plain_conv(w, "decoder.up.conv", plain_upsample(x)) * gate
    change = plain_conv(w, "decoder.tail.conv2", plain_conv(w, "decoder.tail.conv1", x, 4))
    return (image + torch.tanh(change)).clamp(-1, 1)


@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
@pytest.mark.parametrize("switches", SWITCHES, ids=switches_id)
@torch.no_grad()
def test_generator_is_the_plain_formulation(
    random_double_generator: MakeGenerator, switches: dict[str, bool], size: tuple[int, int]
) -> None:
    g, image = random_double_generator(**switches), draw_image(2, *size)
    expected = plain_generator(g.state_dict(), image, *g.style_mean)
    assert (expected.abs() < 1).double().mean() > 0.7, "most pixels must not be clamped"
    torch.testing.assert_close(g(image), expected, rtol=0, atol=1e-11)


@torch.no_grad()
def test_decode_takes_a_style_for_each_image(random_double_generator: MakeGenerator) -> None:
    g, image = random_double_generator(), draw_image(2, 16, 24)
    gamma, beta = torch.randn(2, 2, 64, 1, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    found = g.decode(image, g.encode(image), Style(gamma, beta))
    torch.testing.assert_close(found, plain_generator(g.state_dict(), image, gamma, beta), rtol=0, atol=1e-11)


@torch.no_grad()
def test_forward_decodes_under_the_running_style(random_double_generator: MakeGenerator) -> None:
    g, image = random_double_generator(), draw_image(2, 16, 16)
    style = Style(g.style_mean[0], g.style_mean[1])
    assert torch.equal(g(image), g.decode(image, g.encode(image), style))


@pytest.mark.parametrize("switches", SWITCHES[:2], ids=switches_id)
@torch.no_grad()
def test_encode_pools_what_it_attends(random_double_generator: MakeGenerator, switches: dict[str, bool]) -> None:
    features = random_double_generator(**switches).encode(draw_image(2, 24, 40))
    torch.testing.assert_close(features.pooled, pool(features.attended), rtol=0, atol=1e-13)
    shapes = [tuple(t.shape) for t in (*features.skips, features.attended, features.pooled)]
    assert shapes == [(2, 8, 24, 40), (2, 16, 12, 20), (2, 32, 6, 10), (2, 64, 3, 5), (2, 128)]


@torch.no_grad()
def test_output_keeps_the_size_and_the_range_for_multiples_of_8(random_generator: MakeGenerator) -> None:
    g = random_generator(4)
    g.decoder.tail.conv2.bias.copy_(torch.tensor([9.0, -9.0, 0.0]))
    for height, width in ((16, 16), (16, 24), (40, 32)):
        enhanced = g(draw_image(1, height, width).float())
        assert enhanced.shape == (1, 3, height, width)
        assert enhanced[:, 0].max() == 1
        assert enhanced[:, 1].min() == -1
        assert enhanced.abs().max() <= 1
    for height, width in ((20, 24), (12, 16)):
        with pytest.raises(RuntimeError):
            g(torch.zeros(1, 3, height, width))


@torch.no_grad()
def test_up_conv_interpolates_then_mixes_channels() -> None:
    part = UpConv(4, 2)
    randomise(part)
    x = torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(7))
    expected = torch.einsum("oi,nihw->nohw", part.conv.weight[:, :, 0, 0], plain_upsample(x))
    torch.testing.assert_close(part(x), expected + part.conv.bias[:, None, None], rtol=0, atol=1e-6)
    interpolated = F.interpolate(x, size=(6, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample(x), interpolated, rtol=0, atol=1e-6)


def test_running_style_is_a_plain_mean_at_first_then_moves_by_one_percent() -> None:
    g = Generator(ModelConfig(width=4))
    styles = torch.randn(130, 2, 1, 32, 1, 1, generator=torch.Generator().manual_seed(8))
    for count, style in enumerate(styles[:100], start=1):
        g.update_running_style(style)
        torch.testing.assert_close(g.style_mean, styles[:count].mean(0), rtol=0, atol=1e-5)
    expected = styles[:100].mean(0)
    for style in styles[100:]:
        g.update_running_style(style)
        expected = expected + 0.01 * (style - expected)
        torch.testing.assert_close(g.style_mean, expected, rtol=0, atol=1e-5)
    assert g.style_updates == 130
    assert not g.style_mean.requires_grad


# Size


def test_folded_generator_has_a_quarter_of_the_authors_parameters() -> None:
    w = 32
    counts = {
        "encoder": 3 * w * 49 + w + sum(i * w * 2 * i * w * 9 + 2 * i * w for i in (1, 2, 4)),
        "mask": 16 * w * 8 * w + 8 * w,
        "block": 2 * ((8 * w) ** 2 * 9 + 8 * w) + 2 * 3 * 8 * w,  # two convolutions, two norms of three constants
        "fuse": 6 * (8 * w) ** 2 + 8 * w,
        "stages": sum(2 * c * c + c + 2 * c * c * 9 + c + 3 * c for c in (4 * w, 2 * w)),
        "up": 2 * w * w + w,
        "tail": w * 12 * 100 + 12,
    }
    folded = fold(Generator(ModelConfig(width=w)))
    parameters = sum(p.numel() for p in folded.parameters())
    assert parameters == sum(counts.values())
    assert parameters <= 0.26 * AUTHORS_PARAMETERS
    assert not list(folded.buffers())


# Gradients


@pytest.fixture(scope="module")
def backbone() -> PerceptualFeatures:
    """A backbone with fixed random weights, which is enough to pass gradients on."""
    phi = PerceptualFeatures("squeezenet1_0")
    randomise(phi.features)
    return phi.double()


def generator_loss(g: Generator, phi: PerceptualFeatures, switches: Mapping[str, bool], domain: Tensor) -> Tensor:
    """L_G, eq. 9, with the paper's loss weights and a random discriminator."""
    d, weights = Discriminator(ModelConfig(width=4, **switches)), LossWeights()
    randomise(d)
    d.double().requires_grad_(False)
    low, high = draw_image(4, 64, 64).chunk(2)
    outputs = Translations(g)(low, high, low[:, :1], domain)
    maps = d(torch.cat([high, outputs.enhanced]))
    scores_high, scores_fake = zip(*(scores.chunk(2) for scores in maps), strict=True)
    total = weights.adversarial * losses.relativistic_hinge_g(scores_high, scores_fake)
    total = total + weights.perceptual * losses.perceptual(phi, low, outputs.enhanced)
    total = total + weights.perceptual * losses.perceptual(phi, high, outputs.degraded)
    total = total + weights.identity * losses.identity(high, outputs.enhanced)
    total = total + weights.identity * losses.identity(low, outputs.degraded)
    if g.classifier is not None:
        logit_low, logit_high = outputs.logits.chunk(2)
        total = total + weights.classification * losses.domain_classification(logit_high, logit_low)
    return total


def unreached(network: nn.Module) -> set[str]:
    """Names of the parameters without a gradient; one at rounding level (1e-16 of the others) counts as none."""
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert all(grad is None or torch.isfinite(grad).all() for grad in gradients.values())
    return {name for name, grad in gradients.items() if grad is None or grad.abs().max() < 1e-12}


@pytest.mark.parametrize("switches", GRADIENT_SWITCHES, ids=switches_id)
def test_every_parameter_receives_a_gradient(
    random_double_generator: MakeGenerator, backbone: PerceptualFeatures, switches: dict[str, bool]
) -> None:
    g = random_double_generator(4, **switches)
    generator_loss(g, backbone, switches, domain=torch.tensor([True, False])).backward()
    assert not unreached(g)


def test_without_a_partners_style_the_high_style_head_is_not_reached(
    random_double_generator: MakeGenerator, backbone: PerceptualFeatures
) -> None:
    """The check above finds an unused part: here all low-quality images use the running style."""
    g = random_double_generator(4)
    generator_loss(g, backbone, {}, domain=torch.tensor([True, True])).backward()
    assert unreached(g) == {"high_style.fc.weight", "high_style.fc.bias"}


# Discriminator


@pytest.mark.parametrize(("use_cam", "sides"), [(True, [32, 8, 2, 16]), (False, [32, 8, 2])])
def test_discriminator_scores_each_scale(use_cam: bool, sides: list[int]) -> None:
    maps = Discriminator(ModelConfig(width=4, use_cam=use_cam))(torch.zeros(2, 3, 64, 64))
    assert [tuple(scores.shape) for scores in maps] == [(2, 1, side, side) for side in sides]


def test_discriminator_without_cam_has_no_part_of_it() -> None:
    with_cam, without = (set(Discriminator(ModelConfig(width=4, use_cam=use)).state_dict()) for use in (True, False))
    assert without < with_cam
    assert {name.split(".")[0] for name in with_cam - without} == {"cam", "predict_colour"}


def spectral_parts(d: Discriminator) -> dict[str, nn.Conv2d]:
    return {
        name: part for name, part in d.named_modules() if isinstance(part, nn.Conv2d) and not name.startswith("cam")
    }


@torch.no_grad()
def test_spectral_norm_bounds_every_convolution() -> None:
    d = Discriminator(ModelConfig(width=4))
    randomise(d)
    names = [f"scale{i}" for i in range(1, 6)] + [f"predict{i}" for i in (1, 3, 5)] + ["predict_colour"]
    parts = spectral_parts(d)
    assert sorted(parts) == sorted(names)
    for name, part in parts.items():
        part.parametrizations.weight.original.mul_(7)
        for _ in range(80):
            part.weight  # noqa: B018 (in train mode each access is a power iteration)
        part.eval()
        weight = part.weight
        assert torch.linalg.matrix_norm(part.parametrizations.weight.original.flatten(1), 2) > 3
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=5e-3), name
        assert torch.equal(part.weight, weight), "in eval mode the estimate is fixed"


def test_discriminator_is_the_plain_formulation() -> None:
    d = Discriminator(ModelConfig(width=4))
    randomise(d)
    d.double().eval()
    image = draw_image(2, 64, 64).requires_grad_()
    parts, x, found = spectral_parts(d), image, []
    for i in range(1, 6):
        weight, bias = parts[f"scale{i}"].weight, parts[f"scale{i}"].bias
        x = F.conv2d(x, weight, bias, 2, weight.shape[2] // 2)
        x = torch.where(x > 0, x, 0.2 * x)
        found.append(x)
    features = {"predict1": found[0], "predict3": found[2], "predict5": found[4], "predict_colour": d.cam(found[1])}
    for scores, (name, x) in zip(d(image), features.items(), strict=True):
        expected = F.conv2d(x, parts[name].weight, parts[name].bias, 1, 1)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
        gradients = [torch.autograd.grad(s.square().sum(), image, retain_graph=True)[0] for s in (scores, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("use_cam", [True, False])
def test_every_parameter_of_the_discriminator_receives_a_gradient(use_cam: bool) -> None:
    d = Discriminator(ModelConfig(width=4, use_cam=use_cam))
    randomise(d)
    high, low, fake = zip(*(maps.chunk(3) for maps in d.double()(draw_image(3, 64, 64))), strict=True)
    losses.relativistic_hinge_d(high, low, fake).backward()
    assert not unreached(d)
