"""The tone head in every export: it draws PyTorch's pictures, decides in float32, and faults in it are rejected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

import export.to_onnx
import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network import tone
from bncagan.network.checkpoint import load_generator, save_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from bncagan.network.tone import ToneHead, area_mean, luma
from export.artifact import describe
from export.engine_layers import HEAD
from export.exporters import EXPORTERS
from export.int8.scheme import ONNX_RUNTIME
from export.int8.search import full_plan
from export.parity import ParityError
from export.publishing import Artifact
from export.to_onnx import convert
from runtimes import ShapeSet
from runtimes.formats import FORMATS
from tests.conftest import randomise
from tests.folders import picture

FIXED = ShapeSet.of((2, 48, 64))
ONE = ShapeSet.of((1, 48, 64))
RANGE = ShapeSet.between((1, 16, 16), (1, 48, 64), (2, 64, 96))
PHOTOS = {"smooth": picture(0), "dark": picture(1) // 8}
FLOAT = 2e-5  # largest difference of float32 arithmetic, in [0, 1]


def random_model(width: int) -> FoldedGenerator:
    """A random head; unless the width is 0, also a random generator whose last convolution is as small as trained."""
    generator = Generator(ModelConfig(width=width, tone=True, detail=width > 0, untoned=width > 0)).eval()
    randomise(generator, seed=1)
    if width:
        with torch.no_grad():
            generator.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return fold(generator)


@pytest.fixture(scope="module")
def alone() -> FoldedGenerator:
    return random_model(0)


@pytest.fixture(scope="module")
def both() -> FoldedGenerator:
    return random_model(4)


def linear_layers(model: FoldedGenerator) -> int:
    """How many there are in the head."""
    assert model.tone is not None
    return sum(isinstance(part, nn.Linear) for part in model.tone.modules())


def exported(folder: Path, form: str, model: FoldedGenerator, **options: Any) -> Artifact:
    given = {"precision": "fp32", "shapes": FIXED, "photos": PHOTOS} | options
    return EXPORTERS[form](model, folder / f"m{FORMATS[form].suffix}", **given)


def opened(path: Path) -> runtimes.Runtime:
    """The artifact in the runtime that its check used."""
    if path.suffix == FORMATS["coreml"].suffix:
        from export.to_coreml import opener

        return opener()[0](path)
    return runtimes.load(path)


@torch.no_grad()
def difference(path: Path, model: FoldedGenerator) -> float:
    """The largest difference to PyTorch, in [0, 1], for a batch of a bright and a dark picture."""
    batch = np.stack([picture(5, 48, 64), picture(6, 48, 64) // 8]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    expected = model(torch.from_numpy(batch)).numpy()
    assert np.abs(expected - batch).mean((1, 2, 3)).min() > 0.01
    with opened(path) as runtime:
        found: NDArray[np.float32] = runtime.infer(batch)
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize(("form", "shapes"), [("onnx", RANGE), ("openvino", RANGE), ("pt2", RANGE), ("coreml", FIXED)])
def test_every_format_draws_the_same(tmp_path: Path, form: str, shapes: ShapeSet, width: int) -> None:
    pytest.importorskip({"pt2": "torch", "coreml": "coremltools"}.get(form, form))
    model = random_model(width)
    artifact = exported(tmp_path, form, model, shapes=shapes)
    assert artifact.spec.width == width
    assert difference(artifact.path, model) < FLOAT


def test_fixed_shapes_too(tmp_path: Path, alone: FoldedGenerator) -> None:
    assert difference(exported(tmp_path, "onnx", alone).path, alone) < FLOAT


def test_luma_and_the_small_copy_are_the_textbook_s() -> None:
    """Shows that the faults below start from the right numbers."""
    image = torch.rand(1, 3, 96, 144, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cells = image.reshape(1, 3, 48, 2, 48, 3).mean((3, 5))
    torch.testing.assert_close(area_mean(image), cells)
    red, green, blue = image[0]
    torch.testing.assert_close(luma(image)[0, 0], 0.299 * red + 0.587 * green + 0.114 * blue)


# Faults


class SharedDecision(ToneHead):
    """Decides once for the whole batch."""

    def decide(self, small: Tensor) -> Tensor:
        return super().decide(small.mean(0, keepdim=True))


class Tiles(nn.Module):
    """Decides for each half of the picture."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        left, right = image.chunk(2, dim=3)
        return torch.cat([self.head(left), self.head(right)], dim=3)


def shared(head: ToneHead) -> nn.Module:
    made = SharedDecision()
    made.load_state_dict(head.state_dict())
    return made


def coarse(head: ToneHead) -> nn.Module:
    """Weights of 8 bits of mantissa, as a conversion of the decision to bfloat16 would leave them."""
    made = copy.deepcopy(head)
    for parameter in made.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return made


FAULTS: dict[str, Callable[[ToneHead], nn.Module]] = {
    "left out": lambda head: nn.Identity(),
    "one decision for a batch": shared,
    "a decision for each tile": Tiles,
    "rounded weights": coarse,
    "another luma": lambda head: head,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_head_is_rejected(
    tmp_path: Path, alone: FoldedGenerator, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(module: FoldedGenerator, *others: Any) -> onnx.ModelProto:
        wrong = copy.deepcopy(module)
        assert wrong.tone is not None
        wrong.tone = FAULTS[fault](wrong.tone)  # type: ignore[assignment]
        with monkeypatch.context() as patch:
            if fault == "another luma":
                patch.setattr(tone, "LUMA_WEIGHTS", (0.2126, 0.7152, 0.0722))
            return convert(wrong, *others)

    monkeypatch.setattr(export.to_onnx, "convert", faulty)
    with pytest.raises(ParityError):
        exported(tmp_path, "onnx", alone)


# Precision


def test_half_and_int8_graphs_keep_the_head_in_float32(both: FoldedGenerator) -> None:
    pictures = {"a": picture(5, 48, 64), "b": picture(6, 48, 64) // 8}
    plan = full_plan(both, pictures, ONNX_RUNTIME)
    assert not any("tone" in convolution.name for convolution in plan.convolutions)
    spec = describe(both, precision="fp16", shapes=FIXED, io="float32", tools=())
    graph = onnx.shape_inference.infer_shapes(convert(both, spec, plan)).graph
    in_head = {node.name: node for node in graph.node if node.name.startswith(HEAD)}
    assert sum(node.op_type in {"MatMul", "Gemm"} for node in in_head.values()) == linear_layers(both) + 2
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    written = {kinds[name] for node in in_head.values() for name in node.output if name in kinds}
    assert written <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
    after = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    assert not any(after.intersection(node.input) for node in in_head.values())
    assert any(after.intersection(node.input) for node in graph.node)


def test_half_weights_of_openvino_are_the_generator_s(both: FoldedGenerator) -> None:
    openvino = pytest.importorskip("openvino")
    from export.to_openvino import halve_weights

    spec = describe(both, precision="fp16", shapes=FIXED, io="float32", tools=())
    graph = convert(both, spec)
    halve_weights(graph)
    onnx.checker.check_model(graph, full_check=True)
    held = [numpy_helper.to_array(constant) for constant in graph.graph.initializer]
    assert both.tone is not None
    for part in both.tone.modules():
        if isinstance(part, nn.Linear):
            weight = part.weight.numpy()
            assert any(np.array_equal(array, weight) or np.array_equal(array, weight.T) for array in held)
    kernels = [array for array in held if array.ndim == 4 and array.shape[2] == array.shape[3] > 1]
    assert {array.dtype.name for array in kernels} == {"float16"}
    assert openvino.Core().read_model(graph.SerializeToString()) is not None


@pytest.fixture(scope="module")
def package(both: FoldedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    pytest.importorskip("coremltools")
    smaller = copy.deepcopy(both)
    smaller.bnr.parts = smaller.bnr.get_submodule("parts")[:1]  # type: ignore[index]
    return exported(tmp_path_factory.mktemp("package"), "coreml", smaller, precision="fp16", shapes=ONE)


def results(package: Artifact) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    """Kind, shape and type of the result of each operation that computes something."""
    from export.mil import load_program
    from export.mil_operations import torch_dtype
    from runtimes.coreml import read_package

    operations = load_program(read_package(package.path).model).functions["main"].operations
    results = [(operation.op_type, operation.outputs[0]) for operation in operations]
    return [(kind, tuple(var.shape), torch_dtype(var.dtype)) for kind, var in results if kind not in {"const", "cast"}]


def test_palettes_leave_the_head_alone(tmp_path: Path) -> None:
    """Neither the weights of the decision nor the matrices of the area mean, which are larger than a small layer."""
    from export.mil import load_program
    from runtimes.coreml import read_package

    pytest.importorskip("coremltools")
    wide = fold(load_generator("small")[0])
    package = exported(tmp_path, "coreml", wide, precision="palette8", shapes=ShapeSet.of((1, 64, 64)), target="iOS17")
    operations = load_program(read_package(package.path).model).functions["main"].operations
    stored = {op.name: op.op_type for op in operations}
    palettes = {name for name, kind in stored.items() if kind == "constexpr_lut_to_dense"}
    assert any("bnr_block" in name for name in palettes)
    parts = ("p_encoder_", "p_mask_", "p_bnr_", "p_decoder_")
    assert all(name.startswith(parts) for name in palettes), palettes
    head = [name for name in stored if "tone_members" in name and name.endswith("weight")]
    assert len(head) == linear_layers(wide)


def test_core_ml_decides_in_float32_and_draws_in_halves(package: Artifact, both: FoldedGenerator) -> None:
    found = results(package)
    single, half = torch.float32, torch.float16
    assert sorted(str(dtype) for kind, _, dtype in found if kind == "linear") == [
        str(half),
        *[str(single)] * linear_layers(both),
    ]
    for kind in ("matmul", "log", "silu", "reduce_min"):
        assert {dtype for other, _, dtype in found if other == kind} == {single}, kind
    assert {dtype for _, shape, dtype in found if shape[-2:] == (48, 64)} == {half}
    assert {dtype for kind, _, dtype in found if kind in {"conv", "avg_pool"}} == {half}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # constants of coremltools
def test_core_ml_all_in_halves_would_be_seen(
    tmp_path: Path, alone: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("coremltools")
    monkeypatch.setattr("export.to_coreml.OutsideTheDecision", lambda: lambda operation: True)
    with pytest.raises(ParityError, match="finite"):
        exported(tmp_path, "coreml", alone, precision="fp16", shapes=ONE)


def test_core_ml_returns_one_colour_exactly(package: Artifact) -> None:
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [63, 63, 63], [205, 150, 125]], np.uint8)
    with opened(package.path) as runtime:
        for colour in colours:
            flat = np.broadcast_to(colour, (48, 64, 3)).copy()
            assert np.array_equal(runtime.enhance(flat), flat)


# A head alone


@pytest.mark.parametrize(
    ("form", "precision"),
    [("onnx", "fp16"), ("onnx", "int8"), ("openvino", "fp16"), ("openvino", "int8"), ("coreml", "palette8")],
)
def test_precisions_that_a_head_alone_does_not_have(
    tmp_path: Path, form: str, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip({"coreml": "coremltools"}.get(form, form))
    checkpoint = tmp_path / "nano.safetensors"
    save_generator(checkpoint, Generator(ModelConfig(width=0, tone=True)), ModelConfig(width=0, tone=True), {})
    out = tmp_path / f"m{FORMATS[form].suffix}"
    given = ["--checkpoint", str(checkpoint), "--precision", precision, "--shape", "64x64", "--out", str(out)]
    assert main(["export", form, *given]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{precision} should be of weights with a generator but these are a tone head alone" in said
    assert not out.exists()


def test_export_all_leaves_them_out_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, config = tmp_path / "nano.safetensors", ModelConfig(width=0, tone=True)
    generator = Generator(config)
    randomise(generator)
    save_generator(checkpoint, generator, config, {})
    given = ["--checkpoint", str(checkpoint), "--shape", "32x48", "--formats", "onnx", "--jobs", "1"]
    assert main(["export", "all", *given, "--out", str(tmp_path / "all")]) == 0
    assert "these are a tone head alone" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in (tmp_path / "all").glob("*.onnx")) == ["nano-fp32.onnx"]


def test_a_core_ml_package_of_a_head_alone_says_so(tmp_path: Path, alone: FoldedGenerator) -> None:
    pytest.importorskip("coremltools")
    from runtimes.coreml import import_coremltools

    alone = copy.deepcopy(alone)
    alone.licence = "Apache-2.0"
    made = exported(tmp_path, "coreml", alone, precision="fp16", shapes=ONE, io="uint8")
    about = import_coremltools().utils.load_spec(str(made.path)).description.metadata
    assert "BNCAGAN, the tone head alone, fp16" in about.shortDescription
    assert about.license.startswith("Weights: Apache-2.0.")
    assert made.spec.details["weights' licence"] == "Apache-2.0"
