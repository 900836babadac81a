"""Work on several threads whose results come in the order of the items."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, TypeVar

AHEAD = 64  # items that may be finished while an earlier one is not; their results wait in memory
WAKE_S = 0.5  # Windows delivers Ctrl-C only between waits

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], items: Sequence[T], workers: int, stop: threading.Event
) -> Generator[R, None, None]:
    """Yield work(item) for each item in order; `workers` threads work on one item each.

    After `stop` is set, no item is begun; the results of those that were begun still come. Closing the iterator sets it
    and waits for the items in progress. What `work` raises ends the iterator.
    """
    crew = _Crew(work, items, stop)
    # Daemons: a second Ctrl-C ends the process without waiting for them
    threads = [threading.Thread(target=crew.serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield from crew.results(workers)
    finally:
        crew.end()
        for thread in threads:
            thread.join()


class _Crew(Generic[T, R]):
    def __init__(self, work: Callable[[T], R], items: Sequence[T], stop: threading.Event) -> None:
        self._work, self._items, self._stop = work, items, stop
        self._finished: queue.Queue[tuple[int, R | None, BaseException | None] | None] = queue.Queue()
        self._turn = threading.Condition()
        self._taken = self._yielded = 0

    def serve(self) -> None:
        """Work on one item after another until there are no more."""
        while (index := self._next()) is not None:
            try:
                self._finished.put((index, self._work(self._items[index]), None))
            except BaseException as error:  # noqa: BLE001 # raised again by `results`
                self._finished.put((index, None, error))
        self._finished.put(None)

    def results(self, workers: int) -> Iterator[R]:
        """Yield the results in order until all workers have ended."""
        waiting: dict[int, R] = {}
        while workers:
            try:
                outcome = self._finished.get(timeout=WAKE_S)
            except queue.Empty:
                continue
            if outcome is None:
                workers -= 1
                continue
            index, result, error = outcome
            if error is not None:
                raise error
            waiting[index] = result  # type: ignore[assignment] # None if that is what the work returned
            while self._yielded in waiting:
                yield waiting.pop(self._yielded)
                with self._turn:
                    self._yielded += 1
                    self._turn.notify_all()

    def end(self) -> None:
        """Let no further item begin."""
        self._stop.set()
        with self._turn:
            self._turn.notify_all()

    def _next(self) -> int | None:
        """Take the next item, once it is at most `AHEAD` of the last result; None at the end."""
        with self._turn:
            while not self._stop.is_set() and self._taken < len(self._items):
                if self._taken < self._yielded + AHEAD:
                    self._taken += 1
                    return self._taken - 1
                self._turn.wait(WAKE_S)
        return None
