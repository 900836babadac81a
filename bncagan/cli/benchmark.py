"""benchmark: the latency benchmark, with the network in PyTorch itself among what it can measure."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.candidates import Subject, pytorch_subjects
from benchmarks.latency import Benchmark
from benchmarks.report import NotRun

EAGER = "export.eager:EagerRuntime"  # imported in a process of its own


@dataclass(frozen=True, kw_only=True)
class BenchmarkAll(Benchmark):
    """Measure latency, memory and likeness to PyTorch of artifacts, side by side.

    Every artifact runs in a process of its own, and all take turns, one call each a round. Times of a busy machine
    are worth nothing: the report says when it was one.
    """

    pytorch: str | None = None
    """Checkpoint to measure in PyTorch as well: as trained, folded, and compiled; the reference of the pictures."""

    def subjects(self) -> tuple[list[Subject], list[NotRun]]:
        """The artifacts and peers that were named, and the network in PyTorch."""
        found, missing = super().subjects()
        return found + (pytorch_subjects(self.pytorch, EAGER) if self.pytorch else []), missing
