"""TensorRT: the builder and the wrapper run against a fake that has only the names of each version.

The fake is in fake_tensorrt.py. Only the tests marked `tensorrt`, which need a GPU, run TensorRT itself.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

import export.to_onnx
import runtimes
from bncagan.cli import main
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from export.artifact import PixelsInPixelsOut, describe, make_golden, with_io
from export.engine_layers import layer_types, require_layers
from export.int8.scheme import TENSORRT
from export.parity import ParityError
from export.to_onnx import convert, to_onnx
from export.to_tensorrt import build_engine, to_tensorrt
from runtimes import METADATA_KEY, ArtifactError, BackendMissingError, ImageSpec, ShapeSet
from runtimes.controls import Controls
from runtimes.golden import Case, Golden, golden_path
from runtimes.image import to_uint8
from runtimes.installation import install_hint
from runtimes.plan_record import PlanRecord, sidecar_path
from tests.conftest import like_a_trained_one
from tests.fake_tensorrt import API, VERSIONS, Board, api, make_cudart, make_tensorrt, members
from tests.faults import FAULTS
from tests.folders import picture
from tests.test_controls import exact
from tests.test_layering import BLOCKED, ROOT
from tests.tiny_models import make_spec, write_gain

FIXED = ShapeSet.of((1, 48, 64))
RANGE = ShapeSet.between((1, 16, 16), (1, 48, 64), (3, 64, 96))
SMALL = ShapeSet.of((1, 32, 48))
WIDE = ShapeSet.between((1, 16, 16), (1, 32, 48), (2, 64, 64))
IMAGE = picture(0, 32, 48)
SOURCES = ("runtimes/trt.py", "export/to_tensorrt.py", "export/engine_layers.py")
CUDA_MODULES = ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart")


def install(monkeypatch: pytest.MonkeyPatch, board: Board) -> Board:
    """Replace the fake machine by this one."""
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(board))
    for name in CUDA_MODULES[:2]:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, CUDA_MODULES[2], make_cudart(board))
    return board


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    return install(monkeypatch, Board())


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    return fold(like_a_trained_one())


@pytest.fixture(scope="module")
def photos() -> dict[str, NDArray[np.uint8]]:
    return {"smooth": picture(0), "dark": picture(1) // 8}


def save_onnx(path: Path, graph: onnx.ModelProto, spec: ImageSpec, golden: Golden) -> Path:
    """An .onnx artifact without a parity check."""
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: spec.to_json()})
    onnx.save(graph, path)
    golden.save(golden_path(path))
    return path


@pytest.fixture(scope="module")
def fixed_onnx(
    tmp_path_factory: pytest.TempPathFactory, model: FoldedGenerator, photos: dict[str, NDArray[np.uint8]]
) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "m.onnx"
    return to_onnx(model, path, precision="fp16", shapes=FIXED, photos=photos).path


def gain_onnx(folder: Path, shapes: ShapeSet = SMALL, gain: float = 1.0, **fields: Any) -> Path:
    """Make an .onnx artifact that multiplies by `gain`, with golden pictures that expect no change."""
    path = write_gain(folder / "g.onnx", make_spec(shapes, **fields), gain)
    sizes = [(32, 48)] if shapes.fixed else [(16, 16), (32, 48)]
    pictures = [picture(i, *size) for i, size in enumerate(sizes)]
    Golden(tuple(Case("smooth", image, image) for image in pictures)).save(golden_path(path))
    return path


@pytest.fixture
def engine(tmp_path: Path, board: Board) -> Path:
    """A plan that returns its input; the fake machine's record of its build is cleared."""
    path = build_engine(gain_onnx(tmp_path), tmp_path / "m.engine").path
    board.calls.clear()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def one_sentence(caught: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def refused(path: Path, *parts: str, **options: Any) -> None:
    with pytest.raises(ArtifactError) as caught:
        runtimes.load(path, **options)
    one_sentence(caught, *parts)


def batch_of(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, np.float32)


def by_onnx(path: Path, batch: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: batch})
    return np.asarray(result)


# Names: those in the source against those of every supported version

INSTANCES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "cache": "ITimingCache",
}
RETURNED = {"get_error": "ParserError", "get_timing_cache": "ITimingCache"}


def class_of(node: ast.expr) -> str | None:
    """Return the TensorRT class of an expression, found by the project's usual variable names."""
    if isinstance(node, ast.Name):
        return INSTANCES.get(node.id)
    if isinstance(node, ast.Attribute):
        return node.attr if is_trt(node.value) else INSTANCES.get(node.attr.lstrip("_"))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr if is_trt(node.func.value) else RETURNED.get(node.func.attr)
    return None


def is_trt(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "trt"


def uses(source: str) -> set[tuple[str, str, bool]]:
    """Yield class, member ("" for the class itself), and whether the same function checks it by `hasattr`."""
    found = set()
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        guarded = {
            (class_of(call.args[0]), call.args[1].value)
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "hasattr"
            if isinstance(call.args[1], ast.Constant)
        }
        for node in (found for found in ast.walk(function) if isinstance(found, ast.Attribute)):
            owner = class_of(node.value)
            if node.attr.startswith("__"):
                continue
            if owner is not None:
                found.add((owner, node.attr, (owner, node.attr) in guarded))
            elif is_trt(node.value):
                found.add((node.attr, "", False))
    return found


def missing(source: str, version: str) -> list[str]:
    """List the members that the source uses without a check and that the version lacks."""
    known = api(version)
    return sorted(
        f"{owner}.{member}"
        for owner, member, guarded in uses(source)
        if not guarded and (owner not in known or (member and member not in known[owner]))
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_name_exists_in_every_version(source: str, version: str) -> None:
    assert missing((ROOT / source).read_text(), version) == []


def test_the_check_of_names_sees_what_is_used() -> None:
    found = {(owner, member) for source in SOURCES for owner, member, _ in uses((ROOT / source).read_text())}
    assert {owner for owner, _ in found} == set(API["classes"]) - {"IHostMemory", "INetworkDefinition"}
    assert {("BuilderFlag", "FP16"), ("ParserError", "desc"), ("Runtime", "deserialize_cuda_engine")} <= found
    assert {("IExecutionContext", "execute_async_v3"), ("IBuilderConfig", "profiling_verbosity")} <= found


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16"),
        ("return builder.platform_has_fast_fp16", "Builder.platform_has_fast_fp16"),
        ("parser.supports_model(b'')", "OnnxParser.supports_model"),
        ("self._engine.device_memory_size", "ICudaEngine.device_memory_size"),
        ("1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"),
        ("trt.IInt8EntropyCalibrator2()", "IInt8EntropyCalibrator2."),
    ],
)
def test_a_name_that_11_lacks_is_caught(line: str, lacking: str) -> None:
    source = f"def f(self, trt, builder, parser, config):\n    {line}\n"
    assert missing(source, VERSIONS[-1]) == [lacking]
    if not lacking.startswith("IInt8"):
        assert missing(source, VERSIONS[0]) == []
        owner, member = lacking.split(".")
        guarded = source.replace("    ", f"    if hasattr(trt.{owner}, {member!r}):\n        ")
        assert missing(guarded, VERSIONS[-1]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_exactly_the_names_of_its_version(version: str) -> None:
    fake = make_tensorrt(Board(version=version))
    assert members(fake) == api(version)
    config = fake.IBuilderConfig()
    config.profiling_verbosity = 0
    with pytest.raises(AttributeError, match="has no verbosity"):
        config.verbosity = 0
    assert hasattr(fake.BuilderFlag, "FP16") == (not version.startswith("11"))


# Building


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_of_every_version(
    tmp_path: Path, fixed_onnx: Path, model: FoldedGenerator, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = install(monkeypatch, Board(version=version))
    artifact = build_engine(fixed_onnx, tmp_path / "m.engine")
    assert names(tmp_path) == ["m.engine", "m.engine.golden.npz", "m.engine.json"]
    assert artifact.size == sum((tmp_path / name).stat().st_size for name in ("m.engine", "m.engine.json"))
    (config,), (network,) = board.configs, board.networks
    assert network._strong
    assert config._flags == set()
    assert (config._profiles, config._pools) == ([], {})
    assert not board.leaks()
    spec = PlanRecord.read(artifact.path).spec
    assert spec == artifact.spec
    assert spec.parity is not None
    assert (spec.parity.passed, spec.parity.runtime) == (True, f"tensorrt {version}")
    assert spec.parity.device == "Orin (compute capability 8.7)"
    assert (spec.precision, spec.shapes, spec.tools["tensorrt"]) == ("fp16", FIXED, version)
    assert spec.details["layers with weights"] == f"{count_convolutions(model)} half"
    batch = batch_of((1, 3, 48, 64))
    with runtimes.load(artifact.path) as runtime:
        produced = runtime.infer(batch)
    assert np.array_equal(produced, by_onnx(fixed_onnx, batch))
    with torch.no_grad():
        assert np.abs(produced - model(torch.from_numpy(batch)).numpy()).max() < 5e-3


def count_convolutions(model: FoldedGenerator) -> int:
    """Count the convolutions."""
    applied = []
    hooks = [
        part.register_forward_hook(lambda *_: applied.append(1))
        for part in model.modules()
        if isinstance(part, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, 16, 16))
    for hook in hooks:
        hook.remove()
    return len(applied)


def test_an_engine_with_a_range(tmp_path: Path, board: Board) -> None:
    path = build_engine(gain_onnx(tmp_path, WIDE), tmp_path / "m.engine", workspace_mib=64).path
    (config,) = board.configs
    assert config._profiles[0]._shapes == {"image": [(1, 3, 16, 16), (1, 3, 32, 48), (2, 3, 64, 64)]}
    assert list(config._pools.values()) == [64 * 2**20]
    with runtimes.load(path) as runtime:
        for seed, shape in enumerate([(1, 3, 32, 48), (2, 3, 64, 64), (2, 3, 16, 24), (2, 3, 16, 24)]):
            batch = batch_of(shape, seed)
            assert np.array_equal(runtime.infer(batch), batch)
        with pytest.raises(ArtifactError, match=r"should be given batches of 1\.\.2 x"):
            runtime.infer(batch_of((3, 3, 16, 16)))
        board.refuses = frozenset({"set_input_shape"})
        with pytest.raises(ArtifactError, match=r"should take the shape \(1, 3, 64, 64\) but TensorRT could not"):
            runtime.infer(batch_of((1, 3, 64, 64)))
    assert not board.leaks()
    assert "cudaStreamBeginCapture" not in board.calls


def test_from_the_network_itself(
    tmp_path: Path,
    model: FoldedGenerator,
    photos: dict[str, NDArray[np.uint8]],
    fixed_onnx: Path,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export.to_onnx, "convert", lambda *_: onnx.load(fixed_onnx))  # it would be made again
    artifact = to_tensorrt(model, tmp_path / "m.engine", shapes=FIXED, photos=photos)
    assert artifact.spec.precision == "fp16"
    beside = ["m.engine.golden.npz", "m.engine.json", "m.engine.onnx", "m.engine.onnx.golden.npz"]
    assert names(tmp_path) == ["m.engine", *beside]
    assert board.builds == 1


def test_options_reach_the_exporter_of_the_onnx_file(
    tmp_path: Path, model: FoldedGenerator, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def recorded(_model: FoldedGenerator, path: Path, **options: Any) -> None:
        given.update(options)
        gain_onnx(path.parent, precision="int8", io="uint8").rename(path)
        golden_path(path.with_name("g.onnx")).rename(golden_path(path))

    monkeypatch.setattr(export.to_onnx, "to_onnx", recorded)
    board.layer_type = "Int8"
    board.report = json.dumps({"Layers": [{"LayerType": "CaskConvolution", "Weights": {"Type": "Int8"}}]})
    calibration = {"a": IMAGE}
    options = {"precision": "int8", "shapes": SMALL, "io": "uint8", "controls": True, "photos": None}
    options |= {"output": "picture", "large_photos": None}
    to_tensorrt(model, tmp_path / "m.engine", **options, calibration=calibration)
    assert given == {**options, "calibration": calibration, "scheme": TENSORRT}
    with runtimes.load(tmp_path / "m.engine") as runtime:
        assert np.array_equal(runtime.enhance(IMAGE), IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_between_the_network_and_the_onnx_file_is_rejected(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, NDArray[np.uint8]], fault: str, board: Board
) -> None:
    spec = describe(model, precision="fp32", shapes=SMALL, io="float32", tools=())
    graph = convert(FAULTS[fault](model), spec)
    path = save_onnx(
        tmp_path / "f.onnx",
        graph,
        spec,
        make_golden(model, spec.shapes, photos, controls=spec.controls, output=spec.output),
    )
    with pytest.raises(ParityError) as caught:
        build_engine(path, tmp_path / "m.engine", plan_cache=tmp_path / "plans")
    one_sentence(caught, "m.engine.rejected should pass its parity check")
    written = {"f.onnx", "f.onnx.golden.npz", "m.engine.json.rejected", "m.engine.rejected"}
    assert set(names(tmp_path)) == {*written, "plans"}
    assert not list((tmp_path / "plans").glob("*.plan"))
    assert not board.leaks()
    refused(tmp_path / "m.engine.rejected", "refused")


def test_bytes_go_straight_into_a_cast(tmp_path: Path, board: Board) -> None:
    spec = make_spec(SMALL, io="uint8")
    graph = convert(PixelsInPixelsOut(torch.nn.Identity()), spec)  # type: ignore[arg-type]
    path = save_onnx(tmp_path / "u.onnx", graph, spec, Golden((Case("smooth", IMAGE, IMAGE),)))
    build_engine(path, tmp_path / "m.engine")


@pytest.mark.parametrize(
    ("refusal", "parts"),
    [
        ("parse", ("g.onnx should be an ONNX file", "no importer for this node; and another")),
        ("build_serialized_network", ("g.onnx should give a plan", "built none (no tactic fits into memory)")),
        ("create_execution_context", ("m.engine should create an execution context",)),
        ("set_input_shape", ("should take the shape (1, 3, 32, 48)",)),
        ("execute_async_v3", ("should enqueue its work but TensorRT could not (it gave no reason)",)),
    ],
)
def test_results_of_none_are_errors(tmp_path: Path, board: Board, refusal: str, parts: tuple[str, ...]) -> None:
    path = gain_onnx(tmp_path)
    board.refuses = frozenset({refusal})
    with pytest.raises(ArtifactError) as caught:
        build_engine(path, tmp_path / "m.engine")
    one_sentence(caught, *parts)
    assert names(tmp_path) == ["g.onnx", "g.onnx.golden.npz"]
    assert not board.leaks()


def test_impossible_options_are_refused(tmp_path: Path, model: FoldedGenerator, board: Board) -> None:
    path = gain_onnx(tmp_path)
    for onnx_path, target, options, part in (
        (tmp_path / "g.engine", tmp_path / "m.engine", {}, r"g\.engine should end in \.onnx"),
        (path, tmp_path / "m.plan", {}, r"end in \.engine but ends in \.plan"),
        (path, tmp_path / "no" / "m.engine", {}, "existing folder"),
        (path, tmp_path / "m.engine", {"workspace_mib": 0}, "--workspace-mib should .* but is 0"),
        (path, tmp_path / "m.engine", {"weak_typing": True}, "--weak-typing should .* file is fp32"),
    ):
        with pytest.raises(ArtifactError, match=part):
            build_engine(onnx_path, target, **options)
    golden_path(path).unlink()
    with pytest.raises(ArtifactError, match=r"g\.onnx\.golden\.npz should hold the golden pictures but does not exist"):
        build_engine(path, tmp_path / "m.engine")
    with pytest.raises(ArtifactError, match="one fixed shape or a range"):
        to_tensorrt(model, tmp_path / "m.engine", shapes=ShapeSet.of((1, 16, 16), (1, 32, 32)))
    assert names(tmp_path) == ["g.onnx"]
    assert not board.builds


def test_weak_typing(tmp_path: Path, fixed_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in VERSIONS[:2]:
        board = install(monkeypatch, Board(version=version))
        build_engine(fixed_onnx, tmp_path / "m.engine", weak_typing=True)
        (config,), (network,) = board.configs, board.networks
        assert {flag.label for flag in config._flags} == {"FP16"}
        assert not network._strong
    board = install(monkeypatch, Board(version=VERSIONS[2]))
    with pytest.raises(ArtifactError) as caught:
        build_engine(fixed_onnx, tmp_path / "m.engine", weak_typing=True)
    one_sentence(caught, "--weak-typing should", "but this is 11.4.0.106")
    assert not board.builds


# Precision of the layers


def test_an_engine_of_float_layers_is_not_called_fp16(tmp_path: Path, fixed_onnx: Path, board: Board) -> None:
    board.layer_type = "Float"
    with pytest.raises(ArtifactError) as caught:
        build_engine(fixed_onnx, tmp_path / "m.engine")
    one_sentence(caught, "m.engine should compute in fp16 but TensorRT built its layers with weights as ", " float;")
    assert names(tmp_path) == []


def test_an_engine_whose_layers_are_fused_is_not_refused_for_it(
    tmp_path: Path, fixed_onnx: Path, board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    board.report = json.dumps({"Layers": [layer("Myelin", None, "Float", Name="{ForeignNode[conv1.../tanh]}")]})
    assert main(["export", "tensorrt", "--onnx", str(fixed_onnx), "--out", str(tmp_path / "m.engine")]) == 0
    assert capsys.readouterr().out.count("cannot be told") == 1
    with runtimes.load(tmp_path / "m.engine") as runtime:
        assert "cannot be told" in runtime.spec.details["layers with weights"]


def layer(kind: str, weights: str | None = None, first: str = "Float", **more: Any) -> dict[str, Any]:
    given = {} if weights is None else {"Weights": {"Type": weights, "Count": 9}}
    return {"LayerType": kind, "Inputs": [{"Format/Datatype": first}], **given, **more}


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([layer("Reformat"), layer("CaskConvolution", "Half")], {"half": 1}),
        ([layer("CaskConvolution", "Half", "N/A due to dynamic shapes")] * 2, {"half": 2}),
        ([layer("CaskConvolution", None, "N/A due to dynamic shapes")], {"unknown": 1}),
        ([layer("correlation", None, "Channel major FP16 format where channel % 8 == 0")], {"half": 1}),
        ([layer("gemm", None, "Row major linear FP32"), layer("kgen", None, "Half")], {"float": 1}),
        ([layer("Fused", None, "Thirty-two wide channel vectorized row major Int8 format.",
                ParameterType="Convolution")], {"int8": 1}),
        ([layer("CaskConvolution", "BFloat16"), layer("CaskConvolution", "BF16")], {"bfloat16": 2}),
        ([layer("Myelin", None, "Float", Name="{ForeignNode[a.../b]}"), layer("Reformat")], {"unknown": 1}),
        ([layer("Myelin", None, "Half"), layer("CaskConvolution", "Half")], {"half": 1, "unknown": 1}),
        ([layer("gemm", "Float", Name="tone_head/node_linear"), layer("gemm", "Half", Name="node_linear_3")],
         {"half": 1}),
        ([layer("Myelin", None, "Float", Name="{ForeignNode[tone_head/node_a.../tanh]}")], {"unknown": 1}),
        ([layer("kgen", Inputs=[])], {}),
        (["only", "names"], {}),
    ],
)  # fmt: skip
def test_types_of_layers(layers: list[Any], found: dict[str, int]) -> None:
    """The layer descriptions are from issues and documentation of several versions."""
    assert layer_types(json.dumps({"Layers": layers, "Bindings": []}), Path("m.engine")) == Counter(found)


@pytest.mark.parametrize("report", ["", "{", "[]", '{"Layers": 1}', "{}"])
def test_a_layer_report_of_none_is_an_error(report: str) -> None:
    with pytest.raises(ArtifactError, match=r"m\.engine should have layers that TensorRT lists"):
        layer_types(report, Path("m.engine"))


@pytest.mark.parametrize(
    ("precision", "weak", "passing", "open_", "failing"),
    [
        ("fp32", False, [{"float": 9}], [{}, {"unknown": 1}], [{"float": 9, "half": 1}, {"float": 9, "int8": 1}]),
        (
            "fp16",
            False,
            [{"half": 9}, {"half": 1, "unknown": 8}],
            [{}, {"unknown": 9}],
            [{"half": 9, "float": 1}, {"half": 9, "float": 1, "unknown": 1}, {"float": 1}, {"bfloat16": 2}],
        ),
        (
            "fp16",
            True,
            [{"half": 9}, {"half": 5, "float": 4}],
            [{}, {"half": 4, "float": 4, "unknown": 1}],
            [{"half": 4, "float": 4}, {"float": 1}],
        ),
        (
            "int8",
            False,
            [{"int8": 1, "float": 8}],
            [{}, {"float": 2, "unknown": 1}],
            [{"half": 9}, {"float": 9}],
        ),
    ],
)
def test_which_layers_make_a_precision(
    precision: str,
    weak: bool,
    passing: list[dict[str, int]],
    open_: list[dict[str, int]],
    failing: list[dict[str, int]],
) -> None:
    for layers in passing:
        assert "cannot be told" not in require_layers(Counter(layers), precision, Path("m.engine"), weak=weak)
    for layers in open_:
        assert "cannot be told" in require_layers(Counter(layers), precision, Path("m.engine"), weak=weak)
    for layers in failing:
        with pytest.raises(ArtifactError, match=f"should compute in {precision} but"):
            require_layers(Counter(layers), precision, Path("m.engine"), weak=weak)


# Caches


def test_a_cached_plan_is_taken_for_the_same_build_only(
    tmp_path: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, plans = gain_onnx(tmp_path), tmp_path / "plans"

    def build(**options: Any) -> int:
        build_engine(path, tmp_path / "m.engine", plan_cache=plans, **options)
        return board.builds

    assert [build(), build(), build(workspace_mib=8), build(workspace_mib=8), build()] == [1, 1, 2, 2, 2]
    assert len(list(plans.glob("*.plan"))) == 2
    gain_onnx(tmp_path, gain=1.001)
    assert build() == 3
    for other in (Board(gpu="Thor"), Board(capability=(11, 0)), Board(version=VERSIONS[1])):
        board = install(monkeypatch, other)
        assert build() == 1
    assert len(list(plans.glob("*.plan"))) == 6


def test_a_cached_plan_that_does_not_load_is_built_again(
    tmp_path: Path, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    path, plans = gain_onnx(tmp_path), tmp_path / "plans"
    build_engine(path, tmp_path / "m.engine", plan_cache=plans)
    (cached,) = plans.glob("*.plan")
    good = cached.read_bytes()
    cached.write_bytes(good[:-9])
    with caplog.at_level(logging.WARNING):
        build_engine(path, tmp_path / "m.engine", plan_cache=plans)
    (said,) = caplog.messages
    assert "should be a plan of TensorRT 10.3.0 but does not load (the plan's magic tag does not match)" in said
    assert said.endswith("it is built again now")
    assert "\n" not in said
    assert (board.builds, cached.read_bytes()) == (2, good)


def test_timings_are_kept_for_the_next_build(
    tmp_path: Path, board: Board, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, timings = gain_onnx(tmp_path), tmp_path / "folder" / "timings"
    seen: list[bytes] = []
    honest = type(board).machine.fget  # type: ignore[attr-defined]

    def build() -> None:
        seen.append(timings.read_bytes() if timings.exists() else b"")
        build_engine(path, tmp_path / "m.engine", timing_cache=timings)

    build()
    of_here = b"timings of " + json.dumps(honest(board)).encode()
    assert timings.read_bytes() == of_here
    build()
    assert seen == [b"", of_here]
    assert not caplog.messages
    install(monkeypatch, Board(gpu="Thor"))
    build()
    (said,) = caplog.messages
    assert "should hold timings of this TensorRT and GPU but does not" in said
    assert b"Thor" in timings.read_bytes()
    assert names(timings.parent) == ["timings"]


# Two files


def test_the_record_beside_a_plan(engine: Path, board: Board) -> None:
    content = json.loads(sidecar_path(engine).read_text())
    assert set(content) == {"spec", "tensorrt", "gpu", "compute_capability", "onnx_sha256", "plan_sha256"}
    assert (content["tensorrt"], content["gpu"], content["compute_capability"]) == ("10.3.0", "Orin", "8.7")
    assert json.loads(engine.read_bytes())["machine"] == board.machine  # the plan alone, with no header


def test_a_sidecar_that_is_not_right(engine: Path) -> None:
    sidecar = sidecar_path(engine)
    text = sidecar.read_text()
    fields = json.loads(text)
    fields["spec"]["seal"] = None
    for damage, part in (
        (text[: len(text) // 2], "does not parse"),
        ("[]", "should be a JSON object"),
        ("\ud800", "JSON"),
        (json.dumps(fields | {"surprise": 1}), "but has surprise"),
        (json.dumps(fields | {"gpu": 7}), "the field gpu should be a string"),
        (json.dumps({name: fields[name] for name in fields if name != "tensorrt"}), "should have the field tensorrt"),
        (json.dumps(fields | {"spec": fields["spec"] | {"io": "bool"}}), "one of float32, uint8"),
        (
            json.dumps(fields | {"spec": fields["spec"] | {"parity": fields["spec"]["parity"] | {"passed": False}}}),
            "failed",
        ),
    ):
        sidecar.write_bytes(damage.encode("utf-8", "surrogatepass"))
        refused(engine, "m.engine.json", part)
    sidecar.unlink()
    refused(engine, "m.engine should have its spec beside it but m.engine.json does not exist")
    sidecar.mkdir()
    refused(engine, "m.engine.json should be a JSON file but is not")


def test_the_seal_covers_plan_and_record(engine: Path) -> None:
    with runtimes.load(engine) as runtime:
        seal = runtime.spec.seal
        assert seal is not None
        assert runtime.content_sha256() == seal.content_sha256
        assert Golden.load(golden_path(engine)).sha256() == seal.golden_sha256
    fields = json.loads(sidecar_path(engine).read_text())
    sidecar_path(engine).write_text(json.dumps(fields | {"onnx_sha256": "0" * 64}))
    with runtimes.load(engine) as runtime:
        assert runtime.spec.seal == seal
        assert runtime.content_sha256() != seal.content_sha256


def test_a_plan_that_is_not_right(engine: Path, board: Board) -> None:
    plan = engine.read_bytes()
    engine.write_bytes(plan + b" ")
    refused(engine, "m.engine should be the plan that m.engine.json describes but is another")
    broken = plan[:-1]
    engine.write_bytes(broken)
    edit_record(engine, plan_sha256=hashlib.sha256(broken).hexdigest())
    refused(engine, "does not load (the plan's magic tag does not match)", "build it again on this device")
    engine.unlink()
    engine.mkdir()
    refused(engine, "m.engine should be a TensorRT plan but cannot be read")
    assert not board.leaks()


def edit_record(path: Path, **fields: Any) -> None:
    record = dataclasses.replace(PlanRecord.read(path), **fields)
    unsealed = dataclasses.replace(record.spec, seal=None)
    sidecar_path(path).write_text(dataclasses.replace(record, spec=unsealed).to_json())


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (Board(gpu="Thor"), "opened with TensorRT 10.3.0 on Thor (compute capability 8.7)"),
        (Board(capability=(8, 9)), "opened with TensorRT 10.3.0 on Orin (compute capability 8.9)"),
        (Board(version=VERSIONS[1]), "opened with TensorRT 10.16.1.11 on Orin (compute capability 8.7)"),
    ],
)
def test_a_plan_from_elsewhere(engine: Path, other: Board, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, other)
    monkeypatch.setattr(sys.modules["tensorrt"].Runtime, "__init__", None)  # refused before TensorRT is asked
    refused(
        engine,
        "built, with TensorRT 10.3.0 on Orin (compute capability 8.7), but",
        part,
        "bncagan export tensorrt --onnx",
    )
    assert not other.leaks()


def test_a_plan_unlike_its_spec(tmp_path: Path, engine: Path, board: Board) -> None:
    spec = PlanRecord.read(engine).spec
    for change in (
        {"input_name": "picture"},
        {"output_name": "image", "input_name": "enhanced"},
        {"io": "uint8"},
        {"shapes": ShapeSet.of((1, 32, 32))},
        {"shapes": ShapeSet.of((2, 32, 48))},
    ):
        edit_record(engine, spec=dataclasses.replace(spec, **change))
        refused(engine, "m.engine should have the input", "as its spec says, but has image FLOAT (1, 3, 32, 48)")
    ranged = build_engine(gain_onnx(tmp_path, WIDE), tmp_path / "r.engine").path
    other = ShapeSet.between((1, 16, 16), (1, 32, 48), (4, 64, 64))
    edit_record(ranged, spec=dataclasses.replace(PlanRecord.read(ranged).spec, shapes=other))
    refused(ranged, "as its spec says, but takes (1, 3, 16, 16) to (2, 3, 64, 64)")
    assert not board.leaks()


# Running


def test_a_failing_cuda_call_is_named_and_all_memory_is_freed(engine: Path, board: Board) -> None:
    with runtimes.load(engine) as runtime:
        opening = list(board.calls)
        runtime.infer(batch_of((1, 3, 32, 48)))
    assert len(set(opening)) == 10
    for number, name in enumerate(opening):
        board.calls.clear()
        board.fails, board.fails_at = name, opening[:number].count(name)
        refused(
            engine, f"{name} should succeed on CUDA device 0 but returned cudaErrorMemoryAllocation (out of memory)"
        )
        assert not board.leaks(), name
    board.fails = None
    with runtimes.load(engine) as runtime:
        board.fails, board.fails_at = "cudaGraphLaunch", 0
        with pytest.raises(ArtifactError, match="cudaGraphLaunch should succeed"):
            runtime.infer(batch_of((1, 3, 32, 48)))
    assert not board.leaks()


def test_a_graph_that_cannot_be_captured(engine: Path, board: Board) -> None:
    board.fails = "cudaStreamEndCapture"
    refused(engine, "should be captured as a CUDA graph but is not (cudaStreamEndCapture", "cuda_graph=False")
    runtimes.load(engine, cuda_graph=False).close()
    assert not board.leaks()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("graph", [False, True])
def test_a_graph_is_captured_once_and_draws_the_same(
    fixed_onnx: Path, tmp_path: Path, board: Board, graph: bool, mapped: bool
) -> None:
    path = build_engine(fixed_onnx, tmp_path / "m.engine").path
    board.calls.clear()
    batches = [batch_of((1, 3, 48, 64), seed) for seed in range(2)]
    with runtimes.load(path, cuda_graph=graph, mapped_memory=mapped) as runtime:
        for batch in batches:
            assert np.array_equal(runtime.infer(batch), by_onnx(fixed_onnx, batch))
    done = Counter(board.calls)
    assert (done["cudaStreamBeginCapture"], done["cudaGraphLaunch"]) == ((1, 2) if graph else (0, 0))
    assert (done["cudaMalloc"], done["cudaMemcpyAsync"]) == ((0, 0) if mapped else (2, 4))
    assert done["cudaHostAlloc"] == 2
    assert not board.leaks()


# Controls


class Brighter(torch.nn.Module):
    """The root of every number, as a network."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.sqrt()


def controlled_onnx(folder: Path, shapes: ShapeSet, io: str = "float32") -> Path:
    """An .onnx artifact of `Brighter` with controls."""
    spec = make_spec(shapes, io=io, controls=True)
    graph = convert(with_io(Brighter(), spec), spec)  # type: ignore[arg-type]
    cases = []
    for image in (IMAGE, picture(1, 16, 16)) if shapes.bounds else (IMAGE,):
        for row in ((1, 0), (1.5, 1)):
            expected = to_uint8(exact(image / 255, np.sqrt(image / 255), *row))
            cases.append(Case(str(row), image, expected, Controls(*row)))
    return save_onnx(folder / "c.onnx", graph, spec, Golden(tuple(cases)))


@pytest.mark.parametrize("shapes", [ShapeSet.of((2, 32, 48)), WIDE], ids=str)
@pytest.mark.parametrize("options", [{}, {"cuda_graph": False}, {"mapped_memory": True}], ids=str)
def test_controls_change_between_two_runs_of_an_engine(
    tmp_path: Path, board: Board, shapes: ShapeSet, options: dict[str, bool]
) -> None:
    path = build_engine(controlled_onnx(tmp_path, shapes), tmp_path / "m.engine").path
    if shapes is WIDE:
        assert board.configs[0]._profiles[0]._shapes["controls"] == [(1, 2), (1, 2), (2, 2)]
    board.calls.clear()
    batch = batch_of((2, 3, 32, 48))
    with runtimes.load(path, **options) as runtime:
        for rows in ([[1, 0], [1.5, 1]], [[0, 0], [0.5, -2]], [[1, 0], [1, 0]]):
            made = runtime.infer(batch, np.array(rows))
            for image, row, picture_made in zip(batch, rows, made, strict=True):
                assert np.abs(picture_made - exact(image, np.sqrt(image), *row)).max() < 2e-6
        assert np.array_equal(runtime.infer(batch), made)
    assert board.calls.count("cudaGraphLaunch") == (4 if shapes.fixed and options.get("cuda_graph", True) else 0)
    assert not board.leaks()


def test_an_engine_of_bytes_with_controls(tmp_path: Path, board: Board) -> None:
    path = build_engine(controlled_onnx(tmp_path, SMALL, "uint8"), tmp_path / "m.engine").path
    with runtimes.load(path) as runtime:
        for row in ((0, 0), (1.5, -1)):
            made = runtime.enhance(IMAGE, strength=row[0], exposure=row[1])
            assert np.abs(made - 255 * exact(IMAGE / 255, np.sqrt(IMAGE / 255), *row)).max() < 0.501


def test_controls_that_the_plan_or_its_record_lacks(tmp_path: Path, engine: Path, board: Board) -> None:
    controlled = build_engine(controlled_onnx(tmp_path, SMALL), tmp_path / "c.engine").path
    edit_record(controlled, spec=dataclasses.replace(PlanRecord.read(controlled).spec, controls=False))
    refused(controlled, "should have the input 'image' and the output", "but has image FLOAT (1, 3, 32, 48), controls")
    edit_record(engine, spec=dataclasses.replace(PlanRecord.read(engine).spec, controls=True))
    refused(engine, "should have the input 'image' and 'controls' and the output", "but has image FLOAT")
    assert not board.leaks()


def test_results_belong_to_the_caller(engine: Path) -> None:
    first, second = (batch_of((1, 3, 32, 48), seed) for seed in (1, 2))
    kept = first.copy()
    with runtimes.load(engine) as runtime:
        produced = runtime.infer(first)
        runtime.infer(second)
        assert np.array_equal(produced, kept)
        produced[:] = 7
        assert np.array_equal(runtime.infer(second), second)
    assert np.array_equal(first, kept)
    assert produced.flags.owndata or produced.base.flags.owndata


def test_closing(engine: Path, board: Board) -> None:
    runtime = runtimes.load(engine)
    assert (runtime.name, runtime.device) == ("tensorrt 10.3.0", "Orin (compute capability 8.7)")
    assert board.leaks()
    runtime.close()
    runtime.close()
    assert not board.leaks()
    with pytest.raises(ArtifactError, match="was closed"):
        runtime.infer(batch_of((1, 3, 32, 48)))


# Missing


@pytest.mark.parametrize("absent", ["tensorrt", "cuda"])
def test_a_missing_library_is_one_sentence(
    tmp_path: Path, engine: Path, model: FoldedGenerator, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt",) if absent == "tensorrt" else CUDA_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    calls: list[Callable[[], Any]] = [
        lambda: runtimes.load(engine),
        lambda: build_engine(tmp_path / "g.onnx", tmp_path / "n.engine"),
    ]
    if absent == "tensorrt":
        calls.append(lambda: to_tensorrt(model, tmp_path / "n.engine", shapes=SMALL))
    before = names(tmp_path)
    for call in calls:
        with pytest.raises(BackendMissingError) as caught:
            call()
        one_sentence(caught, install_hint("tensorrt"), "JetPack" if absent == "tensorrt" else "cuda-python")
    assert names(tmp_path) == before


def test_a_jetson_without_torch_can_build() -> None:
    code = BLOCKED + "import export.to_tensorrt, export.engine_layers, export.publishing, runtimes.trt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# On an NVIDIA GPU: pytest -m tensorrt


def test_the_names_of_cuda_python() -> None:
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    tree = ast.parse((ROOT / "runtimes" / "cuda_memory.py").read_text())
    owners = (n for n in ast.walk(tree) if isinstance(n, ast.Attribute))
    used = {n.attr for n in owners if isinstance(n.value, ast.Name | ast.Attribute) and n.attr.startswith("cuda")}
    enums = (cudart.cudaMemcpyKind, cudart.cudaStreamCaptureMode, cudart.cudaError_t)
    assert len(used) > 20
    assert not {name for name in used if not any(hasattr(owner, name) for owner in (cudart, *enums))}


@pytest.mark.tensorrt
def test_the_names_of_the_installed_version() -> None:
    trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    listed = api(trt.__version__) if trt.__version__ in VERSIONS else None
    found = members(trt)
    assert not {name for name, known in (listed or {}).items() if known - found[name]}
    for source in SOURCES:
        for owner, member, guarded in uses((ROOT / source).read_text()):
            assert guarded or not member or member in found[owner], f"{owner}.{member}"


@pytest.mark.tensorrt
@pytest.mark.parametrize(("precision", "io"), [("fp16", "float32"), ("fp32", "float32"), ("fp16", "uint8")])
@pytest.mark.parametrize("shapes", [FIXED, RANGE])
def test_on_the_gpu(
    tmp_path: Path,
    model: FoldedGenerator,
    photos: dict[str, NDArray[np.uint8]],
    precision: str,
    io: str,
    shapes: ShapeSet,
) -> None:
    """Build, run and verify; both kinds of memory, with and without a CUDA graph, give the same pictures."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    path = tmp_path / "m.engine"
    options = {"timing_cache": tmp_path / "timings", "plan_cache": tmp_path / "plans"}
    artifact = to_tensorrt(model, path, precision=precision, io=io, shapes=shapes, photos=photos, **options)
    assert artifact.report.verdict.passed
    assert artifact.spec.details["layers with weights"]
    image = picture(4, 48, 64)
    drawn = []
    for graph in (False, True):
        for mapped in (False, True):
            with runtimes.load(path, cuda_graph=graph, mapped_memory=mapped) as runtime:
                drawn += [runtime.enhance(image), runtime.enhance(image)]
    assert all(np.array_equal(drawn[0], other) for other in drawn)
