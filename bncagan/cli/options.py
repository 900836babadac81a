"""What several subcommands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.command import Flag
from runtimes.errors import InputError
from runtimes.verdict import Verdict

__all__ = ["Flag", "RuntimeOptions", "parse_shape", "parse_size", "summary_line"]


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


def parse_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, "512x768" -> (512, 768); InputError if it is none or a side is not a multiple of 8 from 16."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise InputError(f"expected a size as HEIGHTxWIDTH, e.g. 512x512, got {text!r}; write two numbers with an x")
    sides = int(height), int(width)
    if min(sides) < 16 or any(side % 8 for side in sides):
        raise InputError(f"expected HEIGHTxWIDTH in multiples of 8 from 16, got {text}; round them")
    return sides


def summary_line(verdict: Verdict) -> str:
    """The verdict in one line, with the numbers of the worst picture."""
    outcome = "PASS" if verdict.passed else "FAIL"
    psnr = "identical" if verdict.psnr_min is None else f"PSNR at least {verdict.psnr_min:.1f} dB ({verdict.worst})"
    return (
        f"parity {outcome}: {psnr}, largest difference {verdict.max_code} of 255, channel bias {verdict.bias_max:.3f}, "
        f"CIEDE2000 p99 {verdict.de_p99:.2f}; {verdict.cases} pictures, {verdict.label} with {verdict.runtime} on "
        f"{verdict.device}"
    )


def parse_shape(text: str) -> tuple[int, int, int]:
    """BATCHxHEIGHTxWIDTH, "1x512x768" -> (1, 512, 768); InputError as `parse_size`, or if the batch is below 1."""
    batch, _, size = text.partition("x")
    if not batch.isdigit() or int(batch) < 1:
        raise InputError(f"expected a shape as BATCHxHEIGHTxWIDTH, e.g. 1x512x512, got {text!r}; write three numbers")
    return (int(batch), *parse_size(size))
