"""SIGKILL of every command that writes, at random and while it writes: nothing is lost, and the next run goes on.

`tests/test_kills.py` kills a run over a folder of photographs.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.report import Report
from bncagan.network.checkpoint import load_generator
from runtimes.files import sweep
from tests.clips import facts
from tests.folders import make_data
from tests.test_interrupted import (
    COMMAND,
    arguments_of,
    kill_publishing,
    published,
    require_swept,
    sealed_whole,
    start,
    unfinished,
)
from tests.test_runs import SMALL, described, equal, lines_of

pytestmark = [
    pytest.mark.hard,
    pytest.mark.skipif(sys.platform == "win32", reason="killed processes leave unfinished files on Windows"),
]

FRAMES = 100  # of the video


class Kills:
    """Kills of one command, counted; a process that had ended before is none."""

    def __init__(self, folder: Path) -> None:
        self.kills = self.writing = 0
        self._folder = folder

    def kill(self, process: subprocess.Popen[str], ready: Callable[[], bool], *, writing: bool) -> None:
        """Kill a process as soon as it is `ready`, or if it shall be `writing` as soon as it writes after that."""
        before, deadline = set(unfinished(self._folder)), time.monotonic() + 300
        while process.poll() is None and not (ready() and (not writing or set(unfinished(self._folder)) - before)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        _, said = process.communicate(timeout=60)  # until nobody is left that could write
        assert process.returncode in {0, -signal.SIGKILL}, said
        self.kills += process.returncode == -signal.SIGKILL
        self.writing += process.returncode == -signal.SIGKILL and bool(set(unfinished(self._folder)) - before)

    def __str__(self) -> str:
        return f"{self.kills} kills, {self.writing} of them while it wrote"


def after(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def require_whole(name: str, made: Path, expected: set[str], *, done: bool = False) -> None:
    """A result is what the command writes; `expected` are the names in a folder. After a kill (not `done`) the golden
    pictures beside an export may be of the export before.
    """
    if name == "export":
        assert sealed_whole(made) or not done
    elif name == "benchmark":
        assert Report.load(made).to_json()
    elif name == "video":
        assert len(facts(made).times) == FRAMES
    else:
        assert names(made) == expected


@pytest.mark.parametrize(
    ("name", "kills", "writing"),
    [("export", 8, 4), ("bundle", 8, 4), ("video", 10, 5), ("selftest", 8, 4), ("benchmark", 8, 0)],
)
def test_a_killed_command_works_the_next_time(tmp_path: Path, name: str, kills: int, writing: int) -> None:
    arguments, made = arguments_of(name, tmp_path)
    rng, count = random.Random(0), Kills(tmp_path)
    began = time.monotonic()
    with start(COMMAND, *arguments) as process:
        assert process.wait(timeout=300) == 0
    took, expected = time.monotonic() - began, names(made) if made.is_dir() else set()
    for number in range(4 * kills):
        if made.is_dir():
            shutil.rmtree(made)
        wait_s = rng.uniform(0, 0.1) if number % 2 else rng.uniform(0.2, 0.95) * took
        with start(COMMAND, *arguments) as process:
            count.kill(process, after(wait_s), writing=bool(number % 2 and writing))
        if made.exists():
            require_whole(name, made, expected)
        if count.kills >= kills and count.writing >= writing:
            break
    print(f"{name}: {count}")
    assert count.kills >= kills
    assert count.writing >= writing
    if made.is_dir():
        shutil.rmtree(made)
    with start(COMMAND, *arguments) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    require_whole(name, made, expected, done=True)
    require_swept(tmp_path)


def test_thirty_kills_of_exports_of_a_tiny_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    writing = kill_publishing(path, 30, random.Random(1))
    print(f"publishing: 30 kills, {writing} of them while it wrote")
    assert writing >= 20
    sweep(tmp_path)
    require_swept(tmp_path)
    published(path, 1.0)
    assert sealed_whole(path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_training_run_that_is_killed_again_and_again_ends_in_the_same_bits(tmp_path: Path) -> None:
    """First during its first checkpoint; then at its start, after a few steps, and while it writes."""
    run, state = tmp_path / "run", tmp_path / "run" / "state.safetensors"
    options = ["train", "--data", make_data(tmp_path / "data"), *SMALL, "--log-every", "1", "--checkpoint-every", "1"]
    options += ["--steps", "20", "--workers", "0", "--out"]
    rng, count = random.Random(0), Kills(tmp_path)
    for _ in range(20):  # until the kill comes before the first checkpoint has its name
        with start(COMMAND, *options, run) as process:
            count.kill(process, lambda: True, writing=True)
        if count.writing and not state.exists():
            break
        shutil.rmtree(run)
        count = Kills(tmp_path)
    assert (count.kills, count.writing) == (1, 1), "no kill came during the first checkpoint"
    steps = 0
    for number in range(60):
        if count.kills >= 14 and count.writing >= 7:
            break
        goal = steps + rng.randint(0, 1)
        far = after(rng.uniform(0, 3)) if number % 4 == 3 else lambda goal=goal: logged(run) > goal
        given = ["train", "--resume", run] if state.exists() else [*options, run]
        with start(COMMAND, *given) as process:
            count.kill(process, far, writing=number % 2 == 0)
        if state.exists():
            kept = described(state)["step"]
            assert kept >= steps, "a checkpoint was lost"
            steps = kept
        for path in (run / "generator.safetensors", run / "best.safetensors"):
            assert not path.exists() or load_generator(path)
    print(f"train: {count}, up to step {steps} of 20")
    assert steps < 20, "the run was over before its last kill"
    assert count.kills >= 14
    assert count.writing >= 7
    for given in (["train", "--resume", run], [*options, tmp_path / "whole"]):
        with start(COMMAND, *given) as process:
            _, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
    for name in ("generator.safetensors", "state.safetensors"):
        assert equal(run / name, tmp_path / "whole" / name)
    assert lines_of(run) == lines_of(tmp_path / "whole")
    require_swept(tmp_path)
    assert names(run) == names(tmp_path / "whole")


def logged(run: Path) -> int:
    """The step of the last whole line of the log, 0 without one."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    steps = [int(line.split('"step": ')[1].split(",")[0]) for line in lines if '"step": ' in line]
    return max(steps, default=0)
