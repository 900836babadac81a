"""What earlier versions wrote still opens: artifacts, checkpoints, runs, reports; see the README.md of written_by_*."""

from __future__ import annotations

import csv
import io
import json
import shutil
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
from runtimes.formats import FORMATS
from runtimes.plan_record import PlanRecord
from tests.plain_self_test import plain_self_test
from tests.written import VERSIONS, unpack

HERE = Path(__file__).parent
RESULTS = sorted((HERE.parent / "benchmarks" / "results").glob("*.json"))
CORE_ML = "measured" if on_mac() else "predicted"

FIXED, RANGE = "1x32x24", "1..2 x 16..48 x 16..48, multiples of 8"
# Name: precision, pixels, shapes and label of the verdict.
ARTIFACTS = {
    "0.1/fp32.onnx": ("fp32", "float32", FIXED, "measured"),
    "0.1/fp16.onnx": ("fp16", "float32", FIXED, "measured"),
    "0.1/int8.onnx": ("int8", "float32", FIXED, "measured"),
    "0.1/bytes.onnx": ("fp32", "uint8", "2x32x24", "measured"),
    "0.1/range.onnx": ("fp32", "float32", RANGE, "measured"),
    "0.1/fp32.xml": ("fp32", "float32", FIXED, "measured"),
    "0.1/fp16.xml": ("fp16", "float32", RANGE, "measured"),
    "0.1/int8.xml": ("int8", "float32", FIXED, "measured"),
    "0.1/fp16.mlpackage": ("fp16", "float32", FIXED, "predicted"),
    "0.1/palette.mlpackage": ("palette8", "float32", FIXED, "predicted"),
    "0.1/two.mlpackage": ("fp16", "uint8", "1x32x24, 1x16x16", "predicted"),
    "0.1/fp32.pt2": ("fp32", "float32", FIXED, "measured"),
    "0.2/fp32.onnx": ("fp32", "float32", FIXED, "measured"),
    "0.2/fp16.onnx": ("fp16", "uint8", FIXED, "measured"),
    "0.2/int8.onnx": ("int8", "float32", FIXED, "measured"),
    "0.2/range.onnx": ("fp32", "float32", RANGE, "measured"),
    "0.2/fp32.xml": ("fp32", "float32", FIXED, "measured"),
    "0.2/int8.xml": ("int8", "float32", FIXED, "measured"),
    "0.2/fp16.mlpackage": ("fp16", "float32", FIXED, "predicted"),
    "0.2/fp32.pt2": ("fp32", "float32", FIXED, "measured"),
    "0.2/fp32.tflite": ("fp32", "float32", FIXED, "measured"),
}
FOLDED_SHA256 = {
    "0.1": "734dc91a53987a23fbac2927e9b22fd3f7fc812e4258b12c38adc3aa14dda8cb",
    "0.2": "e8da80066a5938b90e8d5023a468cd593621b2d1f204b671715109950b8c03e1",
}
LIMITS = {"fp32": (60, 0.05), "fp16": (50, 0.25), "int8": (38, 0.5), "palette8": (38, 0.5)}  # dB, codes
GENERATORS = {
    "0.1/tiny": "78ce2fc7864caf262ec91a0ce18d38d121102c27be8f9120055c63f8bfd908bb",
    "0.1/run/generator": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
    "0.1/run/best": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
    "0.1/ablation/full-seed0/generator": "dfa9f4a351c32f20084b96ed1f06a5a45c6ea32e1e4f81ecc9ba736586f28287",
    "0.2/tiny": "105c88f4aaed3fe86d2ca4871e74f08201ffffd5580341ba3cc7306cb0855f33",
    "0.2/run/generator": "8c0f16686d1aff046283e745ce4c6840b3e9bd2b56b4ea44fa07d3269f86c640",
    "0.2/run/best": "8c0f16686d1aff046283e745ce4c6840b3e9bd2b56b4ea44fa07d3269f86c640",
}
TRAINING = [
    *("--model.width", "4", "--loss.perceptual", "0", "--batch", "1", "--size", "64", "--crop", "64", "--pool", "1"),
    *("--workers", "0", "--log-every", "1", "--checkpoint-every", "1", "--accelerator", "cpu"),
    *("--precision", "bf16-mixed", "--learning-rate", "1e-10", "--discriminator-learning-rate", "1e-10"),
    *("--init", "tiny.safetensors", "--data", "data"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with one folder for each version, which nothing changes."""
    folder = tmp_path_factory.mktemp("written")
    for version in VERSIONS:
        unpack(version, folder)
    return folder


@pytest.fixture
def work(request: pytest.FixtureRequest, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what training reads and writes in a version, as the working directory."""
    shutil.copytree(written / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


of_version_1 = pytest.mark.parametrize("work", ["0.1"], indirect=True)


# Artifacts


def located(written: Path, name: str) -> Path:
    """The path of an artifact; skips the test where its library is not installed."""
    if name.endswith(".tflite") and FORMATS["litert"].missing() is not None:
        pytest.skip(FORMATS["litert"].missing() or "")
    version, _, file = name.partition("/")
    return written / version / "artifacts" / file


def open_artifact(path: Path) -> runtimes.Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" and not on_mac() else runtimes.load(path)


def golden_pairs(artifact: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Picture and the network's answer at its usual controls, read without the project's own reader."""
    with np.load(artifact.with_name(f"{artifact.name}.golden.npz"), allow_pickle=False) as arrays:
        controls, by_maps = arrays.get("controls"), arrays.get("by_maps")
        for number in range(len(arrays["names"])):
            if by_maps is not None and by_maps[number]:
                continue
            if controls is not None and tuple(controls[number]) != (1, 0):
                continue
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
    version, path = name[:3], located(written, name)
    with open_artifact(path) as runtime:
        spec = runtime.spec
        assert (spec.model, spec.width, spec.weights_sha256) == ("bncagan", 4, FOLDED_SHA256[version])
        assert (spec.precision, spec.io, str(spec.shapes)) == (precision, io_, shapes)
        assert spec.tools["bncagan"] == f"{version}.0"
        assert (spec.seal is not None) == (version != "0.1")
        assert spec.parity is not None
        assert (spec.parity.passed, spec.parity.label, spec.parity.failures) == (True, label, ())
        pairs = list(golden_pairs(path))
        for image, expected in pairs:
            difference = draw(runtime, image).astype(float) - expected
            if version == "0.1" and (image == image[0, 0]).all() and np.abs(difference).max() <= 1:
                continue  # the rule for pictures of one colour at that version
            assert np.mean(difference**2) <= 255**2 / 10 ** (psnr / 10)
            assert np.abs(difference.mean((0, 1))).max() <= bias
            assert precision != "fp32" or np.abs(difference).max() <= 1
    assert len(pairs) >= 12


@pytest.mark.parametrize("name", ARTIFACTS)
def test_artifacts_verify(written: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--unsealed"] if name.startswith("0.1") else []
    assert main(["verify", str(located(written, name)), "--json", *options]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["passed"], verdict["label"]) == (True, CORE_ML if "mlpackage" in name else "measured")


@pytest.mark.parametrize(("version", "name", "precision"), [("0.1", "fp16", "fp16"), ("0.2", "fp32", "fp32")])
def test_the_record_of_an_engine(written: Path, version: str, name: str, precision: str) -> None:
    record = PlanRecord.read(written / version / "artifacts" / f"{name}.engine")
    assert (record.tensorrt, record.gpu, record.compute_capability) == ("10.3.0", "Orin", "8.7")
    assert (record.spec.precision, str(record.spec.shapes)) == (precision, FIXED)
    assert (record.spec.width, record.spec.weights_sha256) == (4, FOLDED_SHA256[version])
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


@pytest.mark.parametrize(("work", "rescored"), [("0.1", True), ("0.2", False)], indirect=["work"])
def test_a_run_goes_on(work: Path, rescored: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """From the weights, the moments and the lines of metrics that it had; its best generator gets a score of today."""
    before, told = state_of(work / "run")
    lines = (work / "run" / "metrics.jsonl").read_text()
    assert (told["step"], told["total"]) == (1, 2)
    assert main(["train", "--resume", "run"]) == 0
    after, told = state_of(work / "run")
    assert told["step"] == 2
    chosen = "run/best.safetensors was chosen by PSNR alone, or on other photographs: its score"
    assert (chosen in capsys.readouterr().out) == rescored
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


@of_version_1
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
        ("0.1/evaluation", "summary.json", "table.md", evaluation_markdown),
        ("0.1/ablation", "ablation.json", "ablation.md", ablation_markdown),
        ("0.2/evaluation", "summary.json", "table.md", evaluation_markdown),
    ],
)
def test_tables_are_made_of_reports(written: Path, folder: str, report: str, table: str, markdown: Any) -> None:
    made = cells(markdown(json.loads((written / folder / report).read_text())))
    stored = cells((written / folder / table).read_text())
    assert len(made) == len(stored) > 4
    for now, then in zip(made, stored, strict=True):
        assert set(then) <= set(now)


@pytest.mark.parametrize("report", [Path("0.1/latency.json"), Path("0.2/latency.json"), *RESULTS], ids=str)
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


def test_a_self_test_folder_passes(written: Path) -> None:
    """As an application in another language reads it, against the artifact that it was written with."""
    with runtimes.load(written / "0.2" / "artifacts" / "fp32.onnx") as runtime:
        verdict = plain_self_test(written / "0.2" / "self-test", runtime.infer)
        assert verdict["passed"]
        assert runtime.spec.parity is not None
        assert verdict["cases"] >= runtime.spec.parity.cases
