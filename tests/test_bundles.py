"""Bundles: what is in them, and their scripts, run here; the stand-in of fake_tensorrt.py takes TensorRT's place."""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bncagan.cli import main
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from export.bundles import for_jetson
from export.bundles.application import TARGETS, write_application
from export.bundles.for_jetson import JETPACKS, TEMPLATES, Bundle, Wish, write_jetson_bundle
from export.bundles.wheel import write_wheel
from export.exporters import EXPORTERS
from export.parity import ParityError
from runtimes import ShapeSet, load
from runtimes.base import to_batch
from runtimes.errors import ArtifactError, BackendMissingError, InputError
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from tests.conftest import like_a_trained_one
from tests.folders import picture
from tests.pages import ROOT

SHAPE = (1, 48, 64)
PHOTOS = {"smooth": picture(0)}
SCRIPTS = sorted(path.name for path in TEMPLATES.glob("*.sh"))
WISH = Wish(name="tiny", shape=SHAPE, precisions=("fp16",), photos=PHOTOS)


@pytest.fixture(scope="module")
def model() -> FoldedGenerator:
    return fold(like_a_trained_one())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: FoldedGenerator) -> Bundle:
    return write_jetson_bundle(model, tmp_path_factory.mktemp("made") / "bundle", WISH)


@pytest.fixture
def bundle(made: Bundle, tmp_path: Path) -> Path:
    """A copy that the scripts may write to."""
    return Path(shutil.copytree(made.path, tmp_path / "bundle"))


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """`tool(name, script)` puts a shell script of that name before all others on the PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return put


def run(script: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, *arguments], env=os.environ | variables, capture_output=True, text=True, check=False)


def python_module(name: str) -> str:
    return f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m {name} "$@"'


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_passes(name: str) -> None:
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=Path(sys.executable).parent)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed; the extra dev brings it")
    done = subprocess.run([shellcheck, "-x", name], cwd=TEMPLATES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_in_it(made: Bundle) -> None:
    (artifact,) = made.artifacts
    assert artifact.path == made.path / "tiny-fp16.onnx"
    files = {"tiny-fp16.onnx", "tiny-fp16.onnx.golden.npz", "tiny-fp16", "nvinfer-tiny.txt", "Dockerfile"}
    files |= {"Dockerfile.dockerignore", "README.md", "constraints.txt", "bundle.env", *SCRIPTS}
    (wheel,) = made.path.glob("bncagan-*-py3-none-any.whl")
    assert names(made.path) == files | {wheel.name}
    for name in SCRIPTS:
        assert stat.S_IMODE((made.path / name).stat().st_mode) == 0o755
        assert (made.path / name).read_bytes() == (TEMPLATES / name).read_bytes()
    for name in files - {*SCRIPTS, "tiny-fp16.onnx", "tiny-fp16.onnx.golden.npz", "tiny-fp16"}:
        assert not re.search(r"@[A-Z_]+@", (made.path / name).read_text()), name
    assert (made.path / "constraints.txt").read_bytes() == (TEMPLATES / "constraints-jetpack6.txt").read_bytes()
    assert f"ARG IMAGE={JETPACKS['6'].image}\n" in (made.path / "Dockerfile").read_text()
    assert "2>" not in (made.path / "bundle.env").read_text()
    with load(artifact.path, threads=1) as runtime:
        assert (runtime.spec.precision, runtime.spec.io) == ("fp16", "float32")
        index = json.loads((made.path / "tiny-fp16" / "selftest.json").read_text())
        assert index["weights_sha256"] == runtime.spec.weights_sha256
        assert len(index["cases"]) == len(Golden.load(golden_path(artifact.path)).cases)


def test_another_jetpack(tmp_path: Path) -> None:
    for_jetson.write_scripts(tmp_path, Wish(name="it's", shape=(2, 64, 32), jetpack="7"), ["int8", "fp16"])
    assert (tmp_path / "constraints.txt").read_bytes() == (TEMPLATES / "constraints-jetpack7.txt").read_bytes()
    assert f"ARG IMAGE={JETPACKS['7'].image}\n" in (tmp_path / "Dockerfile").read_text()
    done = run(Path("/bin/bash"), "-c", f'. "{tmp_path}/bundle.env"; echo "$MODEL|$PRECISIONS|$PRECISION|$BATCH"')
    assert done.stdout == "it's|int8 fp16|int8|2\n"
    with pytest.raises(InputError, match="the JetPack should be 6 or 7 but is 5"):
        Wish(name="x", shape=SHAPE, jetpack="5")
    with pytest.raises(InputError, match="should name at least one precision"):
        Wish(name="x", shape=SHAPE, precisions=())


def test_the_engine_is_built_checked_and_tested(bundle: Path, tool: Callable[[str, str], Path]) -> None:
    tool("bncagan", python_module("tests.faked_bncagan"))
    tool("nvpmodel", "echo 'NV Power Mode: MAXN'")
    done = run(bundle / "build.sh")
    assert done.returncode == 0, done.stderr
    assert "parity PASS" in done.stdout
    assert "layers with weights" in done.stdout
    assert {"tiny-fp16.engine", "tiny-fp16.engine.json", "tiny-fp16.engine.build.txt", "cache"} <= names(bundle)
    assert names(bundle / "cache") == {"timings", "plans"}
    noted = (bundle / "tiny-fp16.engine.build.txt").read_text()
    assert re.search(r"^date: 20\d\d-.*Z\nmemory available: \d+ MiB\nNV Power Mode: MAXN\n", noted)
    tested = run(bundle / "selftest.sh")
    assert tested.returncode == 0, tested.stderr
    assert (json.loads(tested.stdout)["passed"], tested.stderr) == (True, "")
    assert "tensorrt" in json.loads(tested.stdout)["runtime"].lower()


@pytest.mark.slow
def test_the_int8_engine(tmp_path: Path, model: FoldedGenerator, tool: Callable[[str, str], Path]) -> None:
    wish = for_jetson.dataclasses.replace(WISH, precisions=("fp16", "int8"), calibration=PHOTOS)
    bundle = write_jetson_bundle(model, tmp_path / "bundle", wish)
    assert (bundle.left_out, [artifact.spec.precision for artifact in bundle.artifacts]) == ({}, ["fp16", "int8"])
    tool("bncagan", python_module("tests.faked_bncagan"))
    done = run(bundle.path / "build.sh", "int8")
    assert done.returncode == 0, done.stderr
    assert json.loads(run(bundle.path / "selftest.sh", "int8").stdout)["precision"] == "int8"


def test_too_little_memory(bundle: Path, tmp_path: Path, tool: Callable[[str, str], Path]) -> None:
    tool("bncagan", "echo called; exit 3")
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:  1572864 kB\n")
    done = run(bundle / "build.sh", MEMINFO=str(tmp_path / "meminfo"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "2048 MiB of memory should be free but 1536 MiB are" in done.stderr
    done = run(bundle / "build.sh", MEMINFO=str(tmp_path / "meminfo"), WORKSPACE_MIB="512")
    assert (done.returncode, done.stdout) == (3, "called\n")
    done = run(bundle / "build.sh", "int8")
    assert done.returncode == 2
    assert "should be one of this bundle, fp16, but is int8" in done.stderr


def test_onnx_runtime_where_there_is_no_engine(bundle: Path, tool: Callable[[str, str], Path]) -> None:
    tool("bncagan", python_module("bncagan"))
    tested = run(bundle / "selftest.sh")
    assert tested.returncode == 0, tested.stderr
    verdict = json.loads(tested.stdout)
    assert (verdict["passed"], verdict["device"]) == (True, "CPUExecutionProvider")
    assert "ONNX Runtime takes the place of TensorRT" in tested.stderr
    measured = run(bundle / "bench.sh", "fp16", "--runs", "2", "--warmup", "0")
    assert measured.returncode == 0, measured.stderr
    (row,) = json.loads((bundle / "tiny-fp16.onnx.bench.json").read_text())["rows"]
    assert len(row["inference_ns"]) == 2


def test_wrong_pictures_fail_the_self_test(bundle: Path, tool: Callable[[str, str], Path]) -> None:
    tool("bncagan", python_module("bncagan"))
    pictures = golden_path(bundle / "tiny-fp16.onnx")
    shutil.move(bundle / "tiny-fp16.onnx", bundle / "other.onnx")
    (bundle / "tiny-fp16.onnx").write_bytes((bundle / "other.onnx").read_bytes().replace(b"enhanced", b"enchanted"))
    assert run(bundle / "selftest.sh").returncode == 2  # no longer that file
    shutil.move(bundle / "other.onnx", bundle / "tiny-fp16.onnx")
    golden = Golden.load(pictures)
    Golden(golden.cases[:-1], golden.rounding).save(pictures)
    tested = run(bundle / "selftest.sh")
    assert tested.returncode == 1
    assert "its golden pictures were changed" in tested.stderr


def test_without_bncagan(bundle: Path) -> None:
    bash = shutil.which("bash")
    done = subprocess.run(
        [bash or "bash", bundle / "selftest.sh"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "selftest.sh: bncagan should be installed but is not; run ./install.sh\n"


BOARD = """
case "$*" in
*find_spec*) exit {tensorrt} ;;
*version_info*) echo {python} ;;
'-m venv'*) mkdir -p "$4/bin"; for name in python bncagan; do cp "$0" "$4/bin/$name"; done ;;
*) echo "$@" ;;
esac
"""


@pytest.mark.parametrize(
    ("machine", "python", "tensorrt", "expected"),
    [
        ("aarch64", "3.10", 0, "--constraint .*/constraints.txt .*/bncagan-.*whl\\[tensorrt,onnx\\]\ndoctor\n"),
        ("aarch64", "3.12", 0, "Python should be 3.10, the one of JetPack 6, but is 3.12; name it"),
        ("aarch64", "3.10", 1, "this is no Jetson with TensorRT.*quiet .*/bncagan-.*whl\\[onnx\\]\ndoctor\n"),
        ("x86_64", "3.14", 0, "this is no Jetson with TensorRT.*quiet .*/bncagan-.*whl\\[onnx\\]\ndoctor\n"),
    ],
)
def test_what_is_installed(
    bundle: Path, tool: Callable[[str, str], Path], machine: str, python: str, tensorrt: int, expected: str
) -> None:
    tool("uname", f"echo {machine}")
    asked = tool("asked", BOARD.format(python=python, tensorrt=tensorrt))
    done = run(bundle / "install.sh", PYTHON=str(asked))
    assert re.search(expected, done.stderr + done.stdout, re.DOTALL), done
    assert done.returncode == (2 if "should be" in expected else 0)
    assert (bundle / ".venv").exists() == (done.returncode == 0)


def test_the_lines_of_trtexec(bundle: Path, tool: Callable[[str, str], Path]) -> None:
    trtexec = str(tool("trtexec", 'for word in "$@"; do echo "$word"; done'))
    words = run(bundle / "trtexec.sh", "build", TRTEXEC=trtexec).stdout.splitlines()
    assert words[:3] == [
        f"--onnx={bundle}/tiny-fp16.onnx",
        "--stronglyTyped",
        f"--saveEngine={bundle}/tiny-fp16.engine.trtexec",
    ]
    words = run(bundle / "trtexec.sh", "time", "fp16", TRTEXEC=trtexec).stdout.splitlines()
    assert words[0] == f"--loadEngine={bundle}/tiny-fp16.engine.trtexec"
    (bundle / "tiny-fp16.engine").touch()
    words = run(bundle / "trtexec.sh", "time", TRTEXEC=trtexec).stdout.splitlines()
    assert words[0] == f"--loadEngine={bundle}/tiny-fp16.engine"
    # TensorRT 11 refuses the flags of weak typing
    assert not re.search(r"--(fp16|int8|best|workspace)\b", (TEMPLATES / "trtexec.sh").read_text())
    done = run(bundle / "trtexec.sh", "biuld", TRTEXEC=trtexec)
    assert (done.returncode, "should be build or time but is biuld" in done.stderr) == (2, True)


def test_deepstream_feeds_the_network_what_it_wants(made: Bundle) -> None:
    config = configparser.ConfigParser()
    config.read(made.path / "nvinfer-tiny.txt")
    keys = config["property"]
    with load(made.artifacts[0].path, threads=1) as runtime:
        spec = runtime.spec
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    offsets = np.array([float(word) for word in keys["offsets"].split(";")])
    fed = float(keys["net-scale-factor"]) * (pixels.transpose(0, 3, 1, 2) - offsets[:, None, None])
    assert np.abs(fed - to_batch(pixels, spec)).max() < 1e-7
    assert (int(keys["batch-size"]), keys["infer-dims"]) == (SHAPE[0], f"3;{SHAPE[1]};{SHAPE[2]}")
    assert keys["output-blob-names"] == spec.output_name
    assert keys["model-engine-file"] == "tiny-fp16.engine"
    assert keys["model-color-format"] == "0"
    assert "onnx-file" not in keys


def test_an_archive(made: Bundle, tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: Path, *_: object) -> Bundle:
        shutil.copytree(made.path, folder, dirs_exist_ok=True)
        return Bundle(folder, made.artifacts, {})

    monkeypatch.setattr(for_jetson, "_fill", fill)
    written = write_jetson_bundle(model, tmp_path / "board.tar.gz", WISH)
    assert names(tmp_path) == {"board.tar.gz"}
    assert written.path == tmp_path / "board.tar.gz"
    with tarfile.open(written.path) as archive:
        assert {entry.uname for entry in archive} == {"root"}
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = tmp_path / "unpacked" / "board"
    assert names(unpacked) == names(made.path)
    assert os.access(unpacked / "build.sh", os.X_OK)
    for place in (written.path, tmp_path / "no" / "x.tar.gz"):
        with pytest.raises(InputError, match=r"should be a new file but exists|should be in an existing folder"):
            write_jetson_bundle(model, place, WISH)


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
def test_whole_or_not_at_all(
    name: str, tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(for_jetson, "write_wheel", fails)
    monkeypatch.setattr(for_jetson, "write_self_test", lambda *_: None)
    with pytest.raises(OSError, match="No space left"):
        write_jetson_bundle(model, tmp_path / name, WISH)
    assert not names(tmp_path)


def test_a_precision_that_fails_is_left_out(
    made: Bundle, tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made.artifacts[0].report

    def exporter(_: object, path: Path, *, precision: str, **_options: object) -> object:
        if precision == "int8":
            path.with_name(f"{path.name}.rejected").touch()
            verdict = for_jetson.dataclasses.replace(report.verdict, passed=False, failures=("dark: too bright",))
            raise ParityError("no", for_jetson.dataclasses.replace(report, verdict=verdict))
        shutil.copy(made.artifacts[0].path, path)
        shutil.copy(golden_path(made.artifacts[0].path), golden_path(path))
        return for_jetson.dataclasses.replace(made.artifacts[0], path=path)

    monkeypatch.setitem(for_jetson.EXPORTERS, "onnx", exporter)  # type: ignore[arg-type]
    both = write_jetson_bundle(
        model, tmp_path / "both", for_jetson.dataclasses.replace(WISH, precisions=("fp16", "int8"))
    )
    assert both.left_out == {"int8": "dark: too bright"}
    assert not [name for name in names(both.path) if "int8" in name]
    assert "PRECISIONS=fp16\n" in (both.path / "bundle.env").read_text()
    with pytest.raises(ParityError):
        write_jetson_bundle(model, tmp_path / "one", for_jetson.dataclasses.replace(WISH, precisions=("int8",)))
    assert names(tmp_path) == {"both"}


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    path = write_wheel(tmp_path)
    with zipfile.ZipFile(path) as wheel:
        inside = {name: wheel.read(name) for name in wheel.namelist()}
    (record,) = (name for name in inside if name.endswith("/RECORD"))
    lines = [line.rsplit(",", 2) for line in inside[record].decode().splitlines()]
    assert {name for name, _, _ in lines} == inside.keys()
    for name, digest, size in lines:
        if name != record:
            expected = base64.urlsafe_b64encode(hashlib.sha256(inside[name]).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(inside[name])), name
    assert {f"export/bundles/jetson/{name}" for name in SCRIPTS} <= inside.keys()
    assert {"bncagan/weights/base.safetensors", "runtimes/models/small.onnx", "runtimes/base.py"} <= inside.keys()
    assert not [name for name in inside if name.endswith(".pyc") or name.startswith("tests/")]
    assert b"bncagan = bncagan.__main__:main" in inside[record.replace("RECORD", "entry_points.txt")]
    again = tmp_path / "again"
    again.mkdir()
    assert write_wheel(again).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["web", "cpp", pytest.param("swift", marks=pytest.mark.slow), pytest.param("android", marks=pytest.mark.slow)],
)
def test_what_an_application_carries(name: str, tmp_path: Path, model: FoldedGenerator) -> None:
    target = TARGETS[name]
    if target.form not in EXPORTERS:
        pytest.skip(f"this version has no exporter of {target.form}")
    options = {"precisions": target.precisions, "shapes": ShapeSet.of(SHAPE), "output": target.output, "photos": PHOTOS}
    try:
        artifacts = write_application(model, tmp_path / "app", "tiny", target, **options)
    except BackendMissingError as error:
        pytest.skip(str(error))
    suffix = FORMATS[target.form].suffix
    expected = {f"tiny-{precision}{end}" for precision in target.precisions for end in (suffix, "")}
    assert names(tmp_path / "app") == expected
    for artifact in artifacts:
        index = json.loads((artifact.path.with_suffix("") / "selftest.json").read_text())
        assert (index["artifact"], index["precision"]) == (artifact.path.name, artifact.spec.precision)
        assert index["output"] == artifact.spec.output == target.output
        assert index["weights_sha256"] == artifact.spec.weights_sha256
        kinds = {Path(file).suffix[1:] for file in names(artifact.path.with_suffix(""))}
        assert kinds == {"json", *target.kinds}
        for case in index["cases"]:
            assert (artifact.path.with_suffix("") / case["input"][target.kinds[0]]).exists()


def test_a_platform_without_an_exporter(
    tmp_path: Path, model: FoldedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(EXPORTERS, "litert", raising=False)
    options = {"precisions": ("fp16",), "shapes": ShapeSet.of(SHAPE)}
    with pytest.raises(ArtifactError, match=r"android should have an exporter of the format litert .* swift, web, cpp"):
        write_application(model, tmp_path / "app", "tiny", TARGETS["android"], **options)  # type: ignore[arg-type]
    assert not names(tmp_path)


def test_the_command(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Wish] = []

    def write(_: object, path: Path, wish: Wish) -> Bundle:
        seen.append(wish)
        return Bundle(path, made.artifacts, {"int8": "dark: too bright"})

    monkeypatch.setattr(for_jetson, "write_jetson_bundle", write)
    words = ["bundle", "jetson", "--checkpoint", "nano", "--shape", "64x96", "--jetpack", "7", "--out"]
    assert main([*words, str(tmp_path / "b")]) == 0
    (wish,) = seen
    assert (wish.name, wish.shape, wish.jetpack, wish.precisions) == ("nano", (1, 64, 96), "7", ("fp16", "int8"))
    said = capsys.readouterr().out
    assert "parity PASS" in said
    assert "int8 is left out: dark: too bright\n" in said


@pytest.mark.slow
def test_unpacked_on_another_machine(made: Bundle, tmp_path: Path) -> None:
    """Install, test and measure by the bundle's own scripts in a new environment without torch."""
    bundle = Path(shutil.copytree(made.path, tmp_path / "bundle"))
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    base = Path(sys.base_prefix) / "bin" / "python3"
    for script, said in (
        (["install.sh"], "this is no Jetson"),
        (["selftest.sh"], "ONNX Runtime takes the place of TensorRT"),
        (["bench.sh", "--runs", "3"], "ONNX Runtime takes the place of TensorRT"),
    ):
        done = subprocess.run(
            [bundle / script[0], *script[1:]],
            env=environment | {"PYTHON": str(base)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
        if script == ["selftest.sh"]:
            assert json.loads(done.stdout)["passed"]
    python = bundle / ".venv" / "bin" / "python"
    code = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('bncagan').origin)"
    spec = subprocess.run(
        [python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert spec.stdout.startswith(f"None {bundle}/.venv/")
    assert json.loads((bundle / "tiny-fp16.onnx.bench.json").read_text())["rows"]
