"""Which checkpoint of a run is best.safetensors: the one with the highest validation score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bncagan.evaluation.validation import Validation
from bncagan.network.checkpoint import load_generator
from bncagan.training.monitoring import Monitor

BEST_NAME = "best.safetensors"


class Selection:
    """The highest validation score of a run so far, and the photographs that it was measured on."""

    def __init__(self, out: Path, device: torch.device) -> None:
        self.path, self.device = out / BEST_NAME, device
        self.best = -math.inf
        self.measured_on: Mapping[str, Any] | None = None

    def description(self) -> dict[str, Any]:
        """What a state file keeps, as JSON values."""
        return {"best": self.best if math.isfinite(self.best) else None, "best_measured_on": self.measured_on}

    def restore(self, description: Mapping[str, Any]) -> None:
        """Take back what a state file kept; that of version 0.1 is a PSNR and does not say what it was measured on."""
        self.best = -math.inf if description["best"] is None else description["best"]
        self.measured_on = description.get("best_measured_on")

    def begin(self, monitor: Monitor) -> None:
        """Score best.safetensors again if the score so far does not compare with those of this run's photographs."""
        if not monitor.pairs:
            return
        if math.isfinite(self.best) and self.measured_on != monitor.measured_on:
            self._measure_again(monitor)
        self.measured_on = monitor.measured_on

    def takes(self, validation: Validation | None) -> bool:
        """Whether a checkpoint becomes best.safetensors, because it scores higher than all before it."""
        if validation is None or not validation.score > self.best:
            return False
        self.best = validation.score
        return True

    def _measure_again(self, monitor: Monitor) -> None:
        if self.path.exists():
            self.best = monitor.scored(load_generator(self.path)[0].to(self.device)).score
            came = f"its score is now {self.best:+.2f}"
        else:
            self.best = -math.inf
            came = "it is gone, so the next checkpoint takes its place"
        monitor.console.print(f"{self.path} was chosen by PSNR alone, or on other photographs: {came}", soft_wrap=True)
