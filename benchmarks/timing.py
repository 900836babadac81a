"""Time several pieces of work side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Samples = dict[str, list[int]]


def rounds_of(items: Sequence[Item], turn: int) -> Iterator[Item]:
    """All of the items once: round number `turn` starts one further on in the list than the round before it.

    A drifting machine then hits all alike, and no one always runs first.
    """
    start = turn % len(items)
    yield from items[start:]
    yield from items[:start]


def interleave(work: Mapping[str, Callable[[], object]], rounds: int, *, warmup: int = 1) -> Samples:
    """Nanoseconds of every call, by name: all of the work once per round, in the order of `rounds_of`.

    The first `warmup` rounds are not kept; every later sample is.
    """
    names = list(work)
    samples: Samples = {name: [] for name in names}
    for turn in range(-warmup, rounds):
        for name in rounds_of(names, turn):
            began = time.perf_counter_ns()
            work[name]()
            taken = time.perf_counter_ns() - began
            if turn >= 0:
                samples[name].append(taken)
    return samples
