"""The seal: every change of an artifact is refused and named, and honest copies are not."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import numpy_helper

import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.publishing import Artifact
from export.sealing import sealed
from export.to_coreml import to_coreml
from export.to_onnx import CACHE_KEY, to_onnx
from export.to_openvino import to_openvino
from export.to_pt2 import to_pt2
from runtimes import METADATA_KEY, ArtifactError, ShapeSet
from runtimes.coreml import quiet
from runtimes.golden import Golden, golden_path
from runtimes.likeness import Thresholds
from runtimes.ort import hash_graph
from tests.conftest import randomise
from tests.tiny_models import make_spec, write_gain

SHAPES = ShapeSet.of((1, 16, 16))
CHANGED = "should be as it was sealed but its "


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = Generator(ModelConfig(width=4))
    randomise(made)
    return made.eval()


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory, generator: Generator) -> Artifact:
    return to_onnx(fold(generator), tmp_path_factory.mktemp("seal") / "m.onnx", precision="fp32", shapes=SHAPES)


@pytest.fixture
def copy(onnx_file: Artifact, tmp_path: Path) -> Path:
    """A copy under another name."""
    path = tmp_path / "another name.onnx"
    shutil.copy(onnx_file.path, path)
    shutil.copy(golden_path(onnx_file.path), golden_path(path))
    return path


def said(capsys: pytest.CaptureFixture[str], code: int, path: Path, *options: str) -> str:
    """What `verify` says on its way to an exit code."""
    assert main(["verify", str(path), *options]) == code
    return capsys.readouterr().err


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the spec's JSON in an ONNX file."""
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    fields = json.loads(entries[METADATA_KEY])
    change(fields)
    onnx.helper.set_model_props(model, entries | {METADATA_KEY: json.dumps(fields)})
    onnx.save(model, path)


def test_honest_copies_pass(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not said(capsys, 0, copy)
    before = copy.read_bytes()
    onnx.save(onnx.load(copy), copy)
    assert copy.read_bytes() == before
    golden = Golden.load(golden_path(copy))
    golden.save(golden_path(copy))
    rewrite(copy, lambda fields: None)
    assert not said(capsys, 0, copy)


def test_every_weight_block_changed_by_one_per_cent_is_refused(
    onnx_file: Artifact, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = onnx.load(onnx_file.path)
    scales = {node.input[2] for node in honest.graph.node if node.op_type == "Resize"}  # ONNX Runtime refuses others
    changed = 0
    for index, block in enumerate(honest.graph.initializer):
        array = numpy_helper.to_array(block)
        if array.dtype != np.float32 or not array.any() or block.name in scales:
            continue
        model = onnx.ModelProto.FromString(honest.SerializeToString())
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(array * np.float32(1.01), block.name))
        onnx.save(model, copy)
        assert f"{CHANGED}graph or weights were changed" in said(capsys, 1, copy)
        changed += 1
    assert changed > 20


def graph_of(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[0].name += "x"
    onnx.save(model, path)


def cache_key_of(path: Path) -> None:
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == CACHE_KEY)
    entry.value = "0" * 64
    onnx.save(model, path)


def golden_with(*names: str) -> Callable[[Path], None]:
    """Only these golden pictures."""

    def change(path: Path) -> None:
        golden = Golden.load(golden_path(path))
        Golden(tuple(case for case in golden.cases if case.name in names)).save(golden_path(path))

    return change


def one_pixel_of_golden(path: Path) -> None:
    golden = Golden.load(golden_path(path))
    first, *others = golden.cases
    expected = first.expected.copy()
    expected[0, 0, 0] ^= 1
    Golden((dataclasses.replace(first, expected=expected), *others), golden.rounding).save(golden_path(path))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (graph_of, "graph or weights"),
        (cache_key_of, "graph or weights"),
        (golden_with("black"), "golden pictures"),
        (golden_with("astronaut"), "golden pictures"),
        (one_pixel_of_golden, "golden pictures"),
    ],
)
def test_a_changed_file_is_refused(
    copy: Path, change: Callable[[Path], None], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copy)
    assert f"{CHANGED}{part} were changed" in said(capsys, 1, copy)
    assert f"{CHANGED}{part} were changed" in said(capsys, 1, copy, "--unsealed")


def parity(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda fields: fields["parity"].update(changes)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "precision": (lambda fields: fields.update(precision="int8"), "description"),
    "weights": (lambda fields: fields.update(weights_sha256="not a hash"), "description"),
    "range": (
        lambda fields: fields.update(
            shapes={"minimum": [1, 16, 16], "optimum": [1, 64, 64], "maximum": [1, 4096, 4096]}
        ),
        "description",
    ),
    "tools": (lambda fields: fields["tools"].update(torch="0"), "description"),
    "verdict": (parity(psnr_min=120.0, runtime="made up"), "verdict"),
    "no verdict": (lambda fields: fields.update(parity=None), "verdict"),
    "limits": (lambda fields: fields["seal"]["limits"].update(bias=9.0), "seal, which holds the limits"),
    "names": (lambda fields: fields["seal"].update(cases=["black"]), "seal, which holds the limits"),
    "digest": (lambda fields: fields["seal"].update(golden_sha256="0" * 64), "seal, which holds the limits"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_spec_does_not_open(copy: Path, edit: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, part = EDITS[edit]
    rewrite(copy, change)
    assert f"{CHANGED}{part} changed since" in said(capsys, 2, copy)
    with pytest.raises(ArtifactError, match=part):
        runtimes.load(copy)


def test_without_a_seal(copy: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runtimes.load(copy).close()
        assert not caplog.messages
        rewrite(copy, lambda fields: fields.pop("seal"))
        assert "is not sealed" in said(capsys, 1, copy)
        assert not caplog.messages
        runtimes.load(copy).close()
    assert caplog.messages == [f"{copy} is not sealed, so a change of it would go unnoticed; export it again"]
    assert not said(capsys, 0, copy, "--unsealed")


def forge(path: Path, factor: float) -> None:
    """Scale one block, draw the golden pictures by the wrong model, and seal all of it again."""
    model = onnx.load(path)
    block = next(b for b in model.graph.initializer if numpy_helper.to_array(b).ndim == 4)
    block.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(block) * np.float32(factor), block.name))
    onnx.save(model, path)
    golden = Golden.load(golden_path(path))
    with runtimes.load(path) as runtime:
        spec = runtime.spec
        made = Golden(tuple(dataclasses.replace(case, expected=runtime.enhance(case.image)) for case in golden.cases))
    made.save(golden_path(path))
    assert spec.seal is not None
    spec = sealed(spec, hash_graph(model.SerializeToString()), made, spec.seal.limits)
    onnx.helper.set_model_props(
        model, {entry.key: entry.value for entry in model.metadata_props} | {METADATA_KEY: spec.to_json()}
    )
    onnx.save(model, path)


def test_the_checkpoint_finds_a_consistent_forgery(
    copy: Path, tmp_path: Path, generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "g.safetensors"
    save_generator(weights, generator, ModelConfig(width=4), {})
    assert not said(capsys, 0, copy, "--checkpoint", str(weights))
    forge(copy, 3.0)
    assert not said(capsys, 0, copy)  # a seal is no signature
    assert "should pass its parity check but failed it" in said(capsys, 1, copy, "--checkpoint", str(weights))
    other = Generator(ModelConfig(width=4))
    randomise(other, 1)
    save_generator(weights, other, ModelConfig(width=4), {})
    assert "should be of the weights" in said(capsys, 1, copy, "--checkpoint", str(weights))


def test_the_golden_pictures_must_hold_the_required_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_gain(tmp_path / "m.onnx", make_spec(), 1.0)
    with runtimes.load(path) as runtime:
        black = np.zeros((16, 16, 3), np.uint8)
        golden = Golden((runtimes.golden.Case("black", black, black),))
        golden.save(golden_path(path))
        assert runtime.spec.seal == sealed(runtime.spec, runtime.content_sha256(), golden, Thresholds()).seal
    assert "lacks blue, checker, cyan" in said(capsys, 1, path)


# Other formats


def saved_again(path: Path) -> None:
    """By the format's own library, without a change of weights."""
    if path.suffix == ".mlpackage":
        save_package(opened(path), path)
        return
    if path.suffix == ".xml":
        model = openvino.Core().read_model(path)
        openvino.save_model(model, path.with_name("again.xml"), compress_to_fp16=False)
        del model
        path.with_name("again.bin").replace(path.with_suffix(".bin"))
        path.with_name("again.xml").replace(path)
        return
    extra = {"bncagan.json": ""}
    program = torch.export.load(path, extra_files=extra)
    torch.export.save(program, path, extra_files=extra)


def opened(path: Path) -> coremltools.models.MLModel:
    with quiet():
        return coremltools.models.MLModel(str(path), skip_model_load=True)


def save_package(model: coremltools.models.MLModel, path: Path) -> None:
    """Replace a package, which coremltools would delete before it reads the weights."""
    other = path.with_name("other.mlpackage")
    model.save(str(other))
    shutil.rmtree(path)
    other.rename(path)


def coreml_graph(path: Path) -> None:
    model = opened(path)
    spec = model.get_spec()
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    block.operations[-1].attributes["name"].immediateValue.tensor.strings.values[0] = "x"
    save_package(coremltools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True), path)


def openvino_graph(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('<layer id="1" name="', '<layer id="1" name="x', 1))


def pt2_weights(path: Path) -> None:
    with torch.no_grad():
        extra = {"bncagan.json": ""}
        program = torch.export.load(path, extra_files=extra)
        next(iter(program.state_dict.values())).mul_(1.01)
        torch.export.save(program, path, extra_files=extra)


@pytest.mark.parametrize(
    ("export", "name", "change"),
    [
        (to_openvino, "m.xml", openvino_graph),
        (to_pt2, "m.pt2", pt2_weights),
        (to_coreml, "m.mlpackage", coreml_graph),
    ],
)
def test_other_formats(
    tmp_path: Path,
    generator: Generator,
    export: Callable[..., Artifact],
    name: str,
    change: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = export(fold(generator), tmp_path / name, precision="fp32", shapes=SHAPES).path
    assert not said(capsys, 0, path)
    saved_again(path)
    assert not said(capsys, 0, path)
    change(path)
    assert f"{CHANGED}graph or weights were changed" in said(capsys, 1, path)


# The digest of an ONNX file


def test_the_digest_leaves_out_the_spec_alone(onnx_file: Artifact) -> None:
    model = onnx.load(onnx_file.path)
    key = {entry.key: entry.value for entry in model.metadata_props}[CACHE_KEY]
    assert key.isalnum()
    assert len(key) == 64
    with runtimes.load(onnx_file.path) as runtime:
        content = runtime.content_sha256()
    assert content == hash_graph(model.SerializeToString())
    onnx.helper.set_model_props(model, {METADATA_KEY: "x" * 200, CACHE_KEY: key})
    assert content == hash_graph(model.SerializeToString())
    del model.metadata_props[:]
    assert key == hash_graph(model.SerializeToString()) != content


def test_the_cache_key_is_of_weights_and_options(tmp_path: Path, onnx_file: Artifact, generator: Generator) -> None:
    def key(path: Path) -> str:
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}[CACHE_KEY]

    other = Generator(ModelConfig(width=4))
    randomise(other, 1)
    again, weights, shape = (tmp_path / f"{number}.onnx" for number in range(3))
    to_onnx(fold(generator), again, precision="fp32", shapes=SHAPES)
    to_onnx(fold(other), weights, precision="fp32", shapes=SHAPES)
    to_onnx(fold(generator), shape, precision="fp32", shapes=ShapeSet.of((1, 16, 24)))
    assert key(again) == key(onnx_file.path)
    assert len({key(again), key(weights), key(shape)}) == 3


@pytest.mark.parametrize("data", [b"\x80", b"\x0d\x00\x00\x00\x00", b"\x0a"])
def test_what_is_no_model_has_no_digest(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="the ONNX model should"):
        hash_graph(data)
