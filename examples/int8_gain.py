"""Measure what int8 buys with and without the instructions made for it (VNNI): python examples/int8_gain.py FOLDER

FOLDER is one that `bncagan export all` wrote. OpenVINO runs each file with all instructions of the CPU and once more
without VNNI; ONNX Runtime cannot be told to do without. Each time is CPU time on one thread, the median of interleaved
runs, in relation to fp32 beside it. Prints a table in Markdown.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.tables import markdown_table
from runtimes.backends import import_backend
from runtimes.ov import import_openvino

onnxruntime = import_backend(".onnx")

RUNS = 9
CAPS = {"OpenVINO": "DEFAULT", "OpenVINO without VNNI": "AVX512_CORE"}  # ONEDNN_MAX_CPU_ISA


def median_times(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each call by name; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(RUNS + 2):
        for name, call in calls.items():
            began = process_time()
            call()
            if number >= 2:  # the first two are for warming up
                times[name].append(1e3 * (process_time() - began))
    return {name: statistics.median(each) for name, each in times.items()}


def in_openvino(fp32: Path, *, bf16: bool) -> dict[str, float]:
    """fp32, int8 and, where the CPU has it, bf16 of one network."""
    core = import_openvino().Core()
    subjects = {"fp32": (fp32, "f32"), "int8": (beside(fp32), "f32")} | ({"bf16": (fp32, "bf16")} if bf16 else {})

    def opened(file: Path, precision: str) -> Callable[[], object]:
        how = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(file), "CPU", how)
        request, picture = compiled.create_infer_request(), noise(compiled.inputs[0].shape)
        return lambda: request.infer([picture])

    return median_times({name: opened(*subject) for name, subject in subjects.items()})


def in_onnx_runtime(fp32: Path) -> dict[str, float]:
    """fp32 and int8 of one network."""

    def opened(file: Path) -> Callable[[], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        picture = noise(session.get_inputs()[0].shape)
        return lambda: session.run(None, {"image": picture})

    return median_times({"fp32": opened(fp32), "int8": opened(beside(fp32))})


def beside(fp32: Path) -> Path:
    return fp32.with_name(fp32.name.replace("-fp32", "-int8"))


def noise(shape: object) -> object:
    return np.random.default_rng(0).random(tuple(shape), np.float32)  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """Print the table."""
    rows = []
    for file in sorted(folder.glob("*-fp32.onnx")):
        name = file.name.removesuffix("-fp32.onnx")
        found = {"ONNX Runtime": in_onnx_runtime(file)}
        for title, cap in CAPS.items():
            # The variable is read when OpenVINO starts, so each in a process of its own
            command = [sys.executable, __file__, str(file.with_suffix(".xml")), "bf16" * (cap == "DEFAULT")]
            done = subprocess.run(
                command, env=os.environ | {"ONEDNN_MAX_CPU_ISA": cap}, stdout=subprocess.PIPE, check=True
            )
            found[title] = json.loads(done.stdout)
        for title, times in found.items():
            gains = [f"{times['fp32'] / times[each]:.2f}" if each in times else "" for each in ("int8", "bf16")]
            rows.append([name, title, f"{times['fp32']:.0f}", *gains])
    heads = ("weights", "backend", "fp32, ms", "int8, times faster", "bf16, times faster")
    print(markdown_table(heads, rows, others="---:"))


if Path(sys.argv[1]).is_dir():
    main(Path(sys.argv[1]))
else:
    print(json.dumps(in_openvino(Path(sys.argv[1]), bf16=bool(sys.argv[2]))))
