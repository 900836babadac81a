"""Maps: the graph's curve and fit equal plain formulations, and artifacts that return them are checked as pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import runtimes
from bncagan.config import ModelConfig
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.inference import to_unit
from bncagan.network.maps import SMOOTHED, WithMaps, colour_maps
from bncagan.network.model import Generator
from export.exporters import EXPORTERS
from export.mil import MilEvaluator
from export.parity import ParityError
from export.publishing import Artifact
from runtimes import ArtifactError, ShapeSet
from runtimes.apply import oracle
from runtimes.apply.change import IDENTITY
from runtimes.base import Maps, to_batch
from runtimes.coreml import on_mac
from runtimes.golden import Golden, golden_path
from runtimes.spec import WINDOW
from tests.conftest import randomise
from tests.folders import picture
from tests.tiny_models import make_spec

ONE = ShapeSet.of((1, 32, 48))
PAIRS = ShapeSet.of((2, 32, 48))
RANGE = ShapeSet.between((1, 16, 16), (1, 32, 48), (4, 64, 64))
PHOTOS = {"dark": picture(1) // 8}


def network(*, tone: bool = True, width: int = 4) -> FoldedGenerator:
    """A random network with one residual instead of six, to convert faster, and a last convolution as after training.

    The constants of its curve and the change differ from picture to picture.
    """
    made = Generator(ModelConfig(width=width, tone=tone, untoned=tone and width > 0))
    randomise(made)
    if width:
        with torch.no_grad():
            made.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    folded = fold(made.eval())
    if width:
        folded.bnr.parts = folded.bnr.get_submodule("parts")[:1]  # type: ignore[index]
    return folded


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    return network()


def fitted(toned: NDArray[np.float64], change: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """The rows of (A | b) of one window by least squares over its n x 3 pixels, and three more for the ridge."""
    n = len(toned)
    centre = toned.mean(0)
    rows = np.concatenate([toned - centre, np.sqrt(ridge * n) * np.eye(3)])
    answers = np.concatenate([change - change.mean(0), np.zeros((3, 3))])
    A = np.linalg.lstsq(rows, answers, rcond=None)[0].T
    return np.concatenate([A, (change.mean(0) - A @ centre)[:, None]], axis=1)


def boxes(values: torch.Tensor) -> torch.Tensor:
    """Means over 8 x 8 px."""
    n, c, h, w = values.shape
    return values.view(n, c, h // 8, 8, w // 8, 8).mean((3, 5))


@pytest.mark.parametrize("ridge", [1e-4, 1e-2])
def test_the_fit_equals_least_squares(ridge: float) -> None:
    rng = torch.Generator().manual_seed(0)
    toned, change = torch.rand(2, 3, 16, 24, generator=rng), torch.rand(2, 3, 16, 24, generator=rng) - 0.5
    toned[:, :, :8, :8] = 0.4 + 0.003 * toned[:, :, :8, :8]  # hardly any colour
    toned[:, 1:, 8:, :8] = toned[:, :1, 8:, :8]  # grey
    exact = colour_maps(toned.double(), change.double(), boxes, ridge, 0).numpy()
    maps = colour_maps(toned, change, boxes, ridge, 0).numpy()
    assert maps.shape == exact.shape == (2, 12, 2, 3)
    for n, row, column in np.ndindex(2, 2, 3):
        place = (n, slice(None), slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
        window = [values[place].reshape(3, 64).T.double().numpy() for values in (toned, change)]
        wanted = fitted(*window, ridge)
        np.testing.assert_allclose(exact[n, :, row, column].reshape(3, 4), wanted, atol=1e-9)
        # In float32 A is less exact in directions in which the window has hardly any colours, so what it does counts.
        pixels = np.concatenate([window[0], np.ones((64, 1))], axis=1)
        np.testing.assert_allclose(pixels @ maps[n, :, row, column].reshape(3, 4).T, pixels @ wanted.T, atol=2e-5)


@pytest.mark.parametrize("times", [1, SMOOTHED])
def test_covariances_and_the_mean_change_are_averaged_over_neighbouring_windows(times: int) -> None:
    rng = np.random.default_rng(0)
    toned, change = rng.random((3, 24, 32)), rng.random((3, 24, 32)) - 0.5
    tensors = [torch.from_numpy(values)[None] for values in (toned, change)]
    told = colour_maps(tensors[0], tensors[1], boxes, 1e-2, times)[0].numpy()
    S, C, mean, changed = (np.empty((3, 4, *shape)) for shape in ((3, 3), (3, 3), (3,), (3,)))
    for place in np.ndindex(3, 4):
        rows, columns = (slice(8 * i, 8 * i + 8) for i in place)
        t, c = (values[:, rows, columns].reshape(3, 64) for values in (toned, change))
        both = np.cov(np.concatenate([t, c]), bias=True)
        S[place], C[place], mean[place], changed[place] = both[:3, :3], both[3:, :3], t.mean(1), c.mean(1)
    for _ in range(times):
        S, C, changed = averaged(S), averaged(C), averaged(changed)
    for row, column in np.ndindex(3, 4):
        A = np.linalg.solve(S[row, column] + 1e-2 * np.eye(3), C[row, column].T).T
        b = changed[row, column] - A @ mean[row, column]
        np.testing.assert_allclose(told[:, row, column].reshape(3, 4), np.concatenate([A, b[:, None]], 1), atol=1e-9)


def averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the neighbours of each place of a grid, h x w x ... in and out."""
    result = np.empty_like(values)
    for place in np.ndindex(*values.shape[:2]):
        near = [[mirrored(i + step, n) for step in (-1, 0, 1)] for i, n in zip(place, values.shape[:2], strict=True)]
        result[place] = values[np.ix_(*near)].mean((0, 1))
    return result


def mirrored(index: int, length: int) -> int:
    """The place of an index beyond the border, mirrored at the outermost one."""
    return length - 1 - abs(length - 1 - abs(index))


@pytest.mark.parametrize("tone", [True, False])
def test_the_constants_are_the_tone_head_s_formula(tone: bool) -> None:
    model = network(tone=tone)
    image = picture(5, 48, 64)
    x = to_unit(image)
    with torch.no_grad():
        told, _ = WithMaps(model, picture=False)(x)
        toned = x if model.tone is None else model.tone(x)
    assert told.shape == (1, 16)
    if not tone:
        np.testing.assert_array_equal(told[0], IDENTITY)
    formula = oracle.toned(image / 255, told[0].double().numpy())
    np.testing.assert_allclose(formula, toned[0].permute(1, 2, 0), atol=2e-6)


def test_a_head_alone_has_no_maps() -> None:
    model = network(width=0)
    x = to_unit(picture(5, 48, 64))
    with torch.no_grad():
        enhanced, told = WithMaps(model, picture=True)(x)
        torch.testing.assert_close(enhanced, model(x), rtol=0, atol=1e-6)
        assert told.shape == (1, 16)


def test_the_picture_of_both_is_the_network_s_own(model: FoldedGenerator) -> None:
    x = torch.cat([to_unit(picture(5, 48, 64)), to_unit(picture(6, 48, 64) // 8)])
    with torch.no_grad():
        enhanced, told, maps = WithMaps(model, picture=True)(x)
        assert torch.equal(enhanced, model(x))
        assert maps.shape == (2, 12, 48 // WINDOW, 64 // WINDOW)
        for i in range(2):  # no picture of a batch changes another
            alone = WithMaps(model, picture=True)(x[i : i + 1])
            torch.testing.assert_close((told[i], maps[i]), (alone[1][0], alone[2][0]), rtol=0, atol=1e-3)


def test_a_change_that_is_affine_everywhere_is_found_again() -> None:
    image = picture(7, 32, 48)
    A = np.array([[0.1, -0.05, 0.02], [0.03, 0.2, -0.1], [-0.02, 0.04, 0.15]])
    b = np.array([0.01, -0.02, 0.03])
    x = to_unit(image).double()
    change = torch.einsum("ik,nkyx->niyx", torch.from_numpy(A), x) + torch.from_numpy(b)[:, None, None]
    maps = colour_maps(x, change, boxes, 1e-9, 0)[0].numpy()
    made = oracle.changed(image / 255, runtimes.apply.change.Change(maps=maps.astype(np.float32)))
    wanted = np.clip(image / 255 @ (np.eye(3) + A).T + b, 0, 1)
    np.testing.assert_allclose(made, wanted, atol=1e-3)


# Artifacts


def make(
    model: FoldedGenerator, folder: Path, name: str, precision: str, shapes: ShapeSet, io: str, output: str
) -> Artifact:
    exporter = EXPORTERS[name]
    path = folder / f"m{exporter.form.suffix}"
    return exporter(model, path, precision=precision, shapes=shapes, io=io, output=output, photos=PHOTOS)


def opened(path: Path) -> runtimes.Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" and not on_mac() else runtimes.load(path)


ARTIFACTS = [
    ("onnx", "fp32", RANGE, "float32", "both"),
    ("onnx", "fp32", ONE, "uint8", "maps"),
    ("onnx", "fp16", PAIRS, "float32", "maps"),
    ("openvino", "fp32", RANGE, "float32", "maps"),
    ("openvino", "fp16", PAIRS, "uint8", "both"),
    ("coreml", "fp16", ONE, "uint8", "both"),
    ("coreml", "fp32", PAIRS, "float32", "maps"),
    ("pt2", "fp32", RANGE, "uint8", "maps"),
    ("pt2", "fp32", PAIRS, "float32", "both"),
]
WITHIN = {"fp32": 1, "fp16": 3}  # codes


@pytest.mark.parametrize(("name", "precision", "shapes", "io", "output"), ARTIFACTS)
def test_every_format(
    tmp_path: Path, model: FoldedGenerator, name: str, precision: str, shapes: ShapeSet, io: str, output: str
) -> None:
    artifact = make(model, tmp_path, name, precision, shapes, io, output)
    golden = Golden.load(golden_path(artifact.path))
    assert golden.sha256() == artifact.spec.seal.golden_sha256  # type: ignore[union-attr]
    enlarged = [
        case for case in golden.cases if case.photograph is not None and case.photograph.shape[0] > case.size[0]
    ]
    assert [case.photograph.shape for case in enlarged] == [(64, 96, 3)]  # type: ignore[union-attr]
    n = 1 if shapes is ONE else 2
    images = np.stack([picture(7, 32, 48), picture(8, 32, 48) // 8])[:n]
    with opened(artifact.path) as runtime:
        assert runtime.spec == artifact.spec
        maps = runtime.maps(to_batch(images, runtime.spec))
        answer = runtime.infer(to_batch(images, runtime.spec))
    for i, image in enumerate(images):
        with torch.no_grad():
            expected = [output.numpy() for output in WithMaps(model, picture=True)(to_unit(image))]
        larger = np.kron(image, np.ones((2, 2, 1), np.uint8))
        wanted = oracle.applied(larger, Maps(*expected[1:]).change(0))
        produced = oracle.applied(larger, maps.change(i))
        assert np.abs(produced.astype(int) - wanted).max() <= WITHIN[precision]
        made = answer[i].astype(float) if io == "uint8" else 255 * answer[i].transpose(1, 2, 0)
        own = 255 * expected[0][0].transpose(1, 2, 0)
        if output == "maps":
            own = oracle.applied(image, Maps(*expected[1:]).change(0))
        assert np.abs(made - own).max() <= WITHIN[precision] + 0.5


class Fault(WithMaps):
    """One plane of the maps lacks."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *others, maps = super().forward(image)
        return *others, maps * torch.tensor([1.0] * 11 + [0.0]).view(1, 12, 1, 1)


@pytest.mark.parametrize("output", ["maps", "both"])
def test_the_gate_refuses_wrong_maps(
    tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr("export.artifact.with_io", lambda *_: None)
    monkeypatch.setattr("export.to_onnx.with_io", lambda model, spec: Fault(model, picture=spec.output == "both"))
    with pytest.raises(ParityError, match="by maps"):
        make(model, tmp_path, "onnx", "fp32", ONE, "float32", output)


def test_a_picture_artifact_has_no_maps(tmp_path: Path, model: FoldedGenerator) -> None:
    artifact = make(model, tmp_path, "onnx", "fp32", ONE, "float32", "picture")
    with runtimes.load(artifact.path) as runtime, pytest.raises(ArtifactError, match="--output maps or both"):
        runtime.maps(to_batch(picture(7, 32, 48)[None], runtime.spec))


def test_contradictions_are_refused() -> None:
    with pytest.raises(ArtifactError, match="maps alone"):
        make_spec(output="maps", controls=True)
    with pytest.raises(ArtifactError, match="divisor of its multiple"):
        make_spec(window=3, output="maps")
    with pytest.raises(ArtifactError, match="output should be one of picture, maps, both"):
        make_spec(output="curve")
    assert dataclasses.replace(make_spec(output="both"), width=0).outputs == ("enhanced", "tone")
