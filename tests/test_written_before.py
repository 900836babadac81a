"""What version 0.1.0 wrote still opens: artifacts, checkpoints, runs and reports; see written_by_0.1/README.md."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

import runtimes
from bncagan.cli import main
from bncagan.cli.ablation import markdown as ablation_markdown
from bncagan.cli.score_tables import markdown as evaluation_markdown
from bncagan.evaluation.metrics import psnr
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.inference import enhance
from export.mil import MilEvaluator
from runtimes.coreml import on_mac
from runtimes.plan_record import PlanRecord

HERE = Path(__file__).parent
RESULTS = sorted((HERE.parent / "benchmarks" / "results").glob("*.json"))
CORE_ML = "measured" if on_mac() else "predicted"

FILES = HERE / "written_by_0.1" / "files.tar.xz"
FILES_SHA256 = "47987a545bd5a4e8a4ddc13ca1818db37884e042767b661e7bea120503a5fb8b"
FIXED, RANGE = "1x32x24", "1..2 x 16..48 x 16..48, multiples of 8"
# Name: precision, pixels, shapes and label of the verdict.
ARTIFACTS = {
    "fp32.onnx": ("fp32", "float32", FIXED, "measured"),
    "fp16.onnx": ("fp16", "float32", FIXED, "measured"),
    "int8.onnx": ("int8", "float32", FIXED, "measured"),
    "bytes.onnx": ("fp32", "uint8", "2x32x24", "measured"),
    "range.onnx": ("fp32", "float32", RANGE, "measured"),
    "fp32.xml": ("fp32", "float32", FIXED, "measured"),
    "fp16.xml": ("fp16", "float32", RANGE, "measured"),
    "int8.xml": ("int8", "float32", FIXED, "measured"),
    "fp16.mlpackage": ("fp16", "float32", FIXED, "predicted"),
    "palette.mlpackage": ("palette8", "float32", FIXED, "predicted"),
    "two.mlpackage": ("fp16", "uint8", "1x32x24, 1x16x16", "predicted"),
    "fp32.pt2": ("fp32", "float32", FIXED, "measured"),
}
FOLDED_SHA256 = "734dc91a53987a23fbac2927e9b22fd3f7fc812e4258b12c38adc3aa14dda8cb"
LIMITS = {"fp32": (60, 0.05), "fp16": (50, 0.25), "int8": (38, 0.5), "palette8": (38, 0.5)}  # dB, codes
GENERATORS = {
    "tiny": "78ce2fc7864caf262ec91a0ce18d38d121102c27be8f9120055c63f8bfd908bb",
    "run/generator": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
    "run/best": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
    "ablation/full-seed0/generator": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
}
TRAINING = [
    *("--model.width", "4", "--loss.perceptual", "0", "--batch", "1", "--size", "64", "--crop", "64", "--pool", "1"),
    *("--workers", "0", "--log-every", "1", "--checkpoint-every", "1", "--accelerator", "cpu"),
    *("--precision", "bf16-mixed", "--learning-rate", "1e-10", "--discriminator-learning-rate", "1e-10"),
    *("--init", "tiny.safetensors", "--data", "data"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all files, which nothing changes."""
    folder = tmp_path_factory.mktemp("written")
    with tarfile.open(FILES) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def work(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what training reads and writes, as the working directory."""
    for name in ("data", "run", "ablation"):
        shutil.copytree(written / name, tmp_path / name)
    shutil.copy(written / "tiny.safetensors", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_are_those_of_that_version() -> None:
    assert hashlib.sha256(FILES.read_bytes()).hexdigest() == FILES_SHA256


# Artifacts


def open_artifact(path: Path) -> runtimes.Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" and not on_mac() else runtimes.load(path)


def golden_pairs(artifact: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Picture and answer, read without the project's own reader."""
    with np.load(artifact.with_name(f"{artifact.name}.golden.npz"), allow_pickle=False) as arrays:
        for number in range(len(arrays["names"])):
            stored = [arrays[f"{kind}_{number}"].tobytes() for kind in ("image", "expected")]
            image, expected = (np.asarray(Image.open(io.BytesIO(png))) for png in stored)
            yield image, expected


def draw(runtime: runtimes.Runtime, image: NDArray[np.uint8]) -> NDArray[Any]:
    """The artifact's picture in codes; where it takes several at a time, the last of them."""
    height, width, _ = image.shape
    count = next(n for n in (1, 2) if runtime.spec.shapes.accepts(n, height, width))
    batch = np.stack([image[::-1]] * (count - 1) + [image])
    if runtime.spec.io == "uint8":
        return runtime.infer(batch)[-1]
    produced = runtime.infer(batch.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))[-1]
    return np.floor(produced.transpose(1, 2, 0).clip(0, 1) * 255 + 0.5)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_draw_their_pictures(written: Path, name: str) -> None:
    precision, io_, shapes, label = ARTIFACTS[name]
    psnr, bias = LIMITS[precision]
    path = written / "artifacts" / name
    with open_artifact(path) as runtime:
        spec = runtime.spec
        assert (spec.model, spec.width, spec.weights_sha256) == ("bncagan", 4, FOLDED_SHA256)
        assert (spec.precision, spec.io, str(spec.shapes)) == (precision, io_, shapes)
        assert spec.tools["bncagan"] == "0.1.0"
        assert spec.parity is not None
        assert (spec.parity.passed, spec.parity.label, spec.parity.failures) == (True, label, ())
        pairs = list(golden_pairs(path))
        for image, expected in pairs:
            difference = draw(runtime, image).astype(float) - expected
            if (image == image[0, 0]).all() and np.abs(difference).max() <= 1:
                continue  # the rule for pictures of one colour at that version
            assert np.mean(difference**2) <= 255**2 / 10 ** (psnr / 10)
            assert np.abs(difference.mean((0, 1))).max() <= bias
            assert precision != "fp32" or np.abs(difference).max() <= 1
    assert len(pairs) >= 12


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_verify(written: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(written / "artifacts" / name), "--json", "--unsealed"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["passed"], verdict["label"]) == (True, CORE_ML if "mlpackage" in name else "measured")


def test_the_record_of_an_engine(written: Path) -> None:
    record = PlanRecord.read(written / "artifacts" / "fp16.engine")
    assert (record.tensorrt, record.gpu, record.compute_capability) == ("10.3.0", "Orin", "8.7")
    assert (record.spec.precision, str(record.spec.shapes)) == ("fp16", FIXED)
    assert (record.spec.width, record.spec.weights_sha256) == (4, FOLDED_SHA256)
    assert record.spec.parity is not None
    assert (record.spec.parity.passed, record.spec.parity.runtime) == (True, "tensorrt 10.3.0")


# Checkpoints and runs


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_load(written: Path, name: str) -> None:
    generator, description = load_generator(written / f"{name}.safetensors")
    assert weights_sha256(generator.state_dict()) == GENERATORS[name]
    assert description["model"]["width"] == 4


def state_of(run: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    with safe_open(run / "state.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        return tensors, json.loads(file.metadata()["description"])


def test_a_run_goes_on(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the weights, the moments and the lines of metrics that it had; its best generator gets a score of today."""
    before, told = state_of(work / "run")
    lines = (work / "run" / "metrics.jsonl").read_text()
    assert (told["step"], told["total"]) == (1, 2)
    assert main(["train", "--resume", "run"]) == 0
    after, told = state_of(work / "run")
    assert told["step"] == 2
    assert (
        "run/best.safetensors was chosen by PSNR alone, or on other photographs: its score" in capsys.readouterr().out
    )
    low, label = (np.asarray(Image.open(work / "data" / "val" / name / "e.png")) for name in ("low", "label"))
    scores = [psnr(enhance(load_generator(f"run/{name}.safetensors")[0], low), label) for name in ("generator", "best")]
    assert told["best"] == pytest.approx(max(scores) - psnr(low, label))
    assert told["best_measured_on"] == {"kinds": {"all": 1}, "keep": 0}
    assert (work / "run" / "metrics.jsonl").read_text().startswith(lines)
    moments = [name for name in before if name.endswith("exp_avg_sq")]
    assert {name.partition(".")[0] for name in moments if before[name].all()} == {"optimizer_g", "optimizer_d"}
    for name, old in before.items():
        if name.startswith("generator.") and name.endswith("weight"):
            assert np.abs(after[name] - old).max() < 1e-8, name  # as small as the learning rate
        if name.endswith("exp_avg_sq"):
            assert (after[name] >= 0.998 * old).all(), name  # Adam's decay is 0.999
        if name.startswith("optimizer") and name.endswith("step"):
            assert (old, after[name]) == (1, 2), name


def test_an_ablation_goes_on(work: Path) -> None:
    """What was trained and scored is neither trained nor scored again."""
    options = work / "ablation" / "options.json"
    here = json.loads(options.read_text()) | {"data": str((work / "data").resolve())}
    options.write_text(json.dumps(here))
    kept = [work / "ablation" / "full-seed0" / name for name in ("scores.json", "state.safetensors", "metrics.jsonl")]
    stored = [path.read_bytes() for path in kept]
    before = json.loads((work / "ablation" / "ablation.json").read_text())["rows"]["full"]
    assert main(["ablate", "--out", "ablation", "--only", "full", "--seeds", "0", "--steps", "1", *TRAINING]) == 0
    assert [path.read_bytes() for path in kept] == stored
    after = json.loads((work / "ablation" / "ablation.json").read_text())["rows"]["full"]
    assert after["runs"] == before["runs"]
    assert after["psnr"]["mean"] == pytest.approx(before["psnr"]["mean"])


# Reports


def cells(text: str) -> list[list[str]]:
    """Those of every line of the tables in a Markdown text."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize(
    ("folder", "report", "table", "markdown"),
    [
        ("evaluation", "summary.json", "table.md", evaluation_markdown),
        ("ablation", "ablation.json", "ablation.md", ablation_markdown),
    ],
)
def test_tables_are_made_of_reports(written: Path, folder: str, report: str, table: str, markdown: Any) -> None:
    made = cells(markdown(json.loads((written / folder / report).read_text())))
    stored = cells((written / folder / table).read_text())
    assert len(made) == len(stored) > 4
    for now, then in zip(made, stored, strict=True):
        assert set(then) <= set(now)


@pytest.mark.parametrize("report", [Path("latency.json"), *RESULTS], ids=lambda path: path.name)
def test_latency_reports_compare(written: Path, tmp_path: Path, report: Path) -> None:
    path = written / report  # an absolute one stays
    assert main(["compare", str(path), str(path), "--out", str(tmp_path / "table.csv")]) == 0
    with (tmp_path / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = json.loads(path.read_text())["rows"]
    assert [line["subject"] for line in lines] == [row["subject"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert (line["ratio p50"], line["differences"]) == ("1.000", "")
        median = np.percentile(row["inference_ns"], 50, method="nearest") / 1e6
        assert float(line["inference p50 ms, first"]) == pytest.approx(median, rel=0.02, abs=0.006)
