"""What several subcommands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtimes.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How an artifact is run; an option that its runtime does not have is refused."""

    threads: int | None = None
    """CPU threads; the backend's choice if not given."""
    device: str | None = None
    """Where it runs, in the backend's words: cuda:0 for PyTorch, GPU or NPU for OpenVINO, 0 for TensorRT."""
    provider: tuple[str, ...] = ()
    """ONNX Runtime's execution providers in order of preference, e.g. CUDAExecutionProvider; the CPU if not given."""
    arithmetic: str | None = None
    """OpenVINO's precision: f32, or bf16, which is faster where the CPU has it."""
    compute_units: str | None = None
    """Core ML's choice of hardware: ALL, CPU_AND_NE, CPU_AND_GPU or CPU_ONLY."""

    def runtime_options(self) -> dict[str, Any]:
        """The keyword arguments for `runtimes.load`: what was given."""
        asked = {
            "threads": self.threads,
            "device": self.device,
            "providers": self.provider or None,
            "precision": self.arithmetic,
            "compute_units": self.compute_units,
        }
        return {name: value for name, value in asked.items() if value is not None}


def summary_line(verdict: Verdict) -> str:
    """The verdict in one line, with the numbers of the worst picture and the limits of the precision."""
    from runtimes.likeness import THRESHOLDS

    outcome = "PASS" if verdict.passed else "FAIL"
    psnr = "identical" if verdict.psnr_min is None else f"PSNR at least {verdict.psnr_min:.1f} dB ({verdict.worst})"
    return (
        f"parity {outcome}: {psnr}, largest difference {verdict.max_code} of 255, channel bias {verdict.bias_max:.3f}, "
        f"CIEDE2000 p99 {verdict.de_p99:.2f}; {verdict.cases} pictures, {verdict.label} with {verdict.runtime} on "
        f"{verdict.device}; limits of {verdict.precision}: {THRESHOLDS[verdict.precision]}"
    )
