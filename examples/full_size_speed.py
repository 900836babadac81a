"""Divide the time of enhancing one photograph: python examples/full_size_speed.py PHOTO [--model small] [--rounds 5]

The photograph is brought to 2, 12 and 48 megapixels, and goes from file to file: decode, reduce, network, apply,
encode. The table has wall and CPU milliseconds, the least of several rounds after a first one, their ratio to Pillow's
decoding and encoding in the same rounds, and the peak memory of the process so far. Close other programs first.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

import runtimes
from runtimes.apply.applying import applied, fastest
from runtimes.apply.reducing import reduced
from runtimes.shape_choice import fit

STAGES = ("decode", "reduce", "network", "apply", "encode")
QUALITY = 92


@dataclasses.dataclass(frozen=True)
class FullSizeSpeed:
    """Measure the stages of one photograph at several sizes."""

    photo: tyro.conf.Positional[Path]
    """A photograph."""
    model: str = "small"
    """Name of a packaged model, or an exported file."""
    precision: str | None = None
    """Precision in which OpenVINO computes, such as bf16; that of the file if not given."""
    max_side: int = 1024
    """Longest side that the network sees, px."""
    megapixels: tuple[float, ...] = (2, 12, 48)
    """Sizes, in ascending order."""
    rounds: int = 5
    """Rounds that are measured."""
    threads: int = 2
    """Threads of the network and of the applier."""

    def run(self) -> None:
        """Measure and print a table in Markdown."""
        what = f"{self.model}, {self.precision or 'its own precision'}, {self.max_side} px, {self.threads} threads"
        print(f"{what}, {fastest().__module__}; wall / CPU ms\n")
        print(f"| MP | {' | '.join(STAGES)} | together | of decode + encode | peak MB |")
        print(f"| --- {'| --- ' * (len(STAGES) + 3)}|")
        with ProcessPoolExecutor(1, get_context("spawn")) as other:  # so that making the files is not in the peak
            files = list(other.map(self._jpeg, self.megapixels))
        options: dict[str, Any] = {"precision": self.precision} if self.precision else {}
        with runtimes.load(self.model, threads=self.threads, **options) as runtime:
            for size, data in zip(self.megapixels, files, strict=True):
                laps = np.array([self._round(runtime, data) for _ in range(self.rounds + 1)][1:])
                least = 1000 * laps.min(axis=0)  # stages x (wall, CPU)
                together, pillow = least.sum(axis=0), least[0] + least[-1]
                cells = [f"{wall:.0f} / {cpu:.0f}" for wall, cpu in (*least, together)]
                cells += [" / ".join(f"{ratio:.2f}" for ratio in together / pillow), f"{peak():.0f}"]
                print(f"| {size:g} | {' | '.join(cells)} |", flush=True)

    def _jpeg(self, megapixels: float) -> bytes:
        with Image.open(self.photo) as opened:
            image = opened.convert("RGB")
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        enlarged, buffer = image.resize((round(image.width * scale), round(image.height * scale))), io.BytesIO()
        enlarged.save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue()

    def _round(self, runtime: runtimes.Runtime, data: bytes) -> list[tuple[float, float]]:
        """Wall and CPU seconds of each stage."""
        laps = [(time.perf_counter(), time.process_time())]

        def lap() -> None:
            laps.append((time.perf_counter(), time.process_time()))

        image = np.asarray(Image.open(io.BytesIO(data)))
        lap()
        plan = fit(runtime.spec, *image.shape[:2], self.max_side)
        small = reduced(image, plan.height, plan.width, threads=self.threads)
        lap()
        change = runtime.change(small, max_side=self.max_side)
        lap()
        enhanced = applied(image, change, threads=self.threads)
        lap()
        Image.fromarray(enhanced).save(io.BytesIO(), "JPEG", quality=QUALITY)
        lap()
        return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(laps)]


def peak() -> float:
    """The peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


if __name__ == "__main__":
    tyro.cli(FullSizeSpeed).run()
