"""OpenVINO in low precision: the graph is cut around its convolutions, and the tone head stays in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtimes
import runtimes.ov
from bncagan.network.folded import FoldedGenerator
from export.artifact import OBLONG, describe, with_io
from export.engine_layers import HEAD
from export.to_onnx import convert
from runtimes import ImageSpec, ShapeSet
from runtimes.base import to_batch
from runtimes.golden import Golden, golden_path
from runtimes.likeness import THRESHOLDS, compare
from runtimes.ov import import_openvino, save
from runtimes.ov_parts import AFTER, BEFORE, BETWEEN, cut
from tests.test_tone_exports import FIXED, RANGE, random_model

EXACT = 2e-5  # of float32 arithmetic, in [0, 1]
CAPABLE = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
PACKAGED = Path(runtimes.__file__).parent / "models"


def exported(model: FoldedGenerator, shapes: ShapeSet, **options: Any) -> tuple[Any, ImageSpec]:
    """The graph in OpenVINO, and its spec."""
    spec = describe(model, precision="fp32", shapes=shapes, tools=(), **{"io": "float32"} | options)
    onnx = convert(with_io(model, spec), spec)
    return import_openvino().Core().read_model(onnx.SerializeToString()), spec


@pytest.fixture(scope="module")
def with_all() -> tuple[Any, ImageSpec]:
    """A graph with every input and output."""
    return exported(random_model(8), RANGE, output="both", controls=True, io="uint8")


def compiled(graph: Any) -> Any:
    return import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def in_turn(parts: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
    """Run models one after another, each on the input and on what those before it computed, by name."""
    values = dict(given)
    for part in map(compiled, parts):
        results = part([next(values[name] for name in end.names if name in values) for end in part.inputs])
        values.update((name, results[end]) for end in part.outputs for name in end.names)
    return values


def test_parts_compute_what_the_whole_does(with_all: tuple[Any, ImageSpec]) -> None:
    graph, spec = with_all
    given = {
        spec.input_name: np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8),
        "controls": np.float32([[0.5, 1], [1.5, -1]]),
    }
    expected = compiled(graph.clone())(given)
    produced = in_turn(cut(import_openvino(), graph.clone()), given)
    assert len(spec.outputs) == 3
    for name in spec.outputs:
        error = np.abs(produced[name].astype(float) - expected[name].astype(float))
        assert error.max() <= (1 if expected[name].dtype == np.uint8 else EXACT)
        assert np.ptp(expected[name]) > 0


def test_the_convolutions_and_nothing_of_the_tone_head_are_between(with_all: tuple[Any, ImageSpec]) -> None:
    graph = with_all[0].clone()
    kinds = [node.get_type_name() for node in graph.get_ops()]
    parts = cut(import_openvino(), graph)
    found = [[node for node in part.get_ops() if node.get_type_name() != "Constant"] for part in parts]
    counts = [sum(node.get_type_name() == "Convolution" for node in nodes) for nodes in found]
    assert counts == [0, kinds.count("Convolution"), 0]
    named = [sum(HEAD in node.get_friendly_name() for node in nodes) for nodes in found]
    assert named[BEFORE] > 100
    assert named[BETWEEN] == 0
    assert "controls" in {name for end in parts[AFTER].inputs for name in end.names}
    assert len(parts[BETWEEN].inputs) == 1  # the picture after the head, and not what only the rest needs


def test_a_graph_without_convolutions_is_left_whole() -> None:
    graph, _ = exported(random_model(0), FIXED)
    assert cut(import_openvino(), graph) == [graph]


def as_ir(name: str, folder: Path) -> Path:
    """Packaged weights as an IR."""
    onnx = PACKAGED / f"{name}.onnx"
    with runtimes.load(onnx, threads=1) as runtime:
        save(import_openvino().Core().read_model(onnx), folder / f"{name}.xml", runtime.spec)
    return folder / f"{name}.xml"


@pytest.mark.skipif(not CAPABLE, reason="the CPU has no bfloat16")
def test_pictures_in_bfloat16_keep_the_limits_of_half_precision(tmp_path: Path) -> None:
    """In bfloat16 throughout, one of these photographs came to 42 dB with a bias of 2 codes."""
    path = as_ir("small", tmp_path)
    golden = Golden.load(golden_path(PACKAGED / "small.onnx"))
    cases = [case for case in golden.cases if case.photograph is None and max(case.size) <= OBLONG[1]]
    assert len(cases) > 10
    largest = 0
    with runtimes.load(path, threads=1, precision="bf16") as runtime:
        assert runtime.device == "CPU, bf16"
        for case in cases:
            produced = runtime.infer(to_batch(case.image[None], runtime.spec))[0].transpose(1, 2, 0)
            score = compare(case, produced)
            assert list(THRESHOLDS["fp16"].failures(score)) == []
            largest = max(largest, score.max_code)
    assert largest > 0  # it is not float32


def test_a_tone_head_alone_computes_in_float32(tmp_path: Path) -> None:
    batch = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
    path = as_ir("nano", tmp_path)
    with runtimes.load(path, threads=1, precision="bf16") as asked, runtimes.load(path, threads=1) as plain:
        assert asked.device == "CPU, f32"
        np.testing.assert_array_equal(asked.infer(batch), plain.infer(batch))


def test_a_result_is_the_callers(tmp_path: Path) -> None:
    with runtimes.load(as_ir("small", tmp_path), threads=1, precision="bf16") as runtime:
        first = runtime.infer(np.full((1, 3, 48, 64), 0.25, np.float32))
        kept = first.copy()
        runtime.infer(np.random.default_rng(0).random((1, 3, 48, 64), np.float32))
        np.testing.assert_array_equal(first, kept)
