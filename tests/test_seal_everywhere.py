"""The seal in every format: each changed constant is refused, a hundred honest copies are not.

The artifacts are those of tests/written_by_0.2, so that no converter is needed.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coremltools
import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import runtimes
from bncagan.cli import main
from export.mil import MilEvaluator
from export.sealing import SealError, require_sealed
from runtimes import Runtime
from runtimes.coreml import WEIGHTS_KEY, hash_weights, read_package
from runtimes.formats import FORMATS
from runtimes.golden import Golden, golden_path
from runtimes.ov import hash_weights as ov_hash
from tests.test_seal import saved_again
from tests.written import unpack

ARTIFACTS = (
    *("fp32.onnx", "fp16.onnx", "int8.onnx", "range.onnx", "fp32.xml", "int8.xml"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("fp16.mlpackage", "fp32.pt2")),
    pytest.param(
        "fp32.tflite",
        marks=pytest.mark.skipif(FORMATS["litert"].missing() is not None, reason="ai-edge-litert is not installed"),
    ),
)
Changes = Iterator[str]  # names of constants; each is changed while the iterator stands still


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("0.2", tmp_path_factory.mktemp("written"))


def copied(path: Path, target: Path) -> Path:
    """An artifact with all that belongs to it, under another name."""
    (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    shutil.copy(golden_path(path), golden_path(target))
    if path.suffix == ".xml":
        shutil.copy(path.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


def opened(path: Path) -> Runtime:
    return MilEvaluator(path) if path.suffix == ".mlpackage" else runtimes.load(path)


def require_honest(path: Path) -> None:
    with opened(path) as runtime:
        require_sealed(runtime, Golden.load(golden_path(path)))


def refusal(runtime: Runtime, golden: Golden) -> str:
    """What the seal says; empty if all is as it was."""
    try:
        require_sealed(runtime, golden)
    except SealError as error:
        return str(error)
    return ""


# Every constant changed


def a_little_off(values: NDArray[Any]) -> NDArray[Any]:
    """Each number times 0.99, or 0.01 in place of zeros; of whole numbers, the largest by one step."""
    if values.dtype.kind == "f":
        made = np.asarray(values * values.dtype.type(0.99) if values.any() else values + values.dtype.type(0.01))
        if made.tobytes() == values.tobytes():  # subnormal
            made = np.nextafter(values, values.dtype.type(1))
    else:
        made = values.flatten()
        place = int(np.abs(made.astype(np.float64)).argmax())
        made[place] = int(made[place]) + (1 if made[place] <= 0 else -1)
    assert made.tobytes() != values.tobytes()
    return made.reshape(values.shape)


def of_onnx(path: Path) -> Changes:
    model = onnx.load(path)
    constants = list(model.graph.initializer)
    constants += [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for constant in constants:
        honest = constant.SerializeToString()
        values = numpy_helper.to_array(constant)
        if values.size == 0:
            continue
        made = ~values if values.dtype == bool else a_little_off(values)
        constant.CopyFrom(numpy_helper.from_array(made, constant.name))
        onnx.save(model, path)
        yield constant.name
        constant.ParseFromString(honest)
    onnx.save(model, path)


def of_openvino(path: Path) -> Changes:
    kinds = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8, "u8": np.uint8}
    file = path.with_suffix(".bin")
    honest = file.read_bytes()
    data = r'<data element_type="(\w+)" shape="[^"]*" offset="(\d+)" size="(\d+)" />'
    places = {int(start): (int(size), kind) for kind, start, size in re.findall(data, path.read_text())}
    assert len(places) > 50
    for start, (size, kind) in places.items():
        values = np.frombuffer(honest[start : start + size], kinds[kind])
        file.write_bytes(honest[:start] + a_little_off(values).tobytes() + honest[start + size :])
        yield f"{start}"
    file.write_bytes(honest)


def of_coreml(path: Path) -> Changes:
    """Of the file of weights, with the format's own hash of it made anew; then of the constants in the program."""
    kinds = {1: np.float16, 2: np.float32}
    (file,) = path.rglob("weight.bin")
    (program,) = path.rglob("model.mlmodel")
    honest, spec = file.read_bytes(), coremltools.proto.Model_pb2.Model.FromString(program.read_bytes())
    for start in range(64, len(honest), 64):
        sentinel, kind, size, offset = struct.unpack("<IIQQ", honest[start : start + 24])
        if sentinel != 0xDEADBEEF:
            continue
        made = a_little_off(np.frombuffer(honest[offset : offset + size], kinds[kind])).tobytes()
        file.write_bytes(honest[:offset] + made + honest[offset + size :])
        spec.description.metadata.userDefined[WEIGHTS_KEY] = hash_weights(SimpleNamespace(weights_dir=file.parent))
        program.write_bytes(spec.SerializeToString())
        yield f"weight.bin {offset}"
    file.write_bytes(honest)
    spec.description.metadata.userDefined[WEIGHTS_KEY] = hash_weights(SimpleNamespace(weights_dir=file.parent))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    for operation in block.operations:
        if operation.type != "const" or operation.attributes["val"].WhichOneof("value") != "immediateValue":
            continue
        tensor = operation.attributes["val"].immediateValue.tensor
        values = getattr(getattr(tensor, tensor.WhichOneof("value")), "values", None)
        if not values:
            continue
        kept = values if isinstance(values, bytes) else list(values)
        write_immediate(tensor, kept, change=True)
        program.write_bytes(spec.SerializeToString())
        yield operation.outputs[0].name
        write_immediate(tensor, kept, change=False)
    program.write_bytes(spec.SerializeToString())


def write_immediate(tensor: Any, kept: Any, *, change: bool) -> None:
    held = getattr(tensor, tensor.WhichOneof("value"))
    if isinstance(kept, bytes):
        held.values = a_little_off(np.frombuffer(kept, np.float16)).tobytes() if change else kept
        return
    del held.values[:]
    if not change:
        held.values.extend(kept)
    elif isinstance(kept[0], str):
        held.values.extend(f"{value}x" for value in kept)
    elif isinstance(kept[0], bool):
        held.values.extend(not value for value in kept)
    else:
        kind = np.float32 if isinstance(kept[0], float) else np.int32
        held.values.extend(a_little_off(np.array(kept, kind)).tolist())


def of_pt2(path: Path) -> Changes:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    floats = {7: np.float32, 5: np.int64}  # numbers of PyTorch's serialized types
    tables = [name for name in files if name.endswith(("weights_config.json", "constants_config.json"))]
    for table in tables:
        for name, entry in json.loads(files[table])["config"].items():
            place = f"{table.rpartition('/')[0]}/{entry['path_name']}"
            values = np.frombuffer(files[place], floats[entry["tensor_meta"]["dtype"]])
            pack(path, files | {place: a_little_off(values).tobytes()})
            yield name
    pack(path, files)


def pack(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def of_litert(path: Path) -> Changes:
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    kind = schema.TensorType
    kinds = {kind.FLOAT32: np.float32, kind.INT32: np.int32, kind.INT64: np.int64, kind.BOOL: np.uint8}
    honest = path.read_bytes()
    model = schema.Model.GetRootAs(honest, 0)
    graph = model.Subgraphs(0)
    for tensor in map(graph.Tensors, range(graph.TensorsLength())):
        held = model.Buffers(tensor.Buffer())
        if held.DataLength():
            start = held._tab.Vector(held._tab.Offset(4))
            values = np.frombuffer(honest, np.uint8)[start : start + held.DataLength()].view(kinds[tensor.Type()])
            path.write_bytes(honest[:start] + a_little_off(values).tobytes() + honest[start + held.DataLength() :])
            yield tensor.Name().decode()
    path.write_bytes(honest)


CHANGES = {".onnx": of_onnx, ".xml": of_openvino, ".mlpackage": of_coreml, ".pt2": of_pt2, ".tflite": of_litert}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_changed_constant_is_refused(written: Path, tmp_path: Path, name: str) -> None:
    """By the seal's digest alone: a format's own hash of its weights is made anew, or not read."""
    path = copied(written / "artifacts" / name, tmp_path / name)
    golden, refused = Golden.load(golden_path(path)), 0
    with opened(path) as runtime:
        for constant in CHANGES[path.suffix](path):
            if isinstance(runtime, MilEvaluator):  # the only one that keeps what it read
                runtime._package = read_package(path)
            assert "but its graph or weights were changed" in refusal(runtime, golden), constant
            refused += 1
    require_honest(path)
    print(f"{name}: {refused} constants, all refused")
    assert refused > 50


# Honest copies


def files_of(path: Path) -> list[Path]:
    """The artifact and what lies beside it."""
    return [file for file in (path, golden_path(path), path.with_suffix(".bin")) if file.exists()]


def renamed(path: Path, place: Path) -> Path:
    return copied(path, place / f"another \u00fc name{path.suffix}")


def in_a_moved_folder(path: Path, place: Path) -> Path:
    (place / "a").mkdir()
    copied(path, place / "a" / path.name)
    return (place / "a").rename(place / "b") / path.name


def linked(path: Path, place: Path) -> Path:
    for file in files_of(path):
        (place / file.name).symlink_to(file)
    return place / path.name


def in_a_linked_folder(path: Path, place: Path) -> Path:
    (place / "link").symlink_to(path.parent)
    return place / "link" / path.name


def by_a_relative_path(path: Path, place: Path) -> Path:
    return Path(os.path.relpath(copied(path, place / path.name)))


def unpacked(kind: str) -> Callable[[Path, Path], Path]:
    def work(path: Path, place: Path) -> Path:
        (place / "a").mkdir()
        copied(path, place / "a" / path.name)
        shutil.unpack_archive(shutil.make_archive(str(place / "all"), kind, place / "a"), place / "b")
        return place / "b" / path.name

    return work


def read_only(path: Path, place: Path) -> Path:
    made = copied(path, place / path.name)
    for file in files_of(made):
        file.chmod(0o555 if file.is_dir() else 0o444)
    return made


def touched(path: Path, place: Path) -> Path:
    made = copied(path, place / path.name)
    for file in files_of(made):
        os.utime(file, (0, 0))
    return made


def with_golden_saved_again(path: Path, place: Path) -> Path:
    made = copied(path, place / path.name)
    Golden.load(golden_path(made)).save(golden_path(made))
    return made


def with_golden_compressed(path: Path, place: Path) -> Path:
    """By NumPy itself, with its arrays in another order."""
    made = copied(path, place / path.name)
    with np.load(golden_path(made)) as arrays:
        np.savez_compressed(golden_path(made), **{name: arrays[name] for name in reversed(arrays.files)})
    return made


def saved_by_its_library(path: Path, place: Path) -> Path:
    made = copied(path, place / path.name)
    if path.suffix == ".onnx":
        onnx.save(onnx.load(made), made)
    else:
        saved_again(made)
    return made


def saved_three_times(path: Path, place: Path) -> Path:
    for number in range(3):
        (place / f"{number}").mkdir()
        path = saved_by_its_library(path, place / f"{number}")
    return path


OPERATIONS = [
    *(renamed, in_a_moved_folder, linked, in_a_linked_folder, by_a_relative_path, unpacked("zip"), unpacked("gztar")),
    *(read_only, touched, with_golden_saved_again, with_golden_compressed),
]
SAVING = [saved_by_its_library, saved_three_times]


@pytest.mark.slow
def test_a_hundred_honest_copies_pass(written: Path, tmp_path: Path) -> None:
    """LiteRT alone has nothing that saves a file again: its library's `write_model` leaves out the spec."""
    passed = 0
    for name in (given if isinstance(given, str) else given.values[0] for given in ARTIFACTS):
        if FORMATS["litert"].missing() is not None and name.endswith(".tflite"):
            continue
        for operation in OPERATIONS + SAVING * (not name.endswith(".tflite")):
            place = tmp_path / f"{name} {passed}"
            place.mkdir()
            require_honest(operation(written / "artifacts" / name, place))
            passed += 1
    print(f"{passed} honest copies, all passed")
    assert passed >= 100


def test_halved_weights_are_refused(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As OpenVINO's save_model writes them unless told not to."""
    path = copied(written / "artifacts" / "fp32.xml", tmp_path / "m.xml")
    again = tmp_path / "again.xml"
    openvino.save_model(openvino.Core().read_model(path), again)
    shutil.copy(golden_path(path), golden_path(again))
    assert again.with_suffix(".bin").stat().st_size < 0.6 * path.with_suffix(".bin").stat().st_size
    assert main(["verify", str(again)]) == 2
    assert "again.bin is from another one or was changed" in capsys.readouterr().err
    text = again.read_text()
    again.write_text(text.replace(ov_hash(path), ov_hash(again)))
    assert main(["verify", str(again)]) == 1
    assert "its graph or weights were changed" in capsys.readouterr().err
