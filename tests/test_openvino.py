"""OpenVINO: pictures equal the float32 network's, the two files must match, and errors name bad files."""

from __future__ import annotations

import copy
import dataclasses
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import export.to_openvino
import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator, weights_sha256
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.artifact import PixelsInPixelsOut
from export.parity import ParityError
from export.publishing import Artifact, publish
from export.to_onnx import convert
from export.to_openvino import to_openvino
from runtimes import METADATA_KEY, ArtifactError, BackendMissingError, ImageSpec, ShapeSet
from runtimes.golden import Case, Golden, extreme_images
from runtimes.installation import install_hint
from runtimes.ov import WEIGHTS_KEY, hash_weights, import_openvino, weights_path
from tests.conftest import randomise
from tests.folders import picture
from tests.test_export import FAULTS, Faulty
from tests.test_layering import BLOCKED
from tests.tiny_models import ANY_SHAPE, make_spec, write_gain

FIXED = ShapeSet.of((1, 48, 64))
RANGE = ShapeSet.between((1, 16, 16), (1, 64, 64), (4, 512, 512))
EXACT = 2e-5  # of float32 arithmetic, in [0, 1]


@pytest.fixture(scope="module")
def generator() -> Generator:
    """A random network whose last convolution is as small as a trained one, so that half weights are as exact."""
    made = Generator(ModelConfig(width=8))
    randomise(made)
    with torch.no_grad():
        made.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return made.eval()


@pytest.fixture(scope="module")
def model(generator: Generator) -> FoldedGenerator:
    return fold(generator)


@pytest.fixture(scope="module")
def photos() -> dict[str, NDArray[np.uint8]]:
    return {"smooth": picture(0), "dark": picture(1) // 8}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
    path = tmp_path_factory.mktemp("weights") / "g.safetensors"
    save_generator(path, generator, ModelConfig(width=8), {})
    return path


@pytest.fixture(scope="module")
def artifact(
    tmp_path_factory: pytest.TempPathFactory, model: FoldedGenerator, photos: dict[str, NDArray[np.uint8]]
) -> Artifact:
    path = tmp_path_factory.mktemp("artifact") / "m.xml"
    return to_openvino(model, path, precision="fp32", shapes=FIXED, photos=photos)


def save_ir(path: Path, graph: Any, text: str | None) -> Path:
    """Write an ONNX graph, given as a path, bytes or read already, as an IR. `text` becomes the spec; None for none."""
    openvino = import_openvino()
    read = graph if isinstance(graph, openvino.Model) else openvino.Core().read_model(graph)
    if text is not None:
        read.set_rt_info(text, METADATA_KEY)
    openvino.save_model(read, path, compress_to_fp16=False)
    read.set_rt_info(hash_weights(path), WEIGHTS_KEY)
    openvino.save_model(read, path, compress_to_fp16=False)
    return path


def write_ir(path: Path, spec: ImageSpec, gain: float = 1.0, *, metadata: str | None = "spec", **how: Any) -> Path:
    """Write an IR that multiplies by `gain`. `metadata` is the text of the spec; None stores none."""
    onnx = write_gain(path.with_suffix(".onnx"), spec, gain, metadata=None, **how)
    save_ir(path, onnx, spec.to_json() if metadata == "spec" else metadata)
    onnx.unlink()
    return path


def refused(path: Path, *parts: str, **options: Any) -> None:
    """Assert that opening raises an ArtifactError of one sentence that names the file and contains the parts."""
    with pytest.raises(ArtifactError) as caught:
        runtimes.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def reference(model: FoldedGenerator, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return model(torch.from_numpy(batch)).numpy()


def with_half_weights(model: FoldedGenerator) -> FoldedGenerator:
    """Return a copy that computes in float32 with the weights of its layers rounded to half precision."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for part in rounded.modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
                part.weight.copy_(part.weight.half().float())
    return rounded


# Export


def plant(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Plant a fault in the ONNX graph, in the first export only, since both precisions use the same graph."""
    honest = export.to_openvino.convert
    made: list[Any] = []

    def once(module: nn.Module, *others: Any) -> Any:
        if not made:
            made.append(honest(FAULTS[fault](module), *others))
        return made[0]

    monkeypatch.setattr(export.to_openvino, "convert", once)


@pytest.mark.parametrize(("shapes", "io"), [(FIXED, "float32"), (RANGE, "float32"), (RANGE, "uint8")])
def test_artifacts(
    tmp_path: Path,
    model: FoldedGenerator,
    photos: dict[str, NDArray[np.uint8]],
    shapes: ShapeSet,
    io: str,
) -> None:
    for precision in ("fp32", "fp16"):
        path = tmp_path / precision / "m.xml"
        path.parent.mkdir()
        artifact = to_openvino(model, path, precision=precision, shapes=shapes, io=io, photos=photos)
        assert names(path.parent) == ["m.bin", "m.xml", "m.xml.golden.npz"]
        assert artifact.size == path.stat().st_size + weights_path(path).stat().st_size
        assert_says_what_it_is(artifact, model, precision, shapes, io)
        assert_draws_the_same(artifact, model, precision)
    halved = weights_path(tmp_path / "fp16" / "m.xml").stat().st_size
    assert halved < 0.51 * weights_path(tmp_path / "fp32" / "m.xml").stat().st_size


def assert_says_what_it_is(
    artifact: Artifact, model: FoldedGenerator, precision: str, shapes: ShapeSet, io: str
) -> None:
    """Check its rt_info and the types of its weights, read without the wrapper."""
    graph = import_openvino().Core().read_model(artifact.path)
    spec = ImageSpec.from_json(graph.get_rt_info(METADATA_KEY).value)
    assert spec == artifact.spec
    assert spec.parity is not None
    assert (spec.parity.passed, spec.parity.label, spec.parity.device) == (True, "measured", "CPU, f32")
    assert (spec.width, spec.precision, spec.io, spec.shapes) == (8, precision, io, shapes)
    assert spec.weights_sha256 == weights_sha256(model.state_dict())
    constants = [op for op in graph.get_ops() if op.get_type_name() == "Constant" and len(op.shape) == 4]
    kernels = [op.get_element_type().to_string() for op in constants if op.shape[2] > 1]
    assert kernels == ["f32" if precision == "fp32" else "f16"] * 9  # every k x k convolution
    assert graph.inputs[0].partial_shape.is_static == (shapes is FIXED)


def assert_draws_the_same(artifact: Artifact, model: FoldedGenerator, precision: str) -> None:
    """Both precisions compute in float32: the pictures are those of the float32 network with the file's weights."""
    batch = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
    stored = model if precision == "fp32" else with_half_weights(model)
    with runtimes.load(artifact.path) as runtime:
        if artifact.spec.io == "float32":
            produced = runtime.infer(batch)
            slack = EXACT if precision == "fp32" else 1e-4  # OpenVINO rounds a few products of constants
            assert np.abs(produced - reference(stored, batch)).max() < slack
            assert np.abs(produced - reference(model, batch)).max() < (EXACT if precision == "fp32" else 5e-3)
        else:
            pixels = np.floor(batch.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
            expected = reference(stored, pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
            difference = runtime.infer(pixels) - np.floor(255 * expected.transpose(0, 2, 3, 1) + 0.5)
            assert np.abs(difference).max() <= 1


def test_saturated_bytes_do_not_wrap(tmp_path: Path, model: FoldedGenerator) -> None:
    """Values far outside [0, 1], which OpenVINO's own conversion would reduce modulo 256, are clamped."""
    spec = make_spec(FIXED, io="uint8")
    graph = convert(PixelsInPixelsOut(Faulty(model, lambda y: 3 * y - 1)), spec)  # type: ignore[arg-type]
    pixels = picture(3, 48, 64)[None]
    y = reference(model, pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)).transpose(0, 2, 3, 1)
    expected = np.floor(255 * (3 * y - 1) + 0.5).clip(0, 255)
    low, high = expected == 0, expected == 255
    assert min(low.mean(), high.mean()) > 0.05
    with runtimes.load(save_ir(tmp_path / "m.xml", graph.SerializeToString(), spec.to_json())) as runtime:
        produced = runtime.infer(pixels)
    assert np.abs(produced - expected).max() <= 1
    assert produced[low].max() <= 1
    assert produced[high].min() >= 254


@pytest.mark.parametrize("fault", ["1 % darker", "rho off by 0.05"])
def test_a_planted_fault_is_rejected(
    tmp_path: Path,
    checkpoint: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plant(monkeypatch, fault)
    path = tmp_path / "m.xml"
    for precision in ("fp32", "fp16"):
        given = ["--checkpoint", str(checkpoint), "--precision", precision, "--shape", "64x64", "--out", str(path)]
        assert main(["export", "openvino", *given]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "m.xml.rejected should pass its parity check" in said
        assert names(tmp_path) == ["m.bin.rejected", "m.xml.rejected"]
        refused(tmp_path / "m.xml.rejected", "refused")
        for file in (path, weights_path(path)):
            file.with_name(file.name + ".rejected").rename(file)
        refused(path, "failed it")
        for file in (path, weights_path(path)):
            file.unlink()


def test_without_a_fault_the_same_export_passes(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.xml"
    for precision in ("fp32", "fp16"):
        for name in ("m.xml.rejected", "m.bin.rejected"):
            (tmp_path / name).write_text("of an earlier export")
        given = ["--checkpoint", str(checkpoint), "--precision", precision, "--shape", "64x64", "--out", str(path)]
        assert main(["export", "openvino", *given]) == 0
        assert "parity PASS" in capsys.readouterr().out
        assert names(tmp_path) == ["m.bin", "m.xml", "m.xml.golden.npz"]
        assert main(["verify", str(path)]) == 0


def test_options_that_contradict_are_refused(
    tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.xml"
    with pytest.raises(ArtifactError, match=r"end in \.xml but ends in \.onnx"):
        to_openvino(model, tmp_path / "m.onnx", precision="fp32", shapes=FIXED)
    with pytest.raises(ArtifactError, match="fp32, fp16, int8 but is 'int4'"):
        to_openvino(model, path, precision="int4", shapes=FIXED)
    with pytest.raises(ArtifactError, match="one fixed shape or a range"):
        to_openvino(model, path, precision="fp32", shapes=ShapeSet.of((1, 16, 16), (1, 32, 32)))
    with pytest.raises(ArtifactError, match="existing folder"):
        to_openvino(model, tmp_path / "no" / "m.xml", precision="fp32", shapes=FIXED)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendMissingError, match=r"\[openvino\]"):
        to_openvino(model, path, precision="fp32", shapes=FIXED)
    assert not names(tmp_path)


# Two files


IMAGE = picture(0, 32, 48)
GOLDEN = Golden(tuple(Case(name, image, image) for name, image in ({"smooth": IMAGE} | extreme_images(32, 48)).items()))


def publish_gain(path: Path, gain: float) -> Artifact:
    shapes = make_spec(ShapeSet.of((1, 32, 48)))
    onnx = write_gain(path.with_suffix(".onnx"), shapes, gain, metadata=None)
    graph = import_openvino().Core().read_model(onnx)
    onnx.unlink()

    def write(target: Path, spec: ImageSpec) -> None:
        save_ir(target, graph, spec.to_json())

    return publish(path, shapes, GOLDEN, write, beside=(".bin",))


def test_a_rejected_pair_leaves_the_earlier_one_alone(tmp_path: Path) -> None:
    publish_gain(tmp_path / "m.xml", 1.0)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(ParityError):
        publish_gain(tmp_path / "m.xml", 0.5)
    assert names(tmp_path) == ["m.bin", "m.bin.rejected", "m.xml", "m.xml.golden.npz", "m.xml.rejected"]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    publish_gain(tmp_path / "m.xml", 1.001)
    assert names(tmp_path) == sorted(before)
    assert (tmp_path / "m.bin").read_bytes() != before["m.bin"]
    runtimes.load(tmp_path / "m.xml").close()


def test_an_interrupted_export_leaves_no_mixed_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_gain(tmp_path / "m.xml", 1.0)
    honest = Path.replace

    def interrupted(source: Path, target: Path) -> Path:
        if target.name == "m.xml":
            raise KeyboardInterrupt
        return honest(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish_gain(tmp_path / "m.xml", 1.001)
    assert names(tmp_path) == ["m.bin", "m.xml.golden.npz"]


def test_weights_of_another_export_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    path = write_ir(tmp_path / "m.xml", make_spec(), 3.0)
    other = write_ir(tmp_path / "other" / "m.xml", make_spec(), 2.0)
    assert weights_path(path).stat().st_size == weights_path(other).stat().st_size
    weights_path(path).write_bytes(weights_path(other).read_bytes())
    refused(path, "m.xml should have the weights of the same export beside it but m.bin is from another one")
    weights_path(path).unlink()
    refused(path, "m.xml should have its weights beside it but m.bin does not exist", "copy both files")


def test_damaged_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_ir(tmp_path / "m.xml", make_spec())
    xml, weights = path.read_bytes(), weights_path(path).read_bytes()
    for kept in (0, 10, 1000, len(xml) // 2, len(xml) - 20):
        path.write_bytes(xml[:kept])
        refused(path, "m.xml should be an OpenVINO IR but does", "export it again")
    path.write_bytes(b"<?xml version='1.0'?><network><layer>" + bytes(range(256)))
    refused(path, "m.xml should be an OpenVINO IR but does not load (")
    path.write_bytes(xml)
    for kept in (0, len(weights) - 1):
        weights_path(path).write_bytes(weights[:kept])
        refused(path, "m.xml should", "export it again")
    path.unlink()
    path.mkdir()
    refused(path, "m.xml should be an OpenVINO IR but does not load")
    assert not capfd.readouterr().err


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    refused(write_ir(path, make_spec(), metadata=None), "a.xml", "has none; export it with bncagan")
    refused(write_ir(path, make_spec(), metadata='{"format_version": 99}'), "a.xml", "99.0; upgrade bncagan")
    with pytest.raises(ArtifactError, match=r"m\.bin should be an artifact, one of .*\.xml"):
        runtimes.load(weights_path(write_ir(tmp_path / "m.xml", make_spec())))


@pytest.mark.parametrize(
    "change",
    [
        {"io": "uint8"},
        {"input_name": "picture"},
        {"output_name": "picture"},
        {"shapes": ShapeSet.of((1, 32, 40))},
        {"shapes": ANY_SHAPE},
    ],
)
def test_a_graph_unlike_its_spec(tmp_path: Path, change: dict[str, Any]) -> None:
    spec = make_spec(ShapeSet.of((1, 32, 48)))
    claimed = dataclasses.replace(spec, **change)
    path = write_ir(tmp_path / "a.xml", spec, metadata=claimed.to_json())
    refused(path, "a.xml should have one", "as its spec says", "f32 [1,3,32,48]")


def test_a_graph_with_four_channels(tmp_path: Path) -> None:
    refused(write_ir(tmp_path / "a.xml", make_spec(), channels=4), "should have one input", "[?,4,?,?]")


# Running


@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("shapes", [ANY_SHAPE, ShapeSet.of((1, 32, 48))])
def test_infer_equals_numpy(tmp_path: Path, io: str, shapes: ShapeSet) -> None:
    path = write_ir(tmp_path / "m.xml", make_spec(shapes, io=io), 1.25)
    image = picture(2, 32, 48)
    exact = np.floor(np.clip(image * np.float32(1.25), 0, 255) + 0.5)
    with runtimes.load(path, threads=1) as runtime:
        assert (runtime.spec, runtime.path, runtime.device) == (make_spec(shapes, io=io), path, "CPU, f32")
        assert runtime.name.startswith("openvino 20")
        np.testing.assert_allclose(runtime.enhance(image), exact, atol=1)
        batch = image[None] if io == "uint8" else (image / np.float32(255)).transpose(2, 0, 1)[None]
        batch.flags.writeable = False
        first = runtime.infer(batch)
        kept = first.copy()
        runtime.infer(batch // 2)
        np.testing.assert_array_equal(first, kept)  # the result is the caller's
    with pytest.raises(ArtifactError, match=r"was closed; load it again"):
        runtime.infer(batch)


def test_from_several_threads(tmp_path: Path) -> None:
    images = [picture(i, 32 + 8 * i, 48) for i in range(8)]
    with (
        runtimes.load(write_ir(tmp_path / "a.xml", make_spec(), 0.5)) as runtime,
        ThreadPoolExecutor(4) as pool,
    ):
        for image, enhanced in zip(images * 4, pool.map(runtime.enhance, images * 4), strict=True):
            np.testing.assert_allclose(enhanced, np.floor(image * np.float32(0.5) + 0.5), atol=1)


def error_of(artifact: Artifact, model: FoldedGenerator, **options: Any) -> tuple[str, float]:
    """Return the precision that the runtime reports, and its difference to the float32 network."""
    batch = np.random.default_rng(1).random((1, 3, 48, 64), np.float32)
    with runtimes.load(artifact.path, **options) as runtime:
        return runtime.device, float(np.abs(runtime.infer(batch) - reference(model, batch)).max())


def test_the_precision_that_runs_is_the_one_reported(
    tmp_path: Path, artifact: Artifact, model: FoldedGenerator
) -> None:
    device, error = error_of(artifact, model)
    assert device == "CPU, f32"
    assert error < EXACT
    capable = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    cache = tmp_path / "new" / "cache"
    for options in ({}, {"cache_dir": cache}, {"cache_dir": cache}):  # compiled, compiled and stored, out of the cache
        device, error = error_of(artifact, model, precision="bf16", **options)
        assert device == "CPU, bf16" or not capable
        assert (1e-4 < error < 0.05) if device == "CPU, bf16" else (device == "CPU, f32" and error < EXACT)
        assert error_of(artifact, model, **options) == error_of(artifact, model)
    assert list(cache.glob("*.blob"))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables hide instructions of x86 only")
def test_a_cpu_without_bfloat16_runs_and_reports_float32(artifact: Artifact) -> None:
    code = f"""
import numpy as np, runtimes
batch = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
asked, plain = (runtimes.load({str(artifact.path)!r}, precision=precision) for precision in ("bf16", "f32"))
print(asked.device)
print(np.array_equal(asked.infer(batch), plain.infer(batch)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OV_CPU_MAX_ISA": "AVX2"},
    )
    assert done.stdout == "CPU, f32\nTrue\n"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"threads": 0}, ["whole number from 1", "0"]),
        ({"device": "WARP"}, ["a.xml should run on one of OpenVINO's devices here (", "'WARP' was asked for"]),
        ({"device": "AUTO"}, ["'AUTO' was asked for"]),
        ({"precision": "int4"}, ["one of f32, bf16, f16", "'int4'"]),
        ({"cache_dir": __file__}, ["cache_dir should be a folder", "test_openvino.py"]),
        ({"speed": "ludicrous"}, ["cache_dir, device, precision, threads", "but is given speed"]),
    ],
)
def test_unusable_options(tmp_path: Path, options: dict[str, Any], parts: list[str]) -> None:
    refused(write_ir(tmp_path / "a.xml", make_spec()), *parts, **options)


def test_a_device_that_cannot_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ir(tmp_path / "a.xml", make_spec())

    def fail(*_: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:84:\nUnsupported property\n\n")

    monkeypatch.setattr(import_openvino().Core, "compile_model", fail)
    refused(path, "a.xml should compile for CPU with", "(Unsupported property)")


# Around it


def test_missing_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xml").touch()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendMissingError) as caught:
        runtimes.load(tmp_path / "a.xml")
    assert str(caught.value) == (
        f"openvino, which runs .xml files, should be installed but is not; install it with: {install_hint('openvino')}"
    )


def test_no_telemetry(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "a.xml", make_spec())
    code = f"import runtimes, sys\nruntimes.load({str(path)!r})\nprint(*[m for m in sys.modules if 'telemetry' in m])"
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": str(home)},
    )
    assert "openvino_telemetry" not in done.stdout.split()
    assert not names(home)
    assert "a.xml is not sealed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_enhance_and_verify_work_without_torch(tmp_path: Path) -> None:
    path = publish_gain(tmp_path / "m.xml", 1.0).path
    photo = tmp_path / "p.png"
    runtimes.Photograph(IMAGE).write(photo)
    code = BLOCKED.replace("'openvino', ", "").replace(", 'openvino'", "")
    code += "from bncagan.cli import main\n"
    code += f"assert main(['verify', {str(path)!r}]) == 0\n"
    code += f"assert main(['enhance', {str(path)!r}, {str(photo)!r}, '--out', {str(tmp_path / 'out')!r}]) == 0\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(runtimes.open_photograph(tmp_path / "out" / "p.png").seen, IMAGE)


def test_the_doctor_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "openvino" in capsys.readouterr().out
