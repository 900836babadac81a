"""Compare the time of the folded networks with two floors of this machine: python examples/floors.py nano small base

The one is their multiply-adds at the peak of a matrix product, the other what their convolutions and the picture have
to read and write at the bandwidth of a copy. All take turns in each round; a ratio is the median of the rounds.
Everything runs on one thread, and its CPU time is taken, because other programs hardly change that.

The second table divides the time by kinds of operations, as each backend's own profiler counts it.
"""

import json
import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks.tables import markdown_table
from bncagan.network.checkpoint import load_generator
from bncagan.network.cost import cost
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from export.artifact import describe
from export.to_onnx import convert
from runtimes import ShapeSet
from runtimes.backends import import_backend
from runtimes.ov import import_openvino
from runtimes.spec import parse_size

onnxruntime = import_backend(".onnx")

SIDE = 2048  # of the square matrices whose product shows the peak
COPIED = 2**28  # bytes of the copy that shows the bandwidth
KINDS = {  # what the names of operations contain, in lower case
    "convolutions": "conv$|conv2d$|convolution$",
    "statistics": "reduce|mean|sum|amax|pool",
    "moving": "pad|reorder|transpose|cat|resize|upsample|interpolate|copy|shuffle|depthtospace",
}
OTHER = "elementwise and the rest"


@dataclass
class Network:
    """One network in one backend."""

    weights: str
    backend: str
    run: Callable[[], object]
    kinds: Callable[[], Counter[str]]
    """Times of one run by the name of the operation."""


def milliseconds(call: Callable[[], object]) -> float:
    began = process_time()
    call()
    return 1e3 * (process_time() - began)


def traffic(model: FoldedGenerator, height: int, width: int) -> int:
    """Bytes of the picture, read and written, and of the inputs, weights and results of all convolutions."""
    total = 2 * 3 * height * width

    def count(conv: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal total
        total += given[0].numel() + result.numel() + sum(parameter.numel() for parameter in conv.parameters())

    hooks = [part.register_forward_hook(count) for part in model.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        model(torch.rand(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return 4 * total


def networks(name: str, model: FoldedGenerator, size: tuple[int, int]) -> list[Network]:
    """The network in ONNX Runtime, OpenVINO and PyTorch, in float32."""
    shapes = ShapeSet.of((1, *size))
    graph = convert(model, describe(model, precision="fp32", shapes=shapes, io="float32", tools=())).SerializeToString()
    picture = np.random.default_rng(0).random((1, 3, *size), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    core = import_openvino().Core()
    how = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    opened = [core.compile_model(core.read_model(graph), "CPU", how | {"PERF_COUNT": each}) for each in (False, True)]
    plain, counting = (compiled.create_infer_request() for compiled in opened)
    image = torch.from_numpy(picture)
    return [
        Network(name, "ONNX Runtime", lambda: session.run(None, {"image": picture}), partial(of_ort, graph, picture)),
        Network(name, "OpenVINO", lambda: plain.infer([picture]), partial(of_openvino, counting, picture)),
        Network(name, "PyTorch", lambda: model(image), partial(of_torch, model, image)),
    ]


def of_ort(graph: bytes, picture: Any) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "ort")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(3):
            session.run(None, {"image": picture})
        events = json.loads(Path(session.end_profiling()).read_text())
    found: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["args"]["op_name"]] += event["dur"]
    return found


def of_openvino(request: Any, picture: Any) -> Counter[str]:
    for _ in range(2):
        request.infer([picture])
    found: Counter[str] = Counter()
    for node in request.profiling_info:
        found[node.node_type] += node.real_time.total_seconds()
    return found


def of_torch(model: nn.Module, image: Tensor) -> Counter[str]:
    model(image)
    with torch.profiler.profile() as profile:
        model(image)
    return Counter({event.key: event.self_cpu_time_total for event in profile.key_averages()})


def shares(found: Counter[str]) -> list[str]:
    """Per cent of the time in each kind of operation."""
    by_kind: Counter[str] = Counter()
    for name, taken in found.items():
        kinds = (kind for kind, pattern in KINDS.items() if re.search(pattern, name.lower()))
        by_kind[next(kinds, OTHER)] += taken
    return [f"{by_kind[kind] / by_kind.total():.0%}" for kind in (*KINDS, OTHER)]


@torch.inference_mode()
def main(
    weights: tyro.conf.Positional[tuple[str, ...]],
    shape: str = "512x512",
    rounds: int = 11,
) -> None:
    """Print the two tables, in Markdown."""
    torch.set_num_threads(1)
    size = parse_size(shape)
    a, b = torch.rand(2, SIDE, SIDE)
    source, target = torch.rand(2, COPIED // 4)
    models = {name: fold(load_generator(name)[0]) for name in weights}
    macs = {name: cost(model, *size).macs for name, model in models.items()}
    moved = {name: traffic(model, *size) for name, model in models.items()}
    subjects: list[Network] = []
    for name, model in models.items():
        subjects += networks(name, model, size)
    times: list[list[float]] = [[] for _ in subjects]
    peaks, speeds = [], []
    for number in range(rounds + 2):
        peak = SIDE**3 / milliseconds(lambda: a @ b)  # multiply-adds per ms
        speed = 2 * COPIED / milliseconds(lambda: target.copy_(source))  # bytes per ms
        taken = [milliseconds(subject.run) for subject in subjects]
        if number >= 2:  # the first two are for warming up
            peaks.append(peak)
            speeds.append(speed)
            for samples, sample in zip(times, taken, strict=True):
                samples.append(sample)
    rows, profiles = [], []
    for subject, samples in zip(subjects, times, strict=True):
        name = subject.weights
        by_macs = [sample / (macs[name] / peak) for sample, peak in zip(samples, peaks, strict=True)]
        by_bytes = [sample / (moved[name] / speed) for sample, speed in zip(samples, speeds, strict=True)]
        facts = [f"{macs[name] / 1e9:.3g}", f"{moved[name] / 2**20:.0f}", f"{statistics.median(samples):.0f}"]
        ratios = [f"{statistics.median(each):.1f}" for each in (by_macs, by_bytes)]
        rows.append([name, subject.backend, *facts, *ratios])
        profiles.append([name, subject.backend, *shares(subject.kinds())])
    heads = ("weights", "backend", "10^9 multiply-adds", "MiB moved", "ms", "times the first floor", "the second")
    print(markdown_table(heads, rows, others="---:"))
    print(markdown_table(("weights", "backend", *KINDS, OTHER), profiles, others="---:"))
    peak, speed = statistics.median(peaks) / 1e6, statistics.median(speeds) / 1e6
    print(f"Peak {peak:.0f} x 10^9 multiply-adds/s, copy {speed:.1f} GB/s")


tyro.cli(main)
