"""Hostile files: whatever they hold, reading one succeeds or is one sentence that names it, and nothing is printed."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig, to_json_dict
from bncagan.network.checkpoint import GENERATOR_FORMAT, load_generator
from runtimes import ArtifactError, InputError, ShapeSet
from runtimes.formats import FORMATS
from runtimes.golden import Golden
from runtimes.image import decode_png, encode_png
from runtimes.litert import join, split
from tests.fuzz.mutation import archived, changed, inside, mended, stored
from tests.fuzz.targets import TARGETS, padded
from tests.test_runtimes import write_program
from tests.tiny_models import NumpyRuntime, make_spec, write_gain

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed; it is in the extra dev")
strategies = hypothesis.strategies

SLOW = {"pt2", "openvino", "video"}  # to open
TALKERS = {"picture", "litert"}  # libtiff speaks its mind, and LiteRT names its delegate
FUZZ_S = int(os.environ.get("BNCAGAN_FUZZ_SECONDS", "30"))  # of each kind of file in make test-hard


def require(name: str) -> None:
    """Skip the test of a target whose backend is not installed."""
    missing = FORMATS[name].missing() if name in FORMATS else None
    if missing is not None:
        pytest.skip(missing)
    if name == "video":
        pytest.importorskip("av", reason="needs PyAV")


@functools.cache
def workplace(name: str) -> tuple[Path, list[bytes]]:
    """A folder for a target, and its seeds; skips where its backend is not installed."""
    require(name)
    folder = Path(tempfile.mkdtemp(prefix="bncagan-hostile-"))
    return folder, TARGETS[name].seeds(folder)


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_file_is_read_or_refused_by_one_sentence(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    target, (folder, seeds) = TARGETS[name], workplace(name)
    path = folder / f"input{target.suffix}"
    for seed in seeds:
        path.write_bytes(seed)
        assert target.accepts(path)

    @hypothesis.settings(max_examples=8 if name in SLOW else 40, deadline=None, database=None, derandomize=True)
    @hypothesis.given(strategies.sampled_from(seeds), strategies.randoms(use_true_random=False))
    def read(seed: bytes, rng: random.Random) -> None:
        path.write_bytes(inside(seed, rng))
        target.accepts(path)

    capfd.readouterr()
    read()
    assert name in TALKERS or capfd.readouterr() == ("", "")


@pytest.mark.hard
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed; it has no wheel here"
)
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    require(name)
    command = [sys.executable, "-m", "tests.fuzz", name, str(FUZZ_S), str(tmp_path)]
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or [""])[-1]
    print(last)
    assert done.returncode == 0, last or done.stderr[-2000:]


def test_mutations_reach_behind_checksums() -> None:
    png = encode_png(np.zeros((4, 4, 3), np.uint8))
    wrong = bytearray(png)
    wrong[-1] ^= 1
    assert mended(bytes(wrong)) == png
    archive = stored(archived([("a", b"x" * 100), ("b", png)]))
    reached = set()
    for number in range(60):
        made = inside(archive, random.Random(number))
        try:
            with zipfile.ZipFile(io.BytesIO(made)) as opened:
                reached |= {name for name in opened.namelist() if opened.read(name) not in {b"x" * 100, png}}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
            pass  # the archive itself was changed
    assert {"a", "b"} <= reached
    assert changed(b"", random.Random(0)) == b""


# Cases that were found, each as small as it can be


def refused(action: Callable[[], object], path: Path, *parts: str, kind: type[Exception] = ArtifactError) -> None:
    with pytest.raises(kind) as caught:
        action()
    said = str(caught.value)
    assert "\n" not in said
    for part in (str(path), *parts):
        assert part in said


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def member(path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Change the member of an archive whose name ends in `name`."""
    with zipfile.ZipFile(path) as archive:
        members = [(each, archive.read(each)) for each in archive.namelist()]
    assert any(each.endswith(name) for each, _ in members)
    path.write_bytes(archived([(each, change(data) if each.endswith(name) else data) for each, data in members]))
    return path


def test_an_onnx_file_whose_error_is_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = replaced(write_gain(tmp_path / "m.onnx", make_spec()), b"\x03Mul", b"\x03M\xffl")
    refused(lambda: runtimes.load(path), path, "should be an ONNX model but does not load")
    assert capfd.readouterr() == ("", "")


def test_an_onnx_file_that_fails_at_the_first_inference(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    padded(path, pad=40)
    with runtimes.load(path) as runtime:
        image = np.zeros((32, 32, 3), np.uint8)
        refused(lambda: runtime.enhance(image), path, "export it again")  # old versions answer in another shape
    assert "onnxruntime" not in "".join(capfd.readouterr())


def test_an_openvino_file_whose_error_is_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, (seed,) = workplace("openvino")
    path = folder / "text.xml"
    path.write_bytes(seed.replace(b'type="Pad"', b'type="P\xffd"'))
    path.with_suffix(".bin").write_bytes((folder / "weights.bin").read_bytes())
    refused(lambda: runtimes.load(path), path, "should be an OpenVINO IR but does not load")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "change"),
    [("version", lambda data: b"a\nb"), ("model.json", lambda data: data[:-9]), ("model.json", lambda data: b"{}")],
)
def test_a_broken_program_is_no_traceback(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    path = member(write_program(tmp_path / "m.pt2", make_spec()), name, change)
    refused(lambda: runtimes.load(path), path, "export it again")
    assert capfd.readouterr() == ("", "")


def test_a_program_whose_nodes_have_no_names_has_the_same_digest(tmp_path: Path) -> None:
    def nameless(data: bytes) -> bytes:
        graph = json.loads(data)
        for node in graph["graph_module"]["graph"]["nodes"]:
            del node["name"]
        return json.dumps(graph).encode()

    path = write_program(tmp_path / "m.pt2", make_spec())
    with runtimes.load(path) as runtime:
        named = runtime.content_sha256()
    member(path, "models/model.json", nameless)
    with runtimes.load(path) as runtime:
        assert runtime.content_sha256() == named


def model_and_spec() -> tuple[bytes, str]:
    model, spec = split(workplace("litert")[0] / "m.tflite")  # the seed
    assert spec is not None
    return model, spec


def load_in_another_process(path: Path) -> int:
    """Exit code: 7 if the file is refused, negative if the process was ended by a signal."""
    code = f"import sys, runtimes\ntry:\n    runtimes.load({str(path)!r})\nexcept runtimes.ArtifactError: sys.exit(7)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode


@pytest.mark.parametrize("change", ["no graph", "outside"])
def test_a_litert_model_without_a_graph_does_not_end_the_process(tmp_path: Path, change: str) -> None:
    model = bytearray(model_and_spec()[0])
    (table,) = struct.unpack_from("<I", model)
    fields = table - struct.unpack_from("<i", model, table)[0]
    if change == "no graph":
        model[fields + 8 : fields + 10] = b"\0\0"
    else:
        model[table : table + 4] = struct.pack("<i", -(2**30))
    path = tmp_path / "m.tflite"
    join(bytes(model), make_spec(ShapeSet.of((1, 16, 16))).to_json(), path)
    assert load_in_another_process(path) == 7


def test_a_changed_litert_model_is_refused_before_litert_opens_it(tmp_path: Path) -> None:
    model, spec = model_and_spec()
    path = tmp_path / "m.tflite"
    join(model, spec, path)
    assert load_in_another_process(path) == 0
    join(model[:-1] + b"\x31", spec, path)  # SPLIT_V instead of MUL, which ends the process
    assert load_in_another_process(path) == 7
    refused(lambda: runtimes.load(path), path, "graph or weights were changed")


def test_an_error_is_one_line_whatever_a_library_said() -> None:
    assert str(InputError("a.pt2 is damaged (version\n3); replace it")) == "a.pt2 is damaged (version 3); replace it"
    assert "\n" not in str(runtimes.BackendMissingError("a\nb"))


def golden_file(path: Path) -> Path:
    path.write_bytes(workplace("golden")[1][0])
    return path


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


@pytest.mark.parametrize(
    "array",
    [
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904,), }"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
    ],
)
def test_a_golden_file_with_a_header_that_numpy_cannot_parse(tmp_path: Path, array: bytes) -> None:
    path = member(golden_file(tmp_path / "g.npz"), "image_0.npy", lambda _: array)
    refused(lambda: Golden.load(path), path, "should hold golden pictures but does not")


# Bombs


def test_a_golden_file_that_unpacks_to_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.golden.MOST_BYTES", most := 2**22)
    path = tmp_path / "g.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("names.npy", "w") as entry:
        entry.write(bytes(most + 1))
    assert path.stat().st_size < most // 100
    refused(lambda: Golden.load(path), path, f"at most {most} are read")


def test_a_png_of_many_pixels_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode_png(np.zeros((4, 4, 3), np.uint8)))
    data[16:24] = struct.pack(">II", 10**5, 10**5)
    with pytest.raises(ArtifactError, match="at most 67108864 px"):
        decode_png(mended(bytes(data)))


@pytest.mark.parametrize("width", [2**12, 2**30, 2**52])
def test_a_checkpoint_of_a_wide_network_costs_no_memory(tmp_path: Path, width: int) -> None:
    path = tmp_path / "g.safetensors"
    model = to_json_dict(ModelConfig(width=4)) | {"width": width}
    description = {"format": GENERATOR_FORMAT, "model": model, "training": {}}
    save_file({"a": torch.zeros(1)}, path, metadata={"description": json.dumps(description)})
    refused(lambda: load_generator(path), path, kind=InputError)


@pytest.mark.parametrize("description", ["[" * 10**5, '{"format": ' * 10**4, "9" * 5000, "\ud800"])
def test_a_checkpoint_with_a_deep_description(tmp_path: Path, description: str) -> None:
    path = tmp_path / "g.safetensors"
    text = description.encode(errors="replace").decode()
    save_file({"a": torch.zeros(1)}, path, metadata={"description": text})
    refused(lambda: load_generator(path), path, kind=InputError)


# Links


def test_results_stay_in_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_gain(tmp_path / "m.onnx", make_spec())
    photographs, out, elsewhere = tmp_path / "in", tmp_path / "out", tmp_path / "elsewhere"
    for folder in (photographs / "sub", out, elsewhere):
        folder.mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        (photographs / name).write_bytes(encode_png(np.zeros((16, 16, 3), np.uint8)))
    (elsewhere / "a.png").write_text("mine")
    (out / "sub").symlink_to(elsewhere)
    (out / "a.png").symlink_to(elsewhere / "a.png")
    command = ["enhance", str(model), str(photographs), "--out", str(out), "--recursive", "--overwrite"]
    assert main(command) == 1
    assert f"{out / 'sub'} is a link to another folder" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("a.png", "mine")]
    assert not (out / "a.png").is_symlink()


# Numbers that are none


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_batch_with_a_number_that_is_none_is_refused_with_its_place(value: float) -> None:
    batch = np.zeros((2, 3, 16, 16), np.float32)
    batch[1, 2, 3, 4] = value
    runtime = NumpyRuntime(lambda x: x)
    wanted = f"is {np.float32(value)} at (1, 2, 3, 4) (NCHW)"
    refused(lambda: runtime.infer(batch), runtime.path, "should be given finite numbers on cpu", wanted)
    assert np.array_equal(runtime.infer(batch, allow_nan=True), batch, equal_nan=True)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    _, (seed, _) = workplace("checkpoint")
    path = tmp_path / "g.safetensors"
    path.write_bytes(seed)
    size = struct.unpack("<Q", seed[:8])[0]
    header = json.loads(seed[8 : 8 + size])
    name = max((each for each in header if each != "__metadata__"), key=lambda each: header[each]["data_offsets"][0])
    start = 8 + size + header[name]["data_offsets"][0]
    path.write_bytes(seed[:start] + struct.pack("<f", float("inf")) + seed[start + 4 :])
    refused(lambda: load_generator(path), path, f"{name} is not finite", kind=InputError)


def test_whatever_a_backend_raises_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    def odd(*_: Any, **__: Any) -> Any:
        raise OddError("first line\nsecond line")

    path = write_gain(tmp_path / "m.onnx", make_spec(ShapeSet.of((1, 16, 16))))
    with runtimes.load(path) as runtime:
        monkeypatch.setattr(runtime, "_run", odd)
        refused(lambda: runtime.infer(np.zeros((1, 3, 16, 16), np.float32)), path, "(first line second line)")
    monkeypatch.setattr("runtimes.ort._match", odd)
    refused(lambda: runtimes.load(path), path, "should open in onnxruntime but does not")
