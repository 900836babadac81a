"""The process that opens one artifact, measures it on request, and sleeps in between.

Each line of standard input is a request, and each line of standard output is the answer, both as a JSON object. The
output of libraries goes to standard error. The process ends at the end of its input.
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
from runtimes.errors import UserError
from runtimes.image import Pixels

STEP_S = 0.004  # length of a step of `settle`
QUIET_NS = 200_000  # with more CPU time than this in a step, threads of the backend are still spinning
QUIET_STEPS = 2  # quiet steps in a row; on a busy machine a spinning thread may not run in one step
SETTLE_S = 0.25  # time limit of `settle`


class Worker:
    """The actions of the process; each returns values for JSON."""

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
        """Open the artifact with the function "module:callable"; the time includes the import of its library."""
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
        """Read the picture to enhance, uint8 H x W x 3 in an .npy file, and repeat it to fill a batch."""
        self._batch = batch
        self._pictures = self._repeated(np.load(file, allow_pickle=False))
        return {}

    def measure(self) -> dict[str, object]:
        """Enhance the batch once; time the whole way from bytes to bytes, and the inference alone within it.

        Then wait until all threads sleep.
        """
        spec = self.runtime.spec
        began = perf_counter_ns()
        batch = to_batch(self._pictures, spec)
        started = perf_counter_ns()
        result = self.runtime.infer(batch, allow_nan=True)  # the check finds it
        finished = perf_counter_ns()
        from_batch(result, spec)
        ended = perf_counter_ns()
        settle()
        return {"inference_ns": finished - started, "end_to_end_ns": ended - began}

    def draw(self, source: str, target: str) -> dict[str, object]:
        """Enhance one picture, from the .npy file `source` to the .npy file `target`."""
        picture = np.load(source, allow_pickle=False)
        result = self.runtime.infer(to_batch(self._repeated(picture), self.runtime.spec), allow_nan=True)
        finite = bool(np.isfinite(result).all())
        np.save(target, from_batch(np.nan_to_num(result), self.runtime.spec)[0])
        return {"finite": finite}

    def usage(self) -> dict[str, object]:
        """Return the memory and CPU use of this process, named as the fields of a `Measurement`."""
        return {
            "peak_memory_bytes": peak_memory(),
            "idle_cpu_share": self.idle_cpu_ns / max(self.idle_wall_ns, 1),
        }

    def clock(self) -> dict[str, object]:
        """Return the CPU time of this process so far."""
        return {"cpu_ns": time.process_time_ns()}

    def sleep(self) -> None:
        """Store the clocks before a wait."""
        self._slept_since = (perf_counter_ns(), time.process_time_ns())

    def wake(self) -> None:
        """Add the wait since `sleep` to the idle time."""
        wall, cpu = self._slept_since
        self.idle_wall_ns += perf_counter_ns() - wall
        self.idle_cpu_ns += time.process_time_ns() - cpu

    def _repeated(self, picture: Pixels) -> Pixels:
        return np.repeat(picture[None], self._batch, axis=0)


def settle() -> None:
    """Wait until this process uses no CPU, but at most 0.25 s.

    The threads of a backend spin for some time after a call, waiting for the next one. On a machine with few cores this
    would slow down the next subject.
    """
    deadline = perf_counter_ns() + SETTLE_S * 1e9
    quiet = 0
    while quiet < QUIET_STEPS and perf_counter_ns() < deadline:
        used = time.process_time_ns()
        time.sleep(STEP_S)
        quiet = quiet + 1 if time.process_time_ns() - used < QUIET_NS else 0


def peak_memory() -> int | None:
    """Return the largest resident memory in bytes; None if the system does not report it."""
    # On Linux `ru_maxrss` would be wrong, because it includes the memory of the parent process before exec.
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None
    if sys.platform == "darwin":
        resource = importlib.import_module("resource")  # not on Windows
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return None


def serve(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    """Answer the requests {"do": action, ...arguments} until the end of the input.

    An error that a user can fix becomes the answer {"error": sentence}. Any other error ends the process.
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
        except (UserError, ValueError, ImportError) as error:
            answer = {"error": str(error)}
        worker.sleep()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve requests on the standard streams."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(Worker(), sys.stdin, answers)
