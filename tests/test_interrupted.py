"""Killed, stopped, without room or without permission: the last good files stay, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtimes
from bncagan.cli import main
from export.publishing import publish
from runtimes.files import LOCK, PARTIAL, locked, sweep, workshop
from runtimes.golden import Case, Golden, golden_path
from tests.benchmark_fakes import make_report
from tests.clips import write_clip
from tests.folders import picture
from tests.processes import start
from tests.tiny_models import make_spec, write_gain

COMMAND = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " + (
    "import runpy; sys.argv[0] = 'bncagan'; runpy.run_module('bncagan', run_name='__main__')"
)
PUBLISH = """
import sys
from pathlib import Path
from tests.test_interrupted import published
print("ready", flush=True)
while True:
    for gain in (0.5, 1.0):
        published(Path(sys.argv[1]), gain)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")


def published(path: Path, gain: float) -> None:
    """Publish an ONNX file that multiplies by `gain`, without torch."""
    image = picture(0, 32, 48)
    expected = np.floor(image * gain + 0.5).astype(np.uint8)
    golden = Golden((Case("smooth", image, expected),))
    publish(
        path, make_spec(), golden, lambda target, spec: write_gain(target, spec, gain, metadata=spec.to_json()) and None
    )


def sealed_whole(path: Path) -> bool:
    """Whether an artifact is as it was sealed, with its golden pictures; False if only these are of another export."""
    with runtimes.load(path) as runtime:
        assert runtime.spec.seal is not None
        assert runtime.content_sha256() == runtime.spec.seal.content_sha256
        return Golden.load(golden_path(path)).sha256() == runtime.spec.seal.golden_sha256


def unfinished(folder: Path) -> list[Path]:
    """The unfinished files and folders below a folder, also while they come and go."""
    return [
        Path(place, name)
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if name.startswith(PARTIAL)
    ]


def require_swept(folder: Path) -> None:
    """Nothing unfinished is left but folders that were killed before they had their lock; they go after a minute."""
    for path in unfinished(folder):
        assert path.is_dir()
        assert not (path / LOCK).exists()
        os.utime(path, (0, 0))
    sweep(folder)
    assert not unfinished(folder)


# SIGKILL


def kill_publishing(path: Path, kills: int, rng: random.Random) -> int:
    """Kill an export again and again; returns how many were in the middle of a write."""
    writing = 0
    for _ in range(kills):
        with start(PUBLISH, path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
        writing += bool(unfinished(path.parent))
        if path.exists():
            sealed_whole(path)
    return writing


def test_a_killed_export_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    published(path, 0.5)
    assert kill_publishing(path, 3, random.Random(0)) > 0
    sweep(tmp_path)
    require_swept(tmp_path)
    published(path, 1.0)
    assert sealed_whole(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.golden.npz"]


def photographs(folder: Path, count: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.fromarray(picture(number, 64, 64)).save(folder / f"{number}.png")
    return folder


def arguments_of(name: str, folder: Path) -> tuple[list[object], Path]:
    """A command that writes, and the file that is there when it is done."""
    artifact = write_gain(folder / "m.onnx", make_spec())
    nano = ["--checkpoint", "nano", "--shape", "32x32", "--out"]
    if name == "export":
        return ["export", "onnx", *nano, folder / "n.onnx"], folder / "n.onnx"
    if name == "bundle":
        return ["bundle", "cpp", *nano, folder / "bundle"], folder / "bundle"
    if name == "benchmark":
        out = folder / "r.json"
        return ["benchmark", artifact, "--shape", "32x32", "--runs", 300, "--out", out], out
    if name == "video":
        clip = folder / "a.mp4"
        if not clip.exists():
            write_clip(clip, [picture(number % 5, 64, 96) for number in range(100)], sound=False)
        return ["enhance", "--model", artifact, clip, "--out", folder / "b.mp4", "--overwrite"], folder / "b.mp4"
    if name == "selftest":
        out = folder / "test"
        return ["verify", "nano", "--write-self-test", out], out
    out = folder / "out"
    return ["enhance", artifact, photographs(folder / "in", 9), "--out", out, "--overwrite"], out / "8.png"


def test_folders_in_work_stay_and_those_of_killed_processes_go(tmp_path: Path) -> None:
    hold = "import os, sys; from pathlib import Path; from runtimes.files import workshop\n"
    hold += (
        "with workshop(Path(sys.argv[1])) as place:\n    (place / 'half').touch(); print(place, flush=True); input()"
    )
    killed = start(hold, tmp_path)
    assert killed.stdout is not None
    left = Path(killed.stdout.readline().strip())
    killed.kill()
    killed.communicate()
    bare = tmp_path / f"{PARTIAL}bare"  # killed before it had its lock
    bare.mkdir()
    with workshop(tmp_path) as working:
        assert (left / "half").exists() is False  # the first writer here has swept
        sweep(tmp_path)
        assert working.is_dir()
        assert bare.is_dir()  # it may be about to get its lock
    os.utime(bare, (0, 0))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Ctrl-C and SIGTERM


@pytest.mark.parametrize(("number", "delay_s"), [(signal.SIGINT, 0.05), (signal.SIGINT, 1.5), (signal.SIGTERM, 3.0)])
def test_a_signal_at_any_time_ends_an_export_with_one_line(tmp_path: Path, number: int, delay_s: float) -> None:
    stop_at_random("export", tmp_path, number, delay_s)


@pytest.mark.hard
@pytest.mark.parametrize("name", ["export", "bundle", "benchmark", "video", "selftest", "enhance"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.1, 0.7, 2.0, 5.0])
def test_signals_at_many_times(tmp_path: Path, name: str, number: int, delay_s: float) -> None:
    stop_at_random(name, tmp_path, number, delay_s)


def stop_at_random(name: str, folder: Path, number: int, delay_s: float) -> None:
    arguments, _ = arguments_of(name, folder)
    with start("print(flush=True); " + COMMAND, *arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it begins to load the command
        time.sleep(delay_s)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    # before the command listens, and while Python shuts down after it, a signal just ends the process
    assert process.returncode in {128 + number, -number, 0}
    if process.returncode == 128 + number:
        assert said.splitlines()[-1] == "bncagan: stopped"
    assert not unfinished(folder)


# No room


@contextlib.contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let this process write files of at most `size` bytes, as if the disk were full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def report(folder: Path) -> list[object]:
    make_report().save(folder / "a.json")
    return ["compare", folder / "a.json", folder / "a.json", "--out", folder / "old.csv"]


WRITERS: dict[str, tuple[Callable[[Path], list[object]], int]] = {
    "enhance": (lambda folder: [*arguments_of("enhance", folder)[0]], 2),
    "video": (lambda folder: [*arguments_of("video", folder)[0]], 2),
    "self-test": (lambda folder: [*arguments_of("selftest", folder)[0]], 2),
    "compare": (report, 2),
    "before and after": (
        lambda folder: [*arguments_of("enhance", folder)[0], "--before-after", folder / "sheet.png"],
        2,
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_sentence_and_no_half_file(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "video":
        pytest.importorskip("av", reason="needs PyAV")
    made, code = WRITERS[name]
    arguments = [str(argument) for argument in made(tmp_path)]
    (tmp_path / "old.csv").write_text("old")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with at_most(20):
        assert main(arguments) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("bncagan: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert main([*arguments, *(["--overwrite"] if name == "before and after" else [])][: len(arguments)]) == 0


@pytest.mark.parametrize("size", [100, 400, 600])
def test_an_export_onto_a_full_disk_keeps_the_old_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.onnx"
    published(path, 0.5)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with at_most(size), pytest.raises((OSError, runtimes.InputError)):
        published(path, 1.0)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# No permission


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Forbid this process to write into a folder, also if it belongs to root."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_folder_is_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "video":
        pytest.importorskip("av", reason="needs PyAV")
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        made, _ = WRITERS[name]
        arguments = [str(argument) for argument in made(folder)]
        if name == "self-test":
            main(["doctor", "--json"])
            capsys.readouterr()
        before = sorted(folder.rglob("*"))
        with read_only(folder):
            assert main(arguments) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("\n") == 1
        assert there in said
        assert sorted(folder.rglob("*")) == before


def test_one_process_at_a_time_is_in_a_lock(tmp_path: Path) -> None:
    hold = "import sys; from pathlib import Path; from runtimes.files import locked\n"
    hold += "with locked(Path(sys.argv[1])):\n    print('in', flush=True); input()"
    with start(hold, tmp_path / "new" / ".lock") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with start(hold, tmp_path / "new" / ".lock") as second:
            time.sleep(0.5)
            first.kill()  # whose lock goes with it
            assert second.stdout is not None
            assert second.stdout.readline() == "in\n"
            second.kill()
    with locked(tmp_path / "new" / ".lock"):
        pass
