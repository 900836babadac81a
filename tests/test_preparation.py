"""FiveK's archive and its splits, DPED's folders, and what `data check` says."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bncagan.cli import main
from bncagan.cli.data import PAPER_COUNTS
from bncagan.config import LossWeights, ModelConfig, TrainConfig
from bncagan.data import fivek
from bncagan.data.checking import check
from bncagan.data.fivek import developed, find_photographs_of
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, find_pairs, pair_folder, training_folder
from bncagan.data.splitting import by_number, split
from bncagan.training.loop import train
from runtimes.errors import InputError, UserError
from runtimes.installation import installed
from tests.folders import make_data, picture, write_pictures

needs_rawpy = pytest.mark.skipif(not installed("rawpy"), reason="needs the extra raw")


# Splits


def write_archive(folder: Path, count: int) -> Path:
    """Files with FiveK's names; their contents do not matter to a split."""
    for name in ("input", "expert"):
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"a{number:04d}-kme_{7 * number % 997}.png").write_text(name)
    return folder


def numbers(folder: Path) -> list[int]:
    return sorted(int(path.name[1:5]) for path in folder.iterdir())


def test_the_order_by_number_is_the_authors() -> None:
    """On FiveK's 5,000 names, in whatever order they are listed."""
    stems = [f"a{number:04d}-kme_{7 * number % 997}" for number in range(5000, 0, -1)]
    parts = by_number(stems, PAPER_COUNTS)
    for part, first, last in (
        (parts.expert, 1, 2250), (parts.raw, 2251, 4500), (parts.test, 4501, 4900), (parts.val, 4901, 5000),
    ):  # fmt: skip
        assert [int(stem[1:5]) for stem in part] == list(range(first, last + 1))
        assert set(part) <= set(stems)


def test_a_split_by_number_copies_the_right_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, out = write_archive(tmp_path / "fivek", 15), tmp_path / "out"
    given = ["data", "split", "--raw", str(archive / "input"), "--expert", str(archive / "expert")]
    assert main([*given, "--out", str(out), "--order", "number", "--counts", "4", "5", "2", "3"]) == 0
    assert "train/raw: 4, train/exp: 5, val/raw: 2, val/label: 2, test/raw: 3, test/label: 3" in capsys.readouterr().out
    for folder, first, last in (
        ("train/exp", 1, 5), ("train/raw", 6, 9), ("test/raw", 10, 12), ("test/label", 10, 12), ("val/raw", 13, 14),
        ("val/label", 13, 14),
    ):  # fmt: skip
        assert numbers(out / folder) == list(range(first, last + 1)), folder
        content = "input" if folder.endswith("raw") else "expert"
        assert {path.read_text() for path in (out / folder).iterdir()} == {content}


def test_a_number_that_is_missing_or_twice_is_refused(tmp_path: Path) -> None:
    archive, counts = write_archive(tmp_path / "fivek", 12), (3, 4, 2, 3)

    def refuse(match: str) -> None:
        with pytest.raises(InputError, match=match):
            split(archive / "input", archive / "expert", tmp_path / "out", counts, order="number")
        assert not (tmp_path / "out").exists()

    def rename(old: str, new: str) -> None:
        for name in ("input", "expert"):
            (archive / name / old).rename(archive / name / new)

    rename("a0005-kme_35.png", "a0015-kme_35.png")
    refuse("numbers 1 to 12, .* but 5 is missing; ")
    rename("a0015-kme_35.png", "a0004-more.png")
    refuse("a0004-more should have a number of its own but has that of a0004-kme_28; ")
    rename("a0004-more.png", "five.png")
    refuse("five should have a number in its name for --order number")


def test_a_list_of_ones_own_is_an_order(tmp_path: Path) -> None:
    archive, file = write_archive(tmp_path / "fivek", 9), tmp_path / "list.txt"
    stems = sorted(path.stem for path in (archive / "input").iterdir())[::-1]
    file.write_text("# test last\n\n" + "\n".join([stems[0], f"{stems[1]}.png", *stems[2:8]]) + "\n")

    def made(name: str, *counts: int) -> Path:
        split(archive / "input", archive / "expert", tmp_path / name, counts, order=str(file))
        return tmp_path / name

    out = made("out", 2, 1, 1, 3)
    found = [numbers(out / part) for part in ("train/raw", "train/exp", "val/raw", "val/label", "test/raw")]
    assert found == [[8, 9], [7], [6], [6], [3, 4, 5]]
    for text, counts, match in (
        (f"{stems[0]}\nx.png\n", (1, 1, 1, 1), r"list\.txt should .* but x\.png is no photograph of the two folders"),
        (f"{stems[0]}\n{stems[0]}\n", (1, 1, 1, 1), "is named twice"),
        (f"{stems[0]}\n", (1, 1, 1, 1), "at least 4 photographs, .* but names 1; "),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=match):
            made("new", *counts)
    file.unlink()
    with pytest.raises(InputError, match=r"--order should be number, random or a text file but .*list\.txt cannot"):
        made("new", 1, 1, 1, 1)
    assert not (tmp_path / "new").exists()


def test_wrong_options_of_a_split_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = write_archive(tmp_path / "fivek", 4)
    given = ["data", "split", "--raw", str(archive / "input"), "--expert", str(archive / "expert"), "--out", "x"]
    assert main([*given, "--seed", "-1"]) == 2
    assert "--seed should be at least 0 but is -1; " in capsys.readouterr().err
    assert main([*given, "--counts", "1", "1", "0", "1"]) == 2
    assert "--counts should be at least 1 each but are 1 1 0 1; " in capsys.readouterr().err
    (tmp_path / "raw" / "HQa1to700").mkdir(parents=True)
    (tmp_path / "raw" / "HQa1to700" / "a0001.dng").write_text("")
    with pytest.raises(InputError, match=r"raw should hold photographs but holds a camera's DNG files.*data fivek"):
        split(tmp_path / "raw", archive / "expert", tmp_path / "out", (1, 1, 1, 1))


# The archive


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest) -> ModuleType:
    """The module that draws awkward photographs, a DNG file among them; it lies beside the real ones."""
    file = request.config.getoption("--photographs").parent / "cases" / "make.py"
    if not file.is_file():
        pytest.skip("needs the drawn photographs, which are not part of the project")
    spec = importlib.util.spec_from_file_location("cases_make", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@needs_rawpy
def test_a_dng_is_developed_neutrally(tmp_path: Path, cases: ModuleType) -> None:
    (tmp_path / "camera.dng").write_bytes(cases.dng())
    right = cases.codes8(cases.scene(240, 320))
    assert np.abs(developed(tmp_path / "camera.dng").astype(int) - right).mean() < 3
    halved = developed(tmp_path / "camera.dng", 120)
    reduced = np.asarray(Image.fromarray(right).resize((160, 120), Image.Resampling.BOX))
    assert np.abs(halved.astype(int) - reduced).mean() < 3
    assert developed(tmp_path / "camera.dng", 121).shape == (240, 320, 3)
    (tmp_path / "broken.dng").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.dng should be a camera's raw file but cannot be read"):
        developed(tmp_path / "broken.dng")


@needs_rawpy
def test_an_archive_becomes_pictures_to_split(
    tmp_path: Path, cases: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """DNG files in sub-folders, an expert's TIFF files of a few pixels less; a second call does what is missing."""
    archive, tiff = tmp_path / "raw_photos", tmp_path / "tiff16_c"
    tiff.mkdir()
    for number, part in ((1, "HQa1to700"), (2, "HQa1to700"), (3, "HQa701to1400"), (4, "HQa701to1400")):
        folder = archive / part / "photos"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"a{number:04d}-x.dng").write_bytes(cases.dng())
        Image.fromarray(picture(number, 236, 316)).save(tiff / f"a{number:04d}-x.tif")
    broken = archive / "HQa1to700" / "photos" / "a0002-x.dng"
    broken.write_bytes(b"nothing")
    out = tmp_path / "fivek"
    given = ["data", "fivek", str(archive), "--expert", str(tiff), "--out", str(out), "--short-side", "96"]
    assert main(given) == 1
    said = capsys.readouterr().out
    assert "a0002-x.dng should be a camera's raw file" in said
    assert f"{out / 'input'}: 3 of 4 photographs" in said
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    broken.write_bytes(cases.dng())
    assert main(given) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    right = cases.codes8(cases.scene(240, 320))[2:-2, 2:-2]
    expected = np.asarray(Image.fromarray(right).resize((129, 96), Image.Resampling.LANCZOS)).astype(int)
    for number in (1, 2, 3, 4):
        with Image.open(out / "input" / f"a{number:04d}-x.png") as image:
            assert np.abs(np.asarray(image) - expected).mean() < 4
        with Image.open(out / "expert" / f"a{number:04d}-x.png") as image:
            assert image.size == (129, 96)
    done = ["--counts", "1", "1", "1", "1", "--order", "number", "--out", str(tmp_path / "data")]
    assert main(["data", "split", "--raw", str(out / "input"), "--expert", str(out / "expert"), *done]) == 0
    assert len(find_pairs(tmp_path / "data" / "test")) == 1


def test_without_rawpy_lightroom_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a0001.dng").write_bytes(b"")
    monkeypatch.setattr(fivek, "installed", lambda _: False)
    assert main(["data", "fivek", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "[raw]" in said
    assert "Inputs/InputAsShotZeroed and Experts/C, and export PNG, sRGB, 8 bit, short edge 512 px" in said
    assert not (tmp_path / "out").exists()


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fivek.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"fivek\.tar should be the folder .*unpack it \(tar -xf"):
        find_photographs_of(tmp_path / "fivek.tar", None)
    with pytest.raises(InputError, match="should hold DNG files, also in sub-folders, but holds none"):
        find_photographs_of(tmp_path, None)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.DNG").write_bytes(b"")
        (tmp_path / folder / "._1.dng").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 should be in .* once but is .*a/1\.DNG and .*b/1\.DNG"):
        find_photographs_of(tmp_path, None)
    shutil.rmtree(tmp_path / "b")
    write_pictures(tmp_path / "c", ["2.png"])
    with pytest.raises(InputError, match=r"c should hold pictures named like the DNG files, such as 1\.tif"):
        find_photographs_of(tmp_path, tmp_path / "c")


# DPED


@pytest.mark.parametrize("phone", ["iphone", "blackberry", "sony"])
def test_dped_of_every_phone(tmp_path: Path, phone: str, capsys: pytest.CaptureFixture[str]) -> None:
    for other in ("iphone", "sony"):
        write_patches(tmp_path / other, other)
    data = write_patches(tmp_path / phone, phone)
    assert training_folder(data, LOW_NAMES) == data / "training_data" / phone
    assert training_folder(data, HIGH_NAMES) == data / "training_data" / "canon"
    patches = pair_folder(data, "test")
    assert patches == data / "test_data" / "patches"
    assert len(find_pairs(patches)) == 2
    assert main(["data", "check", str(data)]) == 0
    said = capsys.readouterr().out
    assert "3 of 3 photographs are smaller than --size (256 px) and are enlarged up to 2.56 times" in said
    assert "--size 96 --crop 96 leaves them as they are" in said
    with pytest.raises(InputError, match=r"one for each phone; name .*iphone or .*sony"):
        training_folder(tmp_path, LOW_NAMES)


def write_patches(data: Path, phone: str) -> Path:
    """DPED's folders of one phone, with patches of 100 px."""
    for folder, count in (("training_data", 3), ("test_data/patches", 2)):
        for name in (phone, "canon"):
            (data / folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(picture(number, 100, 100)).save(data / folder / name / f"{number}.jpg")
    return data


# The check


def config(data: Path, **changes: object) -> TrainConfig:
    small = TrainConfig(
        data=data, out=data / "run", model=ModelConfig(width=4), loss=LossWeights(perceptual=0), size=64, crop=64,
        batch=1, workers=0, steps=1, accelerator="cpu", **changes,
    )  # type: ignore[arg-type] # fmt: skip
    shutil.rmtree(data / "run", ignore_errors=True)
    return small


def resize_label(data: Path, part: str) -> None:
    Image.fromarray(picture(0, 40, 96)).save(data / part / "label" / "x.png")


def shrink(data: Path) -> None:
    for side in ("low", "label"):
        Image.fromarray(picture(0, 7, 9)).save(data / "val" / side / "x.png")


def break_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"nothing")


# What is wrong, what refuses it, and a part of what the check says
SPOILT: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "sizes": (lambda data: resize_label(data, "val"), "train evaluate", "x.png has 96 x 40 px but its input 96 x 80"),
    "test sizes": (lambda data: resize_label(data, "test"), "evaluate", "evaluate --protocol native: "),
    "tiny": (shrink, "train evaluate", "should have at least 8 x 8 px but has 9 x 7"),
    "broken": (lambda data: break_all(data / "val" / "label"), "train evaluate", "label/x.png should be a photograph"),
    "partner": (lambda data: (data / "val/low/x.png").rename(data / "val/low/z.png"), "train evaluate", "(x, z)"),
    "twice": (lambda data: shutil.copy(data / "val/low/x.png", data / "val/low/x.bmp"), "train evaluate", "holds x."),
    "keep": (lambda data: break_all(data / "keep"), "train evaluate", "keep/k.png should be a photograph"),
    "empty keep": (lambda data: (data / "keep/k.png").unlink(), "train evaluate", "keep should hold photographs"),
    "no high": (lambda data: shutil.rmtree(data / "train" / "high"), "train", "train: "),
    "all broken": (lambda data: break_all(data / "train/low"), "train", "holds no photograph that can be decoded"),
}


def good_data(root: Path) -> Path:
    make_data(root)
    shutil.copytree(root / "val", root / "test")
    write_pictures(root / "keep", ["k.png"])
    return root


@pytest.mark.parametrize("name", SPOILT)
def test_the_check_says_what_the_commands_refuse(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = good_data(tmp_path / "data")
    spoil, refusing, told = SPOILT[name]
    spoil(data)
    assert main(["data", "check", str(data)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("refused by ")]
    assert any(told in line for line in lines)
    named = " ".join(line.removeprefix("refused by ").partition(":")[0] for line in lines)
    assert {command for command in ("train", "evaluate") if command in named} == set(refusing.split())
    sets = [str(data / part) for part in ("val", "test")]
    given = ["evaluate", "--data", *sets, "--checkpoint", "nano", "--no-baselines", "--out", str(tmp_path / "out")]
    assert ("evaluate" in refusing) == (main([*given, "--protocol", "native"]) == 2)
    if "train" in refusing:
        with pytest.raises(UserError):
            train(config(data))
    else:
        train(config(data))


def test_a_good_data_set_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = good_data(tmp_path)
    report = check(data)
    assert not report.refused
    assert [photographs.total for photographs in report.folders.values()] == [5, 7, 2, 2, 2, 2, 1]
    assert main(["data", "check", str(data)]) == 0
    assert "refused" not in capsys.readouterr().out


def test_good_photographs_alone_pass_and_are_explained(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train" / "high", ["a.png", "b.png"])
    report = check(tmp_path)
    assert not report.refused
    assert "train with --low-from-high 1" in report.notes[0]
    train(config(tmp_path, low_from_high=1.0))


def test_sizes_that_agree_when_reduced_are_refused_by_evaluate_alone(tmp_path: Path) -> None:
    data = good_data(tmp_path)
    for side, height in (("low", 1200), ("label", 600)):
        Image.fromarray(picture(0, height, height)).save(data / "val" / side / "x.png")
    report = check(data)
    assert [line.partition(":")[0] for line in report.refused] == ["evaluate --protocol native"]
    train(config(data))


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    write_pictures(data / "keep", ["k.png"])
    (data / "val").rename(data / "valid")
    (data / "Test").mkdir()
    notes = "\n".join(check(data).notes)
    assert f"no {data / 'val'}: train scores no checkpoint" in notes
    assert f"no {data / 'test'}: ablate has nothing to score on" in notes
    assert f"{data / 'valid'} is not read; if it holds such photographs, name it {data / 'val'}" in notes
    assert f"{data / 'Test'} is not read" in notes
    assert f"{data / 'keep'} counts for train only together with pairs" in notes
