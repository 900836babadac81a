"""Apply a change to a photograph: in strips, on several threads, by the fastest code that is installed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtimes.apply import plain
from runtimes.apply.change import Change
from runtimes.apply.prepared import Prepared, prepare
from runtimes.controls import DEFAULT, Controls
from runtimes.cores import cores
from runtimes.image import Pixels
from runtimes.installation import installed

STRIP = 1 << 20  # pixels that a thread changes at once

Rows = Callable[[Pixels, Pixels, int, Prepared], None]


def applied(image: Pixels, change: Change, controls: Controls = DEFAULT, *, threads: int | None = None) -> Pixels:
    """Return the changed photograph. Both are uint8 H x W x 3 of any size.

    Beyond the photograph and the result, some 10 MB are in use for each thread. The result does not depend on their
    number. It is within 1 code of `runtimes.apply.oracle`.

    threads: None for one on each core.
    """
    result = np.empty(image.shape, np.uint8)
    height, width = image.shape[:2]
    prepared = prepare(change, controls, height, width)
    step = max(1, min(STRIP // width, -(-height // (threads or cores()))))
    apply_rows, image = fastest(), np.ascontiguousarray(image)

    def apply_strip(top: int) -> None:
        rows = slice(top, min(top + step, height))
        apply_rows(image[rows], result[rows], top, prepared)

    with ThreadPoolExecutor(threads or cores()) as crew:
        for done in [crew.submit(apply_strip, top) for top in range(0, height, step)]:
            done.result()
    return result


@functools.cache
def fastest() -> Rows:
    """The applier by numba if it is installed, otherwise that in NumPy."""
    if not installed("numba"):
        return plain.apply_rows
    module = importlib.import_module("runtimes.apply.compiled")
    rows: Rows = module.apply_rows
    return rows
