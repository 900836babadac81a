"""The self-test folder, `bncagan selftest`, and twelve planted faults that every self-test must find."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.parity import check
from export.publishing import Artifact
from export.self_test import write_self_test
from export.to_onnx import convert, to_onnx
from runtimes import METADATA_KEY, ShapeSet, Verdict, Version, load
from runtimes.controls import Controls
from runtimes.errors import ArtifactError
from runtimes.golden import Case, Golden, golden_path
from runtimes.likeness import THRESHOLDS
from runtimes.schema import build
from tests import artifact_faults, faults
from tests.conftest import randomise
from tests.folders import picture
from tests.self_tests import IMPLEMENTATIONS, OTHER_KERNELS, SelfTest, run_plainly
from tests.tiny_models import ANY_SHAPE, NumpyRuntime, make_spec, write_gain

FAULTS = [*artifact_faults.FAULTS, "other rho", "stale cache"]
SHAPES = ShapeSet.between((1, 16, 16), (1, 32, 48), (2, 64, 64))


def network(seed: int) -> Generator:
    generator = Generator(ModelConfig(width=8))
    randomise(generator, seed)
    return generator.eval()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("good") / "m.onnx"
    return to_onnx(fold(network(0)), path, precision="fp32", shapes=SHAPES, photos={"smooth": picture(0)})


@pytest.fixture(scope="module")
def folder(good: Artifact) -> Path:
    """The self-test folder of the good artifact, written by the command."""
    made = good.path.parent / "self-test"
    assert main(["verify", str(good.path), "--threads", "1", "--write-self-test", str(made)]) == 0
    return made


def wrong(good: Artifact, fault: str) -> onnx.ModelProto:
    """The artifact with a fault, under the good one's spec."""
    model = onnx.load(good.path)
    onnx.helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(good.spec, seal=None).to_json()})
    if fault in artifact_faults.FAULTS:
        return artifact_faults.planted(model, fault)
    # a cache serves the model that had the name before
    other = faults.wrong_rho(fold(network(0))) if fault == "other rho" else fold(network(1))
    graph = convert(other, good.spec)
    graph.metadata_props.extend(model.metadata_props)
    return graph


@pytest.mark.parametrize("self_test", IMPLEMENTATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_self_test_finds_the_fault(
    good: Artifact, folder: Path, tmp_path: Path, fault: str, self_test: SelfTest
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(wrong(good, fault), path)
    shutil.copy(golden_path(good.path), golden_path(path))
    verdict = self_test(folder, path)
    assert not verdict["passed"]
    agree(verdict, run_plainly(folder, path), same_kernels=self_test not in OTHER_KERNELS)


@pytest.mark.parametrize("self_test", IMPLEMENTATIONS)
def test_a_good_artifact_passes_every_self_test(good: Artifact, folder: Path, self_test: SelfTest) -> None:
    verdict = self_test(folder, good.path)
    assert verdict["passed"], verdict["failures"]
    assert verdict["cases"] == (12 + 4) + (1 + 4)  # at the smallest size, and at the optimum
    if self_test not in OTHER_KERNELS:
        agree(verdict, run_plainly(folder, good.path))


@pytest.mark.parametrize("self_test", IMPLEMENTATIONS)
def test_nan_in_a_black_picture(tmp_path: Path, self_test: SelfTest) -> None:
    """As 0 it is what is expected, so nothing but the check for NaN finds it."""
    black = np.zeros((16, 24, 3), np.uint8)
    spec = make_spec(ShapeSet.of((1, 16, 24)))
    path = write_gain(tmp_path / "m.onnx", spec, float("nan"), metadata=spec.to_json())  # not sealed
    golden = Golden((Case("black", black, black),))
    golden.save(golden_path(path))
    with load(path, threads=1) as runtime:
        write_self_test(tmp_path / "folder", runtime, golden)
    verdict = self_test(tmp_path / "folder", path)
    assert (verdict["passed"], verdict["psnr_min"], len(verdict["failures"])) == (False, None, 1)


def test_the_verdict_of_the_command(
    good: Artifact, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", str(good.path), "--threads", "1"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["label"], verdict["device"]) == ("measured", "CPUExecutionProvider")
    plain = run_plainly(folder, good.path)
    # a verdict without CIEDE2000 can be read
    read = build(Verdict, verdict | plain, "the verdict")
    assert (read.de_mean, read.de_p99, read.worst) == (None, None, plain["worst"])
    path = tmp_path / "m.onnx"
    onnx.save(wrong(good, "zeros"), path)
    shutil.copy(golden_path(good.path), golden_path(path))
    assert main(["selftest", str(path), "--threads", "1", "--unsealed"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["failures"][0] in said.err


def agree(ours: dict[str, Any], plain: dict[str, Any], *, same_kernels: bool = True) -> None:
    """The same numbers and the same pictures failing; the numbers within 1 % where other kernels ran."""
    assert (ours["passed"], ours["cases"]) == (plain["passed"], plain["cases"])
    for name in ("psnr_min", "bias_max"):
        assert ours[name] == pytest.approx(plain[name], rel=1e-6 if same_kernels else 1e-2), name
    if same_kernels:
        assert ours["worst"] == plain["worst"]
        for name in ("psnr_mean", "max_code", "share_over_1"):
            assert ours[name] == pytest.approx(plain[name]), name
    found, expected = ({line.split(":")[0] for line in verdict["failures"]} for verdict in (ours, plain))
    assert found == expected if ours["de_mean"] is None else found >= expected  # CIEDE2000 finds more


def test_the_folder_holds_the_golden_pictures(good: Artifact, folder: Path) -> None:
    golden = Golden.load(golden_path(good.path))
    index = json.loads((folder / "selftest.json").read_text())
    named = {"selftest.json"}
    for case, entry in zip(golden.cases, index["cases"], strict=True):
        assert (entry["name"], (entry["height"], entry["width"])) == (case.name, case.size)
        for kind, expected in (("input", case.image), ("expected", case.expected)):
            assert (folder / entry[kind]["rgb"]).read_bytes() == expected.tobytes()
            with Image.open(io.BytesIO((folder / entry[kind]["png"]).read_bytes())) as png:
                np.testing.assert_array_equal(np.asarray(png), expected)
            assert entry[kind]["png"].endswith(f".{kind}.png")
            named |= {entry[kind]["rgb"], entry[kind]["png"]}
    assert {file.name for file in folder.iterdir()} == named
    assert all(name.isascii() and " " not in name for name in named)
    assert index["thresholds"] == dataclasses.asdict(THRESHOLDS["fp32"])
    assert index["weights_sha256"] == good.spec.weights_sha256
    assert sorted({len(batch) for batch in index["batches"]}) == [1, 2]


def test_names_in_any_script_and_controls(tmp_path: Path) -> None:
    image = picture(0, 16, 24)
    cases = [Case(name, image, image, Controls(0.5, -1)) for name in ("朝/..\\a", "夜", "A!")]
    runtime = NumpyRuntime(lambda x: x, make_spec(ShapeSet.of((1, 16, 24))))
    write_self_test(tmp_path / "new", runtime, Golden(tuple(cases)))
    index = json.loads((tmp_path / "new" / "selftest.json").read_text())
    assert [case["input"]["rgb"] for case in index["cases"]] == [
        "000-a-16x24.input.rgb",
        "001-16x24.input.rgb",
        "002-a-16x24.input.rgb",
    ]
    assert [case["name"] for case in index["cases"]] == [case.name for case in cases]
    assert {(case["strength"], case["exposure"]) for case in index["cases"]} == {(0.5, -1.0)}
    assert index["batches"] == [[0], [1], [2]]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["verify", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert not said.out
    return said.err


def test_what_is_in_the_way_stays(good: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        assert "should be a new or empty folder" in refusal(capsys, good.path, "--write-self-test", place)
    assert "should be in an existing folder" in refusal(capsys, good.path, "--write-self-test", tmp_path / "no" / "x")
    assert [file.name for file in tmp_path.rglob("*")] == ["full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    assert main(["verify", str(good.path), "--threads", "1", "--write-self-test", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty" / "selftest.json").exists()


def test_no_folder_from_a_failed_check(good: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(wrong(good, "zeros"), path)
    shutil.copy(golden_path(good.path), golden_path(path))
    assert main(["verify", str(path), "--unsealed", "--write-self-test", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_old_artifacts_have_no_self_test(tmp_path: Path) -> None:
    image = picture(0, 16, 24)
    runtime = NumpyRuntime(lambda x: x, make_spec(format_version=Version(1, 0)))
    with pytest.raises(ArtifactError, match=r"should be of format version 1\.1 or newer .* but is of 1\.0; export"):
        write_self_test(tmp_path / "new", runtime, Golden((Case("a", image, image),)))


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [(ANY_SHAPE, [1, 1, 2, 2]), (ShapeSet.of((1, 16, 24)), [1, 1]), (ShapeSet.of((3, 16, 24)), [3, 3])],
)
def test_one_batch_holds_one_picture_several_times(shapes: ShapeSet, expected: list[int]) -> None:
    flat = np.zeros((16, 24, 3), np.uint8)
    golden = Golden((Case("flat", flat, flat), Case("photo", picture(0, 16, 24), picture(0, 16, 24))))
    runtime: Callable[..., Any] = NumpyRuntime(lambda x: x, make_spec(shapes))
    assert check(runtime, golden).verdict.passed
    assert [len(batch) for batch in runtime.seen] == expected
    last = runtime.seen[-1]
    assert (expected[-1] == 1) or ((last == last[:1]).all() and last.std() > 0)


def test_the_artifact_of_the_folder_is_the_one_that_was_checked(good: Artifact, folder: Path) -> None:
    with load(good.path, threads=1) as runtime:
        index = json.loads((folder / "selftest.json").read_text())
        assert (index["artifact"], index["precision"], index["io"]) == ("m.onnx", "fp32", runtime.spec.io)
        assert index["shapes"] == json.loads(json.dumps(runtime.spec.shapes.to_dict()))
