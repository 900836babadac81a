"""Core ML: pictures equal the float32 network's, packages have a full description, and errors name bad packages."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import export.to_coreml
import runtimes
import runtimes.coreml
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import weights_sha256
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.layers import UNKNOWN_LICENCE
from bncagan.network.model import Generator
from export.mil import MilEvaluator, load_program, placement_warnings
from export.parity import ParityError, check
from export.publishing import Artifact
from export.to_coreml import LEAVING, to_coreml
from runtimes import METADATA_KEY, ArtifactError, BackendMissingError, ImageSpec, ShapeSet
from runtimes.coreml import CoreMlRuntime, Placed, function_name, import_coremltools, on_mac, read_package
from runtimes.golden import Golden, golden_path
from runtimes.installation import install_hint
from tests.conftest import randomise
from tests.faults import FAULTS
from tests.folders import picture

pytest.importorskip("coremltools")
on_a_mac = pytest.mark.skipif(not on_mac(), reason="Core ML runs on macOS and iOS only")

Pixels = NDArray[np.uint8]
PAIRS = ShapeSet.of((2, 48, 64))
ONE = ShapeSet.of((1, 48, 64))
TWO = ShapeSet.of((1, 48, 64), (1, 32, 32))
PHOTOS = {"smooth": picture(0), "dark": picture(1) // 8}


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    """A random network with one residual instead of six, to convert faster, and a small last convolution.

    The last convolution is as small as after training, so that halves are as exact as there.
    """
    generator = Generator(ModelConfig(width=8))
    randomise(generator)
    with torch.no_grad():
        generator.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    folded = fold(generator.eval())
    folded.bnr.parts = folded.bnr.get_submodule("parts")[:1]  # type: ignore[index]
    return folded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def arrays(model: FoldedGenerator, folder: Path) -> Artifact:
    return to_coreml(model, folder / "arrays.mlpackage", precision="fp32", shapes=PAIRS, photos=PHOTOS)


@pytest.fixture(scope="module")
def pictures(model: FoldedGenerator, folder: Path) -> Artifact:
    return to_coreml(model, folder / "pictures.mlpackage", shapes=TWO, io="uint8", photos=PHOTOS)


@pytest.fixture(scope="module")
def palettes(model: FoldedGenerator, folder: Path) -> Artifact:
    path = folder / "palettes.mlpackage"
    return to_coreml(model, path, precision="palette8", shapes=ONE, photos=PHOTOS, target="iOS17")


def reference(model: FoldedGenerator, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return model(torch.from_numpy(batch)).numpy()


def refused(path: Path, *parts: str, open_it: Callable[..., Any] = MilEvaluator, **options: Any) -> None:
    """Assert that opening raises an ArtifactError of one sentence that names the file and contains the parts."""
    with pytest.raises(ArtifactError) as caught:
        open_it(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Export


def assert_says_what_it_is(artifact: Artifact, model: FoldedGenerator, *, version: int) -> Any:
    """Check the package's metadata, read without this project's wrapper; returns its description."""
    spec = import_coremltools().utils.load_spec(str(artifact.path))
    assert spec.specificationVersion == version
    about = spec.description.metadata
    said = ImageSpec.from_json(about.userDefined[METADATA_KEY])
    assert said == artifact.spec
    assert said.parity is not None
    assert (said.parity.passed, said.parity.label) == (True, "measured" if on_mac() else "predicted")
    assert said.weights_sha256 == weights_sha256(model.state_dict())
    assert (about.author, about.versionString) == ("BNCAGAN contributors", "0.2.0")
    assert about.license == f"Weights: {model.licence}. Code: Apache-2.0."
    files = [path for path in artifact.path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"Manifest.json", "model.mlmodel", "weight.bin"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
    assert "photographs" in about.shortDescription
    for function in spec.description.functions or [spec.description]:
        for end in (*function.input, *function.output):
            assert "photograph" in end.shortDescription
            assert ("RGB picture" in end.shortDescription) == (artifact.spec.io == "uint8")
    return spec.description


def kernel_types(path: Path) -> set[str]:
    """Types of the weights of all convolutions in all functions."""
    program = load_program(read_package(path).model)
    convolutions = [op for f in program.functions.values() for op in f.operations if op.op_type == "conv"]
    return {np.dtype(np.asarray(op.weight.val).dtype).name for op in convolutions}


def test_arrays(arrays: Artifact, model: FoldedGenerator) -> None:
    description = assert_says_what_it_is(arrays, model, version=7)
    for end, name in ((description.input[0], "image"), (description.output[0], "enhanced")):
        array = end.type.multiArrayType
        assert (end.name, list(array.shape), array.dataType) == (name, [2, 3, 48, 64], array.FLOAT32)
    assert kernel_types(arrays.path) == {"float32"}
    batch = np.random.default_rng(0).random((2, 3, 48, 64), np.float32)
    with MilEvaluator(arrays.path) as runtime:
        produced = runtime.infer(batch)
    assert np.abs(produced - reference(model, batch)).max() < 2e-5
    assert {"computes in fp32"} == {warning.reason for warning in placement_warnings(read_package(arrays.path).model)}
    assert arrays.spec.details[LEAVING].startswith("all operations")


def test_pictures_of_several_shapes(pictures: Artifact, model: FoldedGenerator) -> None:
    description = assert_says_what_it_is(pictures, model, version=9)
    assert description.defaultFunctionName == "image_1x48x64"
    for function, (_, h, w) in zip(description.functions, TWO.fixed, strict=True):
        assert function.name == function_name((1, h, w))
        for end in (function.input[0], function.output[0]):
            image = end.type.imageType
            assert (image.height, image.width, image.colorSpace) == (h, w, image.RGB)
    assert kernel_types(pictures.path) == {"float16"}
    parameters = sum(tensor.numel() for tensor in model.parameters())
    weights = pictures.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    assert weights.stat().st_size < 2.2 * parameters  # bytes: stored once, for both shapes
    assert not placement_warnings(read_package(pictures.path).model)
    assert LEAVING not in pictures.spec.details
    with MilEvaluator(pictures.path) as runtime:
        for seed, (_, h, w) in enumerate(TWO.fixed):
            pixels = picture(seed, h, w)[None]
            expected = reference(model, pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
            difference = runtime.infer(pixels) - np.floor(255 * expected.transpose(0, 2, 3, 1) + 0.5)
            assert np.abs(difference).max() <= 2
        assert runtime.enhance(picture(3, 70, 50)).shape == (70, 50, 3)


def test_the_gate_passes_with_pessimistic_rounding(pictures: Artifact) -> None:
    with MilEvaluator(pictures.path, pessimistic=True) as runtime:
        assert runtime.device == "cpu, pessimistic"
        worst = check(runtime, Golden.load(golden_path(pictures.path)), label="predicted").verdict
    assert worst.passed, worst.failures
    assert worst != pictures.report.verdict


def test_palettes(palettes: Artifact, model: FoldedGenerator) -> None:
    assert_says_what_it_is(palettes, model, version=8)
    operations = load_program(read_package(palettes.path).model).functions["main"].operations
    stored = {op.name: op.op_type for op in operations if "weight" in op.name and "conv" in op.name}
    large = {name for name, kind in stored.items() if kind == "constexpr_lut_to_dense"}
    assert {name.partition("_weight")[0] for name in large} >= {"p_bnr_block_conv1", "p_encoder_conv4"}
    assert not {name for name in large if "tail" in name or "stage2" in name or "encoder_conv1" in name}
    assert palettes.spec.details == {"weights' licence": UNKNOWN_LICENCE, "minimum system": "iOS17"}
    weights = palettes.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    assert weights.stat().st_size < 1.3 * sum(tensor.numel() for tensor in model.parameters())


def convert_instead(monkeypatch: pytest.MonkeyPatch, fault: Callable[[FoldedGenerator], Any]) -> None:
    """Plant a fault between the folded model and its conversion."""
    honest = export.to_coreml.convert
    monkeypatch.setattr(export.to_coreml, "convert", lambda model, *given: honest(fault(model), *given))


@pytest.mark.parametrize(
    ("fault", "precision"), [(fault, "fp32" if fault == "rho" else "fp16") for fault in FAULTS]
)  # with one residual, a wrong rho would be as small as the rounding error of halves
def test_a_planted_fault_is_rejected(
    tmp_path: Path, model: FoldedGenerator, fault: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_instead(monkeypatch, FAULTS[fault])
    path = tmp_path / "m.mlpackage"
    with pytest.raises(ParityError, match=r"m\.mlpackage\.rejected should pass its parity check"):
        to_coreml(model, path, precision=precision, shapes=ONE, photos=PHOTOS)
    assert names(tmp_path) == ["m.mlpackage.rejected"]
    with pytest.raises(ArtifactError, match="refused"):
        runtimes.load(tmp_path / "m.mlpackage.rejected")
    (tmp_path / "m.mlpackage.rejected").rename(path)
    refused(path, "failed it; export it again")


def test_options_that_contradict_are_refused(
    tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.mlpackage"
    with pytest.raises(ArtifactError, match=r"--target should be iOS18 .*1x48x64, 1x32x32.* but is iOS16"):
        to_coreml(model, path, shapes=TWO, target="iOS16")
    with pytest.raises(ArtifactError, match="one of iOS16, iOS17, iOS18 but is 'iOS15'"):
        to_coreml(model, path, shapes=ONE, target="iOS15")
    with pytest.raises(ArtifactError, match="but have 2x48x64; use --batch 1"):
        to_coreml(model, path, shapes=PAIRS, io="uint8")
    with pytest.raises(ArtifactError, match="should have fixed shapes"):
        to_coreml(model, path, shapes=ShapeSet.between((1, 16, 16), (1, 32, 32), (1, 64, 64)))
    with pytest.raises(ArtifactError, match="palette8, palette6 but is 'int8'"):
        to_coreml(model, path, precision="int8", shapes=ONE)
    with pytest.raises(ArtifactError, match=r"end in \.mlpackage but ends in \.onnx"):
        to_coreml(model, tmp_path / "m.onnx", shapes=ONE)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(BackendMissingError, match=r"\[coreml\]"):
        to_coreml(model, path, shapes=ONE)
    assert not names(tmp_path)


def test_the_argument_is_left_alone(model: FoldedGenerator, arrays: Artifact, pictures: Artifact) -> None:
    assert arrays.spec.weights_sha256 == pictures.spec.weights_sha256 == weights_sha256(model.state_dict())
    assert type(model.get_submodule("bnr.block.norm1")).__name__ == "FoldedNorm"


# Packages that cannot be opened


@pytest.fixture
def path(arrays: Artifact, tmp_path: Path) -> Path:
    """A copy of a good package, which a test may damage."""
    return Path(shutil.copytree(arrays.path, tmp_path / "m.mlpackage"))


def rewrite(path: Path, text: str | None) -> Path:
    """Replace the text of the spec; None removes it."""
    package = import_coremltools().models.MLModel(str(path), skip_model_load=True)
    metadata = package.get_spec().description.metadata.userDefined
    package.user_defined_metadata[METADATA_KEY] = text or ""
    if text is None:
        del package._spec.description.metadata.userDefined[METADATA_KEY]
    assert METADATA_KEY in metadata
    changed = path.with_name("changed.mlpackage")
    package.save(str(changed))
    return changed


DATA = Path("Data") / "com.apple.CoreML"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda path: (path / "Manifest.json").unlink(), ["should be a Core ML package", "copy the whole folder"]),
        (lambda path: (path / "Manifest.json").write_text("{"), ["should be a Core ML package but does not open"]),
        (lambda path: (path / DATA / "model.mlmodel").unlink(), ["should be a Core ML package but does not open"]),
        (lambda path: shutil.rmtree(path / DATA / "weights"), ["should be a Core ML package but does not open"]),
        (lambda path: (path / DATA / "weights" / "weight.bin").unlink(), ["weights it was exported with", "missing"]),
        (lambda path: truncate(path / DATA / "weights" / "weight.bin"), ["weights it was exported with"]),
        (lambda path: truncate(path / DATA / "model.mlmodel"), ["m.mlpackage should", "export it again"]),
        (lambda path: (path / DATA / "model.mlmodel").write_bytes(b""), ["m.mlpackage should"]),
    ],
)
def test_damaged_packages(path: Path, change: Callable[[Path], Any], parts: list[str]) -> None:
    change(path)
    refused(path, "m.mlpackage", *parts)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_file_is_no_package(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    path.write_text("not a folder")
    refused(path, "m.mlpackage should be a Core ML package, a folder with a Manifest.json, but is none")


def test_packages_that_are_not_ours(path: Path, arrays: Artifact) -> None:
    refused(rewrite(path, None), "has none; export it with bncagan")
    refused(rewrite(path, '{"format_version": 99}'), "99.0; upgrade bncagan")
    for old, new, part in (
        ('"io": "float32"', '"io": "uint8"', "should take and return image, RGB picture of 48x64 and"),
        ('"input_name": "image"', '"input_name": "photo"', "should take and return photo, FLOAT32 array of 2x3x48x64"),
        ("[[2, 48, 64]]", "[[2, 48, 48]]", "FLOAT32 array of 2x3x48x48"),
    ):
        text = dataclasses.replace(arrays.spec, seal=None).to_json()
        assert old in text
        refused(rewrite(path, text.replace(old, new)), part, "but has image, FLOAT32 array of 2x3x48x64 and enhanced")


def test_a_package_without_a_shape_of_its_spec(pictures: Artifact, tmp_path: Path) -> None:
    path = Path(shutil.copytree(pictures.path, tmp_path / "m.mlpackage"))
    text = dataclasses.replace(pictures.spec, seal=None).to_json().replace("[1, 32, 32]", "[1, 32, 40]")
    refused(rewrite(path, text), "RGB picture of 32x40", "but has no such function")


def test_off_macos_one_sentence_says_where_it_runs(arrays: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.coreml, "on_mac", lambda: False)
    refused(arrays.path, "should run on macOS or iOS", "`bncagan verify`, which evaluates", open_it=runtimes.load)
    refused(arrays.path, "one of ALL, CPU_ONLY", open_it=runtimes.load, compute_units="GPU")


# Running, with a framework that stands in for Core ML


class FakeFramework:
    """Stands in for coremltools on macOS; answers with half of its input."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str, str | None]] = []
        self.given: list[dict[str, Any]] = []
        self.failure: RuntimeError | None = None

    def compile_model(self, path: str) -> str:
        compiled = Path(path).with_suffix(".mlmodelc")
        compiled.mkdir()
        return str(compiled)

    def load(self, path: str, units: Any, name: str | None) -> Any:
        if self.failure is not None:
            raise self.failure
        self.loaded.append((path, units.name, name))
        return SimpleNamespace(predict=self.predict)

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        self.given.append(given)
        image = given["image"]
        if isinstance(image, Image.Image):
            assert image.mode == "RGB"
            return {"enhanced": Image.fromarray(np.asarray(image) // 2).convert("RGBA")}
        return {"enhanced": image.astype(np.float64) / 2}


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> FakeFramework:
    fake = FakeFramework()
    coremltools = import_coremltools()
    monkeypatch.setattr(runtimes.coreml, "on_mac", lambda: True)
    monkeypatch.setattr(coremltools.models.utils, "compile_model", fake.compile_model)
    monkeypatch.setattr(coremltools.models, "CompiledMLModel", fake.load)
    return fake


def test_arrays_go_in_as_arrays(path: Path, framework: FakeFramework) -> None:
    compiled = path.with_suffix(".mlmodelc")
    with runtimes.load(path, compute_units="CPU_AND_NE") as runtime:
        assert (runtime.device, runtime.spec.precision) == ("CPU_AND_NE", "fp32")
        assert runtime.name.startswith("Core ML of macOS")
        assert framework.loaded == [(str(compiled), "CPU_AND_NE", None)]
        batch = np.random.default_rng(0).random((2, 3, 48, 64), np.float32)
        np.testing.assert_array_equal(runtime.infer(batch), batch / 2)
        assert compiled.is_dir()
    assert not compiled.exists()
    with pytest.raises(ArtifactError, match="was closed"):
        runtime.infer(batch)


def test_pictures_go_in_as_pictures_to_the_function_of_their_shape(
    pictures: Artifact, tmp_path: Path, framework: FakeFramework
) -> None:
    path = Path(shutil.copytree(pictures.path, tmp_path / "m.mlpackage"))
    with runtimes.load(path) as runtime:
        for _ in range(2):
            for seed, (_, h, w) in enumerate(TWO.fixed):
                pixels = picture(seed, h, w)[None]
                np.testing.assert_array_equal(runtime.infer(pixels), pixels // 2)
    assert [name for _, _, name in framework.loaded] == ["image_1x48x64", "image_1x32x32"]
    np.testing.assert_array_equal(np.asarray(framework.given[0]["image"]), picture(0, 48, 64))


def test_failures_of_the_framework_are_named(path: Path, framework: FakeFramework) -> None:
    runtime = runtimes.load(path)
    framework.failure = RuntimeError("Error in declaring network.\nE5RT: no memory")
    with pytest.raises(ArtifactError, match=r"should run on ALL but Core ML failed \(Error .* no memory\); try"):
        runtime.infer(np.zeros((2, 3, 48, 64), np.float32))
    runtime.close()
    refused(path, "should load into Core ML of macOS", "E5RT: no memory", "update macOS", open_it=runtimes.load)
    assert not path.with_suffix(".mlmodelc").exists()


def test_placement(path: Path, framework: FakeFramework, monkeypatch: pytest.MonkeyPatch) -> None:
    class MLNeuralEngineComputeDevice: ...

    class MLCPUComputeDevice: ...

    engine, cpu = MLNeuralEngineComputeDevice(), MLCPUComputeDevice()
    usages = {
        "const": None,
        "conv": SimpleNamespace(preferred_compute_device=engine, supported_compute_devices=[cpu, engine]),
        "gather": SimpleNamespace(preferred_compute_device=cpu, supported_compute_devices=[cpu]),
    }
    operations = [SimpleNamespace(operator_name=kind, outputs=[SimpleNamespace(name=f"{kind}_0")]) for kind in usages]
    function = SimpleNamespace(block=SimpleNamespace(operations=operations))
    plan = SimpleNamespace(
        model_structure=SimpleNamespace(program=SimpleNamespace(functions={"main": function})),
        get_compute_device_usage_for_mlprogram_operation=lambda operation: usages[operation.operator_name],
    )
    asked = []

    def load_from_path(compiled: str, compute_units: Any) -> Any:
        asked.append((compiled, compute_units.name))
        return plan

    import coremltools.models.compute_plan as plans

    monkeypatch.setattr(plans, "MLComputePlan", SimpleNamespace(load_from_path=load_from_path))
    with CoreMlRuntime(path, compute_units="CPU_ONLY") as runtime:
        assert isinstance(runtime, CoreMlRuntime)
        assert runtime.placement() == [
            Placed("main", "conv", "conv_0", "NeuralEngine", ("CPU", "NeuralEngine")),
            Placed("main", "gather", "gather_0", "CPU", ("CPU",)),
        ]
    assert asked == [(str(path.with_suffix(".mlmodelc")), "CPU_ONLY")]


def test_missing_backend(arrays: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes.coreml, "on_mac", lambda: True)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(BackendMissingError) as caught:
        runtimes.load(arrays.path)
    assert str(caught.value) == (
        "coremltools, which runs .mlpackage files, should be installed but is not; "
        f"install it with: {install_hint('coreml')}"
    )


def test_the_check_uses_the_framework_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for mac, expected in ((True, (CoreMlRuntime, "measured")), (False, (MilEvaluator, "predicted"))):
        monkeypatch.setattr(export.to_coreml, "on_mac", lambda mac=mac: mac)
        assert export.to_coreml.opener() == expected


# On a Mac


@pytest.mark.coreml
@on_a_mac
@pytest.mark.parametrize("units", runtimes.coreml.COMPUTE_UNITS)
def test_core_ml_draws_the_same(pictures: Artifact, arrays: Artifact, palettes: Artifact, units: str) -> None:
    for artifact in (pictures, arrays, palettes):
        with runtimes.load(artifact.path, compute_units=units) as runtime:
            verdict = check(runtime, Golden.load(golden_path(artifact.path))).verdict
        assert verdict.passed, verdict.failures


@pytest.mark.coreml
@on_a_mac
def test_core_ml_places_every_operation(pictures: Artifact) -> None:
    with CoreMlRuntime(pictures.path) as runtime:
        assert isinstance(runtime, CoreMlRuntime)
        assert {placed.function for placed in runtime.placement()} == {function_name(s) for s in TWO.fixed}
