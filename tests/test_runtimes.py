"""Runtimes: opening, errors, inference compared with a numpy formula, and pictures of any size."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import runtimes
from runtimes import ArtifactError, BackendMissingError, ImageSpec, ShapeSet
from runtimes.base import from_batch, to_batch
from runtimes.image import to_uint8
from runtimes.installation import install_hint
from runtimes.shape_choice import Fit, fit
from tests.tiny_models import ANY_SHAPE, NumpyRuntime, make_spec, write_gain

FIXED = ShapeSet.of((1, 32, 48))
RNG = np.random.default_rng(0)


def picture(h: int, w: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (h, w, 3), np.uint8)


def refused(action: Callable[[], object], *parts: str) -> None:
    """Assert that the action raises an ArtifactError of one sentence that contains the parts."""
    with pytest.raises(ArtifactError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def write_program(path: Path, spec: ImageSpec, gain: float = 1.0, *, spec_file: str | None = "bncagan.json") -> Path:
    """Write a .pt2 file that multiplies by `gain`."""

    class Gain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(gain))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if spec.io == "uint8":
                return (image * self.gain + 0.5).floor().clamp(0, 255).to(torch.uint8)
            return (image * self.gain).clamp(0, 1)

    n, h, w = spec.shapes.fixed[0] if spec.shapes.fixed else (2, 64, 96)
    example = torch.zeros((n, h, w, 3), dtype=torch.uint8) if spec.io == "uint8" else torch.zeros(n, 3, h, w)
    auto = torch.export.Dim.DYNAMIC
    axes = {0: auto, 1: auto, 2: auto} if spec.io == "uint8" else {0: auto, 2: auto, 3: auto}
    program = torch.export.export(Gain(), (example,), dynamic_shapes=None if spec.shapes.fixed else (axes,))
    torch.export.save(program, path, extra_files={spec_file: spec.to_json()} if spec_file else None)
    return path


WRITERS = [(".onnx", write_gain), (".pt2", write_program)]


@pytest.mark.parametrize(("suffix", "write"), WRITERS)
@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("shapes", [ANY_SHAPE, FIXED])
def test_infer_equals_numpy(tmp_path: Path, suffix: str, write: Any, io: str, shapes: ShapeSet) -> None:
    path = write(tmp_path / f"model{suffix}", make_spec(shapes, io=io), 1.25)
    images = np.stack([picture(32, 48) for _ in range(2 if shapes is ANY_SHAPE else 1)])
    with runtimes.load(path, threads=1) as runtime:
        assert dataclasses.replace(runtime.spec, seal=None) == make_spec(shapes, io=io)
        batch = to_batch(images, runtime.spec)
        first = runtime.infer(batch)
        kept = first.copy()
        runtime.infer(batch // 2)
    np.testing.assert_array_equal(first, kept)  # the result is the caller's
    assert first.dtype == batch.dtype
    exact = np.clip(images / 255 * 1.25, 0, 1)
    np.testing.assert_allclose(from_batch(first, runtime.spec) / 255, exact, atol=0.502 / 255)
    if io == "float32":
        np.testing.assert_allclose(first, exact.transpose(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize(("suffix", "write"), WRITERS)
def test_identity_keeps_every_code(tmp_path: Path, suffix: str, write: Any) -> None:
    image = picture(17, 31)
    for kind in ("float32", "uint8"):
        with runtimes.load(write(tmp_path / f"{kind}{suffix}", make_spec(io=kind))) as runtime:
            np.testing.assert_array_equal(runtime.enhance(image), image)


def test_names_and_devices(tmp_path: Path) -> None:
    onnx = runtimes.load(write_gain(tmp_path / "a.onnx", make_spec()))
    program = runtimes.load(write_program(tmp_path / "a.pt2", make_spec(FIXED)))
    assert onnx.name.startswith("onnxruntime 1.")
    assert (onnx.device, onnx.path) == ("CPUExecutionProvider", tmp_path / "a.onnx")
    assert program.name == f"torch {torch.__version__}"
    assert program.device == "cpu"


def test_onnx_from_several_threads(tmp_path: Path) -> None:
    images = [picture(32 + 8 * i, 48) for i in range(8)]
    with (
        runtimes.load(write_gain(tmp_path / "a.onnx", make_spec(), 0.5)) as runtime,
        ThreadPoolExecutor(4) as pool,
    ):
        for image, enhanced in zip(images, pool.map(runtime.enhance, images), strict=True):
            np.testing.assert_array_equal(enhanced, to_uint8(image / np.float32(255) * np.float32(0.5)))


# Batches that do not match the spec


@pytest.mark.parametrize(
    ("batch", "came"),
    [
        (np.zeros((1, 3, 32, 32)), "float64 of shape (1, 3, 32, 32)"),
        (np.zeros((1, 3, 32, 32), np.uint8), "uint8 of shape (1, 3, 32, 32)"),
        (np.zeros((3, 32, 32), np.float32), "float32 of shape (3, 32, 32)"),
        (np.zeros((1, 4, 32, 32), np.float32), "float32 of shape (1, 4, 32, 32)"),
        (np.zeros((1, 32, 32, 3), np.float32), "float32 of shape (1, 32, 32, 3)"),
        (np.zeros((1, 3, 36, 32), np.float32), "given 1x36x32"),
        (np.zeros((5, 3, 32, 32), np.float32), "given 5x32x32"),
        (np.zeros((1, 3, 8, 32), np.float32), "given 1x8x32"),
    ],
)
def test_wrong_batch(batch: NDArray[Any], came: str) -> None:
    runtime = NumpyRuntime(lambda x: x)
    refused(lambda: runtime.infer(batch), "model.numpy should be given", came)
    assert not runtime.seen


def test_wrong_layout_for_uint8() -> None:
    runtime = NumpyRuntime(lambda x: x, make_spec(io="uint8"))
    refused(lambda: runtime.infer(np.zeros((1, 3, 32, 32), np.uint8)), "uint8 N x H x W x 3", "(1, 3, 32, 32)")


def test_a_backend_that_answers_with_another_shape() -> None:
    runtime = NumpyRuntime(lambda x: x[..., :-8])
    refused(lambda: runtime.infer(np.zeros((1, 3, 32, 32), np.float32)), "shape (1, 3, 32, 24)", "export it again")


@pytest.mark.parametrize(("suffix", "write"), WRITERS)
def test_closed(tmp_path: Path, suffix: str, write: Any) -> None:
    runtime = runtimes.load(write(tmp_path / f"a{suffix}", make_spec(FIXED)))
    runtime.close()
    runtime.close()
    refused(lambda: runtime.infer(np.zeros((1, 3, 32, 48), np.float32)), f"a{suffix}", "was closed; load it again")


# enhance


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (40, 7)])
def test_too_small_to_enhance(size: tuple[int, int]) -> None:
    refused(
        lambda: NumpyRuntime(lambda x: x).enhance(picture(*size)), "at least 8 x 8 px", f"({size[0]}, {size[1]}, 3)"
    )


@pytest.mark.parametrize(
    "image", [np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3)), np.zeros((32, 32, 4), np.uint8)]
)
def test_no_image_to_enhance(image: NDArray[Any]) -> None:
    refused(lambda: NumpyRuntime(lambda x: x).enhance(image), "should be uint8 H x W x 3", str(image.dtype))


@pytest.mark.parametrize("size", [(8, 8), (17, 31), (9, 200), (100, 8), (64, 64)])
@pytest.mark.parametrize("io", ["float32", "uint8"])
def test_padding_is_a_reflection(size: tuple[int, int], io: str) -> None:
    image = picture(*size)
    runtime = NumpyRuntime(lambda x: x, make_spec(io=io))
    np.testing.assert_array_equal(runtime.enhance(image), image)
    (padded,) = from_batch(runtime.seen[0], runtime.spec)
    assert padded.shape[:2] == tuple(max(16, -(-side // 8) * 8) for side in size)
    rows, columns = (_reflected(side, new) for side, new in zip(size, padded.shape[:2], strict=True))
    np.testing.assert_array_equal(padded, image[rows][:, columns])


def _reflected(side: int, new_side: int) -> NDArray[np.intp]:
    """Return the indices of a reflection that does not repeat the border: 0 1 2 3 2 1 0 1 ..."""
    position = np.arange(new_side) % (2 * side - 2)
    return np.minimum(position, 2 * side - 2 - position)


def test_a_tiny_image_meets_a_large_minimum() -> None:
    runtime = NumpyRuntime(lambda x: x, make_spec(ShapeSet.between((1, 64, 64), (1, 64, 64), (1, 128, 128))))
    image = picture(9, 13)
    np.testing.assert_array_equal(runtime.enhance(image), image)
    assert runtime.seen[0].shape == (1, 3, 64, 64)


def test_demanded_batch_size() -> None:
    runtime = NumpyRuntime(lambda x: x / 2, make_spec(ShapeSet.of((4, 32, 48))))
    image = picture(32, 48)
    np.testing.assert_array_equal(runtime.enhance(image), to_uint8(image / 255 / 2))
    assert runtime.seen[0].shape == (4, 3, 32, 48)


@pytest.mark.parametrize("io", ["float32", "uint8"])
@pytest.mark.parametrize("shapes", [ShapeSet.of((1, 64, 96)), ShapeSet.between((1, 16, 16), (1, 64, 64), (1, 64, 96))])
def test_a_larger_photograph_keeps_its_detail(shapes: ShapeSet, io: str) -> None:
    photo = np.repeat(np.repeat(picture(20, 30), 10, axis=0), 10, axis=1) // 2
    photo += RNG.integers(0, 8, photo.shape, np.uint8)
    runtime = NumpyRuntime(lambda x: (x * 1.5).astype(x.dtype), make_spec(shapes, io=io))
    enhanced = runtime.enhance(photo)
    assert runtime.seen[0].shape == ((1, 3, 64, 96) if io == "float32" else (1, 64, 96, 3))
    assert np.abs(enhanced - photo * 1.5).max() <= 2


def test_max_side() -> None:
    runtime = NumpyRuntime(lambda x: x)
    image = picture(100, 300)
    assert runtime.enhance(image, max_side=128).shape == image.shape
    assert runtime.enhance(image, max_side=300).shape == image.shape
    assert [batch.shape for batch in runtime.seen] == [(1, 3, 40, 128), (1, 3, 104, 304)]
    refused(lambda: runtime.enhance(image, max_side=15), "max_side should be at least 16 px", "15")


@pytest.mark.parametrize(("width", "side"), [(32, 1024), (0, 512)])
def test_what_a_network_sees_if_nothing_is_said(width: int, side: int) -> None:
    spec = make_spec(ShapeSet.between((1, 16, 16), (1, 64, 64), (1, 4096, 4096)), width=width)
    runtime = NumpyRuntime(lambda x: x, spec)
    for image in (picture(1000, 40), picture(2000, 80)):
        assert runtime.enhance(image).shape == image.shape
    assert max(runtime.seen[-1].shape) == side
    assert max(runtime.seen[0].shape) == min(1000, side)
    assert fit(spec, 2000, 80, None) == fit(spec, 2000, 80, side)


@pytest.mark.parametrize(
    ("shapes", "size", "expected"),
    [
        (ANY_SHAPE, (100, 50), Fit(1, 104, 56, resample=False)),
        (ANY_SHAPE, (512, 512), Fit(1, 512, 512, resample=False)),
        (ANY_SHAPE, (1024, 768), Fit(1, 512, 384, resample=True)),
        (ANY_SHAPE, (100, 9000), Fit(1, 16, 512, resample=True)),
        (ShapeSet.of((1, 256, 256), (1, 256, 384), (1, 384, 256)), (3000, 4000), Fit(1, 256, 384, resample=True)),
        (ShapeSet.of((1, 256, 256), (1, 256, 384), (1, 384, 256)), (4000, 3000), Fit(1, 384, 256, resample=True)),
        (ShapeSet.of((1, 256, 256), (1, 256, 384), (1, 384, 256)), (256, 380), Fit(1, 256, 384, resample=False)),
        (ShapeSet.of((1, 256, 256), (1, 512, 512)), (500, 490), Fit(1, 512, 512, resample=True)),
        (ShapeSet.of((1, 256, 256), (1, 512, 512)), (200, 190), Fit(1, 256, 256, resample=True)),
        (ShapeSet.of((8, 256, 256), (2, 256, 256)), (256, 256), Fit(2, 256, 256, resample=False)),
        (ShapeSet.of((1, 2048, 2048)), (2048, 2048), Fit(1, 2048, 2048, resample=False)),
    ],
)
def test_fit(shapes: ShapeSet, size: tuple[int, int], expected: Fit) -> None:
    assert fit(make_spec(shapes), *size, 1536) == expected


@pytest.mark.parametrize("size", [(32, 48), (600, 700)])
def test_not_a_number_is_refused(size: tuple[int, int]) -> None:
    runtime = NumpyRuntime(lambda x: x * np.float32(np.nan))
    refused(lambda: runtime.enhance(picture(*size)), "return finite numbers on cpu", "is nan at (0, 0, 0, 0) (NCHW)")


# Opening


def test_missing_file(tmp_path: Path) -> None:
    refused(lambda: runtimes.load(tmp_path / "absent.onnx"), "absent.onnx", "does not exist")


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "model.caffe").touch()
    refused(lambda: runtimes.load(tmp_path / "model.caffe"), "model.caffe", ".onnx", ".pt2")


def test_rejected_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.rejected"
    write_gain(tmp_path / "model.onnx", make_spec()).rename(path)
    refused(lambda: runtimes.load(path), "model.onnx.rejected", "refused by its parity check")


@pytest.mark.parametrize(("suffix", "write"), WRITERS)
def test_truncated_file(tmp_path: Path, suffix: str, write: Any) -> None:
    path = write(tmp_path / f"model{suffix}", make_spec())
    whole = path.read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:kept])
        refused(lambda: runtimes.load(path), f"model{suffix}", "export it")


def test_damaged_program(tmp_path: Path) -> None:
    path = write_program(tmp_path / "model.pt2", make_spec(FIXED))
    data = bytearray(path.read_bytes())
    position = data.index(b"graph_module")
    data[position : position + 5] = b"xxxxx"
    path.write_bytes(data)
    refused(lambda: runtimes.load(path), "model.pt2", "is damaged (", "; export it again")


def test_without_spec(tmp_path: Path) -> None:
    onnx = write_gain(tmp_path / "a.onnx", make_spec(), metadata=None)
    program = write_program(tmp_path / "a.pt2", make_spec(FIXED), spec_file=None)
    for path in (onnx, program):
        refused(lambda path=path: runtimes.load(path), str(path), "has none; export it with bncagan")


def test_unusable_spec(tmp_path: Path) -> None:
    path = write_gain(tmp_path / "a.onnx", make_spec(), metadata='{"format_version": 99}')
    refused(lambda: runtimes.load(path), "a.onnx: the spec", "99.0; upgrade bncagan")


@pytest.mark.parametrize("change", [{"io": "uint8"}, {"input_name": "picture"}, {"output_name": "picture"}])
def test_onnx_graph_unlike_its_spec(tmp_path: Path, change: dict[str, str]) -> None:
    claimed = make_spec(**change)
    path = write_gain(tmp_path / "a.onnx", make_spec(), metadata=claimed.to_json())
    refused(lambda: runtimes.load(path), "a.onnx should have one", "as its spec says", "tensor(float)")


def test_onnx_graph_with_four_channels(tmp_path: Path) -> None:
    path = write_gain(tmp_path / "a.onnx", make_spec(), channels=4)
    refused(lambda: runtimes.load(path), "a.onnx should have one input", "'N', 4, 'H', 'W'")


def test_program_unlike_its_spec(tmp_path: Path) -> None:
    path = write_program(tmp_path / "a.pt2", make_spec(FIXED, input_name="picture"))
    refused(lambda: runtimes.load(path), "should have picture torch.float32 NCHW", "has image torch.float32 NCHW")


class Evil:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 7",)


@pytest.mark.parametrize(
    "name",
    [
        "data/constants/opaque_obj_0",
        "data/weights/model.pt",
        "data/aotinductor/model/code.so",
        "data/sample_inputs/model.pt",
        "data/weights/model_weights_config.json",
    ],
)
def test_program_with_code_in_it(tmp_path: Path, name: str) -> None:
    path, evil = write_program(tmp_path / "a.pt2", make_spec(FIXED)), tmp_path / "evil.pt2"
    content = b"any"
    if name.endswith("model.pt"):
        buffer = io.BytesIO()
        torch.save(Evil(), buffer)
        content = buffer.getvalue()
    elif name.endswith(".json"):
        content = b'{"config": {"gain": {"path_name": "weight_0", "use_pickle": 1}}}'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for full in source.namelist():
            if full != f"a/{name}":
                target.writestr(full, source.read(full))
        target.writestr(f"a/{name}", content)
    refused(lambda: runtimes.load(evil), "evil.pt2", "holds pickled or compiled code; do not trust this file")


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_wrong_threads(tmp_path: Path, threads: Any) -> None:
    for path in (write_gain(tmp_path / "a.onnx", make_spec()), write_program(tmp_path / "a.pt2", make_spec(FIXED))):
        refused(lambda path=path: runtimes.load(path, threads=threads), "whole number from 1", repr(threads))


@pytest.mark.parametrize("providers", ["CPUExecutionProvider", [], ["WarpDriveExecutionProvider"]])
def test_wrong_providers(tmp_path: Path, providers: Any) -> None:
    path = write_gain(tmp_path / "a.onnx", make_spec())
    refused(lambda: runtimes.load(path, providers=providers), "CPUExecutionProvider")


@pytest.mark.parametrize("device", ["warp", "xpu:7", "meta"])
def test_wrong_device(tmp_path: Path, device: str) -> None:
    path = write_program(tmp_path / "a.pt2", make_spec(FIXED))
    refused(lambda: runtimes.load(path, device=device), "a.pt2 should run on a device", repr(device))


@pytest.mark.parametrize(("suffix", "write"), WRITERS)
def test_unknown_option(tmp_path: Path, suffix: str, write: Any) -> None:
    path = write(tmp_path / f"a{suffix}", make_spec(FIXED))
    refused(lambda: runtimes.load(path, speed="ludicrous"), f"a{suffix}", "threads", "but is given speed")


# Without backends


@pytest.mark.parametrize(("suffix", "library", "extra"), [(".onnx", "onnxruntime", "onnx"), (".pt2", "torch", "train")])
def test_missing_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, library: str, extra: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BackendMissingError) as caught:
        runtimes.load(path)
    assert str(caught.value) == (
        f"{library}, which runs {suffix} files, should be installed but is not; install it with: {install_hint(extra)}"
    )


def test_import_without_any_backend() -> None:
    program = """
import sys
blocked = ["torch", "onnxruntime", "openvino", "coremltools", "tensorrt", "onnx", "skimage", "rich", "numba"]
for name in blocked:
    sys.modules[name] = None
import numpy as np
import runtimes, runtimes.ort, runtimes.pt, runtimes.apply.applying
assert not [name for name in sys.modules if name.partition(".")[0] in ("bncagan", "export")]
print(sorted(runtimes.__all__))
"""
    root = Path(runtimes.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "'load'" in done.stdout
