"""INT8 artifacts: what they hold and state, and that the parity check refuses wrong ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export.int8.qdq
import export.to_onnx
import export.to_openvino
import runtimes
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import load_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.artifact import with_io
from export.int8.scheme import ONNX_RUNTIME, OPENVINO, TENSORRT, Plan, Scheme
from export.int8.search import full_plan
from export.parity import ParityError
from export.publishing import Artifact
from export.to_onnx import convert, to_onnx
from export.to_openvino import to_openvino
from runtimes import ShapeSet
from runtimes.golden import extreme_images
from runtimes.image import Pixels, resize
from runtimes.likeness import THRESHOLDS
from tests.conftest import randomise
from tests.faults import FAULTS, wrong_rho
from tests.folders import picture

pytest.importorskip("onnxruntime")
FIXED = ShapeSet.of((1, 64, 64))
RANGE = ShapeSet.between((1, 48, 48), (1, 64, 64), (2, 96, 96))


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    """A random network with a last convolution as small as after training."""
    generator = Generator(ModelConfig(width=8))
    randomise(generator)
    with torch.no_grad():
        generator.decoder.tail.get_submodule("conv2").weight.mul_(0.05)
    return fold(generator.eval())


@pytest.fixture(scope="module")
def photos() -> dict[str, Pixels]:
    return {"smooth": picture(0), "dark": picture(1) // 3}


@pytest.fixture(scope="module")
def plans(model: FoldedGenerator) -> dict[Scheme, Plan]:
    """A plan with the shared block, its 1x1 and most of the decoder in int8; the search is tested elsewhere."""
    pictures = {"a": picture(5, 64, 64), "b": picture(6, 64, 64) // 8} | extreme_images(64, 64)
    kept = frozenset({0, 1, 2, 3, 24, 25, 26, 27})
    schemes = (ONNX_RUNTIME, OPENVINO, TENSORRT)
    return {scheme: dataclasses.replace(full_plan(model, pictures, scheme), kept=kept) for scheme in schemes}


@pytest.fixture(autouse=True)
def searched(monkeypatch: pytest.MonkeyPatch, plans: dict[Scheme, Plan]) -> None:
    for module in (export.to_onnx, export.to_openvino):
        monkeypatch.setattr(module, "plan_int8", lambda model, shapes, photos, scheme: plans[scheme])


def passed(artifact: Artifact) -> None:
    spec = artifact.spec
    assert spec.precision == "int8"
    assert spec.parity is not None
    assert spec.parity.passed
    assert float(spec.details["int8 share of multiply-adds"].rstrip("%")) > 30
    with runtimes.load(artifact.path) as runtime:
        assert runtime.spec == spec


@pytest.mark.parametrize("scheme", [ONNX_RUNTIME, TENSORRT])
def test_an_onnx_file_passes_and_says_what_is_in_int8(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], plans: dict[Scheme, Plan], scheme: Scheme
) -> None:
    artifact = to_onnx(model, tmp_path / "m.onnx", precision="int8", shapes=FIXED, photos=photos, scheme=scheme)
    passed(artifact)
    details = artifact.spec.details
    assert details["int8 inputs"] == ("signed" if scheme.signed else "unsigned")
    kept = [plans[scheme].convolutions[i].name for i in sorted(plans[scheme].kept)]
    assert details["kept in float"] == (", ".join(kept) or "none")
    graph = onnx.load(artifact.path)
    codes = [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    assert len(codes) == (28 - len(kept)) * (2 if scheme.outputs else 1)


def test_onnx_runtime_computes_in_int8(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], plans: dict[Scheme, Plan]
) -> None:
    import onnxruntime as ort

    path = to_onnx(model, tmp_path / "m.onnx", precision="int8", shapes=FIXED, photos=photos).path
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 28 - len(plans[ONNX_RUNTIME].kept)


def test_an_openvino_ir_passes_and_computes_in_int8(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], plans: dict[Scheme, Plan]
) -> None:
    pytest.importorskip("openvino")
    artifact = to_openvino(model, tmp_path / "m.xml", precision="int8", shapes=FIXED, photos=photos)
    passed(artifact)
    core = runtimes.ov.import_openvino().Core()
    compiled = core.compile_model(core.read_model(artifact.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    facts = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    kinds = [fact["runtimePrecision"].value for fact in facts if fact["layerType"].value == "Convolution"]
    assert len(kinds) == 28
    assert sum(kind in {"u8", "i8"} for kind in kinds) == 28 - len(plans[OPENVINO].kept)
    float_bin = tmp_path / "f.xml"
    to_openvino(model, float_bin, precision="fp32", shapes=FIXED, photos=photos)
    assert (tmp_path / "m.bin").stat().st_size < 0.75 * (tmp_path / "f.bin").stat().st_size


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_range_and_bytes(tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], form: str) -> None:
    pytest.importorskip("openvino")
    exporter, name = (to_onnx, "m.onnx") if form == "onnx" else (to_openvino, "m.xml")
    artifact = exporter(model, tmp_path / name, precision="int8", shapes=RANGE, io="uint8", photos=photos)
    passed(artifact)
    with runtimes.load(artifact.path) as runtime:
        pair = np.stack([picture(7, 48, 56), picture(8, 48, 56) // 8])
        together = runtime.infer(pair).astype(int)
        alone = [runtime.infer(one[None])[0] for one in pair]
    assert np.abs(together - np.stack(alone)).max() <= 1


@pytest.mark.parametrize("name", FAULTS)
def test_the_gate_refuses_a_faulty_converter(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = (lambda model: wrong_rho(model, 1.0)) if name == "rho" else FAULTS[name]
    monkeypatch.setattr(export.to_onnx, "with_io", lambda model, spec: with_io(fault(model), spec))
    with pytest.raises(ParityError):
        to_onnx(model, tmp_path / "m.onnx", precision="int8", shapes=FIXED, photos=photos)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx.rejected"]


def test_the_gate_refuses_a_wrong_step(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_small(graph: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
        graph = export.int8.qdq.insert_qdq(graph, plan)
        step = next(c for c in graph.graph.initializer if c.name.endswith("_input_step"))
        step.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(step) * np.float32(0.25), step.name))
        return graph

    monkeypatch.setattr(export.to_onnx, "insert_qdq", too_small)
    with pytest.raises(ParityError):
        to_onnx(model, tmp_path / "m.onnx", precision="int8", shapes=FIXED, photos=photos)


def test_the_gate_refuses_int8_where_float_is_needed(
    tmp_path: Path, photos: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search keeps some convolutions in float; here all are quantized, to 4 codes on each side of 0."""
    trained = fold(load_generator("small")[0])
    pictures = {name: resize(photo, 64, 64) for name, photo in photos.items()} | extreme_images(64, 64)
    coarse = dataclasses.replace(ONNX_RUNTIME, weight_limit=4)
    monkeypatch.setattr(export.to_onnx, "plan_int8", lambda *_: full_plan(trained, pictures, coarse))
    with pytest.raises(ParityError):
        to_onnx(trained, tmp_path / "m.onnx", precision="int8", shapes=FIXED, photos=photos)


@pytest.mark.slow
def test_the_same_export_makes_the_same_file(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {"a": picture(5, 64, 64)} | extreme_images(64, 64)
    again = lambda model, shapes, photos, scheme: full_plan(model, pictures, scheme)  # noqa: E731
    monkeypatch.setattr(
        export.to_onnx, "plan_int8", lambda *given: dataclasses.replace(again(*given), kept=frozenset({0, 1, 2, 3, 27}))
    )
    monkeypatch.setattr(export.to_onnx, "convert", convert)
    files = {
        to_onnx(model, tmp_path / name, precision="int8", shapes=FIXED, photos=photos).path.read_bytes()
        for name in ("a.onnx", "b.onnx")
    }
    assert len(files) == 1


def test_the_thresholds_are_those_of_the_design() -> None:
    limits = THRESHOLDS["int8"]
    assert (limits.psnr, limits.bias, limits.de_mean) == (38.0, 0.5, 1.0)
