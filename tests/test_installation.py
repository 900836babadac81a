"""The commands of the installation hints, and the requirements in pyproject.toml."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

from bncagan.cli import main
from runtimes import installation
from runtimes.cuda_memory import Cuda
from runtimes.errors import ArtifactError
from runtimes.installation import EXTRAS, install_hint
from tests.fake_tensorrt import Board, make_cudart
from tests.test_constraints import PYTHON

ROOT = Path(__file__).parent.parent
JETPACKS = {"6": ("3.10", "12.6"), "7": ("3.12", "13.0")}  # Python, CUDA


def pyproject() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def test_in_a_clone_the_hint_installs_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert install_hint("onnx") == 'pip install -e ".[onnx]"'
    monkeypatch.chdir(tmp_path)
    assert install_hint("onnx") == f'pip install -e "{ROOT}[onnx]"'


@pytest.mark.parametrize(
    ("record", "hint"),
    [
        ({"url": "file:///tmp/a%20b/bncagan-0.1.0-py3-none-any.whl"}, "/tmp/a b/bncagan-0.1.0-py3-none-any.whl[onnx]"),
        ({"url": "file:///home/me/bncagan", "dir_info": {}}, "/home/me/bncagan[onnx]"),
        (
            {"url": "https://git.example/bncagan", "vcs_info": {"vcs": "git", "commit_id": "0"}},
            "bncagan[onnx] @ git+https://git.example/bncagan@0",
        ),
        ({"url": "https://files.example/b.whl"}, "bncagan[onnx] @ https://files.example/b.whl"),
        (None, "bncagan[onnx]"),  # from an index
    ],
)
def test_elsewhere_the_hint_installs_from_where_it_came(
    record: dict[str, Any] | None, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "bncagan-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bncagan\nVersion: 0.1.0\n")
    if record is not None:
        (information / "direct_url.json").write_text(json.dumps(record))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(installation, "PROJECT", tmp_path)
    assert install_hint("onnx") == f'pip install "{hint}"'


def test_where_only_two_folders_were_copied_the_hint_names_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(installation, "PROJECT", tmp_path)
    assert "project" in install_hint("onnx")


def test_every_hint_names_an_extra_that_there_is() -> None:
    assert set(EXTRAS.values()) <= set(pyproject()["optional-dependencies"])


def test_no_message_offers_what_no_index_has() -> None:
    for folder in ("bncagan", "benchmarks", "export", "runtimes"):
        for path in (ROOT / folder).rglob("*.py"):
            assert path.name == "installation.py" or "bncagan[" not in path.read_text(), path


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_on_a_jetson_the_extra_is_no_newer_than_the_driver(jetpack: str) -> None:
    python, cuda = JETPACKS[jetpack]
    machine = {"platform_machine": "aarch64", "python_version": python}
    extra = [Requirement(text) for text in pyproject()["optional-dependencies"]["tensorrt"]]
    [asked] = [each for each in extra if each.marker is None or each.marker.evaluate(machine)]
    assert asked.name == "cuda-python"  # and TensorRT comes with JetPack
    assert asked.specifier.contains(f"{cuda}.2")
    assert not any(asked.specifier.contains(newer) for newer in ("12.9.0", "13.1.0", "13.4.0"))


def test_a_cuda_newer_than_the_driver_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    cudart: Any = make_cudart(Board())
    error = 35
    cudart.cudaSetDevice = lambda _device: (error,)
    cudart.cudaGetErrorName = lambda code: (0, b"cudaErrorInsufficientDriver" if code == error else b"?")
    cudart.cudaGetErrorString = lambda _code: (0, b"CUDA driver version is insufficient for CUDA runtime version")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cudart)
    with pytest.raises(ArtifactError) as caught:
        Cuda(0)
    message = str(caught.value)
    assert "\n" not in message
    for _, cuda in JETPACKS.values():
        assert f'pip install "cuda-python=={cuda}.*"' in message


@pytest.mark.parametrize(
    ("here", "said"),
    [({"onnxruntime", "onnxruntime-gpu"}, True), ({"onnxruntime"}, False), ({"onnxruntime-gpu"}, False)],
)
def test_doctor_says_when_two_onnxruntimes_overwrite_each_other(
    here: set[str], said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name.startswith("onnxruntime") and name not in here:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(installation, "version", version)
    assert main(["doctor"]) == 0
    assert ("pip uninstall --yes onnxruntime onnxruntime-gpu" in capsys.readouterr().out) == said
    main(["doctor", "--json"])
    assert bool(json.loads(capsys.readouterr().out)["conflict"]) == said


# Versions

RUN_ELSEWHERE = {"torch", "cuda-python", "tensorrt", "onnxruntime-gpu", "pillow-heif"}  # not by `make test-oldest`


def requirements() -> list[Requirement]:
    """All of the package, but for those that name the package itself."""
    extras = pyproject()["optional-dependencies"].values()
    every = [*pyproject()["dependencies"], *(each for extra in extras for each in extra)]
    return [found for found in map(Requirement, every) if found.name != "bncagan"]


def test_the_oldest_versions_are_those_of_pyproject() -> None:
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in requirements():
        if requirement.name not in RUN_ELSEWHERE:
            (bound,) = requirement.specifier
            assert (bound.operator, Version(bound.version)) == (">=", Version(pins[requirement.name])), requirement


def test_the_oldest_python_is_the_same_everywhere() -> None:
    """Ruff and mypy read the source as it; wheels for it are in test_constraints.py."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert pyproject()["requires-python"] == ">=3.10"
    assert (tools["ruff"]["target-version"], tools["mypy"]["python_version"]) == ("py310", "3.10")
    assert ".".join(map(str, PYTHON["6"])) == JETPACKS["6"][0] == "3.10"


@pytest.mark.parametrize(
    ("here", "old"),
    [("1.26.0", False), ("1.26", False), ("2.0.0rc1", False), ("1.25.9", True), ("1.9.0", True), ("0.30+local", True)],
)
def test_doctor_says_what_is_too_old_and_what_to_do(
    here: str, old: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["numpy>=1.26", 'onnxruntime>=1.20; extra == "onnx"', 'tensorrt>=10.3; extra == "tensorrt"', "rich"]
    versions = {"numpy": here, "onnxruntime": "1.20.1"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(installation, "requires", lambda _: needed)
    monkeypatch.setattr(installation, "version", version)
    said = f'numpy should be 1.26 or newer but is {here}; upgrade it with: pip install "numpy>=1.26"'
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["too_old"] == [said] * old
    main(["doctor"])
    assert (f"too old: {said}\n" in capsys.readouterr().out) == old


def test_nothing_here_is_too_old() -> None:
    assert installation.too_old() == []


def test_the_hints_need_the_standard_library_alone() -> None:
    code = "import sys; import runtimes.installation; sys.exit('rich' in sys.modules or 'tyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
