"""What `make dist` builds: it installs alone, without torch, and enhances a photograph."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtimes
from export.bundles.wheel import write_wheel
from tests.folders import picture
from tests.tiny_models import make_spec, write_gain

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*arguments: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which may name a clone
    done = subprocess.run([*map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and with the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=ROOT)
    return out


def test_they_hold_the_project(dist: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        inside = set(opened.namelist())
    tracked = run("git", "ls-files", cwd=ROOT).split()
    modules = [
        name for name in tracked if name.endswith(".py") and not name.startswith(("apps/", "tests/", "examples/"))
    ]
    assert inside >= {*modules, "bncagan/weights/small.safetensors", "bncagan/weights/small.md"}
    assert inside >= {f"runtimes/models/{name}.onnx{end}" for name in ("nano", "small") for end in ("", ".golden.npz")}
    assert not any(name.startswith(("tests/", "examples/", "build/")) for name in inside)
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert names >= {*modules, "constraints.txt", "Makefile", "README.md", "docs/layout.md", "tests/conftest.py"}


def test_a_bundle_has_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    made = write_wheel(tmp_path)
    assert made.name == wheel.name
    with zipfile.ZipFile(wheel) as built, zipfile.ZipFile(made) as written:
        names = {name for name in built.namelist() if not name.endswith("/top_level.txt")}
        assert names == set(written.namelist())
        for name in names:
            if not name.endswith(("/RECORD", "/WHEEL", "/METADATA")):
                assert built.read(name) == written.read(name), name


def test_the_wheel_enhances_without_torch(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[onnx]", cwd=tmp_path)
    photo = tmp_path / "photo.png"
    Image.fromarray(picture(0, 40, 56)).save(photo)
    model = write_gain(tmp_path / "dark.onnx", make_spec(), 0.5)
    command = tmp_path / "venv" / "bin" / "bncagan"
    run(command, "enhance", photo, "--out", tmp_path / "first", cwd=tmp_path)
    with runtimes.load("small", threads=1) as runtime:
        enhanced = runtime.enhance(np.asarray(Image.open(photo))).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "first" / "photo.png")) - enhanced).max() <= 1
    assert enhanced.mean() != np.asarray(Image.open(photo)).mean()
    run(command, "enhance", model, photo, "--out", tmp_path / "out", cwd=tmp_path)
    darker = np.floor(np.asarray(Image.open(photo)) * 0.5 + 0.5)
    assert np.abs(np.asarray(Image.open(tmp_path / "out" / "photo.png")) - darker).max() <= 1
    assert "missing" in run(command, "doctor", cwd=tmp_path)
    loaded = "import sys, runtimes; print([n for n in ('torch', 'rich', 'tyro', 'onnxruntime') if n in sys.modules])"
    assert run(python, "-c", loaded, cwd=tmp_path) == "[]\n"
