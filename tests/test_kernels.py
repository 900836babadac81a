"""The kernels for GPUs agree with the oracle within 1 code as far as this machine can run them, and with each other."""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtimes.apply import oracle
from runtimes.apply.change import Change
from runtimes.controls import Controls
from tests.test_apply import CONTROLS, noise, random_change, random_tone

KERNELS = Path(oracle.__file__).parent / "kernels"
FRAME = struct.Struct("<8I2f2I")  # the fields of docs/applying.md
WIDTH, HEIGHT = 75, 52
CHANGES = {
    "curve": Change(random_tone(5)),
    "maps": Change(random_tone(6, 0.4), random_change(7).maps),
    "one window": random_change(8, (1, 1), (1, 2)),
    "remainder": random_change(9),
    "more windows than pixels": random_change(10, (60, 90), (128, 80)),
}


def frame(change: Change, controls: Controls, top: int, rows: int) -> bytes:
    sizes = [0 if part is None else part.shape[axis] for part in (change.maps, change.remainder) for axis in (2, 1)]
    return FRAME.pack(WIDTH, HEIGHT, top, rows, *sizes, controls.strength, controls.exposure, 0, 0)


def numbers(change: Change) -> np.ndarray:
    return np.concatenate([each.ravel() for each in (change.tone, change.maps, change.remainder) if each is not None])


def packed(image: np.ndarray) -> np.ndarray:
    """RGBA with an alpha that must stay."""
    alpha = np.arange(image.shape[0] * image.shape[1]).reshape(*image.shape[:2], 1) % 256
    return np.concatenate([image, alpha.astype(np.uint8)], axis=2)


def check(produced: np.ndarray, image: np.ndarray, change: Change, controls: Controls) -> None:
    np.testing.assert_array_equal(produced[..., 3], packed(image)[..., 3])
    difference = np.abs(produced[..., :3].astype(int) - oracle.applied(image, change, controls))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


@functools.cache
def device() -> Any:
    """A GPU for WGSL, in software or not; skips where there is none."""
    wgpu = pytest.importorskip("wgpu", reason="WGSL is not run: needs wgpu, pip install wgpu")
    adapters = wgpu.gpu.enumerate_adapters_sync()
    if not adapters:
        pytest.skip("WGSL is not run: needs a GPU, or Mesa's in software (Debian: mesa-vulkan-drivers)")
    return adapters[0].request_device_sync()


def run_wgsl(image: np.ndarray, change: Change, controls: Controls, top: int, rows: int) -> np.ndarray:
    gpu = device()
    wgpu = importlib.import_module("wgpu")
    storage = wgpu.BufferUsage.STORAGE
    data = np.ascontiguousarray(packed(image)[top : top + rows])
    result = gpu.create_buffer(size=data.nbytes, usage=storage | wgpu.BufferUsage.COPY_SRC)
    buffers = [
        gpu.create_buffer_with_data(data=frame(change, controls, top, rows), usage=wgpu.BufferUsage.UNIFORM),
        gpu.create_buffer_with_data(data=numbers(change), usage=storage),
        gpu.create_buffer_with_data(data=data, usage=storage),
        result,
    ]
    shader = gpu.create_shader_module(code=(KERNELS / "apply.wgsl").read_text())
    pipeline = gpu.create_compute_pipeline(layout="auto", compute={"module": shader, "entry_point": "apply"})
    entries = [{"binding": i, "resource": {"buffer": buffer}} for i, buffer in enumerate(buffers)]
    encoder = gpu.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(pipeline)
    work.set_bind_group(0, gpu.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries))
    work.dispatch_workgroups(-(-WIDTH // 16), -(-rows // 16))
    work.end()
    gpu.queue.submit([encoder.finish()])
    return np.frombuffer(gpu.queue.read_buffer(result), np.uint8).reshape(data.shape)


@pytest.mark.parametrize("controls", CONTROLS)
@pytest.mark.parametrize("name", CHANGES)
def test_wgsl(name: str, controls: Controls) -> None:
    image, change = noise(HEIGHT, WIDTH), CHANGES[name]
    parts = [run_wgsl(image, change, controls, top, rows) for top, rows in ((0, 20), (20, HEIGHT - 20))]
    check(np.concatenate(parts), image, change, controls)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The functions of apply.cu as C++, called for every pixel of a strip."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("apply.cu is not compiled as C++: needs g++ or clang++")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "main.cpp").write_text(
        f'#include "{KERNELS / "apply.cu"}"\n'
        'extern "C" void strip(Frame frame, const float* change, const uint* photograph, uint* result) {\n'
        "    for (uint i = 0; i < frame.width * frame.rows; i++)\n"
        "        result[i] = Applier{frame, change}\n"
        "            .changed(photograph[i], i % frame.width, frame.top + i / frame.width);\n"
        "}\n"
    )
    library = folder / "kernel.so"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-std=c++17"]
    subprocess.run([compiler, *flags, folder / "main.cpp", "-o", library], check=True)
    return ctypes.CDLL(str(library)).strip


class Frame(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint32 * 12),)


@pytest.mark.parametrize("controls", CONTROLS)
@pytest.mark.parametrize("name", CHANGES)
def test_cuda_as_cpp(compiled: Any, name: str, controls: Controls) -> None:
    image, change = noise(HEIGHT, WIDTH), CHANGES[name]
    parts = []
    for top, rows in ((0, 20), (20, HEIGHT - 20)):
        data, values = np.ascontiguousarray(packed(image)[top : top + rows]), numbers(change)
        result = np.empty_like(data)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (values, data, result)]
        compiled(Frame.from_buffer_copy(frame(change, controls, top, rows)), *pointers)
        parts.append(result)
    check(np.concatenate(parts), image, change, controls)


def test_cuda_compiles(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("CUDA is not compiled: needs nvcc")
    target = tmp_path / "apply.ptx"
    subprocess.run([nvcc, "-ptx", "-Werror", "all-warnings", KERNELS / "apply.cu", "-o", target], check=True)
    assert ".visible .entry apply(" in target.read_text()


def functions(text: str, begin: str, end: str) -> list[str]:
    """The lines of a kernel's functions, in one spelling for all three languages."""
    start = text.rindex("\n", 0, text.index(begin)) + 1
    return [_respelled(line.strip()) for line in text[start : text.index(end, start)].splitlines() if line.strip()]


def _respelled(line: str) -> str:
    head = re.fullmatch(r"fn (\w+)\((.*)\) -> (\w+) \{", line)
    if head:
        typed = [" ".join(reversed(argument.split(": "))) for argument in head[2].split(", ")]
        line = f"{head[3]} {head[1]}({', '.join(typed)}) const {{"
    line = re.sub(r"\blet (\w+): (\w+) =", r"const \2 \1 =", line)
    line = re.sub(r"\bvar (\w+): (\w+) =", r"\2 \1 =", line)
    line = re.sub(r"\bPlace\{(.*)\};", r"Place(\1);", line.removeprefix("HOST_DEVICE "))
    line = re.sub(r"(\d\.\d+)f\b", r"\1", line)
    for own, common in (("f32", "float"), ("u32", "uint"), ("vec3f", "float3")):
        line = re.sub(rf"\b{own}\b", common, line)
    return line


@pytest.mark.parametrize("name", ["apply.metal", "apply.cu"])
def test_the_functions_are_those_of_wgsl(name: str) -> None:
    wgsl, other = ((KERNELS / each).read_text() for each in ("apply.wgsl", name))
    own = functions(wgsl, "curved(", "@compute")
    assert len(own) > 70
    assert functions(other, "curved(", "\n};") == own


@pytest.mark.parametrize("name", ["apply.metal", "apply.cu"])
def test_the_structures_are_those_of_wgsl(name: str) -> None:
    def fields(text: str) -> list[list[str]]:
        found = re.findall(r"struct (?:Frame|Place) \{(.*?)\}", text, re.DOTALL)
        typed = [re.sub(r"(\w+): (\w+),", r"\2 \1;", each) for each in found]
        return [each.replace("u32", "uint").replace("f32", "float").split() for each in typed]

    wgsl = fields((KERNELS / "apply.wgsl").read_text())
    assert len(wgsl) == 2
    assert FRAME.size == 4 * len(wgsl[0]) // 2
    assert fields((KERNELS / name).read_text()) == wgsl
