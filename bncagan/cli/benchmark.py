"""benchmark: the latency benchmark, which here can measure the network in PyTorch as well."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.candidates import Subject, pytorch_subjects
from benchmarks.latency import Benchmark
from benchmarks.report import NotRun

EAGER = "export.eager:EagerRuntime"  # imported in a process of its own


@dataclass(frozen=True, kw_only=True)
class BenchmarkAll(Benchmark):
    """Measure artifacts side by side: latency, memory, and how closely their pictures match PyTorch's.

    Every artifact runs in a process of its own, and they take turns: in each round, each is called once. Times measured
    on a busy machine are useless, so the report says if the machine was busy.
    """

    pytorch: str | None = None
    """Checkpoint to measure in PyTorch as well: as trained, folded, and compiled. Pictures are compared with it."""

    def subjects(self) -> tuple[list[Subject], list[NotRun]]:
        """The artifacts and peers that the options name, and the network in PyTorch."""
        found, missing = super().subjects()
        return found + (pytorch_subjects(self.pytorch, EAGER) if self.pytorch else []), missing
