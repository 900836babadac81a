"""The constraints of the two JetPacks: every pin has a wheel for that Python on 64-bit Arm, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from tests.pages import ROOT

WHEELS = Path(__file__).parent / "aarch64_wheels.txt"
# Of each JetPack: its Python, and the C library of its Ubuntu.
PYTHON = {"6": (3, 10), "7": (3, 12)}
GLIBC = {"6": (2, 35), "7": (2, 39)}
CUDA = {"6": "12.6", "7": "13.0"}
every_jetpack = pytest.mark.parametrize("jetpack", PYTHON)


def pins(jetpack: str) -> dict[str, Version]:
    """The versions of a constraints file, by normalized name."""
    lines = (ROOT / "export" / "bundles" / "jetson" / f"constraints-jetpack{jetpack}.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*]+", str(each.specifier)) for each in found), "a pin should name one version"
    return {canonicalize_name(each.name): Version(str(each.specifier)[2:]) for each in found}


def wheels(jetpack: str) -> list[str]:
    """The names of the wheels that are listed for its Python."""
    section = f"# Python {'.'.join(map(str, PYTHON[jetpack]))}\n"
    return re.split(r"^#", WHEELS.read_text().partition(section)[2], maxsplit=1, flags=re.MULTILINE)[0].split()


def installs(wheel: str, jetpack: str) -> bool:
    """Whether pip takes the wheel there."""
    return any(
        runs_on(tag.interpreter, tag.abi, jetpack) and links_on(tag.platform, jetpack)
        for tag in parse_wheel_filename(wheel)[3]
    )


def runs_on(interpreter: str, abi: str, jetpack: str) -> bool:
    """py3-none, cp310-cp310 of the very Python, or cp38-abi3 of an older one."""
    if interpreter == "py3":
        return abi == "none"
    match = re.fullmatch(r"cp3(\d+)", interpreter)
    if match is None:
        return False
    mine = PYTHON[jetpack]
    return (3, int(match[1])) <= mine if abi == "abi3" else interpreter == abi == f"cp{mine[0]}{mine[1]}"


def links_on(platform: str, jetpack: str) -> bool:
    """Any platform, or 64-bit Arm with a C library that is not newer."""
    match = re.fullmatch(r"manylinux_(\d+)_(\d+)_aarch64", platform)
    newest = (int(match[1]), int(match[2])) if match else (2, 17) if platform == "manylinux2014_aarch64" else None
    return platform == "any" or (newest is not None and newest <= GLIBC[jetpack])


@every_jetpack
def test_every_pin_has_a_wheel(jetpack: str) -> None:
    listed = wheels(jetpack)
    assert {parse_wheel_filename(name)[0]: parse_wheel_filename(name)[1] for name in listed} == pins(jetpack)
    assert not [name for name in listed if not installs(name, jetpack)]


@every_jetpack
def test_every_requirement_is_pinned(jetpack: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["onnx"], *extras["openvino"], *extras["tensorrt"]]
    board = {"platform_machine": "aarch64", "python_version": ".".join(map(str, PYTHON[jetpack]))}
    for requirement in map(Requirement, needed):
        if requirement.marker is None or requirement.marker.evaluate(board):
            assert requirement.name != "tensorrt"  # it comes with JetPack
            assert requirement.specifier.contains(pins(jetpack)[canonicalize_name(requirement.name)]), requirement


@every_jetpack
def test_cuda_is_not_newer_than_the_driver(jetpack: str) -> None:
    cuda = {name: version for name, version in pins(jetpack).items() if name in {"cuda-python", "cuda-bindings"}}
    assert cuda
    assert all(f"{version.major}.{version.minor}" == CUDA[jetpack] for version in cuda.values())


@pytest.mark.parametrize(
    ("wheel", "jetpacks"),
    [
        ("numpy-2.4.6-cp312-cp312-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl", "7"),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_28_aarch64.whl", ""),
        ("av-17.1.0-cp311-abi3-manylinux_2_28_aarch64.whl", "7"),
        ("protobuf-7.36.2-cp310-abi3-manylinux2014_aarch64.whl", "67"),
        ("openvino-2026.4.1-22982-cp310-cp310-manylinux_2_36_aarch64.whl", ""),
        ("numpy-2.2.6-cp310-cp310-manylinux2014_x86_64.whl", ""),
        ("numpy-2.2.6-cp310-cp310-musllinux_1_2_aarch64.whl", ""),
        ("flatbuffers-25.12.19-py2.py3-none-any.whl", "67"),
    ],
)
def test_tags_are_told_apart(wheel: str, jetpacks: str) -> None:
    assert "".join(jetpack for jetpack in PYTHON if installs(wheel, jetpack)) == jetpacks
