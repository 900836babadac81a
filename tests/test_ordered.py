"""Work on several threads in order, and files that appear whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from runtimes.files import PARTIAL, replacing, sweep
from runtimes.folders.enhancing import AT_ONCE, Enhancer, Rendering
from runtimes.folders.listing import find
from runtimes.folders.naming import Naming
from runtimes.folders.ordered import AHEAD, in_order
from runtimes.folders.plan import plan, prepare
from runtimes.folders.run import run
from tests.folders import write_pictures
from tests.processes import start
from tests.tiny_models import NumpyRuntime

HOLD = (
    "import sys; from pathlib import Path; from runtimes.files import replacing\n"
    "with replacing(Path(sys.argv[1])) as t: t.write_text('half'); print(t, flush=True); input()"
)


def test_results_come_in_order_and_several_are_in_work_at_once() -> None:
    together = threading.Barrier(3, timeout=30)

    def work(item: int) -> int:
        together.wait()  # breaks unless three are in work at once
        time.sleep(0.002 * (item % 3))
        return -item

    assert list(in_order(work, range(99), 3, threading.Event())) == [-item for item in range(99)]
    assert list(in_order(work, [], 3, threading.Event())) == []


def test_no_more_than_the_workers_are_in_work_and_few_wait_for_a_slow_one() -> None:
    lock, free = threading.Lock(), threading.Event()
    now, most, begun = 0, 0, 0

    def work(item: int) -> int:
        nonlocal now, most, begun
        with lock:
            now, begun = now + 1, begun + 1
            most = max(most, now)
        if item == 0:
            free.wait(30)
        with lock:
            now -= 1
        return item

    results = in_order(work, range(10 * AHEAD), 4, threading.Event())
    threading.Timer(0.5, lambda: (seen.append(begun), free.set())).start()
    seen: list[int] = []
    assert list(results) == list(range(10 * AHEAD))
    assert 2 <= most <= 4
    assert seen == [AHEAD]


def test_after_stop_nothing_begins_and_what_was_begun_comes() -> None:
    stop, begun = threading.Event(), []

    def work(item: int) -> int:
        begun.append(item)
        if item == 5:
            stop.set()
        return item

    results = list(in_order(work, range(100), 2, stop))
    assert results == sorted(begun)
    assert 6 <= len(results) <= 8


def test_an_error_ends_the_iterator_and_closing_ends_the_threads() -> None:
    def work(item: int) -> int:
        return 1 // (3 - item)

    results = in_order(work, range(100), 2, threading.Event())
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        list(results)
    before = threading.active_count()
    slow = in_order(lambda item: time.sleep(0.01), range(10000), 2, threading.Event())
    next(slow)
    slow.close()
    assert threading.active_count() <= before


def hold(target: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing the file, and its temporary path."""
    process = start(HOLD, target)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is swept on Windows")
def test_what_a_killed_process_left_is_swept_and_what_is_in_work_is_not(tmp_path: Path) -> None:
    mine = tmp_path / ".mine.jpg"
    mine.touch()
    working, partial = hold(tmp_path / "b.txt")
    killed, left = hold(tmp_path / "a.txt")
    killed.kill()
    killed.communicate()
    assert left.read_text() == "half"
    assert left.name.startswith(PARTIAL)
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, partial])
    working.communicate("\n")
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "b.txt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def link(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr("os.link", link)
    path = tmp_path / ("n" * 250 + ".txt")
    with replacing(path, overwrite=False) as temporary:
        temporary.write_text("first")
    with pytest.raises(FileExistsError), replacing(path, overwrite=False) as temporary:
        temporary.write_text("second")
    assert path.read_text() == "first"
    with replacing(path) as temporary:
        temporary.write_text("third")
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(path, "third")]


@pytest.mark.parametrize(("concurrent", "most"), [(False, 1), (True, AT_ONCE)])
def test_few_run_the_network_at_once(tmp_path: Path, concurrent: bool, most: int) -> None:
    lock, now, seen = threading.Lock(), 0, 0

    def network(batch: NDArray[Any]) -> NDArray[Any]:
        nonlocal now, seen
        with lock:
            now += 1
            seen = max(seen, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return batch

    write_pictures(tmp_path / "in", [f"{i}.png" for i in range(24)])
    runtime = NumpyRuntime(network)
    runtime.concurrent = concurrent  # type: ignore[misc]
    steps = plan(find([tmp_path / "in"]), Naming(out=tmp_path / "out"))
    prepare(steps, tmp_path / "out")
    assert [result.status for result in run(steps, Enhancer(runtime, Rendering(), threading.Event()), 6)] == [
        "done"
    ] * 24
    assert seen == most
