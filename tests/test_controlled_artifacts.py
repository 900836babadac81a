"""Artifacts with the input `controls`: every backend applies the formula, and the parity check includes it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import export.artifact
import export.to_coreml
import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.controls import Controlled
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.inference import enhance_exactly
from bncagan.network.model import Generator
from export.exporters import EXPORTERS
from export.mil import MilEvaluator
from export.parity import ParityError
from export.publishing import Artifact
from runtimes import METADATA_KEY, ArtifactError, ShapeSet
from runtimes.base import from_batch, to_batch
from runtimes.controls import Controls
from runtimes.coreml import on_mac
from runtimes.golden import Golden, golden_path
from runtimes.photographs import read_rgb
from tests.conftest import randomise
from tests.folders import picture
from tests.test_controls import exact

ONE = ShapeSet.of((1, 32, 48))
PAIRS = ShapeSet.of((2, 32, 48))
TWO = ShapeSet.of((1, 32, 48), (1, 48, 32))
RANGE = ShapeSet.between((1, 16, 16), (1, 32, 48), (4, 64, 64))
SETTINGS = [(1, 0), (0, 0), (1.5, 1), (0.6, -1.5)]
PHOTOS = {"dark": picture(1) // 8}


@pytest.fixture(scope="module")
def generator() -> Generator:
    """A random network with a last convolution as small as after training, so that FP16 is as exact as there."""
    made = Generator(ModelConfig(width=4))
    randomise(made)
    with torch.no_grad():
        made.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return made.eval()


@pytest.fixture(scope="module")
def model(generator: Generator) -> FoldedGenerator:
    """The network with one residual instead of six, to convert faster."""
    folded = fold(generator)
    folded.bnr.parts = folded.bnr.get_submodule("parts")[:1]  # type: ignore[index]
    return folded


def make(model: FoldedGenerator, folder: Path, name: str, precision: str, shapes: ShapeSet, io: str) -> Artifact:
    exporter = EXPORTERS[name]
    return exporter(
        model,
        folder / f"m{exporter.form.suffix}",
        precision=precision,
        shapes=shapes,
        io=io,
        controls=True,
        photos=PHOTOS,
    )


def opened(path: Path) -> runtimes.Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" and not on_mac() else runtimes.load(path)


ARTIFACTS = [
    ("onnx", "fp32", RANGE, "float32"),
    ("onnx", "fp16", PAIRS, "uint8"),
    ("openvino", "fp32", PAIRS, "float32"),
    ("openvino", "fp16", RANGE, "uint8"),
    ("coreml", "fp16", TWO, "uint8"),
    ("coreml", "fp16", PAIRS, "float32"),
    ("pt2", "fp32", RANGE, "uint8"),
    ("pt2", "fp32", PAIRS, "float32"),
]
WITHIN = {"fp32": 1, "fp16": 3}  # codes, at the strongest setting


@pytest.mark.parametrize(("name", "precision", "shapes", "io"), ARTIFACTS)
def test_every_format(
    tmp_path: Path, model: FoldedGenerator, name: str, precision: str, shapes: ShapeSet, io: str
) -> None:
    artifact = make(model, tmp_path, name, precision, shapes, io)
    golden = Golden.load(golden_path(artifact.path))
    assert artifact.spec.controls
    assert {case.controls for case in golden.cases} == {Controls(), Controls(0, 0), Controls(1.5, 1)}
    for case in golden.cases:
        if case.controls == Controls(0, 0):
            np.testing.assert_array_equal(case.expected, case.image)

    n = 1 if shapes is TWO else 2
    images = np.stack([picture(7, 32, 48), picture(8, 32, 48) // 8])
    plain = [enhance_exactly(model, image) for image in images]
    with opened(artifact.path) as runtime:
        assert runtime.spec == artifact.spec
        for first, second in zip(SETTINGS, [*SETTINGS[1:], SETTINGS[0]], strict=True):  # one row for each picture
            rows = np.array([first, second], np.float32)[:n]
            made = from_batch(runtime.infer(to_batch(images[:n], runtime.spec), rows), runtime.spec)
            for image, answer, row, produced in zip(images, plain, rows, made, strict=False):
                slack = WITHIN[precision] + 0.5 * row[0] * 2 ** max(row[1], 0)  # of the answer, rounded to codes
                assert np.abs(produced - 255 * exact(image / 255, answer / 255, *row)).max() <= slack
                if tuple(row) == (0, 0):
                    np.testing.assert_array_equal(produced, image)
                if tuple(row) == (1, 0):
                    assert np.abs(produced.astype(int) - answer).max() <= WITHIN[precision]
        batch = to_batch(images[:n], runtime.spec)
        np.testing.assert_array_equal(runtime.infer(batch), runtime.infer(batch, Controls().rows(n)))
        np.testing.assert_array_equal(runtime.enhance(images[1], strength=0), images[1])


def test_int8_keeps_the_formula_in_float(tmp_path: Path, model: FoldedGenerator) -> None:
    artifact = make(model, tmp_path, "onnx", "int8", ONE, "float32")
    graph = onnx.load(artifact.path).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    read_by = {name: node for node in graph.node for name in node.input}
    rounding = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert rounding
    for node in rounding:  # each stands right before or right after a convolution
        after = read_by[read_by[node.output[0]].output[0]]
        assert "Conv" in {made_by.get(node.input[0]), after.op_type}
    with runtimes.load(artifact.path) as runtime:
        image = picture(7, 32, 48)
        np.testing.assert_array_equal(runtime.enhance(image, strength=0), image)


def test_the_default_costs_nothing_in_likeness(tmp_path: Path, model: FoldedGenerator) -> None:
    """At (1, 0) the graph answers as one without controls, within float rounding."""
    artifact = make(model, tmp_path, "onnx", "fp32", RANGE, "float32")
    batch = np.random.default_rng(0).random((2, 3, 32, 48), np.float32)
    with torch.no_grad(), runtimes.load(artifact.path) as runtime:
        assert np.abs(runtime.infer(batch) - model(torch.from_numpy(batch)).numpy()).max() < 2e-6


# Faults


class OtherOrder(Controlled):
    """Strength and exposure in each other's place."""

    def forward(self, image: Tensor, controls: Tensor) -> Tensor:
        return super().forward(image, torch.cat([controls[:, 1:], controls[:, :1]], dim=1))


class Deaf(Controlled):
    """The network's own answer, whatever the controls are."""

    def forward(self, image: Tensor, controls: Tensor) -> Tensor:
        enhanced: Tensor = self.model(image) + 0 * controls[:, :1, None, None]
        return enhanced


class InCodes(Controlled):
    """The exposure multiplies sRGB codes instead of light."""

    def forward(self, image: Tensor, controls: Tensor) -> Tensor:
        y = super().forward(image, controls * torch.tensor([1.0, 0.0]))
        return (y * torch.exp(0.6931 * controls[:, 1:, None, None])).clamp(0, 1)


@pytest.mark.parametrize("fault", [OtherOrder, Deaf, InCodes])
@pytest.mark.parametrize(
    ("name", "precision", "place"), [("onnx", "fp32", export.artifact), ("coreml", "fp16", export.to_coreml)]
)
def test_the_gate_refuses_a_wrong_formula(
    tmp_path: Path,
    model: FoldedGenerator,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[Controlled],
    name: str,
    precision: str,
    place: Any,
) -> None:
    monkeypatch.setattr(place, "Controlled", fault)
    with pytest.raises(ParityError, match="should pass its parity check"):
        make(model, tmp_path, name, precision, ONE, "float32")


# Files whose spec does not tell the truth


def test_a_spec_and_a_graph_that_differ_are_refused(tmp_path: Path, model: FoldedGenerator) -> None:
    artifact = make(model, tmp_path, "onnx", "fp32", ONE, "float32")
    graph = onnx.load(artifact.path)
    graph.metadata_props[0].value = dataclasses.replace(artifact.spec, controls=False, seal=None).to_json()
    onnx.save(graph, tmp_path / "silent.onnx")
    with pytest.raises(ArtifactError, match=r"silent\.onnx should have one input, .* but has image .*, controls "):
        runtimes.load(tmp_path / "silent.onnx")
    plain = EXPORTERS["onnx"](model, tmp_path / "p.onnx", precision="fp32", shapes=ONE, photos=PHOTOS)
    graph = onnx.load(plain.path)
    graph.metadata_props[0].value = dataclasses.replace(plain.spec, controls=True, seal=None).to_json()
    onnx.save(graph, tmp_path / "boast.onnx")
    with pytest.raises(ArtifactError, match=r"boast\.onnx should have the input 'controls', tensor\(float\) N x 2, "):
        runtimes.load(tmp_path / "boast.onnx")
    text = json.loads(plain.spec.to_json())
    assert text.pop("controls") is False
    del text["seal"]
    assert graph.metadata_props[0].key == METADATA_KEY
    assert runtimes.ImageSpec.from_json(json.dumps(text | {"format_version": "1.1"})).controls is False


# The command line


def test_on_the_command_line(tmp_path: Path, generator: Generator, capsys: pytest.CaptureFixture[str]) -> None:
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=4), {})
    image = picture(3, 32, 48)
    runtimes.Photograph(image).write(tmp_path / "p.png")
    weights = ("--checkpoint", str(tmp_path / "g.safetensors"), "--shape", "32x48")
    model = fold(generator)
    for controls in ([], ["--controls"]):
        path = str(tmp_path / f"m{len(controls)}.onnx")
        assert main(["export", "onnx", *weights, *controls, "--out", path]) == 0
        assert main(["verify", path]) == 0
        for strength, exposure in ((1, 0), (0, 0), (0.8, 0.5)):
            given = ["--strength", str(strength), "--exposure", str(exposure), "--out", str(tmp_path / "out")]
            assert main(["enhance", path, str(tmp_path / "p.png"), *given, "--overwrite"]) == 0
            made = read_rgb(tmp_path / "out" / "p.png")
            expected = 255 * exact(image / 255, enhance_exactly(model, image) / 255, strength, exposure)
            assert np.abs(made - expected).max() <= (1e-9 if strength == 0 else 1.6)
    capsys.readouterr()
    for option, value in (("--strength", "1.6"), ("--exposure", "-3"), ("--exposure", "nan")):
        assert main(["enhance", path, str(tmp_path / "p.png"), option, value, "--out", str(tmp_path / "no")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"bncagan: {option[2:]} should be a number from")
        assert said.count("\n") == 1
    assert not (tmp_path / "no").exists()
