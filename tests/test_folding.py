"""Folding: the folded generator equals the unfolded one after every rewrite; the cost of each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.config import ModelConfig
from bncagan.network.cost import cost, folding_report
from bncagan.network.folded import ConstantNorm, FixedBNR, FoldedGenerator, FoldedNorm, SignedOutput, SignedRange
from bncagan.network.folding import (
    REWRITES,
    Rewrite,
    absorb_range,
    convolve_before_upsampling,
    drop_training_parts,
    fold,
    fold_normalization,
    merge_tail,
    sum_residuals,
    to_half,
)
from bncagan.network.layers import BNM, EPS, RESIDUALS, clip_rho
from bncagan.network.model import Generator, Tail, UpConv
from bncagan.network.tone import ToneHead

MakeGenerator = Callable[..., Generator]

EXACT = 1e-10  # largest float64 error of a rewrite, in [0, 1]
FAULT = 1e-6  # smallest error that a planted fault must cause
SWITCHES = [
    {},
    {"use_aac": False},
    {"use_bnm": False},
    {"use_cam": False},
    {"use_aac": False, "use_bnm": False},
    {"tone": True, "detail": True},
    {"tone": True, "detail": True, "untoned": True},
]
SIZES = [(16, 16), (24, 40), (64, 16)]
# What each rewrite removes completely, so that a rewrite that does nothing is found.
REMOVED: dict[Rewrite, tuple[type[nn.Module], ...]] = {
    fold_normalization: (ConstantNorm,),
    convolve_before_upsampling: (UpConv,),
    absorb_range: (SignedRange, SignedOutput),
    merge_tail: (Tail,),
    sum_residuals: (FixedBNR,),
}

pytestmark = pytest.mark.filterwarnings(  # torch.export in torch itself
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning"
)


def switches_id(switches: Mapping[str, bool]) -> str:
    return "-".join(name.replace("use_", "no_") for name in switches) or "full"


def draw_image(height: int = 24, width: int = 40) -> Tensor:
    """Two images in [0, 1], mostly of middle tones so that the change is not clamped, with some black and white."""
    rng = torch.Generator().manual_seed(9)
    image = 0.2 + 0.6 * torch.rand(2, 3, height, width, generator=rng, dtype=torch.float64)
    image[:, :, 0, :2] = torch.tensor([0.0, 1.0])
    return image


@torch.no_grad()
def trained(generator: Generator, image: Tensor) -> Tensor:
    """The result of the unfolded generator for images in [0, 1]."""
    return (generator(2 * image - 1) + 1) / 2


@torch.no_grad()
def largest_error(model: nn.Module, image: Tensor, expected: Tensor) -> float:
    """The largest difference; asserts that most pixels are not clamped, since clamping hides errors."""
    assert ((expected > 0) & (expected < 1)).double().mean() > 0.5
    assert (expected - image).abs().mean() > 0.01
    found = model(image)
    assert found.shape == image.shape
    return (found - expected).abs().max().item()


def has(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return any(isinstance(part, kinds) for part in model.modules())


# Each rewrite alone, then all of them


@pytest.mark.parametrize("switches", SWITCHES, ids=switches_id)
def test_training_parts_drop_out_exactly(random_double_generator: MakeGenerator, switches: dict[str, bool]) -> None:
    g, image = random_double_generator(**switches), draw_image()
    model = drop_training_parts(g)
    assert largest_error(model, image, trained(g, image)) < EXACT
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {"encoder", "bnr", "decoder"} | {part for part in ("mask", "tone") if getattr(g, part) is not None}
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize("rewrite", REMOVED, ids=lambda rewrite: rewrite.__name__)
@pytest.mark.parametrize("switches", SWITCHES, ids=switches_id)
def test_a_rewrite_alone_is_exact(
    random_double_generator: MakeGenerator, switches: dict[str, bool], rewrite: Rewrite
) -> None:
    before, image = drop_training_parts(random_double_generator(**switches)), draw_image()
    with torch.no_grad():
        expected = before(image)
    after = rewrite(before)
    assert has(before, REMOVED[rewrite])
    assert not has(after, REMOVED[rewrite])
    assert largest_error(after, image, expected) < EXACT
    with torch.no_grad():
        assert torch.equal(before(image), expected), "the rewrite changed its argument"
    assert not any(p.requires_grad for p in after.parameters())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("switches", SWITCHES, ids=switches_id)
def test_fold_is_exact(
    random_double_generator: MakeGenerator, switches: dict[str, bool], size: tuple[int, int]
) -> None:
    g, image = random_double_generator(**switches), draw_image(*size)
    model = fold(g)
    assert largest_error(model, image, trained(g, image)) < EXACT
    assert not any(has(model, REMOVED[rewrite]) for rewrite in REWRITES)
    assert model.width == 8
    everything = fold(g, rewrites=list(REMOVED))
    assert largest_error(everything, image, trained(g, image)) < EXACT
    assert not any(has(everything, kinds) for kinds in REMOVED.values())


def test_a_tone_head_alone_folds_to_itself(random_double_generator: MakeGenerator) -> None:
    g, image = random_double_generator(0, tone=True), draw_image()
    model = fold(g)
    assert largest_error(model, image, trained(g, image)) < EXACT
    assert {name.split(".")[0] for name in model.state_dict()} == {"tone"}
    assert not any(p.requires_grad for p in model.parameters())
    assert [row.name for row in folding_report(g, 64, 64)] == ["trained generator", "drop_training_parts"]


@pytest.mark.parametrize("width", [0, 8])
def test_folded_images_do_not_see_each_other(random_double_generator: MakeGenerator, width: int) -> None:
    model, image = fold(random_double_generator(width, tone=True, untoned=width > 0)), draw_image()
    with torch.no_grad():
        alone = torch.cat([model(image[:1]), model(image[1:])])
    assert largest_error(model, image, alone) < EXACT


def test_clamping_folds_too(random_double_generator: MakeGenerator) -> None:
    g, image = random_double_generator(), torch.rand(1, 3, 16, 16, dtype=torch.float64).round()
    with torch.no_grad():
        g.decoder.tail.conv2.bias.copy_(torch.tensor([2.0, -2.0, 0.0]))
        found = fold(g)(image)
    assert (found - trained(g, image)).abs().max() < EXACT
    assert found.min() == 0
    assert found.max() == 1


def test_rho_outside_0_to_1_is_clipped(random_double_generator: MakeGenerator) -> None:
    g, image = random_double_generator(), draw_image()
    with torch.no_grad():
        for part in g.modules():
            if isinstance(part, BNM):
                part.rho.mul_(2).sub_(0.5)
    clipped = copy.deepcopy(g)
    clip_rho(clipped)
    model = fold(g)
    assert largest_error(model, image, trained(clipped, image)) < EXACT
    assert largest_error(model, image, trained(g, image)) > FAULT


@pytest.mark.parametrize("convert", [fold, drop_training_parts], ids=lambda f: f.__name__)
def test_the_argument_stays_as_it_is(
    random_double_generator: MakeGenerator, convert: Callable[[Generator], FoldedGenerator]
) -> None:
    g = random_double_generator().train()
    state = {name: tensor.clone() for name, tensor in g.state_dict().items()}
    parts, text = [(name, id(part)) for name, part in g.named_modules()], str(g)
    model = convert(g)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert list(g.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in g.state_dict().items())
    assert [(name, id(part)) for name, part in g.named_modules()] == parts
    assert str(g) == text
    assert g.training
    assert all(p.requires_grad and p.grad is None for p in g.parameters())


def test_folded_norm_is_equation_3() -> None:
    rng = torch.Generator().manual_seed(11)
    rho = torch.rand(1, 5, 1, 1, generator=rng, dtype=torch.float64)
    gamma, beta = torch.randn(2, 1, 5, 1, 1, generator=rng, dtype=torch.float64)
    spread = torch.tensor([0.1, 1.0, 3.0, 0.5, 2.0], dtype=torch.float64)[:, None, None]
    x = spread * torch.randn(2, 5, 6, 7, generator=rng, dtype=torch.float64) + 3 * spread - 4
    instance, layer = F.instance_norm(x, eps=EPS), F.layer_norm(x, x.shape[1:], eps=EPS)
    expected = gamma * (rho * instance + (1 - rho) * layer) + beta
    found = FoldedNorm(gamma * rho, gamma * (1 - rho), beta)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# Faults that the comparison above must find


class OtherNorm(FoldedNorm):
    """FoldedNorm written differently; faults are planted into its parts."""

    def __init__(
        self, norm: FoldedNorm, *, correction: int = 0, spread: float = 1, shift: float = 1, eps: float = EPS
    ) -> None:
        super().__init__(norm.instance_gain, norm.layer_gain, norm.beta)
        self.correction, self.spread, self.shift, self.eps = correction, spread, shift, eps

    def forward(self, x: Tensor) -> Tensor:
        v, m = torch.var_mean(x, (2, 3), correction=self.correction, keepdim=True)
        V = v.mean(1, keepdim=True) + self.spread * m.var(1, correction=0, keepdim=True)
        layer_gain = self.layer_gain * (V + self.eps) ** -0.5
        gain = self.instance_gain * (v + self.eps) ** -0.5 + layer_gain
        return (x - m) * gain + self.beta + self.shift * layer_gain * (m - m.mean(1, keepdim=True))


class AlignedUp(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear", align_corners=True)


def replace_norm(m: FoldedGenerator, **faults: float) -> None:
    m.bnr.block.norm1 = OtherNorm(m.bnr.block.norm1, **faults)


def swap_gains(m: FoldedGenerator) -> None:
    norm = m.bnr.block.norm2
    norm.instance_gain, norm.layer_gain = norm.layer_gain, norm.instance_gain


def offset_of_the_range_left_out(m: FoldedGenerator) -> None:
    m.encoder.conv1.bias += m.encoder.conv1.weight.sum((1, 2, 3)) / 2


def residuals_out_of_order(m: FoldedGenerator) -> None:
    first, second = m.bnr.parts[1].weight.clone(), m.bnr.parts[2].weight.clone()
    m.bnr.parts[1].weight.copy_(second)
    m.bnr.parts[2].weight.copy_(first)


FAULTS_OF_FOLDING: dict[str, Callable[[FoldedGenerator, Generator], object]] = {
    "unbiased variance": lambda m, g: replace_norm(m, correction=1),
    "no variance between channels": lambda m, g: replace_norm(m, spread=0),
    "no mean of the image": lambda m, g: replace_norm(m, shift=0),
    "another epsilon": lambda m, g: replace_norm(m, eps=1e-6),
    "gains swapped": lambda m, g: swap_gains(m),
    "no beta": lambda m, g: m.bnr.block.norm1.beta.zero_(),
    "no bias of the 3x3 in the tail": lambda m, g: m.decoder.tail.conv.bias.copy_(
        g.decoder.tail.conv2.bias.repeat_interleave(4)
    ),
    "pixels of a block transposed": lambda m, g: m.decoder.tail.conv.weight.copy_(
        m.decoder.tail.conv.weight.unflatten(0, (3, 2, 2)).transpose(1, 2).flatten(0, 2)
    ),
    "tail not flipped": lambda m, g: m.decoder.tail.conv.weight.copy_(m.decoder.tail.conv.weight.flip(2, 3)),
    "offset of the range left out": lambda m, g: offset_of_the_range_left_out(m),
    "first convolution padded with zeros": lambda m, g: setattr(m.encoder.conv1, "padding_mode", "zeros"),
    "residuals out of order": lambda m, g: residuals_out_of_order(m),
    "a bias for each residual": lambda m, g: m.bnr.parts[0].bias.mul_(RESIDUALS),
    "corners aligned": lambda m, g: setattr(m.decoder, "up", AlignedUp(m.decoder.up.conv)),
    "no attention mask": lambda m, g: setattr(m, "mask", None),
}
FAULTS_OF_WEIGHTS: dict[str, Callable[[Generator], object]] = {
    "rho off by 0.05": lambda g: g.bnr.block.norm2.rho[0, 3].sub_(0.05),
    "rho of the decoder off": lambda g: g.decoder.stage1.norm.bnm.rho[0, 3].sub_(0.05),
    "fresh style": lambda g: g.style_mean.copy_(Generator(ModelConfig(width=8)).style_mean),
    "another bias of the mask": lambda g: g.mask.fc.bias[5].add_(0.01),
}


@torch.no_grad()
def test_a_norm_written_differently_passes(random_double_generator: MakeGenerator) -> None:
    """Shows that the faults below are found because of the fault, not because of the other way of writing."""
    g, image = random_double_generator(), draw_image()
    model = fold(g)
    replace_norm(model)
    assert largest_error(model, image, trained(g, image)) < EXACT


@pytest.mark.parametrize("fault", FAULTS_OF_FOLDING.values(), ids=FAULTS_OF_FOLDING)
@torch.no_grad()
def test_a_fault_of_the_folding_is_seen(
    random_double_generator: MakeGenerator, fault: Callable[[FoldedGenerator, Generator], object]
) -> None:
    g, image = random_double_generator(), draw_image()
    model = fold(g, rewrites=list(REMOVED))
    fault(model, g)
    assert largest_error(model, image, trained(g, image)) > FAULT


@pytest.mark.parametrize("fault", FAULTS_OF_WEIGHTS.values(), ids=FAULTS_OF_WEIGHTS)
@torch.no_grad()
def test_a_fault_of_the_weights_is_seen(
    random_double_generator: MakeGenerator, fault: Callable[[Generator], object]
) -> None:
    g, image = random_double_generator(), draw_image()
    expected = trained(g, image)
    fault(g)
    assert largest_error(fold(g), image, expected) > FAULT


# Half precision


@torch.no_grad()
def test_half_precision_is_that_of_weights_and_convolutions(random_generator: MakeGenerator) -> None:
    g, image = random_generator(tone=True), draw_image(32, 40).float()
    g.decoder.tail.conv2.weight.mul_(0.3)  # about as small as after training
    single = fold(g)
    half = to_half(single)
    for name, parameter in half.named_parameters():
        stays = name.startswith("tone.") or name.endswith(("gain", "beta"))
        assert parameter.dtype == (torch.float32 if stays else torch.float16), name
    assert all(p.dtype == torch.float32 for p in single.parameters()), "the argument stays as it is"
    enhanced = half(image)
    assert enhanced.dtype == torch.float32
    assert 0 < largest_error(half, image, single(image)) < 5e-3


@torch.no_grad()
def test_half_precision_leaves_the_image_in_float32(random_generator: MakeGenerator) -> None:
    """If the network changes nothing, the image comes back bit by bit."""
    half, image = to_half(fold(random_generator(4))), draw_image(16, 16).float()
    half.decoder.tail.conv.weight.zero_()
    half.decoder.tail.conv.bias.zero_()
    assert torch.equal(half(image), image)


@torch.no_grad()
def test_half_precision_statistics_are_float32() -> None:
    """Around 1024 the steps of float16 are 1, so a mean rounded to it would be visibly wrong."""
    x = (1024 + torch.randint(0, 8, (1, 4, 16, 16), generator=torch.Generator().manual_seed(12))).half()
    half_one = torch.full((1, 4, 1, 1), 0.5)
    found = FoldedNorm(half_one, half_one, torch.zeros(1, 4, 1, 1))(x)
    expected = (F.instance_norm(x.double(), eps=EPS) + F.layer_norm(x.double(), x.shape[1:], eps=EPS)) / 2
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), expected, rtol=2**-10, atol=1e-4)


# The graph that converters see

REWRITTEN_BY_CONVERTERS = (
    "layer_norm",
    "instance_norm",
    "batch_norm",
    "group_norm",
    "rsqrt",
    "reciprocal",
    "pow",
    "var",
)


def operations(model: nn.Module, image: Tensor) -> set[str]:
    """The names of the operations in the exported program, before and after decomposition."""
    program = torch.export.export(model, (image,))
    programs = (program, program.run_decompositions({}))
    return {str(node.target) for p in programs for node in p.graph.nodes if node.op == "call_function"}


def rewritten(names: set[str]) -> set[str]:
    return {name for name in names if any(word in name for word in REWRITTEN_BY_CONVERTERS)}


@pytest.mark.parametrize("convert", [lambda m: m, to_half], ids=["float32", "float16"])
def test_folded_graph_has_no_operation_that_converters_rewrite(
    random_generator: MakeGenerator, convert: Callable[[FoldedGenerator], FoldedGenerator]
) -> None:
    names = operations(
        convert(fold(random_generator(4, tone=True, detail=True, untoned=True))), torch.rand(1, 3, 16, 16)
    )
    assert rewritten(names) == set()
    assert {"aten.sqrt.default", "aten.div.Tensor", "aten.mean.dim"} <= names


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (lambda x: F.layer_norm(x, x.shape[1:]), "layer_norm"),
        (F.instance_norm, "instance_norm"),
        (torch.rsqrt, "rsqrt"),
        (torch.reciprocal, "reciprocal"),
        (lambda x: x**2, "pow"),
    ],
    ids=["layer_norm", "instance_norm", "rsqrt", "reciprocal", "square"],
)
def test_such_an_operation_would_be_found(function: Callable[[Tensor], Tensor], seen: str) -> None:
    class Planted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    assert any(seen in name for name in rewritten(operations(Planted(), torch.rand(1, 3, 16, 16))))


# What it costs


def test_cost_counts_parameters_and_multiply_adds() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),  # 8 x 12 positions of 4 x 3 x 9
        nn.Conv2d(4, 2, 3, stride=2, padding=1, bias=False),  # 4 x 6 positions of 2 x 4 x 9
        nn.Flatten(),
        nn.Linear(48, 5),
    )
    found = cost(model, 8, 12)
    assert found.parameters == (4 * 3 * 9 + 4) + 2 * 4 * 9 + (48 * 5 + 5)
    assert found.macs == 96 * 108 + 24 * 72 + 48 * 5


def test_the_cost_of_a_tone_head_counts_its_small_copy() -> None:
    found = cost(head := ToneHead(), 96, 64)
    linear = sum(part.weight.numel() for part in head.modules() if isinstance(part, nn.Linear))
    assert found.macs == 3 * (96 * 64 * 48 + 48 * 96 * 48) + linear
    assert found.parameters == sum(parameter.numel() for parameter in head.parameters())


def test_cost_finds_the_most_bytes_alive_at_once() -> None:
    plane = 8 * 8 * 4  # bytes of one channel in float32

    class Chain(nn.Module):
        """Holds 1, then 1 + 5, then 5 + 2, then 2 + 1 channels; the input is not counted."""

        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in ((3, 1), (1, 5), (5, 2), (2, 1)))

        def forward(self, x: Tensor) -> Tensor:
            for conv in self.convs:
                x = conv(x)
            return x

    class Kept(Chain):
        """Holds the first result until the end: 1 + 5 + 2 channels."""

        def forward(self, x: Tensor) -> Tensor:
            first = self.convs[0](x)
            return self.convs[3](self.convs[2](self.convs[1](first))) + first

    assert cost(Chain(), 8, 8).peak_bytes == 7 * plane
    assert cost(Kept(), 8, 8).peak_bytes == 8 * plane


def test_a_view_costs_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2), nn.Unflatten(2, (4, 4)))
    assert cost(model, 4, 4).peak_bytes == 4 * 16 * 4


def test_folding_report_has_a_row_for_each_rewrite(random_generator: MakeGenerator) -> None:
    g = random_generator(8)
    state = {name: tensor.clone() for name, tensor in g.state_dict().items()}
    rows = folding_report(g, 64, 64)
    assert [row.name for row in rows] == [
        "trained generator", "drop_training_parts", "fold_normalization", "convolve_before_upsampling",
        "absorb_range", "merge_tail", "sum_residuals",
    ]  # fmt: skip
    assert all(row.error < EXACT for row in rows)
    assert rows[0].cost == cost(g, 64, 64)
    assert rows[-1].cost == cost(fold(g), 64, 64)
    dropped = sum(p.numel() for part in (g.high_style, g.low_style, g.classifier) for p in part.parameters())
    styles = 2 * 2 * 64  # gamma and beta of both norms of the block, which are constants now
    assert rows[0].cost.parameters - rows[1].cost.parameters == dropped - styles
    up = sum(2 * c * c * side**2 * 3 // 4 for c, side in ((32, 16), (16, 32), (8, 64)))  # three quarters of each 1x1
    assert rows[2].cost.macs - rows[3].cost.macs == up
    assert all(torch.equal(tensor, state[name]) for name, tensor in g.state_dict().items())


def test_folding_report_shows_a_rho_that_was_not_clipped(random_generator: MakeGenerator) -> None:
    g = random_generator(4)
    with torch.no_grad():
        g.bnr.block.norm1.rho += 1
    errors = {row.name: row.error for row in folding_report(g, 64, 64)}
    assert errors["drop_training_parts"] < EXACT
    assert errors["fold_normalization"] > FAULT
