"""The C++ program: its pictures are Python's, its errors are sentences, its ONNX Runtime header is in order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.bundles.application import TARGETS, write_application
from export.self_test import write_self_test
from runtimes import METADATA_KEY, ShapeSet, Verdict, load
from runtimes.apply.change import Change
from runtimes.apply.oracle import applied
from runtimes.controls import Controls
from runtimes.golden import Case, Golden
from runtimes.image import Pixels, resize
from runtimes.schema import build
from runtimes.shape_choice import fit
from tests.cpp import SOURCES, built, configured
from tests.folders import picture
from tests.pages import blocks
from tests.tiny_models import ANY_SHAPE, make_spec, write_gain

SETTINGS = [(1.0, 0.0), (0.6, 0.7), (1.4, -1.3), (0.0, 0.0)]
slow = pytest.mark.slow


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built(), *map(str, words)], capture_output=True, text=True, check=False)


def enhanced(folder: Path, model: Path, image: Pixels, *options: object, suffix: str = ".png") -> Pixels:
    """What the program makes of a picture."""
    source, target = folder / f"in{suffix}", folder / f"out{suffix}"
    Image.fromarray(image).save(source)
    done = run("enhance", model, source, target, "--threads", 1, *options)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as result:
        return np.asarray(result)


def refused(*words: object) -> str:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_header_is_in_onnx_runtimes_order() -> None:
    names = (Path(__file__).parent / "ort_api.txt").read_text().splitlines()[1:]
    header = (SOURCES / "include" / "bncagan" / "onnxruntime_c_api_subset.h").read_text()
    inside = header[header.index("typedef struct OrtApi {") : header.index("} OrtApi;")]
    place = 0
    for name, skipped, at, count in re.findall(r"\(ORT_CALL\* (\w+)\)|(skipped(\d+)\[(\d+)\])", inside):
        if skipped:
            assert int(at) == place
            place += int(count)
        else:
            assert names[place] == name
            place += 1
    assert place == len(names)


@slow
def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    (block,) = blocks("cpp")
    (tmp_path / "main.cpp").write_text(block.text)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(page LANGUAGES CXX)\n"
        f"add_subdirectory({SOURCES} bncagan)\nadd_executable(page main.cpp)\n"
        "target_link_libraries(page PRIVATE bncagan)\n"
    )
    program = configured(tmp_path, tmp_path / "build") / "page"
    (tmp_path / "model").mkdir()
    image = picture(0, 16, 24)
    Image.fromarray(image).save(tmp_path / "photo.png")
    model = write_gain(tmp_path / "model" / "small-fp32.onnx", make_spec(ShapeSet.of((1, 16, 24))), 1.0)
    with load(model) as runtime:
        write_self_test(tmp_path / "model" / "small-fp32", runtime, Golden((Case("a", image, image),)))
        expected = runtime.enhance(image, strength=0.8, exposure=0.5)
    subprocess.run([program], cwd=tmp_path, check=True)
    assert np.abs(np.asarray(Image.open(tmp_path / "enhanced.png")).astype(int) - expected).max() <= 1
    write_gain(model, make_spec(ShapeSet.of((1, 16, 24))), 0.9)
    assert subprocess.run([program], cwd=tmp_path, check=False).returncode == 1


@slow
@pytest.mark.parametrize(("strength", "exposure"), SETTINGS)
@pytest.mark.parametrize("size", [(64, 96), (37, 51)])
def test_pictures_are_pythons(size: tuple[int, int], strength: float, exposure: float, tmp_path: Path) -> None:
    model = Path(load("small", threads=1).path)
    image = picture(1, *size)
    found = enhanced(tmp_path, model, image, "--strength", strength, "--exposure", exposure)
    with load("small", threads=1) as runtime:
        expected = runtime.enhance(image, strength=strength, exposure=exposure)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (np.abs(found.astype(int) - image).max() > 3) == (strength > 0)


@slow
@pytest.mark.parametrize("suffix", [".png", ".ppm"])
@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("batch", [1, 2])
def test_files_bytes_and_batches(suffix: str, io: str, batch: int, tmp_path: Path) -> None:
    shapes = (
        ShapeSet.of((batch, 40, 56), (batch, 64, 64))
        if io == "float32" and batch == 1
        else ShapeSet.of((batch, 40, 56))
    )
    model = write_gain(tmp_path / "m.onnx", make_spec(shapes, io=io), 0.5)
    image = picture(2, 37, 51)
    found = enhanced(tmp_path, model, image, "--strength", 0.5, suffix=suffix)
    with load(model) as runtime:
        assert np.abs(found.astype(int) - runtime.enhance(image, strength=0.5)).max() <= 1


@slow
def test_the_shape_is_pythons(tmp_path: Path) -> None:
    fixed = make_spec(ShapeSet.of((1, 64, 64), (1, 48, 96), (1, 96, 48), (1, 24, 32)))
    free = make_spec(ANY_SHAPE)
    for spec, name in ((fixed, "fixed"), (free, "free")):
        model = write_gain(tmp_path / f"{name}.onnx", spec, 1.0)
        for size in ((100, 90), (30, 200), (200, 31), (48, 96), (23, 31), (520, 300), (61, 63)):
            for most in (64, 1536):
                plan = fit(spec, *size, most)
                found = enhanced(tmp_path, model, picture(0, *size), "--max-side", most)
                assert found.shape[:2] == ((plan.height, plan.width) if plan.resample else size), (name, size, most)


@slow
@pytest.mark.parametrize("size", [(300, 500), (64, 64), (20, 30), (401, 1003), (845, 333), (601, 700)])
def test_resampling_is_close_to_pillows(size: tuple[int, int], tmp_path: Path) -> None:
    model = write_gain(tmp_path / "m.onnx", make_spec(ShapeSet.of((1, 64, 72))), 1.0)
    image = picture(3, *size)
    found = enhanced(tmp_path, model, image)
    assert np.abs(found.astype(int) - resize(image, 64, 72)).max() <= 1
    assert (found != resize(image, 64, 72)).mean() < 0.001


def write_told(path: Path, change: Change, output: str, size: tuple[int, int]) -> Path:
    """An ONNX file that tells the change of whatever it sees, and returns the picture half as bright."""
    arrays = {"tone": change.tone, "maps": change.maps}
    names = [name for name, array in arrays.items() if array is not None]
    nodes = [helper.make_node("Identity", [f"constant_{name}"], [name]) for name in names]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, *arrays[name].shape)) for name in names]
    if output == "both":
        nodes.append(helper.make_node("Mul", ["image", "half"], ["enhanced"]))
        ends.append(helper.make_tensor_value_info("enhanced", onnx.TensorProto.FLOAT, (1, 3, *size)))
    constants = [numpy_helper.from_array(arrays[name][None], f"constant_{name}") for name in names]
    constants.append(numpy_helper.from_array(np.float32(0.5), "half"))
    seen = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, *size))
    model = helper.make_model(
        helper.make_graph(nodes, "told", [seen], ends, constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    spec = json.loads(make_spec(ShapeSet.of((1, *size)), width=4 * (change.maps is not None)).to_json())
    helper.set_model_props(model, {METADATA_KEY: json.dumps(spec | {"output": output})})
    onnx.save(model, path)
    return path


@slow
@pytest.mark.parametrize(("strength", "exposure"), SETTINGS)
@pytest.mark.parametrize("windows", [None, (8, 12), (1, 3)])
def test_a_change_applies_at_the_photographs_size(
    windows: tuple[int, int] | None, strength: float, exposure: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(7)
    tone = np.array([0.03, 1.1, *rng.uniform(-0.4, 0.4, 8), 0.3, 1.1, 1, 0.9, 0.8, 0], np.float32)
    tone[9] = 0.05
    maps = None if windows is None else rng.normal(0, 0.15, (12, *windows)).astype(np.float32)
    change = Change(tone, maps)
    image = picture(4, 75, 131)
    expected = applied(image, change, Controls(strength, exposure)).astype(int)
    for output in ("maps", "both"):
        model = write_told(tmp_path / f"{output}.onnx", change, output, (32, 48))
        found = enhanced(tmp_path, model, image, "--strength", strength, "--exposure", exposure)
        assert found.shape == image.shape
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.01
    # a photograph that fits gets the network's own answer, if the file gives it
    small = picture(5, 32, 48)
    answer = enhanced(tmp_path, tmp_path / "both.onnx", small)
    assert np.abs(answer - small / 2).max() <= 1
    told = enhanced(tmp_path, tmp_path / "maps.onnx", small)
    assert np.abs(told.astype(int) - applied(small, change)).max() <= 1


@slow
def test_the_bundle_of_a_model_that_tells_its_change(
    tmp_path: Path, random_generator: Callable[..., Generator]
) -> None:
    (artifact,) = write_application(
        fold(random_generator()),
        tmp_path / "model",
        "tiny",
        TARGETS["cpp"],
        precisions=("fp32",),
        shapes=ShapeSet.of((1, 48, 64)),
        output="both",
        photos={"smooth": picture(0)},
    )
    folder = artifact.path.with_suffix("")
    done = run("selftest", artifact.path, folder, "--threads", 1)
    assert done.returncode == 0, done.stderr
    ours = artifact.report.verdict
    verdict = build(Verdict, json.loads(done.stdout), "the verdict")
    assert (verdict.cases, verdict.max_code) == (ours.cases, ours.max_code)
    assert verdict.psnr_min == pytest.approx(ours.psnr_min, abs=0.5)
    image = picture(3, 150, 220)
    with load(artifact.path, threads=1) as runtime:
        for strength, exposure in SETTINGS:
            found = enhanced(tmp_path, artifact.path, image, "--strength", strength, "--exposure", exposure)
            expected = runtime.enhance(image, strength=strength, exposure=exposure)
            assert np.abs(found.astype(int) - expected).max() <= 1
    model = onnx.load(artifact.path)  # the maps of this one are a tenth too large
    for node in model.graph.node:
        node.output[:] = ["told" if name == "maps" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.1), "larger"))
    model.graph.node.append(helper.make_node("Mul", ["told", "larger"], ["maps"]))
    onnx.save(model, tmp_path / "wrong.onnx")
    failed = build(Verdict, json.loads(run("selftest", tmp_path / "wrong.onnx", folder).stdout), "the verdict")
    assert failed.failures
    assert all(", by maps at " in line or ", enlarged, by maps at " in line for line in failed.failures)


@slow
def test_the_verdict_can_be_read(tmp_path: Path) -> None:
    image = picture(0, 16, 24)
    cases = tuple(Case(name, image, image) for name in ('so "called"\\', "夜\t", "c"))
    model = write_gain(tmp_path / "m.onnx", make_spec(ShapeSet.of((1, 16, 24)), controls=False), 1.0)
    with load(model) as runtime:
        write_self_test(tmp_path / "folder", runtime, Golden(cases))
    done = run("selftest", model, tmp_path / "folder")
    assert done.returncode == 0, done.stderr
    verdict = build(Verdict, json.loads(done.stdout), "the verdict")
    assert (verdict.passed, verdict.psnr_min, verdict.cases, verdict.worst) == (
        True,
        None,
        3,
        'so "called"\\ at 1x16x24',
    )
    for file in (tmp_path / "folder").glob("*.rgb"):
        file.unlink()
    assert run("selftest", model, tmp_path / "folder").stdout == done.stdout  # from the .png files
    darker = write_gain(tmp_path / "darker.onnx", make_spec(ShapeSet.of((1, 16, 24))), 0.9)
    failed = run("selftest", darker, tmp_path / "folder")
    assert failed.returncode == 1
    verdict = build(Verdict, json.loads(failed.stdout), "the verdict")
    assert not verdict.passed
    assert verdict.failures[0] in failed.stderr
    assert any(failure.startswith("夜\t at 1x16x24: PSNR should be at least 60 dB") for failure in verdict.failures)


@slow
def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    model = write_gain(tmp_path / "m.onnx", make_spec(ShapeSet.of((1, 16, 24))), 1.0)
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(0, 16, 24)).save(photo)
    out = tmp_path / "out.png"
    assert "should be enhance MODEL IN OUT" in refused()
    assert "should be a file that can be read" in refused("enhance", model, tmp_path / "no.png", out)
    assert "should be an ONNX model but does not load" in refused("enhance", photo, photo, out)
    plain = write_gain(tmp_path / "plain.onnx", make_spec(ShapeSet.of((1, 16, 24))), metadata=None)
    assert "should carry a spec in its metadata but does not" in refused("enhance", plain, photo, out)
    assert "strength should be from 0 to 1.5" in refused("enhance", model, photo, out, "--strength", 2)
    assert "strength should be from 0 to 1.5" in refused("enhance", model, photo, out, "--strength", "nan")
    assert '--strength should be followed by a number but is by "much"' in refused(
        "enhance", model, photo, out, "--strength", "much"
    )
    assert "an option should be" in refused("enhance", model, photo, out, "--sharpness", 2)
    assert "should be a file that can be written" in refused("enhance", model, photo, tmp_path / "no" / "out.png")
    photo.write_bytes(photo.read_bytes()[:100])
    assert "should be a PNG file but cannot be read" in refused("enhance", model, photo, out)
    (tmp_path / "short.ppm").write_bytes(b"P6 24 16 255\n" + bytes(1000))
    assert "should be a whole PPM file" in refused("enhance", model, tmp_path / "short.ppm", out)
    (tmp_path / "tiny.ppm").write_bytes(b"P6 # a comment\n4 4\n255\n" + bytes(48))
    assert "should have sides of at least 8 px but is 4x4" in refused("enhance", model, tmp_path / "tiny.ppm", out)
    nan = write_gain(tmp_path / "nan.onnx", make_spec(ShapeSet.of((1, 16, 24))), float("nan"))
    (tmp_path / "good.ppm").write_bytes(b"P6 24 16 255\n" + bytes(16 * 24 * 3))
    assert "should return finite numbers" in refused("enhance", nan, tmp_path / "good.ppm", out)
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))


@slow
def test_a_changed_folder_is_refused(tmp_path: Path) -> None:
    image = picture(0, 16, 24)
    model = write_gain(tmp_path / "m.onnx", make_spec(ShapeSet.of((1, 16, 24))), 1.0)
    with load(model) as runtime:
        write_self_test(tmp_path / "good", runtime, Golden((Case("a", image, image),)))
    index = json.loads((tmp_path / "good" / "selftest.json").read_text())

    def changed(name: str, **fields: object) -> Path:
        folder = Path(shutil.copytree(tmp_path / "good", tmp_path / name))
        (folder / "selftest.json").write_text(json.dumps(index | fields))
        return folder

    assert "should be of version 1.x but is of 2.0" in refused("selftest", model, changed("new", format_version="2.0"))
    assert run("selftest", model, changed("newer", format_version="1.7", more=[{"a": None}])).returncode == 0
    assert "should be of the same pixels" in refused("selftest", model, changed("bytes", io="uint8"))
    folder = changed("other")
    pixels = folder / index["cases"][0]["input"]["rgb"]
    pixels.write_bytes(bytes([pixels.read_bytes()[0] ^ 1]) + pixels.read_bytes()[1:])
    assert "should be the picture that selftest.json names but is another" in refused("selftest", model, folder)
    (folder / "selftest.json").write_text('{"format_version": "1.0", ')
    assert "selftest.json should be JSON but is not, at byte" in refused("selftest", model, folder)
    assert "selftest.json should be a file" in refused("selftest", model, tmp_path).replace(str(tmp_path) + "/", "")
