"""Whether the machine had anything else to do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.machine import usable_cores
from benchmarks.report import Measurement, Quiet
from benchmarks.statistics import DRIFT, drift

BUSY_LOAD = 0.5  # share of the cores: load before the run
BUSY_CORES = 0.1  # cores that others kept busy during it
IDLE_SHARE = 0.05  # of a core, burnt by a process that is asked for nothing


class Watch:
    """Watches the machine from its construction to `finish`."""

    def __init__(self) -> None:
        self.load_before = load_average()
        self._busy = busy_seconds()
        self._began = time.perf_counter()

    def restart(self) -> None:
        """Count what others do from now on."""
        self._busy = busy_seconds()
        self._began = time.perf_counter()

    def finish(self, own_seconds: float) -> Quiet:
        """The findings; `own_seconds` of CPU time were this run's own since `restart`."""
        busy, others = busy_seconds(), None
        if busy is not None and self._busy is not None:
            others = max(0.0, busy - self._busy - own_seconds) / (time.perf_counter() - self._began)
        return Quiet(load_before=self.load_before, load_after=load_average(), others_cores=others)


def load_average() -> float | None:
    """Processes that wanted to run, on average over the last minute; None on Windows."""
    return None if sys.platform == "win32" else os.getloadavg()[0]


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU time since the start that all processors spent on anything, or were kept from by a hypervisor (Linux)."""
    if sys.platform == "win32" or not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def warnings_of(quiet: Quiet, rows: tuple[Measurement, ...]) -> tuple[str, ...]:
    """Sentences on what makes the times doubtful."""
    found = []
    cores = usable_cores()
    if quiet.load_before is not None and quiet.load_before > BUSY_LOAD * cores:
        found.append(f"the machine was busy before the run: load {quiet.load_before:.2f} on {cores} cores")
    if quiet.others_cores is not None and quiet.others_cores > BUSY_CORES:
        found.append(f"other programs kept {quiet.others_cores:.2f} cores busy during the run")
    for row in rows:
        change = drift(row.inference_ns)
        if not 1 / DRIFT <= change <= DRIFT:
            found.append(f"{row.subject} drifted: its last third took {change:.2f} times as long as its first")
        if row.idle_cpu_share > IDLE_SHARE:
            found.append(
                f"{row.subject} kept {row.idle_cpu_share:.2f} cores busy while others were measured; "
                "measure it by itself"
            )
    return tuple(found)
