"""The evaluator of ML Programs: each operation against plain numpy, half precision, known traps of the converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.network.folded import FoldedNorm
from export.coreml_norm import HalfNorm
from export.mil import Leaving, MilEvaluator, load_program, placement_warnings
from export.mil_operations import ELEMENTWISE
from export.mil_plan import Prepared
from export.parity import check
from export.to_coreml import leaving_details, palette, silent
from runtimes import METADATA_KEY, ArtifactError, ShapeSet
from runtimes.coreml import WEIGHTS_KEY, hash_weights, import_coremltools
from runtimes.golden import Case, Golden
from tests.folders import picture
from tests.tiny_models import NumpyRuntime, make_spec

pytest.importorskip("coremltools")
Array = NDArray[Any]

SHAPE = (1, 3, 8, 10)
RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(4, 3, 3, 2)), RNG.normal(size=4)
MATRIX, OFFSET = RNG.normal(size=(5, 10)), RNG.normal(size=5)
OTHER = RNG.normal(size=SHAPE)


def build(body: Callable[[Any, Any], Any], *, half: bool = False, shape: tuple[int, ...] = SHAPE) -> Any:
    """A package, not saved, with the program `body(builder, x)`; with `half`, x and the outputs are halves."""
    coremltools = import_coremltools()
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types

    spec = Builder.TensorSpec(shape, dtype=types.fp16 if half else types.fp32)

    @Builder.program(input_specs=[spec], opset_version=coremltools.target.iOS16)
    def program(x: Any) -> Any:
        return body(Builder, x)

    with silent():
        return coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32,
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            skip_model_load=True,
        )


def run(package: Any, x: Array, **options: bool) -> list[Array]:
    function = load_program(package).functions["main"]
    return [output.numpy() for output in Prepared(function, **options).run({"x": torch.from_numpy(x)})]


def save(package: Any, path: Path, **fields: Any) -> Path:
    """Put a spec into a package and save it."""
    package.user_defined_metadata[METADATA_KEY] = make_spec(**fields).to_json()
    package.user_defined_metadata[WEIGHTS_KEY] = hash_weights(package)
    package.save(str(path))
    return path


# The operations: how to build each, and its meaning in numpy


def convolve(x: Array) -> Array:
    """Stride 2 and 1, dilation 1 and 2, padding 1 above, 0 below, 2 left and 1 right."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1)))
    height, width = (x.shape[2] - 3) // 2 + 1, x.shape[3] - 2
    y = np.zeros((1, 4, height, width))
    for i in range(3):
        for j in range(2):
            part = x[:, :, i : i + 2 * height - 1 : 2, 2 * j : 2 * j + width]
            y += np.einsum("nchw,oc->nohw", part, WEIGHT[:, :, i, j])
    return y + BIAS[:, None, None]


def upsample(x: Array, corners: bool) -> Array:
    """Double height and width, by the grid points in the operation's definition."""

    def weights(size: int) -> Array:
        i = np.arange(2 * size)
        at = i * (size - 1) / (2 * size - 1) if corners else np.clip(i / 2 - 0.25, 0, size - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size)))

    return np.einsum("ph,qw,nchw->ncpq", weights(x.shape[2]), weights(x.shape[3]), x)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


Meaning = tuple[Callable[[Any, Any], Any], Callable[[Array], Array]]
MEANINGS: dict[str, Meaning] = {
    "abs": (lambda mb, x: mb.abs(x=x), np.abs),
    "add": (lambda mb, x: mb.add(x=x, y=np.float32(0.3)), lambda x: x + 0.3),
    "avg_pool": (
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[4, 2], strides=[2, 3], pad_type="valid"),
        lambda x: np.stack(
            [[x[:, :, 2 * i : 2 * i + 4, 3 * j : 3 * j + 2].mean((2, 3)) for j in range(3)] for i in range(3)]
        ).transpose(2, 3, 0, 1),
    ),
    "clip": (lambda mb, x: mb.clip(x=x, alpha=-0.4, beta=0.7), lambda x: x.clip(-0.4, 0.7)),
    "concat": (lambda mb, x: mb.concat(values=[x, mb.relu(x=x)], axis=1), lambda x: np.hstack([x, np.maximum(x, 0)])),
    "conv": (
        lambda mb, x: mb.conv(
            x=x,
            weight=WEIGHT.astype(np.float32),
            bias=BIAS.astype(np.float32),
            strides=[2, 1],
            dilations=[1, 2],
            pad_type="custom",
            pad=[1, 0, 2, 1],
        ),
        convolve,
    ),
    "expand_dims": (lambda mb, x: mb.expand_dims(x=x, axes=[2]), lambda x: x[:, :, None]),
    "exp": (lambda mb, x: mb.exp(x=x), np.exp),
    "floor": (lambda mb, x: mb.floor(x=mb.mul(x=x, y=np.float32(5))), lambda x: np.floor(5 * x)),
    "greater": (
        lambda mb, x: mb.cast(x=mb.greater(x=x, y=np.float32(0.3)), dtype="fp32"),
        lambda x: (x > 0.3).astype(np.float32),
    ),
    "inverse": (lambda mb, x: mb.inverse(x=mb.abs(x=x), epsilon=0.25), lambda x: 1 / (np.abs(x) + 0.25)),
    "inverse by default": (lambda mb, x: mb.inverse(x=mb.abs(x=x)), lambda x: 1 / (np.abs(x) + 1e-4)),
    "leaky_relu": (lambda mb, x: mb.leaky_relu(x=x, alpha=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "linear": (
        lambda mb, x: mb.linear(x=x, weight=MATRIX.astype(np.float32), bias=OFFSET.astype(np.float32)),
        lambda x: x @ MATRIX.T + OFFSET,
    ),
    "log": (lambda mb, x: mb.log(x=mb.abs(x=x), epsilon=0.5), lambda x: np.log(np.abs(x) + 0.5)),
    "matmul": (
        lambda mb, x: mb.matmul(x=x, y=OTHER.astype(np.float32), transpose_y=True),
        lambda x: np.einsum("nchk,nclk->nchl", x, OTHER),
    ),
    "matmul, the first transposed": (
        lambda mb, x: mb.matmul(x=x, y=MATRIX.T[:8].astype(np.float32), transpose_x=True),
        lambda x: np.einsum("nckh,kl->nchl", x, MATRIX.T[:8]),
    ),
    "maximum": (lambda mb, x: mb.maximum(x=x, y=OTHER.astype(np.float32)), lambda x: np.maximum(x, OTHER)),
    "minimum": (lambda mb, x: mb.minimum(x=x, y=OTHER.astype(np.float32)), lambda x: np.minimum(x, OTHER)),
    "mul": (lambda mb, x: mb.mul(x=x, y=OTHER.astype(np.float32)), lambda x: x * OTHER),
    "pad by a constant": (
        lambda mb, x: mb.pad(x=x, pad=[0, 0, 1, 2, 3, 0, 0, 4], mode="constant", constant_val=0.5),
        lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0), (0, 4)), constant_values=0.5),
    ),
    "pad by reflection": (
        lambda mb, x: mb.pad(x=x, pad=[0, 0, 0, 0, 1, 2, 3, 4], mode="reflect"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (3, 4)), mode="reflect"),
    ),
    "pad by the edge": (
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 4], mode="replicate"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (3, 4)), mode="edge"),
    ),
    "real_div": (lambda mb, x: mb.real_div(x=x, y=OTHER.astype(np.float32)), lambda x: x / OTHER),
    "reduce_max": (
        lambda mb, x: mb.reduce_max(x=x, axes=[2, 3], keep_dims=False),
        lambda x: x.max((2, 3)),
    ),
    "reduce_min": (lambda mb, x: mb.reduce_min(x=x, axes=[1], keep_dims=True), lambda x: x.min(1, keepdims=True)),
    "pixel_shuffle": (
        lambda mb, x: mb.pixel_shuffle(x=mb.reshape(x=x, shape=[1, 12, 4, 5]), upscale_factor=2),
        lambda x: x.reshape(1, 3, 2, 2, 4, 5).transpose(0, 1, 4, 2, 5, 3).reshape(1, 3, 8, 10),
    ),
    "reduce_mean": (
        lambda mb, x: mb.reduce_mean(x=x, axes=[1], keep_dims=True),
        lambda x: x.mean(1, keepdims=True),
    ),
    "relu": (lambda mb, x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "reshape": (lambda mb, x: mb.reshape(x=x, shape=[6, -1]), lambda x: x.reshape(6, 40)),
    "rsqrt": (lambda mb, x: mb.rsqrt(x=mb.abs(x=x), epsilon=0.25), lambda x: 1 / np.sqrt(np.abs(x) + 0.25)),
    "sigmoid": (lambda mb, x: mb.sigmoid(x=x), sigmoid),
    "silu": (lambda mb, x: mb.silu(x=x), lambda x: x * sigmoid(x)),
    "slice_by_index": (
        lambda mb, x: mb.slice_by_index(
            x=x, begin=[0, 1, 2, 9], end=[1, 2, 7, 0], stride=[1, 1, 2, 1], end_mask=[True, False, False, True],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 1, 2:7:2, 9:],
    ),
    "split": (lambda mb, x: mb.split(x=x, num_splits=5, axis=3)[1], lambda x: x[..., 2:4]),
    "split by sizes": (lambda mb, x: mb.split(x=x, split_sizes=[1, 2], axis=1)[1], lambda x: x[:, 1:]),
    "sqrt": (lambda mb, x: mb.sqrt(x=mb.abs(x=x)), lambda x: np.sqrt(np.abs(x))),
    "square": (lambda mb, x: mb.square(x=x), np.square),
    "squeeze": (lambda mb, x: mb.squeeze(x=mb.expand_dims(x=x, axes=[2]), axes=[0, 2]), lambda x: x[0]),
    "sub": (lambda mb, x: mb.sub(x=np.float32(1), y=x), lambda x: 1 - x),
    "tanh": (lambda mb, x: mb.tanh(x=x), np.tanh),
    "transpose": (lambda mb, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: np.moveaxis(x, 1, 3)),
    "truncated": (
        lambda mb, x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=np.float32(9)), dtype="int32"), dtype="fp32"),
        lambda x: np.trunc(9 * x),
    ),
    "upsample_bilinear": (
        lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False),
        lambda x: upsample(x, False),
    ),
    "upsample_bilinear to the corners": (
        lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=True),
        lambda x: upsample(x, True),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def results() -> tuple[Array, dict[str, Array]]:
    """An input, and the results of one program that holds all operations."""
    package = build(lambda mb, x: tuple(make(mb, x) for make, _ in MEANINGS.values()))
    x = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    return x, dict(zip(MEANINGS, run(package, x), strict=True))


@pytest.mark.parametrize("name", MEANINGS)
def test_operations(results: tuple[Array, dict[str, Array]], name: str) -> None:
    x, found = results
    expected = MEANINGS[name][1](x.astype(np.float64))
    assert found[name].shape == expected.shape
    np.testing.assert_allclose(found[name], expected, rtol=2e-5, atol=2e-6)


# Halves


def test_halves_are_rounded_after_every_operation() -> None:
    def body(mb: Any, x: Any) -> Any:
        y = np.float16(0.1)
        added, divided = mb.add(x=x, y=y), mb.real_div(x=x, y=y)
        return added, divided, mb.sub(x=divided, y=added), mb.square(x=x), mb.reduce_mean(x=x, axes=[3])

    package = build(body, half=True)
    x = (np.random.default_rng(2).normal(size=SHAPE) * 100).astype(np.float16)
    added, divided, difference, squared, mean = run(package, x)
    tenth = np.float16(0.1)
    with np.errstate(over="ignore"):
        for found, expected in (
            (added, x + tenth),
            (divided, x / tenth),
            (difference, x / tenth - (x + tenth)),
            (squared, x * x),
            (mean, x.astype(np.float32).mean(3, keepdims=True).astype(np.float16)),
        ):
            assert found.dtype == np.float16
            np.testing.assert_array_equal(found, expected.reshape(found.shape))
    assert np.isinf(squared).any()  # beyond 256


HALVES = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)  # all there are


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_torch_rounds_elementwise_halves_once(name: str) -> None:
    """Each result is the nearest half to the one in float32, in its own memory and in that of an input."""
    shuffled = HALVES[torch.randperm(len(HALVES), generator=torch.Generator().manual_seed(0))]
    for y in (shuffled, HALVES[15000], torch.tensor(1.0).half()):
        given = {"x": HALVES, "y": y, "alpha": torch.tensor(-0.37).half(), "beta": torch.tensor(0.83).half()}
        wide = {key: value.float() for key, value in given.items()}
        expected = ELEMENTWISE[name](wide, None).half()
        assert same(ELEMENTWISE[name](given, None), expected)
        given["x"] = HALVES.clone()
        assert same(ELEMENTWISE[name](given, given["x"]), expected)


def same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def test_memory_is_reused_only_where_nothing_else_needs_it() -> None:
    def body(mb: Any, x: Any) -> Any:
        a = mb.mul(x=x, y=np.float32(2))  # must not be written to x, which is read again
        part = mb.slice_by_index(x=a, begin=[0, 0, 0, 0], end=[1, 1, 8, 10])
        b = mb.add(x=a, y=np.float32(1))  # nor to a, of which `part` is a view
        c = mb.sub(x=b, y=x)  # may be written to b
        wide = mb.mul(x=part, y=np.ones((1, 3, 1, 1), np.float32))  # nor to part, which is smaller
        return mb.relu(x=c), mb.add(x=wide, y=part), mb.square(x=c)

    x = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    package, before = build(body), x.copy()
    prepared = Prepared(load_program(package).functions["main"])
    for _ in range(2):
        relu, doubled, squared = (output.numpy() for output in prepared.run({"x": torch.from_numpy(x)}))
        np.testing.assert_array_equal(x, before)
        np.testing.assert_allclose(relu, np.maximum(x + 1, 0), atol=1e-6)
        np.testing.assert_allclose(doubled, np.repeat(4 * x[:, :1], 3, axis=1), atol=1e-6)
        np.testing.assert_allclose(squared, (x + 1) ** 2, atol=1e-5)


def test_pessimistic_halves() -> None:
    shape = (1, 3, 24, 40)

    def body(mb: Any, x: Any) -> Any:
        return mb.mul(x=x, y=np.float16(1e-5)), mb.reduce_mean(x=x, axes=[3, 2], keep_dims=False)

    package = build(body, half=True, shape=shape)
    codes = np.random.default_rng(3).integers(7, 400, shape)
    x = (codes / 64).astype(np.float16)  # float32 holds every sum of them, so that their order does not count
    kept, mean = run(package, x)
    np.testing.assert_array_equal(mean, (codes.mean((2, 3)) / 64).astype(np.float16))
    assert kept.all()
    flushed, rough = run(package, x, pessimistic=True)
    assert not flushed.any()  # 1e-5 is subnormal in half precision
    total = x
    for axis in (3, 2):
        parts = np.moveaxis(total, axis, 0)
        total = np.zeros_like(parts[0])
        for part in parts:
            total = total + part
        total = total / np.float16(len(parts))
    assert total.dtype == np.float16
    np.testing.assert_array_equal(rough, total)
    assert not np.array_equal(rough, mean)


@pytest.mark.parametrize("bits", [6, 8])
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_palettes(bits: int, target: str) -> None:
    import coremltools.optimize.coreml as optimize

    weights = torch.randn(16, 8, 5, 5, generator=torch.Generator().manual_seed(bits))
    conv = nn.Conv2d(8, 16, 5, bias=False)
    conv.weight = nn.Parameter(weights)
    x = torch.randn(1, 8, 9, 9)
    how = {"granularity": "per_grouped_channel", "group_size": 4} if target == "iOS18" else {}
    config = optimize.OpPalettizerConfig(mode="custom", lut_function=lambda w: palette(w, bits), **how)
    package = convert_module(conv, x, target=target)
    with silent():
        small = optimize.palettize_weights(package, optimize.OptimizationConfig(global_config=config))
    assert "constexpr_lut_to_dense" in {op.op_type for op in load_program(small).functions["main"].operations}
    groups = np.array_split(weights.numpy(), 4) if how else [weights.numpy()]
    dense = np.concatenate([nearest(group, bits) for group in groups]).reshape(weights.shape)
    expected = F.conv2d(x, torch.from_numpy(dense)).numpy()
    np.testing.assert_allclose(run(small, x.numpy())[0], expected, atol=1e-4)
    assert np.abs(dense - weights.numpy()).max() > 1e-3


def nearest(weights: Array, bits: int) -> Array:
    """Each weight replaced by the nearest value of its palette."""
    values = palette(weights, bits)[0]
    return values[np.abs(weights.reshape(-1, 1) - values).argmin(1)]


def test_a_palette_is_as_good_as_k_means() -> None:
    weights = np.random.default_rng(4).laplace(size=5000).astype(np.float32)
    values, indices = palette(weights, 4)
    assert (values.shape, values.dtype, indices.dtype) == ((16,), np.float32, np.uint8)
    kept = values[indices]
    np.testing.assert_array_equal(kept, nearest(weights, 4))
    for index in range(16):  # each value is the mean of the weights that take it
        assert abs(weights[indices == index].mean() - values[index]) < 1e-2
    assert ((kept - weights) ** 2).mean() < 0.5 * ((2 * 8 / 16) ** 2 / 12)  # of 16 equal steps


# Traps


class Normalized(nn.Module):
    """A normalization of pictures; `gain` is the module that divides by the deviation."""

    def __init__(self, gain: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        d = x - x.mean(3, keepdim=True).mean(2, keepdim=True)
        return (0.5 + d * self.gain(x, d)).clamp(0, 1)


def biased(x: Tensor, d: Tensor) -> Tensor:
    return torch.full((1, 1, 1, 1), 0.2) / torch.sqrt((d * d).mean(3, keepdim=True).mean(2, keepdim=True) + 1e-5)


def unbiased(x: Tensor, d: Tensor) -> Tensor:
    return torch.full((1, 1, 1, 1), 0.2) / torch.sqrt(torch.var(x, (2, 3), keepdim=True) + 1e-5)


def reciprocal(x: Tensor, d: Tensor) -> Tensor:
    return 0.2 / torch.sqrt((d * d).mean(3, keepdim=True).mean(2, keepdim=True) + 1e-5)


def convert_module(
    module: nn.Module,
    x: Tensor,
    *,
    half: bool = False,
    target: str = "iOS16",
    size: Any = None,
    pictures: bool = False,
) -> Any:
    """Convert a torch module with one input x to a package, in the way of this project's exporter."""
    coremltools = import_coremltools()
    free = None
    if size is not None:
        free = ({axis: torch.export.Dim(f"axis_{axis}", min=16, max=400) for axis in (2, 3)},)
    kind = coremltools.ImageType if pictures else coremltools.TensorType
    how = {"color_layout": coremltools.colorlayout.RGB} if pictures else {"dtype": np.float32}
    with silent():
        program = torch.export.export(module.eval(), (x,), dynamic_shapes=free).run_decompositions({})
        return coremltools.convert(
            program,
            inputs=[kind("x", shape=size or tuple(x.shape), **how)],
            outputs=[kind("y", **how)],
            compute_precision=coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target[target],
            skip_model_load=True,
        )


def golden(module: nn.Module, side: int) -> Golden:
    """A usual picture and one of very low contrast, with torch's results."""
    cases = []
    for name, image in {"usual": picture(0, side, side), "flat": picture(1, side, side) // 64}.items():
        with torch.no_grad():
            expected = 255 * module(torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None])[0].permute(
                1, 2, 0
            )
        cases.append(Case(name, image, torch.floor(expected + 0.5).to(torch.uint8).numpy()))
    return Golden(tuple(cases))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # coremltools' own, of this fault
@pytest.mark.parametrize(
    ("gain", "half", "passes"), [(unbiased, True, False), (unbiased, False, True), (biased, True, True)]
)
def test_trap_unbiased_variance_over_flexible_sides_is_nan_in_halves(gain: Any, half: bool, passes: bool) -> None:
    """n / (n - 1) is computed in halves: infinity / infinity if n is more than 65504."""
    coremltools = import_coremltools()
    size = coremltools.Shape((1, 3, *(coremltools.RangeDim(16, 400, default=64) for _ in range(2))))
    package = convert_module(Normalized(gain), torch.rand(1, 3, 32, 48), half=half, size=size)
    precision = "fp16" if half else "fp32"
    for side in (64, 320):
        spec = make_spec(ShapeSet.of((1, side, side)), precision=precision)
        found = check(NumpyRuntime(lambda x: run(package, x)[0], spec), golden(Normalized(gain), side)).verdict
        assert found.passed == (passes or side == 64), found.failures
        assert any("NaN or infinity" in failure for failure in found.failures) != found.passed


def test_trap_a_reciprocal_adds_an_epsilon(tmp_path: Path) -> None:
    for gain, kind, passes in ((reciprocal, "inverse", False), (biased, "real_div", True)):
        package = convert_module(Normalized(gain), torch.rand(1, 3, 32, 32))
        assert kind in {operation.op_type for operation in load_program(package).functions["main"].operations}
        path = save(package, tmp_path / "m.mlpackage", shapes=ShapeSet.of((1, 32, 32)), input_name="x", output_name="y")
        with MilEvaluator(path) as runtime:
            found = check(runtime, golden(Normalized(gain), 32), label="predicted").verdict
        assert (found.passed, found.label) == (passes, "predicted"), found.failures
        assert passes or found.failures[0].startswith("flat at 1x32x32: ")


# Packages


def test_an_unknown_operation_is_named(tmp_path: Path) -> None:
    package = build(lambda mb, x: mb.erf(x=x, name="y"), shape=(1, 3, 16, 24))
    ends = {"input_name": "x", "output_name": package.get_spec().description.output[0].name}
    path = save(package, tmp_path / "m.mlpackage", shapes=ShapeSet.of((1, 16, 24)), **ends)
    with pytest.raises(ArtifactError, match=r"m\.mlpackage should hold .* but holds erf; "):
        MilEvaluator(path)


def test_what_leaves_the_neural_engine() -> None:
    def body(mb: Any, x: Any) -> Any:
        y = mb.cast(x=x, dtype="fp16")
        y = mb.pad(x=y, pad=[0, 0, 0, 0, 2, 2, 1, 1], mode="reflect", constant_val=np.float16(0))
        y = mb.conv(x=y, weight=WEIGHT[:3].astype(np.float16), dilations=[2, 2], pad_type="valid", name="dilated")
        y = mb.max_pool(x=y, kernel_sizes=[15, 3], strides=[1, 1], pad_type="same", name="pool")
        y = mb.gather(x=y, indices=np.array([2, 1, 0], np.int32), axis=1, name="gathered")
        y = mb.cast(x=y, dtype="fp32")
        return mb.tanh(x=y, name="wide")

    package = build(body, shape=(1, 3, 16, 24))
    assert placement_warnings(package) == [
        Leaving("main", "conv", "dilated", "is dilated by 2"),
        Leaving("main", "max_pool", "pool", "pools over 15 > 13"),
        Leaving("main", "gather", "gathered", "gathers"),
        Leaving("main", "tanh", "wide", "computes in fp32"),
    ]
    (told,) = leaving_details(package, "fp16").values()
    assert told.startswith("1 x conv is dilated by 2, 1 x max_pool ")


class Times(nn.Module):
    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def test_pictures_are_cut_to_whole_codes(tmp_path: Path) -> None:
    """A program that does not round by itself gets darker pictures, since Core ML does not document its rounding."""
    gain = torch.tensor([1.5, 0.9, -1]).reshape(1, 3, 1, 1)
    package = convert_module(Times(gain), torch.rand(1, 3, 16, 24), pictures=True)
    ends = {"input_name": "x", "output_name": "y", "io": "uint8"}
    image = picture(0, 16, 24)
    with MilEvaluator(save(package, tmp_path / "m.mlpackage", shapes=ShapeSet.of((1, 16, 24)), **ends)) as runtime:
        produced = runtime.infer(image[None])[0]
    exact = image * gain.flatten().numpy()
    np.testing.assert_array_equal(produced, np.floor(exact.clip(0, 255)))
    assert not check_of_rounded(image, exact, produced)


def check_of_rounded(image: NDArray[np.uint8], exact: Array, produced: Array) -> bool:
    """Whether the parity check accepts a picture in place of the exact one, rounded."""
    case = Case("picture", image, np.floor(exact.clip(0, 255) + 0.5).astype(np.uint8))
    runtime = NumpyRuntime(lambda _: produced[None], make_spec(ShapeSet.of((1, 16, 24)), io="uint8", precision="fp16"))
    return check(runtime, Golden((case,))).verdict.passed


# The normalization for halves


def random_norm(channels: int) -> FoldedNorm:
    rng = torch.Generator().manual_seed(channels)
    gains = (torch.randn(1, channels, 1, 1, generator=rng, dtype=torch.float64) for _ in range(3))
    return FoldedNorm(*gains)


def test_a_norm_for_halves_is_the_same_function() -> None:
    norm = random_norm(6)
    x = torch.randn(2, 6, 9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([1e-6, 1e-3, 1.0, 50.0, 600.0, 0.0], dtype=torch.float64).reshape(1, 6, 1, 1)
    x = x * scale + torch.linspace(-300, 300, 6, dtype=torch.float64).reshape(1, 6, 1, 1)
    assert (HalfNorm(norm)(x) - norm(x)).abs().max() < 1e-10 * norm(x).abs().max()


@pytest.mark.parametrize("magnitude", [0.01, 1.0, 600.0])
def test_a_norm_for_halves_keeps_to_their_range(magnitude: float) -> None:
    """Where the squares of deviations overflow and where epsilon matters, also with pessimistic rounding."""
    norm = random_norm(4).float()
    x = magnitude * torch.randn(1, 4, 24, 32, generator=torch.Generator().manual_seed(1))
    package = convert_module(HalfNorm(norm), x, half=True)
    expected = norm(x).numpy()
    for pessimistic in (False, True):
        found = run(package, x.numpy(), pessimistic=pessimistic)[0]
        np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_the_folded_norm_leaves_the_range_of_halves() -> None:
    norm = random_norm(4).float()
    x = 600 * torch.randn(1, 4, 24, 32, generator=torch.Generator().manual_seed(1))
    found = run(convert_module(norm, x, half=True), x.numpy())[0]
    assert np.abs(found - norm(x).numpy()).max() > 0.5
    flat = torch.full((1, 4, 24, 32), 0.3)
    assert np.isnan(run(convert_module(norm, flat, half=True), flat.numpy(), pessimistic=True)[0]).any()
