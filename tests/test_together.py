"""Several at once: threads in one runtime, processes at one cache and one file; and memory that does not grow."""

from __future__ import annotations

import contextlib
import gc
import resource
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

import runtimes
from runtimes import Runtime, ShapeSet
from runtimes.files import locked
from runtimes.formats import FORMATS
from runtimes.ov import save
from tests.folders import picture
from tests.processes import start
from tests.test_interrupted import PUBLISH, sealed_whole
from tests.test_runtimes import write_program
from tests.test_tensorrt import gain_onnx
from tests.tiny_models import NumpyRuntime, make_spec, write_gain
from tests.tiny_tflite import write_tflite

FIXED = ShapeSet.of((1, 64, 96))
NO_LITERT = FORMATS["litert"].missing()
LITERT = pytest.param(".tflite", marks=pytest.mark.skipif(NO_LITERT is not None, reason=NO_LITERT or ""))
SUFFIXES = (".onnx", ".xml", ".pt2", LITERT)
MIB = 2**20


def write_model(path: Path, shapes: ShapeSet = FIXED) -> Path:
    """An artifact that halves its pictures, in the format of the suffix."""
    spec = make_spec(shapes)
    if path.suffix == ".pt2":
        return write_program(path, spec, 0.5)
    if path.suffix == ".tflite":
        return write_tflite(path, spec, 0.5)
    onnx = write_gain(path.with_suffix(".onnx"), spec, 0.5)
    if path.suffix == ".xml":
        save(openvino.Core().read_model(onnx), path, spec)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_threads_get_the_answers_of_one(tmp_path: Path, suffix: str) -> None:
    images = [picture(number, 64, 96) for number in range(24)]
    with runtimes.load(write_model(tmp_path / f"m{suffix}"), threads=1) as runtime, ThreadPoolExecutor(6) as pool:
        alone = [runtime.enhance(image) for image in images]
        for expected, made in zip(alone, pool.map(runtime.enhance, images), strict=True):
            np.testing.assert_array_equal(made, expected)


def test_threads_take_turns_where_the_backend_needs_it() -> None:
    inside, most = 0, 0

    def slow(batch: NDArray[Any]) -> NDArray[Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return batch

    runtime = NumpyRuntime(slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runtime.enhance, [picture(number, 32, 32) for number in range(8)]))
    assert most == 1
    assert isinstance(runtime._turn, type(threading.Lock()))


BUILD = """
import sys, time
from pathlib import Path
from types import ModuleType
from tests.fake_tensorrt import Board, make_cudart, make_tensorrt
board = Board()
sys.modules |= {"tensorrt": make_tensorrt(board), "cuda": ModuleType("cuda"), "cuda.bindings": ModuleType("b")}
sys.modules["cuda.bindings.runtime"] = make_cudart(board)
from export import to_tensorrt
store, honest = to_tensorrt._store, sys.modules["tensorrt"].Builder.build_serialized_network
def slow(self, network, config):
    print("builds", flush=True)
    time.sleep(float(sys.argv[4]))
    return honest(self, network, config)
sys.modules["tensorrt"].Builder.build_serialized_network = slow
to_tensorrt._store = lambda *given: (time.sleep(float(sys.argv[4])), store(*given))
print("ready", flush=True)
sys.stdin.readline()
to_tensorrt.build_engine(Path(sys.argv[1]), Path(sys.argv[2]), plan_cache=Path(sys.argv[3]))
print(board.builds)
"""
CACHED = """
import sys
from pathlib import Path
import numpy as np, runtimes
print("ready", flush=True)
sys.stdin.readline()
with runtimes.load(Path(sys.argv[1]), cache_dir=Path(sys.argv[2])) as runtime:
    print(runtime.enhance(np.full((64, 96, 3), 100, np.uint8)).sum())
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that is ready and waits for `begin`."""
    process = start(program, *arguments)
    assert said_next(process) == "ready", process.communicate()[1]
    return process


def said_next(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def together(program: str, *arguments: tuple[object, ...]) -> list[str]:
    """What processes print last that do the same at one time, one for each tuple of arguments."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        processes = list(pool.map(lambda each: started(program, *each), arguments))
    for process in processes:
        begin(process)
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return [out.split()[-1] for out, _ in said]


def test_of_several_processes_one_builds_the_cached_plan(tmp_path: Path) -> None:
    onnx, plans = gain_onnx(tmp_path), tmp_path / "plans"
    built = together(BUILD, *((onnx, tmp_path / f"{number}.engine", plans, 1) for number in range(3)))
    assert sorted(built) == ["0", "0", "1"]
    assert len({(tmp_path / f"{number}.engine").read_bytes() for number in range(3)}) == 1


def test_a_builder_that_is_killed_lets_the_next_one_build(tmp_path: Path) -> None:
    """Its lock ends with it, and the file that it locked may stay."""
    onnx, plans = gain_onnx(tmp_path), tmp_path / "plans"
    killed, waiting = (started(BUILD, onnx, tmp_path / f"{name}.engine", plans, 600 * name) for name in (1, 0))
    begin(killed)
    assert said_next(killed) == "builds"
    begin(waiting)
    time.sleep(1)
    assert waiting.poll() is None  # still behind the first
    killed.kill()
    killed.communicate()
    with contextlib.ExitStack() as stack:
        stack.callback(waiting.kill)
        out, said = waiting.communicate(timeout=60)
    assert (waiting.returncode, out.split()) == (0, ["builds", "1"]), said
    assert [path.suffix for path in plans.iterdir() if path.name != ".lock"] == [".plan"]
    assert together(BUILD, (onnx, tmp_path / "2.engine", plans, 0)) == ["0"]


def test_several_processes_share_the_compiled_models_of_openvino(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.xml")
    answers = together(CACHED, *[(path, tmp_path / "cache")] * 3)
    assert set(answers) == {str(50 * 64 * 96 * 3)}
    (stored,) = (tmp_path / "cache").glob("*.blob")
    whole = stored.read_bytes()
    stored.unlink()  # it is read-only
    stored.write_bytes(whole[: len(whole) // 2])
    assert together(CACHED, (path, tmp_path / "cache")) == [str(50 * 64 * 96 * 3)]
    assert stored.stat().st_size == len(whole)
    other = write_model(tmp_path / "other" / "m.xml") if (tmp_path / "other").mkdir() is None else path
    save(openvino.Core().read_model(write_gain(tmp_path / "g.onnx", make_spec(FIXED), 0.25)), other, make_spec(FIXED))
    assert together(CACHED, (other, tmp_path / "cache")) == [str(25 * 64 * 96 * 3)]  # no old one is served


def test_of_several_processes_one_at_a_time_stores_compiled_models(tmp_path: Path) -> None:
    """OpenVINO's own cache fails when two do, in one of some twenty starts."""
    path, cache = write_model(tmp_path / "m.xml"), tmp_path / "cache"
    cache.mkdir()
    with contextlib.ExitStack() as stack:
        with locked(cache):
            waiting = started(CACHED, path, cache)
            stack.callback(waiting.kill)
            begin(waiting)
            time.sleep(2)
            assert not list(cache.iterdir())
        out, said = waiting.communicate(timeout=60)
    assert (waiting.returncode, out.split()) == (0, [str(50 * 64 * 96 * 3)]), said
    assert list(cache.glob("*.blob"))


def test_two_exports_of_one_file_at_once_leave_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    program = PUBLISH.replace("while True", "for _ in range(5)")
    processes = [start(program, path) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert sealed_whole(path)


# Memory


def resident() -> int:
    """Bytes of memory that this process has now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def growth(work: Callable[[], object], warm: int, count: int) -> float:
    """MiB by which memory grows in `count` rounds, after `warm` others."""
    for _ in range(warm):
        work()
    before = resident()
    for _ in range(count):
        work()
    return (resident() - before) / MIB


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell memory so")


def inferring(runtime: Runtime) -> Callable[[], object]:
    batch = np.zeros((1, 3, 64, 96), np.float32)  # 72 KiB: 300 of them that are kept are 21 MiB
    return lambda: runtime.infer(batch)


@needs_proc
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_inferences_keep_no_memory(tmp_path: Path, suffix: str) -> None:
    with runtimes.load(write_model(tmp_path / f"m{suffix}"), threads=1) as runtime:
        assert growth(inferring(runtime), 30, 300) < 8


@needs_proc
@pytest.mark.hard
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_thousand_inferences_keep_no_memory(tmp_path: Path, suffix: str) -> None:
    with runtimes.load(write_model(tmp_path / f"m{suffix}"), threads=1) as runtime:
        grown = growth(inferring(runtime), 200, 2000)
    print(f"{suffix}: {grown:.1f} MiB in 2000 inferences")
    assert grown < 16


def reopening(path: Path) -> Callable[[], object]:
    def work() -> None:
        with runtimes.load(path) as runtime:
            inferring(runtime)()

    return work


@needs_proc
def test_opening_and_closing_keeps_no_memory(tmp_path: Path) -> None:
    assert growth(reopening(write_model(tmp_path / "m.onnx")), 10, 30) < 8


@needs_proc
@pytest.mark.hard
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_hundred_times_opened_and_closed(tmp_path: Path, suffix: str) -> None:
    grown = growth(reopening(write_model(tmp_path / f"m{suffix}")), 20, 200)
    print(f"{suffix}: {grown:.1f} MiB in 200 cycles")
    assert grown < 16


def test_a_result_that_is_kept_is_found() -> None:
    kept = []
    runtime = NumpyRuntime(lambda batch: batch + 1)
    infer = inferring(runtime)
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not tell memory so")
    assert growth(lambda: kept.append(infer()), 30, 300) > 8
