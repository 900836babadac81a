"""export all: every format is tried, failures are named, and the numbers are those in the files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import export.catalogue
import export.fidelity
import export.sharing
import runtimes
from benchmarks.tables import markdown_table
from bncagan.cli import main
from bncagan.cli.export_all import COLUMNS, row
from bncagan.cli.time_left import TimeLeft
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.folded import FoldedGenerator
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.artifact import make_golden
from export.catalogue import Entry, Wish, export_all, planned
from export.exporters import EXPORTERS, Exporter
from export.publishing import Artifact, publish
from export.sharing import shared
from runtimes import ArtifactError, BackendMissingError, ShapeSet
from runtimes.formats import FORMATS
from runtimes.golden import Case, Golden
from tests.folders import picture
from tests.tiny_models import make_spec, write_gain

FREE_BOUNDS = ((1, 16, 16), (1, 32, 32), (2, 64, 64))
FREE = ShapeSet.between(*FREE_BOUNDS)
asked: dict[str, dict[str, Any]] = {}


def export_gain(model: object, path: Path, **options: Any) -> Artifact:
    """An exporter of the identity: its int8 file is wrong, and it cannot make fp16."""
    asked[options["precision"]] = options
    if options["precision"] == "fp16":
        raise BackendMissingError("there is no fp16 here")
    gain = 0.9 if options["precision"] == "int8" else 1.0
    spec = make_spec(options["shapes"], precision=options["precision"], details={"kept": "everything"})
    golden = Golden((Case("smooth", picture(0, 32, 32), picture(0, 32, 32)),))
    return publish(path, spec, golden, lambda target, described: write_gain(target, described, gain))


def fake(**fields: Any) -> Exporter:
    form = dataclasses.replace(FORMATS["onnx"], **({"widest": FREE_BOUNDS} | fields))
    return Exporter(form=form, function=f"{__name__}:export_gain", needs=())


def wish(**fields: Any) -> Wish:
    return Wish(
        **(
            {
                "shape": (1, 32, 32),
                "dynamic": True,
                "io": "float32",
                "controls": False,
                "photos": {"smooth": picture(0, 32, 32)},
                "calibration": {"a": 1},
            }
            | fields
        )
    )


def entries(tmp_path: Path) -> list[Entry]:
    return list(export_all(network(), tmp_path, "net", planned([fake()]), wish()))


def network() -> FoldedGenerator:
    """A network with an untrained head alone, which the fake exporters do not look at."""
    return fold(Generator(ModelConfig(width=0, tone=True)).eval())


def test_all_are_tried_and_failures_are_named(tmp_path: Path) -> None:
    exact, absent, wrong = entries(tmp_path)
    assert (exact.status, absent.status, wrong.status) == ("measured", "not run", "rejected")
    assert absent.reason == "there is no fp16 here"
    assert "smooth at 1x32x32: PSNR should be at least 38 dB" in wrong.reason
    assert wrong.verdict is not None
    assert wrong.verdict.psnr_min is not None
    assert wrong.verdict.psnr_min < 38
    with runtimes.load(tmp_path / "net-fp32.onnx") as runtime:
        assert runtime.spec.parity == exact.verdict
        assert runtime.spec.details == exact.details
    assert exact.size == (tmp_path / "net-fp32.onnx").stat().st_size
    assert (tmp_path / "net-int8.onnx.rejected").exists()
    assert "calibration" not in asked["fp32"]
    assert asked["int8"]["calibration"] == {"a": 1}


def test_several_processes_make_the_same_entries(tmp_path: Path) -> None:
    alone = {entry.precision: entry for entry in entries(tmp_path)}
    model, wanted = network(), wish()
    together = list(export_all(model, tmp_path, "net", planned([fake()]), wanted, jobs=2))
    assert {entry.precision for entry in together} == alone.keys()
    for entry in together:
        assert dataclasses.replace(entry, seconds=0) == dataclasses.replace(alone[entry.precision], seconds=0)
    asking = Exporter(form=FORMATS["pt2"], function=f"{__name__}:say_what_is_known", needs=())
    (answer,) = export_all(model, tmp_path, "net", planned([asking]), wanted, jobs=2)
    assert answer.reason == "1 set of golden pictures is known"
    with pytest.raises(ArtifactError, match="--jobs 1"):
        list(export_all(model, tmp_path, "net", planned([ending()]), wanted, jobs=2))


def say_what_is_known(*_: object, **__: object) -> None:
    raise BackendMissingError(f"{len(export.sharing._store.get() or {})} set of golden pictures is known")


def ending() -> Exporter:
    return Exporter(form=FORMATS["onnx"], function=f"{__name__}:end", needs=())


def end(*_: object, **__: object) -> None:
    os._exit(9)


def test_golden_pictures_are_drawn_once(random_generator: Callable[..., Generator]) -> None:
    first, second = (fold(random_generator(8, seed=seed)) for seed in (0, 1))
    photos = {"smooth": picture(0, 32, 32)}
    square, wide = ShapeSet.of((1, 32, 32)), ShapeSet.of((1, 32, 48))
    with shared() as store:
        once = make_golden(first, square, photos)
        assert make_golden(first, ShapeSet.of((1, 32, 32)), dict(photos)) is once
        assert make_golden(first, square, photos, output="picture", controls=False) is once  # as by default
        others = (
            make_golden(second, square, photos),
            make_golden(first, wide, photos),
            make_golden(first, square, photos, controls=True),
            make_golden(first, square, {"other": photos["smooth"]}),
        )
        assert len(store) == 5
    again = make_golden(first, square, photos)
    assert again is not once
    assert again.sha256() == once.sha256()
    assert all(other.sha256() != once.sha256() for other in others)


def test_all_files_of_maps_share_the_answers_at_full_size(
    tmp_path: Path, random_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files are made, and the network runs once at each size; what each file says is what it says when alone."""
    model = fold(random_generator(8))
    photos = {"smooth": picture(0, 48, 64)}
    plan = [pair for pair in planned([EXPORTERS["onnx"]]) if pair[1] != "int8"]
    wished = wish(shape=(1, 48, 64), dynamic=False, photos=photos, output="both", large_photos=photos)
    large: list[tuple[int, ...]] = []

    def seen(module: object, given: tuple[Any, ...]) -> None:
        large.extend(tuple(x.shape[2:]) for x in given if max(x.shape) > 128)

    monkeypatch.setattr(export.fidelity, "SIDES", (256, 512))
    monkeypatch.setattr(export.catalogue, "SIDES", (256, 512))
    handle = model.register_forward_pre_hook(seen)
    full, half = export_all(model, tmp_path, "net", plan, wished)
    handle.remove()
    assert sorted(large) == [(192, 256)] * 3 + [(384, 512)]  # photograph, edge and ramp; and the larger photograph
    assert full.fidelity is not None
    assert half.fidelity is not None
    assert full.fidelity.photographs == half.fidelity.photographs == ("smooth",)
    with runtimes.load(full.path, threads=1) as runtime:
        assert runtime.spec.output == "both"
        assert runtime.spec.fidelity == full.fidelity == export.fidelity.measure(runtime, model, photos)


def test_a_range_goes_to_the_formats_that_have_one(tmp_path: Path) -> None:
    assert wish().shapes(fake().form) == FREE
    assert wish().shapes(FORMATS["coreml"]) == ShapeSet.of((1, 32, 32))
    assert wish(dynamic=False).shapes(FORMATS["onnx"]) == ShapeSet.of((1, 32, 32))


def test_the_rows(tmp_path: Path) -> None:
    found = entries(tmp_path)
    cells = [row(entry) for entry in found]
    assert cells[0][0] == "ONNX"
    assert cells[0][4:] == ("identical", "0.00", "0.00", "measured", f"{found[0].seconds:.0f} s", "kept: everything")
    assert cells[1][3:] == ("", "", "", "", "not run", "0 s", "there is no fp16 here")
    assert [line.count("|") for line in markdown_table(COLUMNS, cells, others="---").splitlines()] == [11] * 5


def test_the_command(
    tmp_path: Path,
    random_generator: Callable[..., Generator],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = random_generator(8)
    checkpoint = tmp_path / "g.safetensors"
    save_generator(checkpoint, generator, ModelConfig(width=8), {})
    out = tmp_path / "all"
    given = ["export", "all", "--checkpoint", str(checkpoint), "--shape", "32x32", "--jobs", "1", "--out", str(out)]
    monkeypatch.setitem(EXPORTERS, "tensorrt", fake(name="tensorrt", precisions=("fp16",)))
    assert main([*given, "--formats", "pt2", "tensorrt"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [(line["format"], line["status"]) for line in report] == [("tensorrt", "not run"), ("pt2", "measured")]
    with runtimes.load(out / "g-fp32.pt2") as runtime:
        assert runtime.spec.parity is not None
        assert report[1]["parity"]["psnr_min"] == runtime.spec.parity.psnr_min
        batch = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
        difference = runtime.infer(batch) - fold(generator)(runtimes_tensor(batch)).numpy()
        assert np.abs(difference).max() < 2e-5
    assert (out / "report.md").read_text().count("\n") == 4
    assert "no fp16 here" in capsys.readouterr().out

    monkeypatch.setitem(EXPORTERS, "pt2", fake(name="pt2", precisions=("int8",)))
    assert main([*given, "--formats", "pt2"]) == 1
    assert main([*given, "--controls", "--output", "maps"]) == 2
    assert "--output maps returns none; choose --output both" in capsys.readouterr().err
    file = tmp_path / "file"
    file.write_text("")
    assert main(["export", "all", "--out", str(file)]) == 2


def runtimes_tensor(batch: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(batch)


def test_an_unexpected_error_is_not_swallowed(tmp_path: Path) -> None:
    exporter = Exporter(form=FORMATS["onnx"], function=f"{__name__}:broken", needs=())
    with pytest.raises(ZeroDivisionError):
        list(export_all(network(), tmp_path, "net", planned([exporter]), wish()))


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 100.0, 110.0, 110.0, 112.0, 150.0, 150.0])
    monkeypatch.setattr("bncagan.cli.time_left.now", lambda: next(moments))
    with TimeLeft({"quick": 1, "slow": 3}) as left:
        assert left.left() == ""
        left.prepared()  # at 100 s
        left.finished("quick")  # after 10 s, so the slow one needs 30 s
        left.finished("slow")
    assert capsys.readouterr().err == "1/2 files, about 0:00:28 left\n"
