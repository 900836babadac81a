"""The command line: exit codes, errors of one sentence, and no half-written files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import load_generator, save_generator, shipped_names
from bncagan.network.folding import fold
from bncagan.network.inference import enhance as enhance_unfolded
from bncagan.network.model import Generator
from export.publishing import Artifact
from export.to_onnx import to_onnx
from runtimes import METADATA_KEY, ShapeSet
from runtimes.golden import golden_path
from runtimes.installation import install_hint
from runtimes.photographs import read_rgb
from tests.folders import make_data, picture
from tests.test_layering import BLOCKED

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(1)
    return Generator(ModelConfig(width=8)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Artifact:
    """An ONNX file of a small network that accepts a range of shapes."""
    shapes = ShapeSet.between((1, 16, 16), (1, 64, 64), (2, 1536, 1536))
    path = tmp_path_factory.mktemp("artifact") / "m.onnx"
    return to_onnx(fold(generator), path, precision="fp32", shapes=shapes, photos={"smooth": picture(0)})


def refused(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """Assert that a command refuses with exit code 2, one sentence and no output; returns the sentence."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("bncagan: ")
    assert said.err.count("\n") == 1
    return said.err


def test_photographs_of_every_size_come_out_at_their_own(
    tmp_path: Path, artifact: Artifact, generator: Generator
) -> None:
    sizes = [(17, 31), (333, 500), (1021, 767)]
    for height, width in sizes:
        Image.fromarray(picture(3, height, width)).save(tmp_path / f"{height}.png")
    assert main(["enhance", str(artifact.path), str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    for height, width in sizes:
        enhanced = read_rgb(tmp_path / "out" / f"{height}.png")
        assert enhanced.shape == (height, width, 3)
        expected = enhance_unfolded(generator, picture(3, height, width))
        assert np.abs(enhanced.astype(int) - expected).max() <= 1, (height, width)


def test_photographs_of_every_kind_come_out_right(tmp_path: Path, artifact: Artifact) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    colour = Image.fromarray(picture(4, 40, 64))
    grey = colour.convert("L")
    colour.save(folder / "rgb.png")
    grey.save(folder / "grey.png")
    grey.convert("RGB").save(folder / "grey_as_rgb.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "sixteen.png")
    with_alpha = colour.copy()
    with_alpha.putalpha(Image.fromarray((1 + np.arange(40 * 64) % 255).reshape(40, 64).astype(np.uint8)))
    with_alpha.save(folder / "rgba.png")
    colour.convert("CMYK").save(folder / "cmyk.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(np.asarray(colour)).copy()).save(folder / "rotated.png", exif=exif)
    assert main(["enhance", str(artifact.path), str(folder), "--out", str(out)]) == 0
    rgb = read_rgb(out / "rgb.png").astype(int)
    assert np.array_equal(read_rgb(out / "rgba.png"), rgb)
    with Image.open(out / "rgba.png") as kept:
        assert np.array_equal(kept.getchannel("A"), np.asarray(with_alpha)[..., 3])
    assert np.array_equal(read_rgb(out / "rotated.png"), rgb)
    with Image.open(out / "grey.png") as eight, Image.open(out / "sixteen.png") as sixteen:
        assert (eight.mode, sixteen.mode) == ("L", "I;16")  # grey comes back as grey
        assert np.abs(np.asarray(sixteen) / 257 - np.asarray(eight)).max() <= 1
    assert np.abs(read_rgb(out / "cmyk.tif") - rgb).max() <= 3


def test_bad_artifacts_are_named(tmp_path: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    graph = onnx.load(artifact.path)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    (tmp_path / "cut.onnx").write_bytes(artifact.path.read_bytes()[:5000])
    (tmp_path / "m.bin").write_bytes(artifact.path.read_bytes())
    for name in ("bare.onnx", "cut.onnx", "m.bin", "nowhere.onnx"):
        assert name in refused(["verify", tmp_path / name], capsys)
    (tmp_path / "alone.onnx").write_bytes(artifact.path.read_bytes())
    assert "alone.onnx.golden.npz" in refused(["verify", tmp_path / "alone.onnx"], capsys)


def test_bad_checkpoints_and_options_are_refused(
    tmp_path: Path, generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "m.onnx"
    out.parent.mkdir()
    path = tmp_path / "g.safetensors"
    save_generator(path, generator, ModelConfig(width=16), {})
    export = ["export", "onnx", "--out", out, "--checkpoint"]
    assert "but holds torch.float32 of shape" in refused([*export, path], capsys)
    save_generator(path, generator, ModelConfig(width=8), {})
    assert "end in .onnx" in refused(["export", "onnx", "--out", tmp_path / "m.pt", "--checkpoint", path], capsys)
    assert "multiples of 8" in refused([*export, path, "--shape", "100x100"], capsys)
    assert "multiples of 8" in refused(["fold", "--checkpoint", path, "--shape", "100x100"], capsys)
    assert "existing folder" in refused(
        ["export", "onnx", "--out", tmp_path / "no" / "m.onnx", "--checkpoint", path], capsys
    )
    assert "HEIGHTxWIDTH" in refused([*export, path, "--shape", "512"], capsys)
    assert "--dynamic and --shape" in refused([*export, path, "--dynamic", "--shape", "64x64"], capsys)
    assert "out" in refused([*export, path, "--photos", tmp_path / "out"], capsys)
    assert "nowhere" in refused([*export, tmp_path / "nowhere"], capsys)
    assert "fp32, fp16, int8 but is 'int3'" in refused([*export, path, "--precision", "int3"], capsys)
    assert "should be one of float32, uint8 but is 'bits'" in refused([*export, path, "--io", "bits"], capsys)
    assert not list(out.parent.iterdir())
    train = ["train", "--data", tmp_path / "nowhere", "--out", tmp_path / "run", "--loss.perceptual", "0"]
    assert "nowhere" in refused(train, capsys)
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(runtimes.ArtifactError):
        main(["verify", str(tmp_path / "nowhere.onnx"), "--debug"])


def test_verify_repeats_the_verdict_and_catches_other_pictures(
    tmp_path: Path, artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(artifact.path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"]["passed"]
    assert report["spec"]["parity"]["cases"] == report["verdict"]["cases"] == len(report["scores"])
    copy = tmp_path / "m.onnx"
    copy.write_bytes(artifact.path.read_bytes())
    arrays = dict(np.load(golden_path(artifact.path)))
    arrays["expected_0"], arrays["expected_1"] = arrays["expected_1"], arrays["expected_0"]
    np.savez(golden_path(copy), **arrays)
    assert main(["verify", str(copy)]) == 1
    assert "its golden pictures were changed" in capsys.readouterr().err
    graph = onnx.load(copy)
    onnx.helper.set_model_props(graph, {METADATA_KEY: dataclasses.replace(artifact.spec, seal=None).to_json()})
    onnx.save(graph, copy)
    assert main(["verify", str(copy), "--unsealed"]) == 1
    assert "parity check" in capsys.readouterr().err


def test_evaluate_scores_artifact_and_checkpoint_alike(
    tmp_path: Path, artifact: Artifact, generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data") / "val"
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=8), {})
    summaries = []
    for option, value in (("--artifact", artifact.path), ("--checkpoint", tmp_path / "g.safetensors")):
        given = ["evaluate", option, str(value), "--data", str(data), "--out", str(tmp_path / option), "--json"]
        assert main(given) == 0
        summaries.append(json.loads(capsys.readouterr().out)["tables"])
    for ours, theirs in zip(*summaries, strict=True):
        assert ours["rows"]["Input"] == theirs["rows"]["Input"]
        assert ours["rows"]["m"]["psnr"]["mean"] == pytest.approx(theirs["rows"]["g"]["psnr"]["mean"], abs=0.05)
    assert "at least one" in refused(["evaluate", "--data", data, "--out", tmp_path / "x"], capsys)


def test_fold_reports_every_rewrite(tmp_path: Path, generator: Generator, capsys: pytest.CaptureFixture[str]) -> None:
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=8), {})
    assert main(["fold", "--checkpoint", str(tmp_path / "g.safetensors"), "--shape", "64x64", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[-1]["parameters"] == sum(p.numel() for p in fold(generator).parameters()) < rows[0]["parameters"]
    assert all(row["error"] < 1e-10 for row in rows)
    macs = {row["rewrite"]: row["macs"] for row in rows}
    assert macs["convolve_before_upsampling"] < macs["fold_normalization"] == rows[0]["macs"]


def test_data_check_counts_what_cannot_be_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path)
    assert main(["data", "check", str(data)]) == 0
    (data / "train" / "low" / "a1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["data", "check", str(data)]) == 1
    assert "a1.png should be a photograph" in capsys.readouterr().out


def test_enhance_and_verify_work_without_torch(tmp_path: Path, artifact: Artifact) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "p.jpg")
    for arguments in (
        ["verify", str(artifact.path)],
        ["enhance", str(artifact.path), str(tmp_path / "p.jpg"), "--out", str(tmp_path / "out")],
    ):
        code = BLOCKED.replace("'onnxruntime', ", "").replace(", 'onnxruntime'", "")
        code += f"from bncagan.cli import main\nsys.exit(main({arguments!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "p.jpg").exists()


def test_a_missing_backend_names_its_extra(artifact: Artifact) -> None:
    code = BLOCKED + f"from bncagan.cli import main\nsys.exit(main(['verify', {str(artifact.path)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert install_hint("onnx") in done.stderr


@pytest.mark.parametrize("arguments", [["fold"], ["export", "onnx", "--out", "m.onnx"]])
def test_without_torch_its_extra_is_named(arguments: list[str]) -> None:
    code = BLOCKED + f"from bncagan.cli import main\nsys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert install_hint("train") in done.stderr


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_weights(name: str) -> None:
    generator, description = load_generator(name)
    assert "/" not in json.dumps(description["training"]), "the file tells of somebody's folders"
    card = (ROOT / "bncagan" / "weights" / f"{name}.md").read_text()
    assert "research use" in card
    assert generator.tone is not None
    assert generator.licence == ("Apache-2.0" if name == "nano" else "research use only")
    assert load_file(ROOT / "bncagan" / "weights" / f"{name}.safetensors").keys() == generator.state_dict().keys()


@pytest.mark.skipif("small" not in shipped_names(), reason="there are no shipped weights named small")
def test_shipped_small_is_clearly_better_than_the_input(photographs_root: Path, tmp_path: Path) -> None:
    assert (
        main(
            [
                "evaluate",
                "--checkpoint",
                "small",
                "--data",
                str(photographs_root / "val"),
                "--out",
                str(tmp_path),
                "--protocol",
                "native",
            ]
        )
        == 0
    )
    table, _keep = json.loads((tmp_path / "summary.json").read_text())["tables"]
    before, after = ({name: score["mean"] for name, score in table["rows"][row].items()} for row in ("Input", "small"))
    assert after["psnr"] > before["psnr"] + 2
    assert table["rows"]["small"]["gain"]["low"] > 0
    assert after["ssim"] > before["ssim"]
    assert after["ciede2000"] < before["ciede2000"] - 3
