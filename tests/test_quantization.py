"""INT8: ranges, rounding, offsets, Q/DQ nodes and the search, on random networks and compared with numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console

import export.artifact
import export.int8.search
from bncagan.config import ModelConfig
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.inference import to_unit
from bncagan.network.model import Generator
from export.artifact import describe
from export.int8.qdq import insert_qdq
from export.int8.ranges import STOPS, Calibration, calibration_pictures, calibration_sizes, expose, photographs
from export.int8.scheme import (
    ONNX_RUNTIME,
    OPENVINO,
    TENSORRT,
    Convolution,
    Convolve,
    EachConvolution,
    Plan,
    Range,
    Scheme,
    draw,
    observe,
    round_activations,
    round_weights,
)
from export.int8.search import choose, exact_cases, full_plan, only, picture_of, sensitivity, sensitivity_table
from export.to_onnx import convert
from runtimes import ArtifactError, ShapeSet
from runtimes.golden import extreme_images, is_flat
from runtimes.image import Pixels
from runtimes.likeness import Thresholds, compare
from tests.conftest import randomise
from tests.folders import picture

SHAPE = ShapeSet.of((1, 64, 64))
SCHEMES = {"onnxruntime": ONNX_RUNTIME, "openvino": OPENVINO, "tensorrt": TENSORRT}


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    generator = Generator(ModelConfig(width=8))
    randomise(generator)
    with torch.no_grad():
        generator.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return fold(generator.eval())


@pytest.fixture(scope="module")
def pictures() -> dict[str, Pixels]:
    return {"smooth": picture(0, 64, 64), "dark": picture(1, 64, 64) // 8, "red": extreme_images(64, 64)["red"]}


@pytest.fixture(scope="module")
def graph(model: FoldedGenerator) -> ModelProto:
    tools = ("torch", "onnx", "onnxscript")
    return convert(model, describe(model, precision="int8", shapes=SHAPE, io="float32", tools=tools))


@pytest.fixture(scope="module")
def plan(model: FoldedGenerator, pictures: dict[str, Pixels]) -> Plan:
    return full_plan(model, pictures, ONNX_RUNTIME)


def run(graph: ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the graph without fusing nodes, so that Q and DQ compute what they say."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {graph.graph.input[0].name: image})[0]
    return result


def one_convolution(weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> ModelProto:
    inputs = ["x", "w"] if bias is None else ["x", "w", "b"]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", inputs, ["y"], name="conv")],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weight.shape[1], 9, 7])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weight.shape[0], 7, 5])],
            [numpy_helper.from_array(weight, "w")] + ([] if bias is None else [numpy_helper.from_array(bias, "b")]),
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


def int8_convolution(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float64], ranges: Convolution, scheme: Scheme
) -> NDArray[np.float64]:
    """The same convolution in integers, as a processor computes it."""
    (low, high), limit = ranges.input, scheme.weight_limit
    if scheme.signed:
        step, zero, least, most = max(-low, high) / 127, 0, -128, 127
    else:
        step, least, most = (high - low) / 255, 0, 255
        zero = int(np.rint(-low / step))
    codes = np.clip(np.rint(x.astype(np.float64) / step) + zero, least, most).astype(np.int64) - zero
    steps = np.abs(weight).max((1, 2, 3)).astype(np.float64) / limit
    numbers = np.rint(weight / steps[:, None, None, None]).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(codes[0], (3, 3), axis=(1, 2))
    y = np.einsum("chwij,ocij->ohw", windows, numbers) * (step * steps)[:, None, None] + bias[:, None, None]
    if scheme.outputs:
        span = (ranges.output.high - ranges.output.low) / 255
        zero = int(np.rint(-ranges.output.low / span))
        y = (np.clip(np.rint(y / span) + zero, 0, 255) - zero) * span
    return y[None]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_convolution_in_whole_numbers_equals_the_graph_and_the_search(name: str, with_bias: bool) -> None:
    scheme, rng = SCHEMES[name], np.random.default_rng(3)
    x = rng.normal(0.4, 1, (1, 5, 9, 7)).astype(np.float32)
    weight = (rng.normal(0, 1, (4, 5, 3, 3)) * np.array([0.01, 1, 0.2, 5])[:, None, None, None]).astype(np.float32)
    bias = rng.normal(0, 1, 4).astype(np.float32) if with_bias else None
    offset = rng.normal(0, 0.1, 4).astype(np.float32)
    exact = run(one_convolution(weight, bias), x)
    ranges = Convolution("conv", 1.0, Range(-1.5, 2.25), Range(float(exact.min()), float(exact.max() * 0.8)))
    total = offset.astype(np.float64) + (0 if bias is None else bias)
    expected = int8_convolution(x, weight, total, ranges, scheme)
    assert 0.01 < np.abs(expected - exact).max() / np.abs(exact).max() < 0.5

    made = insert_qdq(
        one_convolution(weight, bias), Plan(scheme, (ranges,), (torch.tensor(offset)[:, None, None],), frozenset())
    )
    step = (ranges.output.high - ranges.output.low) / 255 if scheme.outputs else 0.0
    difference = np.abs(run(made, x) - expected)
    assert (difference > 1e-4 + 1e-5 * np.abs(expected)).mean() < 0.03  # results half-way between two codes
    assert difference.max() < 1.01 * step + 1e-3

    rounded = round_activations(torch.tensor(x), ranges.input, scheme), round_weights(torch.tensor(weight), scheme)
    y = torch.nn.functional.conv2d(*rounded) + torch.tensor(total, dtype=torch.float32)[:, None, None]
    y = round_activations(y, ranges.output, scheme) if scheme.outputs else y
    assert (np.abs(y.numpy() - expected) > 1e-4 + 1e-5 * np.abs(expected)).mean() < 0.03


def test_every_use_of_a_convolution_has_its_own_ranges(
    model: FoldedGenerator, plan: Plan, pictures: dict[str, Pixels]
) -> None:
    names = [convolution.name for convolution in plan.convolutions]
    assert len(set(names)) == len(names) == 28
    assert names[0] == "encoder.conv1"
    assert names[4:8] == ["bnr.block.conv1 use 1", "bnr.block.conv2 use 1", "bnr.parts.0", "bnr.block.conv1 use 2"]
    assert names[-1] == "decoder.tail.conv"
    assert sum(convolution.share for convolution in plan.convolutions) == pytest.approx(1)
    assert plan.share == pytest.approx(1)
    spans = {plan.convolutions[i].input for i in range(4, 22, 3)}
    assert len(spans) == 6

    seen: list[torch.Tensor] = []
    model.decoder.tail.get_submodule("conv").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    convolutions = observe(model, [pictures["smooth"], pictures["dark"]]).convolutions
    model.decoder.tail.get_submodule("conv")._forward_pre_hooks.clear()
    low, high = min(x.min().item() for x in seen), max(x.max().item() for x in seen)
    assert convolutions[-1].input == (min(low, 0), max(high, 0))
    assert convolutions[-1].input != convolutions[-2].output  # the gate and the interpolation lie between
    assert convolutions[-1].share == pytest.approx(12 / 4 * 8 * 100 / sum(macs(model)))


def macs(model: FoldedGenerator) -> list[float]:
    """Multiply-adds of each convolution per pixel of a 64 x 64 picture."""
    counted: list[float] = []
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(lambda part, _, y: counted.append(part.weight[0].numel() * y[0].numel() / 64**2))
    model(torch.zeros(1, 3, 64, 64))
    for part in model.modules():
        part._forward_hooks.clear()
    return counted


def constant(graph: ModelProto, name: str) -> NDArray[np.generic]:
    (found,) = [tensor for tensor in graph.graph.initializer if tensor.name == name]
    return numpy_helper.to_array(found)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_graph_has_int8_in_the_planned_convolutions_only(graph: ModelProto, plan: Plan, name: str) -> None:
    scheme, kept = SCHEMES[name], frozenset({0, 5, 25, 26, 27})
    made = insert_qdq(graph, dataclasses.replace(plan, scheme=scheme, kept=kept))
    maker: dict[str, NodeProto] = {output: node for node in made.graph.node for output in node.output}
    takers: dict[str, list[NodeProto]] = {}
    for node in made.graph.node:
        for tensor in node.input:
            takers.setdefault(tensor, []).append(node)
    convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 28
    for i, node in enumerate(convolutions):
        sources = [maker[tensor].op_type if tensor in maker else "constant" for tensor in node.input]
        follower = {taker.op_type for taker in takers[node.output[0]]}
        if i in kept:
            assert "DequantizeLinear" not in sources
            continue
        activation, weight = maker[node.input[0]], maker[node.input[1]]
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert maker[activation.input[0]].op_type == "QuantizeLinear"
        zero = constant(made, activation.input[2])
        assert zero.dtype == (np.int8 if scheme.signed else np.uint8)
        assert zero.shape == ()
        if scheme.signed:
            assert zero == 0
        codes, scales = constant(made, weight.input[0]), constant(made, weight.input[1])
        assert codes.dtype == np.int8
        assert codes.shape[0] == scales.size
        assert not constant(made, weight.input[2]).any()
        assert np.abs(codes.astype(int)).max(axis=(1, 2, 3)).tolist() == [scheme.weight_limit] * len(codes)
        assert sources[2] == ("DequantizeLinear" if scheme.outputs else "constant")
        assert (follower == {"QuantizeLinear"}) == scheme.outputs
    rounded = {
        taker.op_type
        for node in made.graph.node
        if node.op_type == "DequantizeLinear"
        for taker in takers[node.output[0]]
    }
    if not scheme.outputs:
        assert rounded == {"Conv"}
    assert not any(
        node.op_type == "QuantizeLinear" and maker[node.input[0]].op_type == "Sqrt"
        for node in made.graph.node
        if node.input[0] in maker
    )


@pytest.mark.parametrize("name", SCHEMES)
def test_the_graph_draws_the_pictures_of_the_search(
    model: FoldedGenerator, graph: ModelProto, pictures: dict[str, Pixels], name: str
) -> None:
    (case,) = exact_cases(model, {"smooth": pictures["smooth"]})
    batch = (case.image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]
    full = full_plan(model, pictures, SCHEMES[name])
    exact = run(graph, batch)[0].transpose(1, 2, 0)
    for i in (
        0,
        5,
        8,
        9,
        23,
        27,
    ):  # one at a time, because one code that float32 rounds differently would change all later layers
        seen = picture_of(draw(model, case.image, only(full, i)))
        drawn = run(insert_qdq(graph, only(full, i)), batch)[0].transpose(1, 2, 0)
        assert np.abs(drawn - seen).mean() < 0.1 * np.abs(seen - exact).mean(), i

    seen = picture_of(draw(model, case.image, full))
    drawn = run(insert_qdq(graph, full), batch)[0].transpose(1, 2, 0)
    assert 0.7 < np.abs(drawn - exact).mean() / np.abs(seen - exact).mean() < 1.4


def test_offsets_are_the_mean_errors_of_rounded_weights(model: FoldedGenerator) -> None:
    """Compared with a second convolution, by the rounded weights, over all pictures and at a size of odd strides."""
    few = [picture(2, 16, 16), picture(3, 16, 16) // 4]
    plan = observe(model, few).plan(OPENVINO)
    totals = [torch.zeros(())] * len(plan.convolutions)

    def visit(i: int, x: torch.Tensor, weight: torch.Tensor, convolve: Convolve) -> torch.Tensor:
        y = convolve(x, weight)
        totals[i] = totals[i] + (y - convolve(x, round_weights(weight, OPENVINO))).mean((0, 2, 3)) / len(few)
        return y

    for one in few:
        with torch.no_grad(), EachConvolution(visit):
            model(to_unit(one))
    for offset, total in zip(plan.offsets, totals, strict=True):
        torch.testing.assert_close(offset.flatten(), total, atol=1e-5, rtol=1e-3)
        assert total.abs().max() > 1e-5


def test_offsets_remove_the_mean_error(model: FoldedGenerator, pictures: dict[str, Pixels]) -> None:
    image = {"smooth": pictures["smooth"]}
    plan = only(full_plan(model, image, OPENVINO), 0)
    assert plan.offsets[0].shape == (8, 1, 1)
    seen: list[torch.Tensor] = []
    hook = torch.nn.Conv2d.register_forward_hook
    handle = hook(model.encoder.conv1, lambda _, __, y: seen.append(y))
    draw(model, pictures["smooth"], dataclasses.replace(plan, kept=frozenset(range(28))))
    handle.remove()
    exact = seen[0]
    rounded = torch.nn.functional.conv2d(
        torch.nn.functional.pad(
            round_activations(
                torch.from_numpy(pictures["smooth"] / np.float32(255)).permute(2, 0, 1)[None],
                plan.convolutions[0].input,
                OPENVINO,
            ),
            (3, 3, 3, 3),
            mode="reflect",
        ),
        round_weights(model.encoder.conv1.weight, OPENVINO),
        model.encoder.conv1.bias,
    )
    before = (rounded - exact).mean((0, 2, 3))
    after = (rounded + plan.offsets[0] - exact).mean((0, 2, 3))
    assert before.abs().max() > 1e-4
    assert after.abs().max() < 1e-6


@pytest.mark.slow
def test_the_search_keeps_in_float_what_the_pictures_need(
    model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"smooth": picture(0, 32, 32), "dark": picture(1, 32, 32) // 8, "red": extreme_images(32, 32)["red"]}
    calibration = Calibration(few, few)
    full = full_plan(model, calibration.ranged, ONNX_RUNTIME)
    cases = exact_cases(model, calibration.judged)

    def failures(plan: Plan, psnr: float = 41.0) -> list[str]:
        margin = Thresholds(psnr=psnr, bias=0.25, de_mean=0.75)
        drawn = {case.name: draw(model, case.image, plan) for case in cases}
        far = [
            str(e)
            for case in cases
            if case.name == "red" and (e := (drawn["red"] - draw(model, case.image, none)).abs().max() * 255) > 0.5
        ]
        scores = [compare(case, picture_of(drawn[case.name])) for case in cases if case.name != "red"]
        return far + [failure for score in scores for failure in margin.failures(score)]

    none = dataclasses.replace(full, kept=frozenset(range(28)))
    assert failures(full)
    plan = choose(model, ONNX_RUNTIME, calibration)
    assert {0, 27} < plan.kept
    assert len(plan.kept) < 28
    assert not failures(plan)
    assert plan.share < 1
    for i in plan.kept - {0, 27}:
        assert failures(dataclasses.replace(plan, kept=plan.kept - {i}))
    again = choose(model, ONNX_RUNTIME, calibration)
    assert (again.kept, again.convolutions) == (plan.kept, plan.convolutions)
    assert all(torch.equal(a, b) for a, b in zip(again.offsets, plan.offsets, strict=True))

    counts = [len(plan.kept)]
    for psnr in (47.0, 49.0, 51.0):
        monkeypatch.setattr(export.int8.search, "PSNR", psnr)
        stricter = choose(model, ONNX_RUNTIME, calibration)
        assert not failures(stricter, psnr)
        counts.append(len(stricter.kept))
    assert counts == sorted(counts)
    assert counts[-1] < 14

    monkeypatch.setattr(export.int8.search, "PSNR", 300.0)
    with pytest.raises(ArtifactError, match="export fp16 or fp32"):
        choose(model, ONNX_RUNTIME, calibration)


def test_the_same_plan_makes_the_same_file(graph: ModelProto, plan: Plan) -> None:
    before = graph.SerializeToString(deterministic=True)
    files = {insert_qdq(graph, plan).SerializeToString(deterministic=True) for _ in range(2)}
    assert len(files) == 1
    assert graph.SerializeToString(deterministic=True) == before


def test_sensitivity_names_the_costliest_first(model: FoldedGenerator, pictures: dict[str, Pixels], plan: Plan) -> None:
    rows = sensitivity(model, pictures)
    assert {row.name for row in rows} == {convolution.name for convolution in plan.convolutions}
    decibels = [row.psnr for row in rows if row.psnr is not None]
    assert decibels == sorted(decibels)
    worst = next(i for i, convolution in enumerate(plan.convolutions) if convolution.name == rows[0].name)
    scores = [
        compare(case, picture_of(draw(model, case.image, only(plan, worst)))) for case in exact_cases(model, pictures)
    ]
    assert rows[0].psnr == min(score.psnr for score in scores if score.psnr is not None)
    assert rows[0].bias == max(score.bias_max for score in scores)
    console = Console(width=120)
    with console.capture() as text:
        console.print(sensitivity_table(rows))
    assert rows[0].name in text.get()


def test_calibration_is_dark_and_bright_and_at_every_size() -> None:
    photos = {"b": picture(0, 80, 96), "a": picture(1, 80, 96)}
    made = calibration_pictures(ShapeSet.of((1, 512, 48)), photos)
    assert {image.shape for image in made.ranged.values() if not is_flat(image)} == {(256, 48, 3)}
    assert {image.shape for image in made.ranged.values() if is_flat(image)} == {(64, 48, 3)}
    assert {image.shape for image in made.judged.values()} == {(128, 48, 3)}
    assert len(made.ranged) == 2 * len(STOPS) + len(extreme_images(8, 8))
    assert made.ranged["a -4 at 256x48"].mean() < 0.5 * made.ranged["a +0 at 256x48"].mean()
    many = {str(i): photos["a"] for i in range(100)}
    sizes = ShapeSet.between((1, 16, 16), (1, 256, 256), (2, 512, 512))
    assert calibration_sizes(sizes, 128) == [(16, 16), (96, 128), (128, 128)]
    judged = calibration_pictures(SHAPE, many).judged
    assert len(judged) == 12 + len(extreme_images(8, 8)) - 8  # flat colours, which int8 cannot change
    assert not any((picture == picture[0, 0]).all() for picture in judged.values())
    assert len(calibration_pictures(ShapeSet.of((1, 16, 16)), many).ranged) == 32 * 4 + len(extreme_images(8, 8))

    ramp = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
    darker = expose(ramp, -2)[:, 0, 0]
    assert np.abs((darker / 255.0) ** 2.2 - (ramp[:, 0, 0] / 255.0) ** 2.2 / 4).max() < 0.005
    assert expose(ramp, 1).max() == 255


def test_calibration_photographs_are_not_those_of_the_check() -> None:
    checked = export.artifact.photographs()
    for name, photo in photographs().items():
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert not any(photo.shape == other.shape and np.array_equal(photo, other) for other in checked.values()), name
