"""Measuring: processes take turns, all samples are kept, and pictures are compared with PyTorch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import export.eager
import runtimes
from benchmarks.candidates import (
    files_of,
    find_subjects,
    hash_files,
    in_bf16,
    parse_subject,
    peer_subject,
    pytorch_subjects,
)
from benchmarks.charts import draw
from benchmarks.latency import Benchmark
from benchmarks.machine import CHECKOUT
from benchmarks.pictures import darkened, synthetic
from benchmarks.report import Report
from benchmarks.session import Plan, measure
from benchmarks.statistics import percentile
from benchmarks.tables import blocks
from bncagan.cli import main
from bncagan.cli.benchmark import EAGER, BenchmarkAll
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator, weights_sha256
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.inference import enhance_exactly
from bncagan.network.model import Generator
from export.eager import EagerRuntime
from export.to_onnx import to_onnx
from runtimes import ArtifactError, ShapeSet
from runtimes.base import from_batch, to_batch
from runtimes.command import run_command
from runtimes.golden import Case, Golden, golden_path
from runtimes.installation import install_hint
from runtimes.packaged import locate
from tests.benchmark_fakes import SLOW_S, subject
from tests.conftest import randomise
from tests.folders import picture
from tests.test_layering import BLOCKED
from tests.tiny_models import ANY_SHAPE, make_spec, write_gain

SMALL = Plan(sizes=((32, 48),), runs=3, warmup=1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.onnx"
    path.touch()
    return path


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = Generator(ModelConfig(width=8))
    randomise(made)
    return made.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Path:
    path = tmp_path_factory.mktemp("weights") / "g.safetensors"
    save_generator(path, generator, ModelConfig(width=8), {})
    return path


def write_peer(path: Path, axes: list[Any], kind: int = TensorProto.FLOAT, outputs: int = 1) -> Path:
    """Write a peer network: the identity; with two outputs, the first one is its mean, 1 x 1 x 1 x 1."""
    image = helper.make_tensor_value_info("x", kind, axes)
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ends = [helper.make_tensor_value_info("y", kind, axes)]
    if outputs == 2:
        nodes.append(helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1))
        ends.insert(0, helper.make_tensor_value_info("m", kind, [1, 1, 1, 1]))
    model = helper.make_model(
        helper.make_graph(nodes, "peer", [image], ends), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.save(model, path)
    return path


def write_golden(artifact: Path, gain: float = 1.0) -> None:
    """Make the golden pictures of a network that multiplies by `gain`."""
    cases = []
    for i in range(2):
        image = picture(i, 32, 48)
        cases.append(Case(f"p{i}", image, np.floor(np.clip(image * gain, 0, 255) + 0.5).astype(np.uint8)))
    Golden(tuple(cases)).save(golden_path(artifact))


def test_slow_calls_change_the_high_percentiles_only(log: Path) -> None:
    """One call of twenty is slow, and the samples contain it."""
    (row,) = measure([subject("slow", "slow", log)], Plan(sizes=((32, 48),), runs=100, warmup=2)).rows
    assert len(row.inference_ns) == len(row.end_to_end_ns) == 100
    assert percentile(row.inference_ns, 99) >= SLOW_S * 1e9
    assert percentile(row.inference_ns, 50) < SLOW_S * 1e9
    assert sum(sample >= SLOW_S * 1e9 for sample in row.inference_ns) >= 5


def test_subjects_take_turns(log: Path) -> None:
    subjects = [subject(name, "Fake", log, name=name) for name in "ABC"]
    report = measure(subjects, Plan(sizes=((32, 48),), runs=4, warmup=0))
    calls = log.read_text().split()
    assert calls[:3] == ["A", "B", "C"]  # the first inference of each
    assert ["".join(calls[i : i + 3]) for i in range(3, 15, 3)] == ["ABC", "BCA", "CAB", "ABC"]
    assert [len(row.inference_ns) for row in report.rows] == [4, 4, 4]


def test_a_clock_error_is_refused(log: Path) -> None:
    with pytest.raises(ArtifactError, match="clock error"):
        measure([subject("m", "backwards", log)], SMALL)


def test_no_further_round_starts_after_the_seconds(log: Path) -> None:
    plan = Plan(sizes=((32, 48),), runs=10**6, warmup=0, seconds=0.2)
    (row,) = measure([subject("m", "Fake", log)], plan).rows
    assert 1 <= len(row.inference_ns) < 1000


def test_failing_subjects_are_reported_and_the_others_are_measured(log: Path) -> None:
    names = ("refusing", "broken", "dying")
    report = measure([*(subject(name, name, log) for name in names), subject("good", "Fake", log)], SMALL)
    reasons = {missing.subject: missing.reason for missing in report.not_run}
    assert [row.subject for row in report.rows] == ["good"]
    assert reasons["refusing"] == f"{log} should open but does not; mend it"
    assert "RuntimeError: no compiler" in reasons["broken"]
    assert "exit code 9, out of memory" in reasons["dying"]
    with pytest.raises(ArtifactError, match="no compiler"):
        measure([subject("broken", "broken", log)], SMALL)


def test_a_precision_that_did_not_run_is_dropped(log: Path) -> None:
    subjects = [
        subject("honest", "WithArithmetic", log, precision="bf16"),
        subject("false", "WithArithmetic", log, precision="bf16", really="f32"),
    ]
    report = measure(subjects, SMALL)
    assert [(row.subject, row.arithmetic) for row in report.rows] == [("honest", "fp32 as bf16")]
    assert "should run in bf16 but runs in f32" in report.not_run[0].reason


def test_openvino_files_of_a_folder_also_run_in_bf16(log: Path) -> None:
    """Float32 files are also measured in bf16; files that the user named and int8 files are not."""
    found = [subject("m.xml", "WithArithmetic", log), subject("i.xml", "WithArithmetic", log, stored="int8")]
    found = [dataclasses.replace(one, format="openvino", asked_for=False) for one in found]
    named = dataclasses.replace(found[0], name="n.xml", asked_for=True)
    report = measure([*found, named], SMALL)
    assert [(row.subject, row.arithmetic) for row in report.rows] == [
        ("m.xml", "fp32"),
        ("i.xml", "int8"),
        ("n.xml", "fp32"),
        ("m.xml@precision=bf16", "fp32 as bf16"),
    ]
    both = measure([found[0], dataclasses.replace(in_bf16(found[0]), asked_for=True)], SMALL)
    assert [row.subject for row in both.rows] == ["m.xml", "m.xml@precision=bf16"]


def test_each_number_of_threads_is_a_row_where_the_backend_takes_it(log: Path, tmp_path: Path) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec())
    report = measure(
        [parse_subject(str(path)), subject("fake", "Fake", log)], dataclasses.replace(SMALL, threads=(1, 2))
    )
    assert [(row.subject, row.threads) for row in report.rows] == [("m.onnx", 1), ("m.onnx", 2), ("fake", None)]


def test_nan_is_flagged(log: Path) -> None:
    write_golden(log)
    (row,) = measure([subject("m", "not_a_number", log)], SMALL).rows
    assert row.check is not None
    assert "NaN" in row.check.failures[0]


def test_a_shape_that_is_not_accepted_is_refused_with_the_reason(tmp_path: Path) -> None:
    fixed = write_gain(tmp_path / "fixed.onnx", make_spec(ShapeSet.of((1, 32, 48))))
    free = write_gain(tmp_path / "free.onnx", make_spec(ANY_SHAPE))
    plan = Plan(sizes=((32, 48), (64, 64)), threads=(1,), runs=2, warmup=0)
    report = measure([parse_subject(str(fixed)), parse_subject(str(free))], plan)
    assert {(row.subject, row.shape) for row in report.rows} == {
        ("fixed.onnx", (1, 32, 48)),
        ("free.onnx", (1, 32, 48)),
        ("free.onnx", (1, 64, 64)),
    }
    assert "should run 1x32x48 (N x H x W) but is measured at 1x64x64" in report.not_run[0].reason


@pytest.mark.parametrize(("gain", "flagged"), [(1.0, False), (0.9, True)])
def test_golden_pictures_are_the_reference_without_torch(gain: float, flagged: bool, tmp_path: Path) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec(), gain=gain)
    write_golden(path)
    (row,) = measure([parse_subject(str(path))], SMALL).rows
    assert row.check is not None
    assert (row.check.reference, row.check.pictures) == ("golden pictures", 2)
    assert bool(row.check.failures) == flagged


def test_answers_by_maps_are_no_reference_for_pictures() -> None:
    """The packaged models return both."""
    (row,) = measure([parse_subject(str(locate("nano")))], SMALL).rows
    assert row.check is not None
    assert row.check.reference == "golden pictures"
    assert row.check.failures == ()


def test_damaged_golden_pictures_are_flagged(tmp_path: Path) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec())
    golden_path(path).write_bytes(b"nothing")
    (row,) = measure([parse_subject(str(path))], SMALL).rows
    assert row.check is not None
    assert "should hold golden pictures" in row.check.failures[0]


def test_sizes_hashes_and_memory(tmp_path: Path) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec(io="uint8"))
    (row,) = measure([parse_subject(str(path))], Plan(threads=(1,), batch=2, runs=2, warmup=0)).rows
    assert row.shape == (2, 256, 256)  # the optimum, at the batch
    assert row.size_bytes == path.stat().st_size
    assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row.peak_memory_bytes is None or row.peak_memory_bytes > 20 * 2**20
    assert (row.runtime.split()[0], row.io, row.threads) == ("onnxruntime", "uint8", 1)


def test_peers_are_measured_or_refused_with_the_reason(tmp_path: Path) -> None:
    peers = {
        "free": write_peer(tmp_path / "free.onnx", ["n", 3, "h", "w"], outputs=2),
        "fixed": write_peer(tmp_path / "fixed.onnx", [1, 3, 32, 48]),
        "large": write_peer(tmp_path / "large.onnx", [1, 3, 512, 512]),
        "bytes": write_peer(tmp_path / "bytes.onnx", [1, 3, 32, 48], TensorProto.UINT8),
        "last": write_peer(tmp_path / "last.onnx", [1, 32, 48, 3]),
    }
    (tmp_path / "text.onnx").write_text("no model")
    ours = write_gain(tmp_path / "ours.onnx", make_spec())
    subjects = [parse_subject(str(ours)), *map(peer_subject, [*peers.values(), tmp_path / "text.onnx"])]
    report = measure(subjects, SMALL)
    assert [row.subject for row in report.rows] == ["ours.onnx", "peer free.onnx", "peer fixed.onnx"]
    assert all(row.check is None for row in report.rows[1:])
    reasons = {missing.subject: missing.reason for missing in report.not_run}
    assert "should take 1x3x32x48 but takes [1, 3, 512, 512]" in reasons["peer large.onnx"]
    assert "one float input, N x 3 x H x W, but has x tensor(uint8)" in reasons["peer bytes.onnx"]
    assert "but takes [1, 32, 48, 3]" in reasons["peer last.onnx"]
    assert "does not load" in reasons["peer text.onnx"]


def test_subjects_are_found_and_bad_ones_named(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a.onnx", ".b.onnx", "c.onnx.golden.npz", "d.onnx.rejected", "e.engine"):
        (folder / name).touch()
    found, missing = find_subjects([str(folder)])
    names = [one.name for one in found] + [one.subject for one in missing]
    assert sorted(names) == ["a.onnx", "e.engine"]
    parsed = parse_subject(f"{folder}/a.onnx@providers=A+B,cores=3,fast=true,precision=bf16")
    assert parsed.options == {"providers": ["A", "B"], "cores": 3, "fast": True, "precision": "bf16"}
    assert parsed.name == "a.onnx@providers=A+B,cores=3,fast=true,precision=bf16"
    (tmp_path / "a.onnx").touch()
    twins = [one.name for one in find_subjects([str(folder / "a.onnx"), str(tmp_path / "a.onnx")])[0]]
    assert twins == [str(folder / "a.onnx"), str(tmp_path / "a.onnx")]
    for text, reason in {
        "absent.onnx": "does not exist",
        "photo.jpg": "should be an artifact, one of",
        f"{folder}/a.onnx@precision=": "FILE@option=value",
        f"{folder}/a.onnx@threads=2": "--threads",
    }.items():
        with pytest.raises(ArtifactError, match=reason):
            find_subjects([text])
    with pytest.raises(ArtifactError, match="named twice"):
        find_subjects([str(folder / "a.onnx")] * 2)
    with pytest.raises(ArtifactError, match="holds none"):
        find_subjects([str(tmp_path / "out" / ".."), str(write_folder(tmp_path / "empty"))])


def test_the_files_of_an_artifact_are_all_it_needs(tmp_path: Path) -> None:
    names = (
        "m.xml",
        "m.bin",
        "m.onnx",
        "m.onnx.data",
        "m.engine",
        "m.engine.json",
        "p.mlpackage/Manifest.json",
        "p.mlpackage/d/w.bin",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    wanted = {
        "m.xml": {"m.xml", "m.bin"},
        "m.onnx": {"m.onnx", "m.onnx.data"},
        "m.engine": {"m.engine", "m.engine.json"},
        "p.mlpackage": {"p.mlpackage/Manifest.json", "p.mlpackage/d/w.bin"},
    }
    for name, files in wanted.items():
        assert {str(file.relative_to(tmp_path)) for file in files_of(tmp_path / name)} == files
    both = hashlib.sha256(b"m.xmlm.bin").hexdigest()
    assert hash_files(files_of(tmp_path / "m.xml")) == both


def write_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("form", export.eager.FORMS)
def test_pytorch_is_the_network(form: str, checkpoint: Path, generator: Generator) -> None:
    batch = np.random.default_rng(0).random((2, 3, 32, 48), np.float32)
    with EagerRuntime(checkpoint, form=form) as runtime:
        produced = runtime.infer(batch)
        assert runtime.spec.weights_sha256 == weights_sha256(fold(generator).state_dict())
    with torch.no_grad():
        expected = (generator(2 * torch.from_numpy(batch) - 1) + 1) / 2
    np.testing.assert_allclose(produced, expected.numpy(), atol=2e-5)
    with pytest.raises(ArtifactError, match="closed"):
        runtime.infer(batch)


def test_pytorch_options(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled.append(module) or module)
    EagerRuntime(checkpoint)
    assert not compiled
    with EagerRuntime(checkpoint, compile=True) as runtime:
        assert runtime.infer(np.zeros((1, 3, 16, 16), np.float32)).shape == (1, 3, 16, 16)
    EagerRuntime(checkpoint, form="unfolded", compile=True)
    assert [type(module) for module in compiled] == [FoldedGenerator, export.eager.UnitRange]
    with pytest.raises(ArtifactError, match="the form should be one of unfolded, folded"):
        EagerRuntime(checkpoint, form="melted")
    with pytest.raises(ArtifactError, match="'tpu'"):
        EagerRuntime(checkpoint, device="tpu")


def test_every_row_shows_ratio_and_psnr_to_pytorch(tmp_path: Path, checkpoint: Path, generator: Generator) -> None:
    """Compare a correct artifact with one that has the same weights in its spec but makes other pictures."""
    model = fold(generator)
    shapes = ShapeSet.of((1, 32, 48))
    honest = to_onnx(model, tmp_path / "g.onnx", precision="fp32", shapes=shapes, photos={"p": picture(0)})
    wrong = write_gain(tmp_path / "wrong.onnx", make_spec(shapes, weights_sha256=honest.spec.weights_sha256))
    subjects = [parse_subject(str(path)) for path in (honest.path, wrong)] + pytorch_subjects(str(checkpoint), EAGER)[
        :2
    ]
    report = measure(subjects, Plan(sizes=((32, 48),), threads=(1,), runs=3, warmup=1))
    assert not report.not_run
    base = sorted(report.rows[2].inference_ns)[1]
    block = blocks(report)[0]
    for row, line in zip(report.rows, block.lines, strict=True):
        cells = dict(zip(block.columns, line, strict=True))
        assert cells["ratio"] == f"{sorted(row.inference_ns)[1] / base:.2f}"
        assert row.check is not None
    assert [dict(zip(block.columns, line, strict=True))["PSNR"] for line in block.lines][3] == "reference"
    assert list(block.flagged) == [False, True, False, False]
    metrics = pytest.importorskip("skimage.metrics")
    drawn = []
    with runtimes.load(wrong) as runtime:
        for image in (synthetic(32, 48), darkened(synthetic(32, 48))):
            produced = from_batch(runtime.infer(to_batch(image[None], runtime.spec)), runtime.spec)[0]
            drawn.append(metrics.peak_signal_noise_ratio(enhance_exactly(model, image), produced, data_range=255))
    assert report.rows[1].check is not None
    assert report.rows[1].check.psnr_min == pytest.approx(min(drawn), abs=0.05)
    draw(report, tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_measures_pytorch_beside_the_artifacts() -> None:
    subjects, _ = BenchmarkAll(pytorch="small").subjects()
    assert [(one.name, one.path, one.asked_for) for one in subjects] == [
        ("small, PyTorch", "small", True),
        ("small, PyTorch folded", "small", True),
        ("small, PyTorch compiled", "small", False),
    ]
    module, _, name = subjects[0].opener.partition(":")
    assert getattr(importlib.import_module(module), name) is EagerRuntime


def test_other_weights_than_pytorch_are_warned_of(tmp_path: Path, checkpoint: Path) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec())
    write_golden(path)
    subjects = [parse_subject(str(path)), pytorch_subjects(str(checkpoint), EAGER)[1]]
    report = measure(subjects, SMALL)
    assert any("m.onnx has other weights than the PyTorch rows" in warning for warning in report.warnings)
    assert report.rows[0].check is not None
    assert report.rows[0].check.reference == "golden pictures"


def test_the_script_needs_no_torch(tmp_path: Path) -> None:
    """Copy two packages to a folder and block the import of torch and of all backends but one."""
    for name in ("benchmarks", "runtimes"):
        shutil.copytree(CHECKOUT / name, tmp_path / "device" / name, ignore=shutil.ignore_patterns("__pycache__"))
    block = BLOCKED.replace("'onnxruntime'", "'bncagan', 'export', 'matplotlib'")
    assert "'torch'" in block
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(block)
    write_gain(tmp_path / "m.onnx", make_spec())
    (tmp_path / "p.pt2").touch()
    options = ["--shape", "32x48", "--threads", "1", "--runs", "3", "--out", "r.json"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "device/benchmarks/latency.py", str(tmp_path), *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = Report.load(tmp_path / "r.json")
    assert [row.subject for row in report.rows] == ["m.onnx"]
    assert report.environment.revision is None
    reasons = {missing.subject: missing.reason for missing in report.not_run}
    assert set(reasons) == {"p.pt2"}
    assert "torch" in reasons["p.pt2"]
    assert "Not run: p.pt2" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", str(tmp_path / "r.json"), str(tmp_path / "r.json")],
        cwd=tmp_path / "device", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout


@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_without_torch_pytorch_is_refused_with_the_command_that_installs_it(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["benchmark", "--pytorch", "small"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert install_hint("train") in said


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec())
    out = [str(tmp_path / name) for name in ("r.json", "r.md")]
    arguments = [str(path), "--shape", "32x48", "--runs", "2", "--warmup", "0", "--out", out[0], "--markdown", out[1]]
    assert run_command("latency", Benchmark, arguments) == 0
    assert "m.onnx" in capsys.readouterr().out
    assert "| m.onnx | fp32 | default |" in Path(out[1]).read_text()
    assert json.loads(Path(out[0]).read_text())["settings"]["runs"] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing was named"),
        (["m.onnx", "--shape", "big"], "HEIGHTxWIDTH"),
        (["m.onnx", "--runs", "0"], "--runs"),
        (["m.onnx", "--threads", "2", "0"], "--threads"),
        (["m.onnx", "--seconds", "0"], "--seconds"),
        (["m.onnx", "--out", "absent/r.json"], "absent"),
        (["m.onnx", "--photo", "absent.jpg"], "absent.jpg"),
        (["--peer", "absent.onnx"], "--peer"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    write_gain(tmp_path / "m.onnx", make_spec())
    assert run_command("latency", Benchmark, arguments) == 2
    assert re.search(reason, capsys.readouterr().err)


def test_the_synthetic_picture_is_like_a_photograph() -> None:
    """Its amplitude falls with frequency, its channels are correlated, and it is the same every time."""
    image = synthetic(64, 96)
    assert image.shape == (64, 96, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, synthetic(64, 96))
    amplitude = np.abs(np.fft.rfft2(image.mean(axis=2)))
    assert amplitude[1:4, 1:4].mean() > 5 * amplitude[20:30, 20:30].mean()
    assert np.corrcoef(image[..., 0].ravel(), image[..., 1].ravel())[0, 1] > 0.8
