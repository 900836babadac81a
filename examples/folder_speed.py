"""Measure `runtimes.enhance_folder`: python examples/folder_speed.py PHOTO... [--count 60] [--workers 2]

First the stages of one photograph after another, in one thread: wall and CPU seconds. Then the folder: photographs per
second, the share of what the cores allow (workers divided by the CPU seconds of one photograph), and the peak memory.
Close other programs first.
"""

from __future__ import annotations

import dataclasses
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import tyro
from rich.table import Table

import runtimes
from runtimes.console import terminal
from runtimes.cores import cores

STAGED = 8  # photographs whose stages are measured


@dataclasses.dataclass(frozen=True)
class FolderSpeed:
    """Measure stages and throughput on copies of photographs."""

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photographs of any size, taken in turn."""
    count: int = 60
    """Number of photographs in the folder."""
    workers: int = cores()
    """Threads that enhance a photograph each."""
    model: str = "small"
    """Name of a packaged model, or an exported file."""
    max_side: int = 1536
    """Longest side that the network sees, px."""
    stages: bool = True
    """Measure the stages as well; --no-stages leaves the peak memory that of the folder alone."""

    def run(self) -> None:
        """Measure and print."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "in")
            folder.mkdir()
            for number in range(self.count):
                photo = self.photos[number % len(self.photos)]
                shutil.copy(photo, folder / f"{number:04d}{photo.suffix}")
            cpu = self._stages(sorted(folder.iterdir())[:STAGED], Path(scratch)) if self.stages else None
            began, used = time.perf_counter(), cpu_seconds()
            options = {"model": self.model, "workers": self.workers, "max_side": self.max_side}
            results = list(runtimes.enhance_folder(folder, Path(scratch, "out"), **options))
            wall, used = time.perf_counter() - began, cpu_seconds() - used
            assert all(result.status == "done" for result in results), results
        print(f"{self.count} photographs, {self.workers} workers: {wall:.1f} s, {self.count / wall:.3f} per second")
        print(f"CPU: {used / self.count:.2f} s each; {used / wall:.2f} cores busy")
        if cpu is not None:
            print(f"share of what the cores allow: {self.count / wall / (self.workers / cpu):.0%}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(f"peak memory: {peak:.0f} MiB")

    def _stages(self, photos: list[Path], scratch: Path) -> float:
        """Print a table of the stages in one thread, means over the photographs; returns the CPU seconds of one."""
        seconds = {name: [0.0, 0.0] for name in ("decode", "enhance", "carry over", "encode and write")}
        with runtimes.load(self.model, threads=1) as runtime:
            for path in photos:
                watch = Watch(seconds)
                photograph = runtimes.open_photograph(path)
                watch.lap("decode")
                enhanced = runtime.enhance(photograph.seen, max_side=self.max_side)
                watch.lap("enhance")
                changed = photograph.changed(enhanced)
                watch.lap("carry over")
                changed.write(scratch / path.name)
                watch.lap("encode and write")
        table = Table("stage", "wall s", "CPU s")
        rows = {name: [value / len(photos) for value in values] for name, values in seconds.items()}
        rows["together"] = [sum(values) for values in zip(*rows.values(), strict=True)]
        for name, values in rows.items():
            table.add_row(name, *(f"{value:.3f}" for value in values))
        terminal().print(table)
        return rows["together"][1]


class Watch:
    """Adds wall and CPU seconds to stages."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter(), cpu_seconds()

    def lap(self, stage: str) -> None:
        """Add what has passed since the last call."""
        now = time.perf_counter(), cpu_seconds()
        for index in range(2):
            self._seconds[stage][index] += now[index] - self._last[index]
        self._last = now


def cpu_seconds() -> float:
    """CPU time of all threads of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    tyro.cli(FolderSpeed).run()
