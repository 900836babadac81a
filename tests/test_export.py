"""Export: the content of the graph, the spec in the file, and that a wrong graph never gets its final name."""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import export.to_onnx
import export.to_pt2
import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator, weights_sha256
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold, to_half
from bncagan.network.model import Generator
from export.artifact import describe, photographs, with_io
from export.to_onnx import to_onnx
from export.to_pt2 import to_pt2
from runtimes import ArtifactError, ImageSpec, ShapeSet
from runtimes.golden import Golden, golden_path
from runtimes.image import Pixels
from tests.conversions import fingerprint
from tests.faults import wrong_rho
from tests.folders import picture

FORBIDDEN = {"InstanceNormalization", "LayerNormalization", "BatchNormalization", "GroupNormalization", "Reciprocal"}
FIXED = ShapeSet.of((1, 48, 64))
RANGE = ShapeSet.between((1, 16, 16), (1, 64, 64), (4, 512, 512))


@pytest.fixture
def generator(random_generator: Callable[..., Generator]) -> Generator:
    """A random network with a last convolution as small as after training, so that FP16 is as exact as there."""
    made = random_generator(8)
    with torch.no_grad():
        made.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return made


@pytest.fixture
def model(generator: Generator) -> FoldedGenerator:
    return fold(generator)


@pytest.fixture
def checkpoint(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
    path = tmp_path_factory.mktemp("weights") / "g.safetensors"
    save_generator(path, generator, ModelConfig(width=8), {})
    return path


@pytest.fixture
def photos() -> dict[str, Pixels]:
    return {"smooth": picture(0), "dark": picture(1) // 8}


def reference(model: FoldedGenerator, batch: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(batch)).numpy()


@pytest.mark.parametrize(
    ("shapes", "precision", "io"),
    [(FIXED, "fp32", "float32"), (RANGE, "fp32", "uint8"), (FIXED, "fp16", "uint8"), (RANGE, "fp16", "float32")],
)
def test_onnx_artifacts(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], shapes: ShapeSet, precision: str, io: str
) -> None:
    artifact = to_onnx(model, tmp_path / "m.onnx", precision=precision, shapes=shapes, io=io, photos=photos)
    graph = onnx.load(artifact.path).graph
    nodes = collections.Counter(node.op_type for node in graph.node)
    assert not FORBIDDEN & nodes.keys()
    assert (len(graph.input), len(graph.output)) == (1, 1)
    assert (graph.input[0].name, graph.output[0].name) == ("image", "enhanced")
    halves = [w for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT16 and len(w.dims) == 4]
    assert len([w for w in halves if w.dims[2] > 1]) == (0 if precision == "fp32" else 9)  # every k x k convolution
    spec = artifact.spec
    assert spec.parity is not None
    assert spec.parity.passed
    assert (spec.width, spec.precision, spec.io, spec.shapes) == (8, precision, io, shapes)
    assert spec.weights_sha256 == weights_sha256(model.state_dict())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.golden.npz"]

    batch = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
    with runtimes.load(artifact.path) as runtime:
        assert runtime.spec == spec
        if io == "float32":
            tolerance = 2e-5 if precision == "fp32" else 5e-3
            assert np.abs(runtime.infer(batch) - reference(model, batch)).max() < tolerance
        else:
            pixels = np.floor(batch.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
            expected = reference(model, pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
            difference = runtime.infer(pixels) - np.floor(255 * expected.transpose(0, 2, 3, 1) + 0.5)
            assert np.abs(difference).max() <= (1 if precision == "fp32" else 2)


@pytest.mark.parametrize("io", ["float32", "uint8"])
def test_pt2_artifacts_run_without_this_code(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], io: str
) -> None:
    artifact = to_pt2(model, tmp_path / "m.pt2", shapes=RANGE, io=io, photos=photos)
    program = torch.export.load(artifact.path)
    batch = torch.rand(2, 3, 32, 40)
    if io == "float32":
        assert torch.allclose(program.module()(batch), model(batch), atol=2e-5)
    else:
        pixels = (batch.permute(0, 2, 3, 1) * 255).to(torch.uint8)
        codes = torch.floor(255 * model(pixels.permute(0, 3, 1, 2) / 255).permute(0, 2, 3, 1) + 0.5)
        assert (program.module()(pixels) - codes).abs().max() <= 1
    with runtimes.load(artifact.path) as runtime:
        assert runtime.spec == artifact.spec


class Faulty(nn.Module):
    """The network with a fault in its input or output."""

    def __init__(self, model: nn.Module, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.fault = model, fault

    def forward(self, image: Tensor) -> Tensor:
        return self.fault(self.model(image))


FAULTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "swapped channels": lambda m: Faulty(m, lambda y: y.flip(1)),
    "shift by one pixel": lambda m: Faulty(m, lambda y: torch.cat([y[..., :1], y[..., :-1]], dim=3)),
    "1 % darker": lambda m: Faulty(m, lambda y: y * 0.99),
    "rounded down": lambda m: Faulty(m, lambda y: y - 0.5 / 255),
    "rho off by 0.05": wrong_rho,
}


@pytest.mark.parametrize(
    ("fault", "precision"),
    [*((fault, "fp32") for fault in FAULTS), ("1 % darker", "fp16"), ("rho off by 0.05", "fp16")],
)
def test_a_planted_fault_is_rejected(
    tmp_path: Path,
    checkpoint: Path,
    fault: str,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    honest = export.to_onnx.convert
    monkeypatch.setattr(export.to_onnx, "convert", lambda module, *others: honest(FAULTS[fault](module), *others))
    out = tmp_path / "m.onnx"
    given = ["--checkpoint", str(checkpoint), "--precision", precision, "--shape", "64x64", "--out", str(out)]
    assert main(["export", "onnx", *given]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "m.onnx.rejected should pass its parity check" in said
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx.rejected"]
    with pytest.raises(ArtifactError, match="refused"):
        runtimes.load(tmp_path / "m.onnx.rejected")
    (tmp_path / "m.onnx.rejected").rename(out)
    with pytest.raises(ArtifactError, match="failed it"):
        runtimes.load(out)


def test_kept_graphs_are_of_equal_networks_only(model: FoldedGenerator) -> None:
    """The tests convert a network once; one that differs in anything is another."""
    spec, bytes_spec = (describe(model, precision="fp32", shapes=FIXED, io=io, tools=()) for io in ("float32", "uint8"))
    own = fingerprint(model, spec)
    assert own == fingerprint(copy.deepcopy(model), spec)
    others = [(wrong_rho(model), spec), (to_half(model), spec), (with_io(model, bytes_spec), bytes_spec)]
    others.append((model, dataclasses.replace(spec, shapes=RANGE)))
    assert len({own, *(fingerprint(*other) for other in others)}) == 5
    assert fingerprint(FAULTS["1 % darker"](model), spec) is None


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_without_a_fault_the_same_export_passes(tmp_path: Path, checkpoint: Path, precision: str) -> None:
    (tmp_path / "m.onnx.rejected").write_text("of an earlier export")
    given = [
        "--checkpoint",
        str(checkpoint),
        "--precision",
        precision,
        "--shape",
        "64x64",
        "--out",
        str(tmp_path / "m.onnx"),
    ]
    assert main(["export", "onnx", *given]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.golden.npz"]


def test_a_converter_that_crashes_leaves_nothing(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.backends.open_artifact", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        to_onnx(model, tmp_path / "m.onnx", precision="fp32", shapes=FIXED, photos=photos)
    assert not list(tmp_path.iterdir())


def test_options_that_contradict_are_refused(tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels]) -> None:
    with pytest.raises(ArtifactError, match=r"end in \.onnx but ends in \.pt2"):
        to_onnx(model, tmp_path / "m.pt2", precision="fp32", shapes=FIXED, photos=photos)
    with pytest.raises(ArtifactError, match="fp32, fp16, int8 but is 'int4'"):
        to_onnx(model, tmp_path / "m.onnx", precision="int4", shapes=FIXED, photos=photos)
    with pytest.raises(ArtifactError, match="one fixed shape or a range"):
        to_onnx(
            model, tmp_path / "m.onnx", precision="fp32", shapes=ShapeSet.of((1, 16, 16), (1, 32, 32)), photos=photos
        )
    with pytest.raises(ArtifactError, match="existing folder"):
        to_onnx(model, tmp_path / "no" / "m.onnx", precision="fp32", shapes=FIXED, photos=photos)
    with pytest.raises(ArtifactError, match=r"end in \.pt2"):
        to_pt2(model, tmp_path / "m.onnx", shapes=FIXED, photos=photos)


def test_the_golden_pictures_and_the_spec_are_checked(tmp_path: Path, model: FoldedGenerator) -> None:
    artifact = to_onnx(model, tmp_path / "m.onnx", precision="fp32", shapes=FIXED)
    golden = Golden.load(golden_path(artifact.path))
    assert set(photographs()) <= {case.name for case in golden.cases}
    assert len(golden.cases) >= 10
    for case in golden.cases:
        batch = (case.image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]
        exact = 255 * reference(model, batch)[0].transpose(1, 2, 0)
        assert np.abs(exact - case.expected).max() < 0.51  # rounded, but for an error of the last bits

    graph = onnx.load(artifact.path)
    lie: ImageSpec = dataclasses.replace(artifact.spec, input_name="picture", seal=None)
    graph.metadata_props[0].value = lie.to_json()
    onnx.save(graph, tmp_path / "lie.onnx")
    with pytest.raises(ArtifactError, match=r"lie\.onnx"):
        runtimes.load(tmp_path / "lie.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "bounds",
    [
        ((1, 16, 16), (1, 48, 48), (1, 64, 64)),
        ((1, 256, 256), (1, 256, 256), (4, 320, 320)),
        ((1, 48, 16), (1, 48, 48), (1, 48, 96)),
    ],
    ids=str,
)
def test_any_range_is_traced_inside_itself(
    tmp_path: Path, model: FoldedGenerator, photos: dict[str, Pixels], bounds: tuple[tuple[int, int, int], ...]
) -> None:
    shapes = ShapeSet.between(*bounds)
    artifact = to_onnx(model, tmp_path / "m.onnx", precision="fp32", shapes=shapes, photos=photos)
    with runtimes.load(artifact.path) as runtime:
        for n, h, w in (bounds[0], bounds[2]):
            batch = np.random.default_rng(0).random((n, 3, h, w), np.float32)
            assert np.abs(runtime.infer(batch) - reference(model, batch)).max() < 2e-5
