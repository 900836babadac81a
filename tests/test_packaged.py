"""The models that the package carries: those of the shipped weights, small, and opened by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

import runtimes
from bncagan.cli import main
from bncagan.network.checkpoint import load_generator
from export.artifact import LICENCE, OBLONG
from export.packaged import PACKAGED, stale
from export.parity import check
from runtimes.golden import Golden, golden_path
from runtimes.packaged import MODELS, packaged_names
from runtimes.spec import METADATA_KEY


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_is_that_of_the_shipped_weights(name: str) -> None:
    assert not stale(name), f"runtimes/models/{name}.onnx is of other weights than bncagan/weights; run: make models"
    with runtimes.load(name, threads=1) as runtime:
        assert runtime.spec.parity is not None
        assert runtime.spec.parity.passed
        assert runtime.spec.details[LICENCE] == load_generator(name)[0].licence
        golden = Golden.load(golden_path(runtime.path))
        assert {case.size for case in golden.cases} == {(16, 16), OBLONG}
        assert check(runtime, golden).verdict.passed


def test_a_packaged_model_is_verified_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "nano", "--threads", "1"]) == 0
    assert "parity PASS" in capsys.readouterr().out


def test_a_model_of_other_weights_is_stale(tmp_path: Path) -> None:
    for name in PACKAGED:
        shutil.copy(MODELS / f"{name}.onnx", tmp_path)
        assert not stale(name, tmp_path)
    model = onnx.load(tmp_path / "nano.onnx")
    (spec,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    digest = runtimes.ImageSpec.from_json(spec.value).weights_sha256
    spec.value = spec.value.replace(digest, "0" * 64)
    onnx.save(model, tmp_path / "nano.onnx")
    assert stale("nano", tmp_path)
    (tmp_path / "small.onnx").unlink()
    assert stale("small", tmp_path)


def test_the_package_stays_small() -> None:
    assert packaged_names() == sorted(PACKAGED)
    assert sum(path.stat().st_size for path in MODELS.iterdir()) < 6_500_000  # 1.6 MB of it golden pictures


def test_a_name_without_a_suffix_is_a_packaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small").mkdir()
    assert runtimes.load("small").path == MODELS / "small.onnx"
    with pytest.raises(runtimes.ArtifactError, match=r"smal should be a packaged model \(nano, small\) or a file"):
        runtimes.load("smal")
    with pytest.raises(runtimes.ArtifactError, match="no suffix"):
        runtimes.load(tmp_path / "small")
    with pytest.raises(runtimes.ArtifactError, match=r"small\.onnx should be an artifact but does not exist"):
        runtimes.load("small.onnx")
