"""What is fuzzed: for each kind of file its seeds, and the reader that must answer with the project's own errors."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from runtimes import ShapeSet
from runtimes.errors import UserError
from tests.photograph_files import chunk, png, profile
from tests.tiny_models import make_spec, write_gain

SIDE = 16  # px of the pictures
MOST_MEGAPIXELS = 4
SQUARE = ShapeSet.of((1, SIDE, SIDE))


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file."""

    suffix: str
    """The suffix of its files."""
    seeds: Callable[[Path], list[bytes]]
    """Make whole files of this kind; a folder is there to work in."""
    read: Callable[[Path], object]
    """Read a file and use it, as a command would."""

    def accepts(self, path: Path) -> bool:
        """Whether a file is read; False where it is refused by one sentence. Any other error is raised."""
        try:
            self.read(path)
        except UserError as error:
            said = str(error)
            assert said, "an error should say something"
            assert "\n" not in said, f"an error should be one line: {said}"
            return False
        return True


def _noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _pictures(_: Path) -> list[bytes]:
    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=kind, **options)
        return buffer.getvalue()

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    colour = Image.fromarray(_noise(SIDE, SIDE, 3))
    tags = {"exif": exif.tobytes(), "icc_profile": profile("p3", None)}
    seeds = [
        saved(colour, "JPEG", quality=90, **tags, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"),
        saved(colour, "JPEG", progressive=True, subsampling=2),
        saved(colour.convert("CMYK"), "JPEG"),
        saved(colour, "PNG", **tags),
        saved(colour.quantize(16), "PNG", transparency=3),
        png(_noise(SIDE, SIDE, 3), chunk(b"tRNS", b"\0\1\0\2\0\3"), chunk(b"gAMA", b"\0\0\xb1\x8f")),
        saved(Image.fromarray(_noise(SIDE, SIDE).astype(np.uint16) * 257), "PNG"),
        saved(colour, "TIFF", compression="tiff_lzw"),
        saved(colour, "TIFF", **tags),
        saved(Image.fromarray(_noise(SIDE, SIDE).astype(np.uint16) * 257), "TIFF", exif=exif.tobytes()),
        saved(colour.convert("RGBA"), "TIFF", compression="tiff_adobe_deflate"),
        saved(colour, "WEBP", **tags),
        saved(colour.convert("RGBA"), "WEBP", lossless=True),
        saved(colour, "GIF"),
        saved(colour, "BMP"),
    ]
    if features.check("avif"):
        seeds.append(saved(colour, "AVIF", **tags))
    return seeds


def _read_picture(path: Path) -> None:
    from runtimes import open_photograph

    photo = open_photograph(path, max_megapixels=MOST_MEGAPIXELS)
    photo.changed(255 - photo.seen).write(path.with_name(f"out{photo.suffix}"))


def _videos(folder: Path) -> list[bytes]:
    from tests.clips import write_clip

    frames, seeds = list(_noise(4, 48, 64, 3)), []
    for name, options in {"a.mp4": {}, "a.mkv": {}, "b.mp4": {"rotation": 90}, "a.avi": {"sound": False}}.items():
        write_clip(folder / name, frames, **options)
        seeds.append((folder / name).read_bytes())
    return seeds


def _read_video(path: Path) -> None:
    from runtimes import enhance_video
    from tests.tiny_models import NumpyRuntime

    half = NumpyRuntime(lambda batch: batch / 2, make_spec(width=0))
    enhance_video(path, path.with_name("out.mkv"), half, overwrite=True)


def _specs(_: Path) -> list[bytes]:
    from runtimes.verdict import Verdict

    verdict = Verdict.not_run("fp32")
    return [
        make_spec().to_json().encode(),
        make_spec(io="uint8", controls=True, parity=verdict, tools={"a": "1"}).to_json().encode(),
    ]


def _read_spec(path: Path) -> None:
    from runtimes import ImageSpec

    spec = ImageSpec.from_json(path.read_bytes().decode(errors="replace"))
    assert ImageSpec.from_json(spec.to_json()) == spec


def _checkpoints(folder: Path) -> list[bytes]:
    from bncagan.config import ModelConfig
    from bncagan.network.checkpoint import save_generator
    from bncagan.network.model import Generator

    seeds = []
    for config in (ModelConfig(width=4), ModelConfig(width=0, tone=True)):
        save_generator(folder / "g.safetensors", Generator(config), config, {"steps": 1})
        seeds.append((folder / "g.safetensors").read_bytes())
    return seeds


def _read_checkpoint(path: Path) -> None:
    from bncagan.network.checkpoint import load_generator

    load_generator(path)


def _use(path: Path) -> None:
    """Open an artifact and run its smallest shape, if that is small."""
    import runtimes

    with runtimes.load(path) as runtime:
        spec = runtime.spec
        n, h, w = spec.shapes.fixed[0] if spec.shapes.fixed else (spec.shapes.bounds or ((1, 16, 16),))[0]
        runtime.content_sha256()
        if n * h * w <= 2**18:
            shape = (n, h, w, 3) if spec.layout == "NHWC" else (n, 3, h, w)
            runtime.infer(np.zeros(shape, spec.dtype))


def _onnx_files(folder: Path) -> list[bytes]:
    specs = (make_spec(), make_spec(io="uint8"), make_spec(SQUARE))
    seeds = [write_gain(folder / "m.onnx", spec, 0.5).read_bytes() for spec in specs]
    return [*seeds, padded(folder / "m.onnx")]


def padded(path: Path, pad: int = 1) -> bytes:
    """An ONNX file with a Pad by reflection and a convolution, as the network has them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from runtimes import METADATA_KEY

    spec = make_spec()
    value = helper.make_tensor_value_info
    axes = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        [
            helper.make_node("Pad", [spec.input_name, "pads"], ["padded"], mode="reflect"),
            helper.make_node("Conv", ["padded", "kernel"], [spec.output_name]),
        ],
        "padded",
        [value(spec.input_name, TensorProto.FLOAT, axes)],
        [value(spec.output_name, TensorProto.FLOAT, axes)],
        [
            numpy_helper.from_array(np.array([0, 0, pad, pad, 0, 0, pad, pad]), "pads"),
            numpy_helper.from_array(np.full((3, 3, 3, 3), 1 / 27, np.float32), "kernel"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
    return path.read_bytes()


def _openvino_files(folder: Path) -> list[bytes]:
    """The .xml files; their .bin stays in the folder as `weights.bin`."""
    import openvino

    from runtimes.ov import save

    path = folder / "m.xml"
    save(openvino.Core().read_model(padded(folder / "m.onnx")), path, make_spec())
    shutil.copy(path.with_suffix(".bin"), folder / "weights.bin")
    return [path.read_bytes()]


def _use_openvino(path: Path) -> None:
    shutil.copy(path.with_name("weights.bin"), path.with_suffix(".bin"))
    _use(path)


def _pt2_files(folder: Path) -> list[bytes]:
    from tests.fuzz.mutation import stored
    from tests.test_runtimes import write_program

    return [stored(write_program(folder / "m.pt2", make_spec(), 0.5).read_bytes())]


def _litert_files(folder: Path) -> list[bytes]:
    from tests.tiny_tflite import write_tflite

    return [write_tflite(folder / "m.tflite", make_spec(SQUARE), 0.5).read_bytes()]


def _use_litert(path: Path) -> None:
    """Without a seal, a damaged model may end the process."""
    from runtimes import ImageSpec
    from runtimes.litert import split

    text = split(path)[1]
    if text is None or ImageSpec.from_json(text).seal is not None:
        _use(path)


def _golden_files(folder: Path) -> list[bytes]:
    from runtimes.controls import Controls
    from runtimes.golden import Case, Golden, Rounding

    image = _noise(SIDE, SIDE, 3)
    cases = (Case("a", image, 255 - image), Case("b", image, image, Controls(0.5, 1.0)))
    seeds = []
    for golden in (Golden(cases), Golden(cases[:1], Rounding(0.1, 90.0))):
        golden.save(folder / "g.npz")
        seeds.append((folder / "g.npz").read_bytes())
    return seeds


def _read_golden(path: Path) -> None:
    from runtimes.golden import Golden

    Golden.load(path).sha256()


def _reports(_: Path) -> list[bytes]:
    from tests.benchmark_fakes import make_report

    return [make_report().to_json().encode()]


def _read_report(path: Path) -> None:
    from benchmarks.report import Report

    report = Report.load(path)
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


TARGETS: Mapping[str, Target] = {
    "picture": Target(".jpg", _pictures, _read_picture),
    "video": Target(".mp4", _videos, _read_video),
    "spec": Target(".json", _specs, _read_spec),
    "checkpoint": Target(".safetensors", _checkpoints, _read_checkpoint),
    "onnx": Target(".onnx", _onnx_files, _use),
    "openvino": Target(".xml", _openvino_files, _use_openvino),
    "pt2": Target(".pt2", _pt2_files, _use),
    "litert": Target(".tflite", _litert_files, _use_litert),
    "golden": Target(".npz", _golden_files, _read_golden),
    "report": Target(".json", _reports, _read_report),
}
