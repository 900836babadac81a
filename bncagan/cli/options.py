"""Options and output that several subcommands share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtimes.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How to run an artifact; an option that its runtime does not have is refused."""

    threads: int | None = None
    """Number of CPU threads; if not given, the runtime chooses."""
    device: str | None = None
    """Device, as the runtime names it: cuda:0 for PyTorch, GPU or NPU for OpenVINO, 0 for TensorRT."""
    provider: tuple[str, ...] = ()
    """Execution providers of ONNX Runtime in order of preference, e.g. CUDAExecutionProvider; if not given, the CPU."""
    arithmetic: str | None = None
    """Precision of OpenVINO's convolutions: f32, or bf16 or f16, which are faster on devices that have them."""
    compute_units: str | None = None
    """Hardware that Core ML may use: ALL, CPU_AND_NE, CPU_AND_GPU or CPU_ONLY."""

    def runtime_options(self) -> dict[str, Any]:
        """The given options as keyword arguments of `runtimes.load`."""
        asked = {
            "threads": self.threads,
            "device": self.device,
            "providers": self.provider or None,
            "precision": self.arithmetic,
            "compute_units": self.compute_units,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def given_options(self) -> list[str]:
        """The names of the given options, as the user types them."""
        names = ("threads", "device", "provider", "arithmetic", "compute_units")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) not in {None, ()}]


def summary_line(verdict: Verdict) -> str:
    """The verdict in one line: the worst value of each number, and the limits of the precision."""
    from runtimes.likeness import THRESHOLDS

    outcome = "PASS" if verdict.passed else "FAIL"
    de_p99 = "not computed" if verdict.de_p99 is None else f"{verdict.de_p99:.2f}"
    psnr = "identical" if verdict.psnr_min is None else f"PSNR at least {verdict.psnr_min:.1f} dB ({verdict.worst})"
    return (
        f"parity {outcome}: {psnr}, largest difference {verdict.max_code} of 255, channel bias {verdict.bias_max:.3f}, "
        f"CIEDE2000 p99 {de_p99}; {verdict.cases} pictures, {verdict.label} with {verdict.runtime} on "
        f"{verdict.device}; limits of {verdict.precision}: {THRESHOLDS[verdict.precision]}"
    )


def method_of(interval: Mapping[str, Any]) -> str:
    """The method of a summary's intervals; files of version 0.1 do not name it and used the bootstrap."""
    return str(interval.get("method", "percentile bootstrap"))
