"""`bncagan enhance` on folders: every file is done or named, nothing is destroyed."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bncagan.cli.progress
import runtimes
import runtimes.folders.enhancing
import runtimes.folders.plan
from bncagan.cli import main
from runtimes.folders.naming import Naming
from runtimes.folders.report import is_report
from runtimes.photographs import read_rgb
from tests.folders import picture, write_pictures
from tests.tiny_models import make_spec, write_gain

Run = Callable[..., int]


@pytest.fixture
def enhance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`enhance(*arguments)` in an empty folder, with a network that halves every value; returns the exit code."""
    artifact = write_gain(tmp_path / "half.onnx", make_spec(), 0.5)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return lambda *arguments: main(["enhance", "--model", str(artifact), *map(str, arguments)])


def library() -> None:
    """A folder `lib` with photographs on two levels, a text and a broken photograph."""
    write_pictures(Path("lib"), ["a.png", "b.jpg"])
    write_pictures(Path("lib", "trip"), ["a.png"], seed=5)
    Path("lib", "notes.txt").write_text("no picture")
    Path("lib", "trip", "broken.jpg").write_bytes(b"\xff\xd8\xff")


def contents(folder: str = ".") -> dict[str, bytes]:
    """Every file below a folder, hidden ones as well."""
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def halved(result: str, photograph: str) -> bool:
    """Whether a result is the half of a photograph."""
    difference = read_rgb(result) - np.floor(read_rgb(photograph) / 2 + 0.5)
    return bool(np.abs(difference).max() <= (0 if result.endswith(".png") else 12))


def test_the_first_command_needs_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "photo.png")
    assert main(["enhance", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'photo.png'}\n"
    with runtimes.load("small", threads=1) as runtime:
        expected = runtime.enhance(picture(0)).astype(int)
    assert np.abs(read_rgb(tmp_path / "out" / "photo.png") - expected).max() <= 1


def test_a_library_comes_back_mirrored_and_every_file_is_reported(
    enhance: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    library()
    assert enhance("lib", "--out", "out", "--recursive", "--report", "r.jsonl") == 1
    assert list(contents("out")) == ["out/a.png", "out/b.jpg", "out/trip/a.png"]
    assert all(halved(f"out/{name}", f"lib/{name}") for name in ("a.png", "b.jpg", "trip/a.png"))
    said = capsys.readouterr()
    assert said.out.splitlines() == ["out/a.png", "out/b.jpg", "out/trip/a.png"]
    failure, summary = said.err.splitlines()
    assert failure.startswith("bncagan: lib/trip/broken.jpg should be a photograph")
    assert summary == "bncagan: 3 done, 1 skipped (no photograph by its suffix: 1), 1 failed"
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert [(line["file"], line["status"], line["output"]) for line in lines] == [
        ("lib/a.png", "done", "out/a.png"),
        ("lib/b.jpg", "done", "out/b.jpg"),
        ("lib/notes.txt", "skipped", None),
        ("lib/trip/a.png", "done", "out/trip/a.png"),
        ("lib/trip/broken.jpg", "failed", None),
    ]
    assert lines[4]["why"] == failure.removeprefix("bncagan: ")
    assert is_report(Path("r.jsonl"))


def test_without_recursive_sub_folders_are_named(enhance: Run, capsys: pytest.CaptureFixture[str]) -> None:
    library()
    assert enhance("lib", "--out", "out") == 0
    assert "bncagan: lib/trip is skipped: a sub-folder, without --recursive\n" in capsys.readouterr().err
    assert list(contents("out")) == ["out/a.png", "out/b.jpg"]
    Path("above").mkdir()
    Path("lib").rename("above/lib")
    assert enhance("above", "--out", "out2") == 2
    assert "add --recursive" in capsys.readouterr().err


def test_where_nothing_can_be_done_the_code_is_2(enhance: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("lib"), ["a.png"])
    Path("text.png").write_text("no picture")
    Image.fromarray(picture(0, 1, 1)).save("tiny.png")
    Path("empty").mkdir()
    assert enhance("text.png", "tiny.png", "--out", "out") == 2
    said = capsys.readouterr().err
    assert "text.png should be a photograph" in said
    assert "tiny.png should have at least 8 px a side but has 1 x 1" in said
    for name in ("nowhere.png", "empty", "[odd] [/x].png"):
        assert enhance("lib", name, "--out", "out") == (0 if name == "empty" else 2)
        assert name == "empty" or name in capsys.readouterr().err
    assert enhance("empty", "--out", "out2") == 2
    assert enhance("--out", "out2") == 2
    assert not Path("out2").exists()


def test_one_that_meets_a_bug_does_not_stop_the_others(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), ["a.png", "b.png", "c.png"])
    real = runtimes.folders.enhancing.open_photograph

    def faulty(path: Path, *limits: float) -> Any:
        if path.name == "b.png":
            raise RuntimeError("Error setting from dictionary")
        return real(path, *limits)

    monkeypatch.setattr(runtimes.folders.enhancing, "open_photograph", faulty)
    assert enhance("lib", "--out", "out") == 1
    assert list(contents("out")) == ["out/a.png", "out/c.png"]
    assert "lib/b.png should be enhanced but fails (RuntimeError: Error setting" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        enhance("lib", "--out", "out2", "--debug")


def test_a_full_disk_ends_the_run(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), [f"{i}.png" for i in range(9)])
    real = Image.Image.save

    def save(image: Image.Image, path: Path, *rest: object, **options: object) -> None:
        if len(list(Path("out").glob("[0-9].png"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(image, path, *rest, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    assert enhance("lib", "--out", "out", "--workers", 1) == 1
    assert list(contents("out")) == ["out/0.png", "out/1.png"]
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "bncagan: 2 done, 6 skipped (the disk is full: 6), 1 failed" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lib", "--out", "lib"], "lib/a.png, the result of lib/a.png, should be no photograph"),
        (["lib/a.png", "--out", "link"], "link/a.png, the result of lib/a.png, should be no photograph"),
        (["lib", "--out", "lib", "--overwrite"], "should be no photograph"),
        (["lib", "--out", "lib", "--skip-existing"], "should be no photograph"),
        (["lib", "--out", "out", "--report", "x.html", "--html", "x.html"], "x.html should be a file of its own"),
        (["lib", "other", "--out", "other", "--overwrite"], "other/b.png, the result of lib/b.png, should be no phot"),
        (["lib", "--out", "out", "--before-after", "lib/b.png"], "lib/b.png should be a file of its own"),
        (["lib", "--out", "out", "--before-after", "lib/b.png", "--overwrite"], "lib/b.png should be a file of its"),
        (["lib", "--out", "out", "--report", "link/a.png", "--overwrite"], "link/a.png should be a file of its own"),
        (["lib", "--out", "out", "--before-after", "out/a.png"], "out/a.png should be a file of its own"),
        (["lib", "--out", "out", "--before-after", "view.png"], "view.png should not exist yet"),
        (["lib", "--out", "out", "--before-after", "more.png"], "more-2.png should not exist yet"),
        (["lib", "--out", "out", "--html", "view.html"], "view.html should not exist yet"),
        (["lib", "--out", "out", "--html", "view.png"], "view.png should end in .html"),
        (["lib", "--out", "out", "--report", "notes.txt"], "notes.txt should not exist yet"),
        (["lib", "--out", "out", "--report", "notes.txt", "--skip-existing"], "notes.txt should not exist yet"),
        (["lib", "--out", "full"], "full/a.png should not exist yet but does, as do 1 more"),
        (["lib", "other", "--out", "out"], "other/b.png should have a result of its own"),
        (["lib", "--out", "notes.txt"], "notes.txt should be a folder that can be written to"),
        (["lib", "--out", "notes.txt/out"], "notes.txt/out should be a folder that can be written to"),
        (["lib"], "either into a folder (--out) or in place (--in-place) but neither"),
        (["lib", "--out", "out", "--in-place"], "out and in place"),
        (["lib", "--out", "out", "--no-backup"], "--no-backup without --in-place"),
        (["lib", "--out", "out", "--overwrite", "--skip-existing"], "--skip-existing with --overwrite"),
        (["lib", "--in-place", "--suffix", "x"], "--in-place with --suffix"),
        (["lib", "--out", "out", "--suffix", "a/b"], "--suffix should be a part"),
        (["lib", "--out", "out", "--format", "tga"], "--format should be one of"),
        (["lib", "--out", "out", "--quality", "0"], "quality should be a number from 1 to 100"),
        (["lib", "--out", "out", "--workers", "0"], "workers should be a number from 1"),
        (["lib", "--out", "out", "--max-side", "8"], "max_side should be"),
        (["lib", "--out", "out", "--strength", "2"], "strength should be a number from 0 to 1.5"),
        (["lib", "--out", "out", "--max-megapixels", "0"], "max_megapixels should be above 0"),
        (["m.onnx", "lib", "--out", "out"], "the model should be given once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_would_destroy_or_contradict_is_refused_before_any_work(
    arguments: list[str], said: str, enhance: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), ["a.png", "b.png", *(f"c{i}.png" for i in range(5))])
    write_pictures(Path("other"), ["b.png"], seed=9)
    write_pictures(Path("full"), ["a.png", "b.png"], seed=20)
    Path("link").symlink_to("lib")
    for name in ("view.png", "more-2.png", "view.html", "notes.txt"):
        Path(name).write_text("mine")
    before = contents()
    assert enhance(*arguments) == 2
    error = capsys.readouterr()
    assert said in error.err
    assert error.err.count("\n") == 1
    assert not error.out
    assert contents() == before


def test_skip_existing_goes_on_and_overwrite_replaces(enhance: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("lib"), ["a.png", "b.png"])
    write_pictures(Path("out"), ["a.png"], seed=7)
    mine = Path("out/a.png").read_bytes()
    command = ["lib", "--out", "out", "--report", "r.jsonl"]
    assert enhance(*command, "--skip-existing") == 0
    assert Path("out/a.png").read_bytes() == mine
    assert halved("out/b.png", "lib/b.png")
    assert enhance(*command, "--skip-existing") == 0  # the report of before is replaced
    assert "bncagan: 0 done, 2 skipped (the result exists: 2), 0 failed\n" in capsys.readouterr().err
    Path("lib/c.png").write_text("no picture")
    assert enhance(*command, "--skip-existing") == 1  # nothing was done, but results exist
    assert enhance("lib/a.png", "--out", "out", "--overwrite") == 0
    assert halved("out/a.png", "lib/a.png")


def test_a_result_that_appears_meanwhile_is_kept(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), ["a.png"])
    real = runtimes.folders.enhancing.open_photograph

    def slow(*given: Any) -> Any:
        Path("out/a.png").write_text("of another program")
        return real(*given)

    monkeypatch.setattr(runtimes.folders.enhancing, "open_photograph", slow)
    assert enhance("lib", "--out", "out") == 2
    assert "out/a.png should not exist" in capsys.readouterr().err
    assert contents("out") == {"out/a.png": b"of another program"}


def test_results_inside_the_folder_are_not_enhanced_again(enhance: Run) -> None:
    library()
    for _ in range(3):
        assert enhance("lib", "--out", "lib/trip/enhanced", "--recursive", "--skip-existing") == 1
    assert [name for name in contents("lib") if "enhanced" in name] == [
        "lib/trip/enhanced/a.png",
        "lib/trip/enhanced/b.jpg",
        "lib/trip/enhanced/trip/a.png",
    ]


def test_a_suffix_puts_results_beside_the_photographs_and_a_second_run_knows_them(enhance: Run) -> None:
    write_pictures(Path("lib"), ["a.png", "b-new.png"])
    for _ in range(2):
        assert enhance("lib", "--out", "lib", "--suffix=-new", "--skip-existing") == 0
    assert list(contents("lib")) == ["lib/a-new.png", "lib/a.png", "lib/b-new-new.png", "lib/b-new.png"]
    assert halved("lib/a-new.png", "lib/a.png")


def test_in_place_keeps_the_original_and_is_done_once(enhance: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("lib"), ["a.png", "b.png"])
    Path("lib/a.png").chmod(0o640)
    Path("lib/link.png").symlink_to("a.png")
    before = contents("lib")
    assert enhance("lib/a.png", "--in-place") == 0
    assert Path("lib/a.orig.png").read_bytes() == before["lib/a.png"]
    assert Path("lib/a.png").stat().st_mode & 0o777 == 0o640
    assert halved("lib/a.png", "lib/a.orig.png")
    assert enhance("lib", "--in-place") == 2
    assert "lib/a.orig.png should not exist yet but does, so lib/a.png is enhanced already" in capsys.readouterr().err
    os.link("lib/b.png", "lib/b.orig.png")  # as a run leaves it that is killed between the backup and the result
    for _ in range(2):
        assert enhance("lib", "--in-place", "--skip-existing") == 0
        assert halved("lib/a.png", "lib/a.orig.png")
        assert halved("lib/b.png", "lib/b.orig.png")
        assert Path("lib/b.orig.png").read_bytes() == before["lib/b.png"]
    assert Path("lib/link.png").is_symlink()
    assert "lib/link.png is skipped: a link" in capsys.readouterr().err
    assert len(contents("lib")) == 5


def test_in_place_without_hard_links_copies(enhance: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(Path("lib"), ["a.png"])
    before = Path("lib/a.png").read_bytes()

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert enhance("lib", "--in-place") == 0
    assert Path("lib/a.orig.png").read_bytes() == before
    assert halved("lib/a.png", "lib/a.orig.png")
    assert enhance("lib/a.png", "--in-place", "--no-backup") == 0
    assert len(contents("lib")) == 2


@pytest.mark.parametrize(
    ("name", "plain", "as_jpg"),
    [
        ("a.jpg", "a.jpg", "a-x.jpg"),
        ("a.JPEG", "a.JPEG", "a-x.JPEG"),
        ("s/a.tif", "s/a.tif", "s/a.tif-x.jpg"),
        ("a.gif", "a.gif.png", "a.gif-x.jpg"),
        ("a.CR2", "a.CR2.jpg", "a.CR2-x.jpg"),
    ],
)
def test_a_result_has_a_name_that_depends_on_its_photograph_alone(name: str, plain: str, as_jpg: str) -> None:
    assert Naming(out=Path("out")).name(Path(name)) == Path(plain)
    assert Naming(out=Path("out"), format="jpg", suffix="-x").name(Path(name)) == Path(as_jpg)


def test_another_format_is_written(enhance: Run) -> None:
    write_pictures(Path("lib"), ["a.png", "a.jpg"])
    assert enhance("lib", "--out", "out", "--format", "jpg", "--quality", 90) == 0
    assert list(contents("out")) == ["out/a.jpg", "out/a.png.jpg"]
    assert contents("out")["out/a.png.jpg"].startswith(b"\xff\xd8\xff")


def test_names_that_differ_in_case_are_refused_where_the_file_system_ignores_it(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), ["A.png"])
    write_pictures(Path("more"), ["a.png"])
    monkeypatch.setattr(runtimes.folders.plan, "_ignores_case", lambda _: True)
    assert enhance("lib", "more", "--out", "out") == 2
    said = capsys.readouterr().err
    assert "more/a.png should have a result of its own but out/a.png is also that of lib/A.png" in said


def test_case_is_probed_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    assert runtimes.folders.plan._ignores_case(tmp_path / "no" / "folder") == (tmp_path / "PROBE").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_links_pipes_and_hidden_files(enhance: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(Path("lib"), ["a.png", ".b.png"])
    Path("lib/copy.png").symlink_to("a.png")
    Path("lib/gone.png").symlink_to("nowhere.png")
    Path("lib/loop").symlink_to(".")
    os.mkfifo("lib/pipe.png")
    Path("lib/.git").mkdir()
    write_pictures(Path("lib/@eaDir/a.png"), ["SYNOPHOTO_THUMB_M.jpg"])
    assert enhance("lib", "lib/a.png", "--out", "out", "--recursive") == 1
    assert list(contents("out")) == ["out/a.png", "out/copy.png"]
    said = capsys.readouterr().err
    assert "lib/gone.png should be a photograph but is a link to a file that does not exist" in said
    assert "lib/loop is skipped: a link to a folder" in said
    assert "lib/pipe.png is skipped: neither a file nor a folder" in said
    assert (
        "(hidden: 2; a folder of the system: 1; a link to a folder: 1; neither a file nor a folder: 1), 1 failed"
        in said
    )


@pytest.mark.parametrize(
    "name", [b"n" * 251 + b".png", "\u00fc".encode() * 125 + b".png", b"caf\xe9.png", b"new\nline.png"]
)
def test_any_name_that_the_system_takes(enhance: Run, name: bytes, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Path("lib").mkdir()
    Image.fromarray(picture(0)).save("p.png")
    try:
        Path("p.png").rename(os.fsdecode(b"lib/" + name))
    except OSError:
        pytest.skip("the file system does not take this name")
    assert enhance("lib", "--out", "out", "--report", "r.jsonl", "--html", "p.html", "--before-after", "v.png") == 0
    assert [os.fsencode(path.name) for path in Path("out").iterdir()] == [name]
    assert capfdbinary.readouterr().out == b"out/" + name + b"\n"
    (line,) = Path("r.jsonl").read_text().splitlines()
    assert os.fsencode(json.loads(line)["output"]) == b"out/" + name


def test_contact_sheets_and_a_page_show_every_photograph(enhance: Run) -> None:
    write_pictures(Path("lib"), [f"{i}.png" for i in range(7)])
    write_pictures(Path("lib", "s"), ["<i>.png"])
    assert enhance("lib", "--recursive", "--out", "out", "--before-after", "v/v.png", "--html", "v/v.html") == 0
    sizes = [read_rgb(f"v/{name}.png").shape[1::-1] for name in ("v", "v-2")]
    width, row = 2 * round(96 * 384 / 80) + 16, 384 + 24
    assert sizes == [(width, 6 * row + 5 * 16), (width, 2 * row + 16)]
    first = read_rgb("v/v.png")[:384]
    before, after = first[:, : width // 2 - 8].mean(), first[:, width // 2 + 8 :].mean()
    assert after == pytest.approx(before / 2, abs=1)
    page = Path("v/v.html").read_text()
    assert page.count("<figure>") == page.count("</figure>") == 8
    assert page.count("data:image/jpeg;base64,") == 16
    assert "lib/s/&lt;i&gt;.png" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_the_first_argument_may_be_the_model(tmp_path: Path) -> None:
    artifact = write_gain(tmp_path / "half.onnx", make_spec(), 0.5)
    write_pictures(tmp_path / "lib", ["a.png"])
    assert main(["enhance", str(artifact), str(tmp_path / "lib"), "--out", str(tmp_path / "out")]) == 0
    assert halved(str(tmp_path / "out" / "a.png"), str(tmp_path / "lib" / "a.png"))


def test_the_same_from_python(tmp_path: Path) -> None:
    artifact = write_gain(tmp_path / "half.onnx", make_spec(), 0.5)
    write_pictures(tmp_path / "lib", [f"{i}.png" for i in range(9)])
    started: list[Path] = []
    options: dict[str, Any] = {"model": artifact, "strength": 0, "options": {"threads": 1}, "started": started.append}
    results = runtimes.enhance_folder(tmp_path / "lib", tmp_path / "out", workers=2, **options)
    assert not started
    assert [(result.status, result.file.name) for result in results] == [("done", f"{i}.png") for i in range(9)]
    assert sorted(path.name for path in started) == [f"{i}.png" for i in range(9)]
    assert np.array_equal(read_rgb(tmp_path / "out" / "3.png"), read_rgb(tmp_path / "lib" / "3.png"))
    with pytest.raises(runtimes.InputError, match="should not exist yet"):  # before anything is read from it
        runtimes.enhance_folder([tmp_path / "lib"], tmp_path / "out", **options)
    with pytest.raises(TypeError):
        runtimes.enhance_folder(tmp_path / "lib", tmp_path / "out2", **options, strenght=1)


def test_closing_the_iterator_stops_the_work(tmp_path: Path) -> None:
    artifact = write_gain(tmp_path / "half.onnx", make_spec(), 0.5)
    write_pictures(tmp_path / "lib", [f"{i}.png" for i in range(5)])
    gate = threading.Semaphore(1)  # for the first; the second goes on after the iterator is closed
    results = runtimes.enhance_folder(
        tmp_path / "lib", tmp_path / "out", model=artifact, workers=1, started=lambda _: gate.acquire(timeout=5)
    )
    assert next(results).status == "done"
    threading.Timer(0.5, gate.release).start()
    results.close()  # type: ignore[attr-defined]
    assert 1 <= len(list((tmp_path / "out").iterdir())) <= 2


def test_a_log_hears_how_far_it_is(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), [f"{i}.png" for i in range(6)])
    clock = iter(range(0, 1000, 20))  # seconds: the start, then one reading for each photograph
    monkeypatch.setattr(bncagan.cli.progress, "now", lambda: next(clock))
    assert enhance("lib", "--out", "out") == 0
    assert capsys.readouterr().err.splitlines() == [
        "1/6, 0.05/s, 100 s left, 0.png",
        "3/6, 0.05/s, 60 s left, 2.png",
        "5/6, 0.05/s, 20 s left, 4.png",
        "bncagan: 6 done, 0 skipped, 0 failed",
    ]


def test_a_terminal_has_a_bar_and_stdout_its_own_lines(
    enhance: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(Path("lib"), ["a.png", "b.png"])
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it: a terminal
    assert enhance("lib", "--out", "out") == 0
    said = capsys.readouterr()
    assert said.out == "out/a.png\nout/b.png\n"
    assert "\x1b[" in said.err
    assert "2/2" in said.err


def test_strength_and_exposure_pass_through(enhance: Run) -> None:
    write_pictures(Path("lib"), ["a.png"])
    assert enhance("lib", "--out", "s", "--strength", 0.5) == 0
    expected = np.floor(read_rgb("lib/a.png") * 0.75 + 0.5)
    assert np.abs(read_rgb("s/a.png") - expected).max() <= 1
    assert enhance("lib", "--out", "e", "--strength", 0, "--exposure", 1) == 0
    assert read_rgb("e/a.png").mean() > 1.2 * read_rgb("lib/a.png").mean()
