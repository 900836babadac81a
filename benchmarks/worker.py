"""The process in which one artifact is measured: it opens it, times it on request, and sleeps in between.

It reads one JSON object a line from standard input and answers each with one on standard output; whatever else its
libraries print goes to standard error. It ends with its input.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, TextIO

import numpy as np

from runtimes import Runtime
from runtimes.base import from_batch, to_batch
from runtimes.image import Pixels

STEP_S = 0.004
QUIET_NS = 200_000  # of CPU time in a step: above it, threads of the backend are still spinning
QUIET_STEPS = 2  # in a row: on a busy machine a spinning thread may miss one
SETTLE_S = 0.25


class Worker:
    """What the process can be asked to do, a method each; answers are JSON-ready."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._batch = 1
        self._pictures: Pixels = np.zeros((1, 16, 16, 3), np.uint8)
        self._slept_since = (perf_counter_ns(), time.process_time_ns())
        self.idle_wall_ns = self.idle_cpu_ns = 0

    @property
    def runtime(self) -> Runtime:
        """The opened artifact."""
        assert self._runtime is not None, "open comes first"
        return self._runtime

    def open(self, opener: str, path: str, options: dict[str, Any]) -> dict[str, object]:
        """Open the artifact with "module:callable"; the time includes the import of its library."""
        began = perf_counter_ns()
        module, _, attribute = opener.partition(":")
        self._runtime = getattr(importlib.import_module(module), attribute)(path, **options)
        taken = perf_counter_ns() - began
        return {
            "load_ns": taken,
            "spec": self.runtime.spec.to_json(),
            "path": str(self.runtime.path),
            "runtime": self.runtime.name,
            "device": self.runtime.device,
        }

    def picture(self, file: str, batch: int) -> dict[str, object]:
        """Read the picture to enhance, uint8 H x W x 3 in an .npy file, and repeat it to a batch."""
        self._batch = batch
        self._pictures = self._repeated(np.load(file, allow_pickle=False))
        return {}

    def measure(self) -> dict[str, object]:
        """Bytes to bytes once, timed as a whole and, within, the inference alone; wait until all threads sleep."""
        spec = self.runtime.spec
        began = perf_counter_ns()
        batch = to_batch(self._pictures, spec)
        started = perf_counter_ns()
        result = self.runtime.infer(batch)
        finished = perf_counter_ns()
        from_batch(result, spec)
        ended = perf_counter_ns()
        settle()
        return {"inference_ns": finished - started, "end_to_end_ns": ended - began}

    def draw(self, source: str, target: str) -> dict[str, object]:
        """Enhance one picture, .npy to .npy."""
        picture = np.load(source, allow_pickle=False)
        result = self.runtime.infer(to_batch(self._repeated(picture), self.runtime.spec))
        finite = bool(np.isfinite(result).all())
        np.save(target, from_batch(np.nan_to_num(result), self.runtime.spec)[0])
        return {"finite": finite}

    def usage(self) -> dict[str, object]:
        """What this process has used so far, by the names of the fields of a `Measurement`."""
        return {
            "peak_memory_bytes": peak_memory(),
            "idle_cpu_share": self.idle_cpu_ns / max(self.idle_wall_ns, 1),
        }

    def clock(self) -> dict[str, object]:
        """CPU time of this process so far."""
        return {"cpu_ns": time.process_time_ns()}

    def sleep(self) -> None:
        """Note the clocks before a wait."""
        self._slept_since = (perf_counter_ns(), time.process_time_ns())

    def wake(self) -> None:
        """Count the wait that `sleep` began."""
        wall, cpu = self._slept_since
        self.idle_wall_ns += perf_counter_ns() - wall
        self.idle_cpu_ns += time.process_time_ns() - cpu

    def _repeated(self, picture: Pixels) -> Pixels:
        return np.repeat(picture[None], self._batch, axis=0)


def settle() -> None:
    """Wait until this process uses no CPU, a quarter of a second at most.

    Backends keep their threads spinning for a while after a call, in the hope of the next; with few cores that slows
    down whoever is measured next.
    """
    deadline = perf_counter_ns() + SETTLE_S * 1e9
    quiet = 0
    while quiet < QUIET_STEPS and perf_counter_ns() < deadline:
        used = time.process_time_ns()
        time.sleep(STEP_S)
        quiet = quiet + 1 if time.process_time_ns() - used < QUIET_NS else 0


def peak_memory() -> int | None:
    """Bytes of resident memory at their highest; None where the system does not say.

    Not `ru_maxrss` on Linux: there it starts from that of the process which started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None
    if sys.platform == "darwin":
        resource = importlib.import_module("resource")  # not on Windows
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return None


def serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    """Answer requests {"do": method, ...arguments} until there are no more.

    An error that a user can mend becomes the answer {"error": sentence}; any other ends the process with a traceback.
    """
    actions: dict[str, Callable[..., dict[str, object]]] = {
        "open": worker.open,
        "picture": worker.picture,
        "measure": worker.measure,
        "draw": worker.draw,
        "usage": worker.usage,
        "clock": worker.clock,
    }
    worker.sleep()
    for line in requests:
        worker.wake()
        request = json.loads(line)
        action = actions[request.pop("do")]
        try:
            answer = action(**request)
        except (ValueError, ImportError) as error:  # every error of ours is one of the two, in every layer
            answer = {"error": str(error)}
        worker.sleep()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve on the standard streams."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(Worker(), sys.stdin, answers)
