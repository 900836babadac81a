"""The seal in every format: each weight block changed by one per cent is refused, a hundred honest copies are not."""

from __future__ import annotations

import random
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import runtimes
from bncagan.config import ModelConfig
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.mil import MilEvaluator
from export.to_coreml import to_coreml
from export.to_onnx import to_onnx
from export.to_openvino import to_openvino
from export.to_pt2 import to_pt2
from runtimes import ArtifactError, Runtime, ShapeSet
from runtimes.golden import Golden, golden_path
from runtimes.ov import hash_weights
from runtimes.pt import SPEC_FILE
from tests.conftest import randomise
from tests.test_seal import saved_again

pytestmark = pytest.mark.hard

EXPORTS = {".onnx": to_onnx, ".xml": to_openvino, ".pt2": to_pt2, ".mlpackage": to_coreml}
TYPES = {1: np.float16, 2: np.float32}  # of a block of Core ML's weights


def opened(path: Path) -> Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" else runtimes.load(path)


def refused(path: Path) -> bool:
    """Whether an artifact does not open, or not with the contents that were sealed."""
    try:
        with opened(path) as runtime:
            assert runtime.spec.seal is not None
            return runtime.content_sha256() != runtime.spec.seal.content_sha256
    except ArtifactError as error:
        return "changed" in str(error)


@pytest.fixture(scope="module", params=EXPORTS)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = Generator(ModelConfig(width=4))
    randomise(generator)
    path = tmp_path_factory.mktemp("seal") / f"m{request.param}"
    model = fold(generator.eval())
    return EXPORTS[request.param](model, path, precision="fp32", shapes=ShapeSet.of((1, 16, 16))).path


def copied(path: Path, target: Path) -> Path:
    """An artifact with all that belongs to it, under another name."""
    (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    shutil.copy(golden_path(path), golden_path(target))
    if path.suffix == ".xml":
        shutil.copy(path.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


def test_twenty_five_honest_copies_of_each_format(artifact: Path, tmp_path: Path) -> None:
    rng, path = random.Random(0), artifact
    for number in range(25):
        name = "".join(rng.choices("abc \u00fc-_.1", k=rng.randint(1, 12)))
        path = copied(path, tmp_path / f"{number} {name}x{artifact.suffix}")
        if number % 5 == 4 and path.suffix != ".onnx":
            saved_again(path)
        golden = Golden.load(golden_path(path))
        if number % 3 == 0:
            golden.save(golden_path(path))
        with opened(path) as runtime:
            assert runtime.spec.seal is not None
            assert runtime.content_sha256() == runtime.spec.seal.content_sha256
            assert Golden.load(golden_path(path)).sha256() == runtime.spec.seal.golden_sha256


def test_each_block_changed_by_one_per_cent_is_refused(artifact: Path, tmp_path: Path) -> None:
    if artifact.suffix == ".onnx":
        pytest.skip("in tests/test_seal.py")
    changed = 0
    for path in {".xml": changed_ir, ".pt2": changed_program, ".mlpackage": changed_package}[artifact.suffix](
        artifact, tmp_path
    ):
        assert refused(path)
        changed += 1
    assert changed > 15


def changed_ir(artifact: Path, folder: Path) -> Iterator[Path]:
    """With the hash of the changed weights in the .xml, so that it opens."""
    text, weights = artifact.read_text(), artifact.with_suffix(".bin").read_bytes()
    was = hash_weights(artifact)
    path = folder / "m.xml"
    for data in re.findall(r'<data element_type="f32"[^>]*/>', text):
        start, size = (int(re.findall(rf'{name}="(\d+)"', data)[0]) for name in ("offset", "size"))
        block = np.frombuffer(weights[start : start + size], np.float32)
        if not block.any():
            continue
        made = (block * np.float32(1.01)).tobytes()
        path.with_suffix(".bin").write_bytes(weights[:start] + made + weights[start + size :])
        path.write_text(text)
        assert refused(path)
        path.write_text(text.replace(was, hash_weights(path)))
        yield path


def changed_program(artifact: Path, folder: Path) -> Iterator[Path]:
    extra = {SPEC_FILE: ""}
    program = torch.export.load(artifact, extra_files=extra)
    path = folder / "m.pt2"
    for block in [*program.state_dict.values(), *program.constants.values()]:
        if not (isinstance(block, torch.Tensor) and block.is_floating_point() and block.any()):
            continue
        honest = block.clone()
        with torch.no_grad():
            block.mul_(1.01)
            torch.export.save(program, path, extra_files=extra)
            block.copy_(honest)
        yield path


def changed_package(artifact: Path, folder: Path) -> Iterator[Path]:
    path = folder / "m.mlpackage"
    shutil.copytree(artifact, path)
    (file,) = path.rglob("weight.bin")
    weights = file.read_bytes()
    for start in range(64, len(weights), 64):
        sentinel, kind, size, offset = struct.unpack("<IIQQ", weights[start : start + 24])
        if sentinel != 0xDEADBEEF or kind not in TYPES:
            continue
        block = np.frombuffer(weights[offset : offset + size], TYPES[kind])
        if not block.any():
            continue
        made = (block * TYPES[kind](1.01)).tobytes()
        file.write_bytes(weights[:offset] + made + weights[offset + size :])
        yield path
