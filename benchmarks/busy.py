"""Detection of other load on the machine while it measures."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.report import Measurement, Quiet
from benchmarks.statistics import DRIFT, drift
from runtimes.cores import cores

# A report warns above these limits.
BUSY_LOAD = 0.5  # load average before the run, per core
BUSY_CORES = 0.1  # cores that other programs kept busy during the run
IDLE_SHARE = 0.05  # share of a core that a process uses while it waits for its turn


class Watch:
    """Watches the load of the machine, from its construction to `finish`."""

    def __init__(self) -> None:
        self.load_before = load_average()
        self._busy = busy_seconds()
        self._began = time.perf_counter()

    def restart(self) -> None:
        """Start to count the CPU time of other programs."""
        self._busy = busy_seconds()
        self._began = time.perf_counter()

    def finish(self, own_seconds: float) -> Quiet:
        """Return the load; `own_seconds` is the CPU time that this run itself has used since `restart`."""
        busy, others = busy_seconds(), None
        if busy is not None and self._busy is not None:
            others = max(0.0, busy - self._busy - own_seconds) / (time.perf_counter() - self._began)
        return Quiet(load_before=self.load_before, load_after=load_average(), others_cores=others)


def load_average() -> float | None:
    """Return the number of processes that wanted to run, averaged over the last minute; None on Windows."""
    return None if sys.platform == "win32" else os.getloadavg()[0]


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """Return the busy CPU time of all processors since boot, in seconds, including steal time; None if not on Linux."""
    if sys.platform == "win32" or not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def warnings_of(quiet: Quiet, rows: tuple[Measurement, ...]) -> tuple[str, ...]:
    """Return one sentence for each reason to doubt the times."""
    found = []
    count = cores()
    if quiet.load_before is not None and quiet.load_before > BUSY_LOAD * count:
        found.append(f"the machine was busy before the run: load {quiet.load_before:.2f} on {count} cores")
    if quiet.others_cores is not None and quiet.others_cores > BUSY_CORES:
        found.append(f"other programs kept {quiet.others_cores:.2f} cores busy during the run")
    changes = [(row.subject, drift(row.inference_ns)) for row in rows]
    found += _drifts("slower", [change for change in changes if change[1] > DRIFT])
    found += _drifts("faster", [change for change in changes if change[1] < 1 / DRIFT])
    found += [
        f"{row.subject} kept {row.idle_cpu_share:.2f} cores busy while others were measured; measure it by itself"
        for row in rows
        if row.idle_cpu_share > IDLE_SHARE
    ]
    return tuple(found)


def _drifts(how: str, changes: list[tuple[str, float]]) -> list[str]:
    """Return one sentence on the rows that became slower, or faster, if there are any."""
    if not changes:
        return []
    if len(changes) == 1:
        subject, change = changes[0]
        return [f"{subject} drifted: its last third took {change:.2f} times as long as its first"]
    least, most = min(change for _, change in changes), max(change for _, change in changes)
    return [
        f"{len(changes)} rows became {how}: their last third took {least:.2f} to {most:.2f} times as long as their "
        "first; all took turns, so ratios hold better than times"
    ]
