"""Reports that nobody measured, and faulty runtimes for the worker processes of the benchmark."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import benchmarks.worker
from benchmarks.candidates import Subject
from benchmarks.machine import Environment
from benchmarks.report import Likeness, Measurement, Quiet, Report, Settings
from runtimes import ArtifactError, Runtime, Verdict
from tests.tiny_models import NumpyRuntime, make_spec

MS = 1_000_000
SLOW_EVERY, SLOW_S, FAST_S = 20, 0.03, 0.001


def make_row(**fields: Any) -> Measurement:
    values: dict[str, Any] = {
        "subject": "m.onnx",
        "kind": "artifact",
        "model": "tiny",
        "format": "onnx",
        "io": "float32",
        "precision": "fp32",
        "ran": "fp32",
        "weights_sha256": "0" * 64,
        "runtime": "onnxruntime 1",
        "device": "CPU",
        "threads": 2,
        "shape": (1, 32, 48),
        "size_bytes": 2_000_000,
        "sha256": "1" * 64,
        "load_ns": 50 * MS,
        "first_ns": 20 * MS,
        "inference_ns": tuple(10 * MS + i for i in range(5)),
        "peak_memory_bytes": 100 * 2**20,
        "idle_cpu_share": 0.0,
        "verdict": None,
        "check": Likeness(reference="golden pictures", pictures=3, psnr_min=61.5, max_code=1),
    }
    values |= fields
    values.setdefault("end_to_end_ns", tuple(sample + 2 * MS for sample in values["inference_ns"]))
    return Measurement(**values)


def make_report(*rows: Measurement, **fields: Any) -> Report:
    rows = rows or (make_row(),)
    values: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "environment": Environment(
            board="Board 1",
            cpu="CPU 2",
            cores=4,
            memory_bytes=2**33,
            gpus=(),
            system="Linux",
            power={"governor": "performance"},
            python="CPython 3.11",
            libraries={"numpy": "2.0"},
            revision="abc",
            variables={"OMP_NUM_THREADS": "2"},
        ),
        "settings": Settings(
            shapes=tuple(dict.fromkeys(row.shape for row in rows)),
            threads=tuple(dict.fromkeys(row.threads for row in rows if row.threads is not None)),
            runs=5,
            warmup=1,
            seconds=None,
            picture="synthetic",
            command="latency.py m.onnx",
        ),
        "quiet": Quiet(load_before=0.1, load_after=1.0, others_cores=0.01),
        "duration_ns": 10**12,
        "rows": rows,
    }
    return Report(**(values | fields))


def make_verdict() -> Verdict:
    return Verdict(
        label="measured",
        passed=True,
        runtime="onnxruntime 1",
        device="CPU",
        precision="fp32",
        psnr_min=90.0,
        psnr_mean=95.0,
        max_code=1,
        share_over_1=0.0,
        bias_max=0.01,
        de_mean=0.0,
        de_p99=0.1,
        cases=15,
        worst="noise",
    )


def subject(name: str, opener: str, path: Path, /, **options: Any) -> Subject:
    """Make a subject that is opened by a function of this file."""
    return Subject(
        name=name,
        kind="artifact",
        format="onnx",
        opener=f"tests.benchmark_fakes:{opener}",
        path=str(path),
        options=options,
        takes_threads=False,
    )


class Fake(NumpyRuntime):
    """The identity; it writes each call into a file."""

    def __init__(self, path: str, name: str = "fake", precision: str = "fp32") -> None:
        super().__init__(lambda batch: batch, make_spec(precision=precision))
        self.path = Path(path)
        self._label = name

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        with self.path.open("a") as log:
            log.write(f"{self._label}\n")
        return super()._run(inputs)


def slow(path: str) -> Runtime:
    """Each SLOW_EVERY-th call takes SLOW_S."""
    calls = iter(range(10**6))

    def infer(batch: NDArray[Any], **_: Any) -> NDArray[Any]:
        time.sleep(SLOW_S if next(calls) % SLOW_EVERY == 0 else FAST_S)
        return batch

    runtime = NumpyRuntime(infer)
    runtime.path = Path(path)
    return runtime


def backwards(path: str) -> Runtime:
    """A clock that runs backwards."""
    began = time.perf_counter_ns()
    benchmarks.worker.perf_counter_ns = lambda: 2 * began - time.perf_counter_ns()  # type: ignore[attr-defined]
    return Fake(path)


def dying(path: str) -> Runtime:
    """A runtime that ends its process in the fifth call."""
    calls = iter(range(10**6))

    def infer(batch: NDArray[Any], **_: Any) -> NDArray[Any]:
        if next(calls) == 4:
            os.write(2, b"out of memory\n")
            os._exit(9)
        return batch

    runtime = NumpyRuntime(infer)
    runtime.path = Path(path)
    return runtime


def refusing(path: str) -> Runtime:
    """A runtime that does not open."""
    raise ArtifactError(f"{path} should open but does not; mend it")


def broken(path: str) -> Runtime:
    """A runtime that raises an error that is no UserError."""
    raise RuntimeError("no compiler")


def not_a_number(path: str) -> Runtime:
    """A runtime that returns NaN."""
    runtime = NumpyRuntime(lambda batch: np.full_like(batch, np.nan))
    runtime.path = Path(path)
    return runtime


class WithArithmetic(Fake):
    """A runtime that reports the requested precision or another one."""

    def __init__(self, path: str, precision: str = "f32", really: str | None = None, stored: str = "fp32") -> None:
        super().__init__(path, precision=stored)
        self.device = f"CPU, {really or precision}"
