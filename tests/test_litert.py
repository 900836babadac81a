"""LiteRT: the wrapper on a tiny file, and, where the converter is, real exports against PyTorch."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.exporters import EXPORTERS
from export.self_test import write_self_test
from runtimes import ArtifactError, BackendMissingError, ShapeSet
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from runtimes.image import Pixels
from runtimes.litert import SPEC_FILE, join, split
from tests.folders import picture
from tests.plain_self_test import plain_self_test
from tests.tiny_models import make_spec
from tests.tiny_tflite import write_tflite

LITERT = EXPORTERS["litert"]
OBLONG = ShapeSet.of((1, 32, 48))  # so that swapped axes are found
needs_litert = pytest.mark.skipif(FORMATS["litert"].missing() is not None, reason=FORMATS["litert"].missing() or "")
needs_converter = pytest.mark.skipif(LITERT.missing() is not None, reason=LITERT.missing() or "")


@pytest.fixture
def generator(random_generator: Callable[..., Generator]) -> Generator:
    return random_generator(8)


@pytest.fixture
def photos() -> dict[str, Pixels]:
    return {"smooth": picture(0), "dark": picture(1) // 8}


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        runtimes.load(path)
    for word in (path.name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_litert
def test_the_wrapper(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", make_spec(OBLONG), 0.5)
    batch = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    with runtimes.load(path, threads=1) as runtime:
        first = runtime.infer(batch)
        np.testing.assert_allclose(first, batch / 2, atol=1e-7)
        kept = first.copy()
        runtime.infer(1 - batch)
        np.testing.assert_array_equal(first, kept)  # the result belongs to the caller
        assert (runtime.name.split()[0], runtime.device) == ("ai-edge-litert", "CPU")
    refused_threads = pytest.raises(ArtifactError, match="threads should be a whole number from 1 but is 0")
    with refused_threads:
        runtimes.load(path, threads=0)


@needs_litert
def test_what_does_not_match_the_spec_is_refused(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", make_spec(OBLONG))
    model, _ = split(path)
    for spec, words in (
        (make_spec(ShapeSet.of((1, 48, 32))), "image float32 1x3x48x32"),
        (make_spec(OBLONG, input_name="picture"), "but has image float32 1x3x32x48"),
        (make_spec(OBLONG, controls=True), "controls float32 1x2"),
        (make_spec(), "should have image float32 0x3x0x0"),
    ):
        path.write_bytes(model)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(SPEC_FILE, spec.to_json())
        refused(path, words)


@needs_litert
def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", make_spec(OBLONG), metadata=False)
    refused(path, "has none; export it")
    path = write_tflite(tmp_path / "m.tflite", make_spec(OBLONG))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"model": "tiny"', b'"model": "tinx"'))
    refused(path, "is damaged (Bad CRC")
    path.write_bytes(whole[:8] + bytes(200) + whole[208:])
    refused(path, "its graph or weights were changed")
    end = whole.rindex(b"PK\5\6")  # a second disk is named before it
    path.write_bytes(whole[:end] + struct.pack("<4sIQI", b"PK\6\7", 1, 0, 2) + whole[end:])
    with pytest.raises(ArtifactError, match=r"m\.tflite should end in an archive .* multiple disks"):
        split(path)
    join(whole[:8] + bytes(200), make_spec(OBLONG).to_json(), path)
    refused(path, "does not load")
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "more")
    refused(path, "holds bncagan.json, more.txt")


@needs_litert
def test_the_digest_leaves_out_the_spec_alone(tmp_path: Path) -> None:
    def digest(gain: float, name: str) -> str:
        with runtimes.load(write_tflite(tmp_path / "m.tflite", make_spec(OBLONG, model=name), gain)) as runtime:
            return runtime.content_sha256()

    assert digest(1.0, "a") == digest(1.0, "b") != digest(0.99, "a")


def test_without_the_converter_it_is_not_run(
    generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.to_litert.import_backend", lambda _: None)
    monkeypatch.setattr("export.to_litert.LITERT_PYTHON", tmp_path / "none")
    with pytest.raises(BackendMissingError, match="none should be the Python that has litert-torch but does not exist"):
        LITERT(fold(generator), tmp_path / "m.tflite", precision="fp32", shapes=OBLONG)
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=8), {})
    out = tmp_path / "all"
    given = ["--checkpoint", str(tmp_path / "g.safetensors"), "--shape", "32x48", "--formats", "litert"]
    assert main(["export", "all", *given, "--out", str(out), "--litert-python", str(tmp_path / "other")]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [(row["precision"], row["status"]) for row in report] == [("fp32", "not run"), ("fp16", "not run")]
    assert "other should be the Python" in report[0]["reason"]
    assert "make litert" in capsys.readouterr().out


@needs_converter
def test_a_python_without_the_converter_is_one_sentence(generator: Generator, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho 'no litert_torch' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ArtifactError, match=r"with litert-torch but failed \(no litert_torch\); make its environment"):
        LITERT(fold(generator), tmp_path / "m.tflite", precision="fp32", shapes=OBLONG, litert_python=python)


@needs_converter
@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "io", "controls", "output", "shapes"),
    [
        ("fp32", "float32", False, "picture", OBLONG),
        ("fp32", "float32", False, "both", OBLONG),
        ("fp16", "float32", True, "picture", ShapeSet.of((2, 32, 48))),
        ("fp16", "uint8", False, "picture", OBLONG),
    ],
)
def test_real_exports(
    generator: Generator,
    photos: dict[str, Pixels],
    tmp_path: Path,
    precision: str,
    io: str,
    controls: bool,
    output: str,
    shapes: ShapeSet,
) -> None:
    model = fold(generator)
    options = {"precision": precision, "shapes": shapes, "io": io, "controls": controls, "photos": photos}
    options["output"] = output
    artifact = LITERT(model, tmp_path / "m.tflite", **options)
    assert artifact.report.verdict.passed
    assert artifact.report.verdict.label == "measured"
    assert {"litert-torch", "ai-edge-litert"} <= artifact.spec.tools.keys()
    assert main(["verify", str(artifact.path)]) == 0
    with runtimes.load(artifact.path) as runtime:
        assert runtime.spec == artifact.spec
        if io == "float32" and not controls:
            agrees(model, runtime)
            run_the_folder(runtime, tmp_path / "self-test")


def agrees(model: FoldedGenerator, runtime: runtimes.Runtime) -> None:
    batch = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(batch)).numpy()
    assert np.abs(runtime.infer(batch) - expected).max() < 2e-5


def run_the_folder(runtime: runtimes.Runtime, folder: Path) -> None:
    """The self-test of docs/self-test.md, on what LiteRT answers."""
    write_self_test(folder, runtime, Golden.load(golden_path(runtime.path)))

    def maps(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        told = runtime.maps(batch)
        assert told.maps is not None
        return told.tone, told.maps

    assert plain_self_test(folder, runtime.infer, maps)["passed"]


@needs_converter
@pytest.mark.slow
def test_the_tone_head_stays_in_float32(tmp_path: Path, photos: dict[str, Pixels]) -> None:
    generator = Generator(ModelConfig(width=0, tone=True))
    model = fold(generator)
    artifact = LITERT(model, tmp_path / "m.tflite", precision="fp32", shapes=OBLONG, photos=photos)
    assert artifact.report.verdict.max_code <= 1
    with pytest.raises(ArtifactError, match="export fp32"):
        LITERT(model, tmp_path / "m.tflite", precision="fp16", shapes=OBLONG, photos=photos)
