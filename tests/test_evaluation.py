"""Protocols, data sets, groups, other programs' pictures, and the files of `bncagan evaluate`."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy.stats import ttest_1samp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import bncagan.evaluation.methods
import bncagan.evaluation.scores
from bncagan.cli import main
from bncagan.cli.methods import Given, named_methods
from bncagan.cli.score_tables import COLUMNS, cells_of, columns_of, markdown, terminal_table, title_of
from bncagan.config import ModelConfig
from bncagan.data.folders import Pair, find_pairs
from bncagan.evaluation import tables
from bncagan.evaluation.baselines import BASELINES
from bncagan.evaluation.methods import network_method, outputs_of
from bncagan.evaluation.metrics import score
from bncagan.evaluation.protocols import prepared
from bncagan.evaluation.scores import (
    INPUT,
    PICTURE_METHODS,
    Result,
    evaluate,
    find_data_sets,
    refuse_empty_groups,
)
from bncagan.evaluation.tables import summarize, write_results
from bncagan.network.checkpoint import save_generator
from bncagan.network.inference import enhance
from bncagan.network.model import Generator
from runtimes.apply.applying import applied
from runtimes.apply.fitting import fit_change
from runtimes.errors import InputError
from runtimes.image import Pixels
from runtimes.photographs import read_rgb
from tests.folders import make_data, picture, write_pictures


def brighter(_pair: Pair, low: Pixels) -> Pixels:
    return np.minimum(low.astype(int) * 2, 255).astype(np.uint8)


def reference(pair: Pair, low: Pixels) -> Pixels:
    return np.asarray(
        Image.fromarray(read_rgb(pair.label)).resize((low.shape[1], low.shape[0]), Image.Resampling.BILINEAR)
    )


def make_pairs(folder: Path, names: list[str], seed: int = 0) -> Path:
    """A data set with one pair for each name; each low picture is darker than its label, all by different factors."""
    for kind in ("low", "label"):
        (folder / kind).mkdir(parents=True)
    for number, name in enumerate(names):
        label = picture(seed + number, 40, 48)
        Image.fromarray(label).save(folder / "label" / f"{name}.png")
        Image.fromarray(label // (2 + number % 4)).save(folder / "low" / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two data sets: test with five pictures in two groups, and val with three in one of these groups."""
    root = tmp_path_factory.mktemp("sets")
    make_pairs(root / "test", ["fivek_a", "fivek_b", "sice_a", "sice_b", "sice_c"])
    make_pairs(root / "val", ["fivek_c", "fivek_d", "fivek_e"], seed=20)
    return root / "test", root / "val"


# Protocols


def test_native_scores_are_scikit_images(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path) / "val")
    clipped = lambda pair, _low: np.clip(read_rgb(pair.label), 9, 250)  # noqa: E731
    rows, _ = evaluate({"val": pairs}, {"clipped": clipped}, ["native"])
    assert [row[:4] for row in rows] == [
        ("val", "native", name, method) for name in ("x", "y") for method in (INPUT, "clipped")
    ]
    for before, after, pair in zip(rows[::2], rows[1::2], pairs, strict=True):
        low, label = map(read_rgb, pair)
        output = np.clip(label, 9, 250)
        assert before.scores["psnr"] == pytest.approx(peak_signal_noise_ratio(label, low, data_range=255))
        assert after.scores["psnr"] == pytest.approx(peak_signal_noise_ratio(label, output, data_range=255))
        expected = structural_similarity(label, output, channel_axis=-1, data_range=255)
        assert after.scores["ssim"] == pytest.approx(expected)
        assert before.scores["ciede2000"] > after.scores["ciede2000"] > 0


def test_the_paper_protocol_resizes_and_leaves_out_the_border(tmp_path: Path) -> None:
    pairs = find_pairs(make_data(tmp_path) / "val")
    shapes = []

    def framed(pair: Pair, low: Pixels) -> Pixels:
        shapes.append(low.shape)
        output = prepared(read_rgb(pair.label), "paper").copy()
        output[:4], output[-4:], output[:, :4], output[:, -4:] = 0, 0, 0, 0
        return output

    rows, examples = evaluate({"val": pairs}, {"framed": framed}, ["paper"])
    assert shapes == [(512, 512, 3)] * 2
    assert [row.scores["psnr"] for row in rows[1::2]] == [float("inf")] * 2  # they differ only in the border
    assert examples[0].tiles[1].shape == (512, 512, 3)


def bilinear(pixels: Pixels, side: int) -> np.ndarray:
    """Written out: each output pixel is a mean under a triangle of twice the step's width, or of 2 px if enlarging."""

    def weights(size: int) -> np.ndarray:
        scale = size / side
        support = max(scale, 1)
        centres = (np.arange(side) + 0.5) * scale
        found = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - centres[:, None]) / support)
        return found / found.sum(1, keepdims=True)

    across = np.einsum("xw,hwc->hxc", weights(pixels.shape[1]), pixels.astype(float))
    across = np.clip(np.floor(across + 0.5), 0, 255)  # Pillow rounds between its two passes
    return np.einsum("yh,hxc->yxc", weights(pixels.shape[0]), across)


@pytest.mark.parametrize("shape", [(40, 48), (700, 900), (512, 341)])
def test_the_paper_protocol_is_bilinear_and_antialiased(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert np.abs(prepared(pixels, "paper") - bilinear(pixels, 512)).max() < 1.2  # it is rounded twice
    np.testing.assert_array_equal(prepared(pixels, "native"), pixels)


def test_the_paper_protocol_equals_an_independent_tester(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """As the authors' code does it: torchvision's Resize of a PIL image, border of 4 px, PSNR and SSIM over RGB."""
    data = request.config.getoption("--photographs") / "test"
    if not data.is_dir():
        pytest.skip("needs photographs with references: pytest --photographs DATA")
    given = ("--outputs", data / "label", "--data", data, "--protocol", "paper", "--no-baselines")
    assert run_evaluate(*given, "--out", tmp_path / "out") == 0
    found = [line for line in read_scores(tmp_path / "out") if (line["data"], line["method"]) == ("test", INPUT)]
    assert found
    for line, pair in zip(found, find_pairs(data), strict=True):
        low, label = (
            np.asarray(Image.open(path).convert("RGB").resize((512, 512), Image.Resampling.BILINEAR), float)[4:-4, 4:-4]
            for path in pair
        )
        assert float(line["psnr"]) == pytest.approx(-10 * np.log10(((low - label) ** 2).mean() / 255**2), abs=1e-3)
        expected = structural_similarity(low, label, channel_axis=2, data_range=255)
        assert float(line["ssim"]) == pytest.approx(expected, abs=1e-5)


def test_pictures_too_small_for_ssim_are_refused(tmp_path: Path) -> None:
    for kind in ("low", "label"):
        (tmp_path / kind).mkdir()
        Image.fromarray(picture(0, 7, 9)).save(tmp_path / kind / "tiny.png")
    with pytest.raises(InputError, match=r"low/tiny\.png should have at least 8 x 8 px but has 9 x 7; "):
        evaluate({"tiny": find_pairs(tmp_path)}, {}, ["native"])


def test_a_reference_of_another_size_is_refused_before_any_method_runs(tmp_path: Path) -> None:
    folder = make_pairs(tmp_path, ["a"])
    Image.fromarray(picture(0, 40, 40)).save(folder / "label" / "a.png")
    called = []
    with pytest.raises(InputError, match=r"label/a\.png should .* 48 x 40 px, but has 40 x 40; .*--protocol paper"):
        evaluate({"a": find_pairs(folder)}, {"m": lambda _pair, low: called.append(1) or low}, ["native"])
    assert not called


def test_every_pair_is_counted_and_rated_once_per_protocol(two_sets: tuple[Path, Path]) -> None:
    sets, calls, rated = find_data_sets(two_sets), [], []

    def rate(pixels: Pixels) -> float:
        rated.append(pixels.shape)
        return float(pixels.mean())

    rows, examples = evaluate(sets, {"a": brighter}, ["paper", "native"], nima=rate, advance=lambda: calls.append(1))
    assert {tile.shape for example in examples for tile in example.tiles} == {(40, 48, 3)}, "not of the last protocol"
    assert len(calls) == 2 * 8
    assert len(rows) == len(rated) == 2 * 2 * 8
    assert set(rated) == {(504, 504, 3), (40, 48, 3)}
    low = read_rgb(sets["test"][0].low)
    native = [row for row in rows if row.protocol == "native"]
    assert native[0].scores["nima"] == low.mean()
    assert native[1].scores["nima"] == brighter(sets["test"][0], low).mean()


# Data sets and groups


def test_names_of_data_sets_are_the_shortest_different_ends_of_paths(
    two_sets: tuple[Path, Path], tmp_path: Path
) -> None:
    assert list(find_data_sets(two_sets)) == ["test", "val"]
    other = make_pairs(tmp_path / "other" / "test", ["x"])
    sets = find_data_sets([two_sets[0], other])
    assert list(sets) == [f"{two_sets[0].parent.name}/test", "other/test"]
    assert [len(pairs) for pairs in sets.values()] == [5, 1]


def test_names_of_data_sets_stay_inside_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bncagan.evaluation.scores, "find_pairs", lambda _folder: [])
    assert list(find_data_sets([Path("/set"), Path("/mnt/set")])) == ["set", "mnt/set"]
    monkeypatch.chdir(tmp_path)
    assert list(find_data_sets([Path("..")])) == [tmp_path.parent.name]
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert list(find_data_sets([Path("link")])) == ["link"]


def test_the_same_data_set_twice_and_none_are_refused(two_sets: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=rf"--data should .* but names {two_sets[0]} {two_sets[0]}; "):
        find_data_sets([two_sets[0], two_sets[0]])
    with pytest.raises(InputError, match="but names nothing; "):
        find_data_sets([])


def test_a_group_that_matches_nothing_anywhere_is_refused(two_sets: tuple[Path, Path]) -> None:
    sets = find_data_sets(two_sets)
    refuse_empty_groups(sets, ["sice_*", "fivek_?"])  # sice only in one of them
    for pattern in ("dped_*", "sice_a.png", "SICE_*"):
        with pytest.raises(InputError, match=rf"--groups '{re.escape(pattern)}' should .* none of 8; .*, such as "):
            refuse_empty_groups(sets, ["sice_*", pattern])


def test_groups_have_tables_of_their_own_pictures(two_sets: tuple[Path, Path]) -> None:
    sets = find_data_sets(two_sets)
    rows, _ = evaluate(sets, {"a": brighter}, ["native"])
    tables = summarize(rows, ["sice_*", "fivek_*", "sice_*"])
    assert [(table["data"], table["group"], table["pictures"]) for table in tables] == [
        ("test", None, 5), ("test", "sice_*", 3), ("test", "fivek_*", 2), ("val", None, 3), ("val", "fivek_*", 3),
    ]  # fmt: skip
    expected = [score(*map(read_rgb, pair)).ssim for pair in sets["test"] if pair.low.stem.startswith("sice")]
    assert tables[1]["rows"][INPUT]["ssim"]["mean"] == pytest.approx(sum(expected) / 3)


# Tables


def draw_rows(count: int, **shift: float) -> list[Result]:
    """Scores of an input that varies a lot, and of methods that are better by about their `shift`."""
    rng = np.random.default_rng(4)
    rows = []
    for number in range(count):
        scores = {"psnr": rng.normal(18, 5), "ssim": rng.uniform(), "ciede2000": rng.uniform(5, 20)}
        rows.append(Result("d", "paper", f"p{number}", INPUT, scores))
        for name, gain in shift.items():
            better = {key: value + gain + 0.3 * rng.standard_normal() for key, value in scores.items()}
            rows.append(Result("d", "paper", f"p{number}", name, better))
    return rows


def test_means_and_intervals_are_scipys() -> None:
    rows = draw_rows(20, a=2.0, b=-1.0)
    [table] = summarize(rows)
    for method, names in ((INPUT, ("psnr", "ssim", "ciede2000")), ("a", ("psnr", "ssim", "ciede2000", "gain"))):
        assert list(table["rows"][method]) == list(names)
        for name in names:
            values = np.array([row.scores["psnr" if name == "gain" else name] for row in rows if row.method == method])
            if name == "gain":
                values -= np.array([row.scores["psnr"] for row in rows if row.method == INPUT])
            theirs = ttest_1samp(values, 0).confidence_interval(0.95)
            ours = table["rows"][method][name]
            assert ours["mean"] == pytest.approx(values.mean())
            assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high))


def test_the_gain_is_paired() -> None:
    """A gain that is small but similar on every picture is certain, although the pictures differ by far more."""
    [table] = summarize(draw_rows(20, a=0.5))
    psnr, gain = table["rows"]["a"]["psnr"], table["rows"]["a"]["gain"]
    assert psnr["high"] - psnr["low"] > 3
    assert 0 < gain["low"] < 0.5 < gain["high"] < 1


def test_exact_matches_are_left_out_and_counted(tmp_path: Path, two_sets: tuple[Path, Path]) -> None:
    sets = {"val": find_pairs(two_sets[1])}
    rows, examples = evaluate(sets, {"perfect": reference, "a": brighter}, ["native"])
    others = np.array([[row.scores["psnr"] for row in rows if row.method == name][1:] for name in (INPUT, "a")])
    rows[0].scores["psnr"] = math.inf  # like a photograph that equals its reference
    summary = write_results(tmp_path, rows, examples, {})
    assert json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail) == summary
    found = summary["tables"][0]["rows"]
    nothing = {"mean": None, "low": None, "high": None, "identical": 3}
    assert found["perfect"]["psnr"] == found["perfect"]["gain"] == nothing
    assert found["perfect"]["ssim"] == {"mean": 1, "low": 1, "high": 1}
    for ours, values in ((found[INPUT]["psnr"], others[0]), (found["a"]["gain"], others[1] - others[0])):
        theirs = ttest_1samp(values, 0).confidence_interval(0.95)
        assert ours.pop("identical") == 1
        assert list(ours.values()) == pytest.approx([values.mean(), theirs.low, theirs.high])
    assert "identical" not in found["a"]["psnr"]
    with (tmp_path / "scores.csv").open() as file:
        assert float(next(csv.DictReader(file))["psnr"]) == math.inf
    written = summary | {"tables": summarize(rows)}
    text = markdown(written)
    assert f"| Input | {others[0].mean():.2f} [" in text
    assert "] (1 identical) | 0." in text
    assert "| perfect | identical | 1.000 [1.000, 1.000] |" in text
    assert "so many pictures equal their references, and the numbers are those of the others" in text


def test_the_picture_shows_at_most_four_methods(tmp_path: Path, two_sets: tuple[Path, Path]) -> None:
    sets = find_data_sets(two_sets)
    rows, examples = evaluate(sets, {f"${{{n}$": brighter for n in range(5)}, ["native"])
    assert len(examples) == 6
    assert {len(example.tiles) for example in examples} == {len(examples[0].titles)} == {1 + PICTURE_METHODS + 1}
    assert [title.split("\n")[0] for title in (example.titles[0] for example in examples)] == [
        "fivek_a", "sice_a", "sice_c", "fivek_c", "fivek_d", "fivek_e",
    ]  # fmt: skip
    np.testing.assert_array_equal(examples[0].tiles[-1], read_rgb(sets["test"][0].label))
    assert examples[0].titles[0] == f"fivek_a\nInput: {rows[0].scores['psnr']:.1f} dB"
    write_results(tmp_path, rows, examples, {})
    with Image.open(tmp_path / "examples.jpg") as image:
        assert image.size[0] == 6 * 440


def test_large_photographs_are_kept_small_for_the_picture(tmp_path: Path) -> None:
    for kind in ("low", "label"):
        (tmp_path / kind).mkdir()
        Image.fromarray(picture(0, 300, 1024)).save(tmp_path / kind / "large.png")
    _, [example] = evaluate({"": find_pairs(tmp_path)}, {}, ["native"])
    assert [tile.shape for tile in example.tiles] == [(150, 512, 3)] * 2


# Other programs' pictures


def test_other_programs_pictures_are_found_by_name(tmp_path: Path) -> None:
    sets = {"val": find_pairs(make_data(tmp_path / "data") / "val")}
    folder = tmp_path / "theirs"
    folder.mkdir()
    Image.fromarray(read_rgb(sets["val"][0].label)).save(folder / "x.png")
    with pytest.raises(InputError, match=r"theirs should hold .* 2 photographs of val but holds none named y; "):
        outputs_of(folder, sets)
    Image.fromarray(picture(1, 40, 40)).save(folder / "y.png")
    with pytest.raises(InputError, match=r"theirs: y should .* 96 x 80 px, but has 40 x 40; "):
        evaluate(sets, {"theirs": outputs_of(folder, sets)}, ["native"])
    rows, _ = evaluate(sets, {"theirs": outputs_of(folder, sets)}, ["paper"])
    assert rows[1].scores["psnr"] == float("inf")
    assert np.isfinite(rows[3].scores["psnr"])


def test_other_programs_pictures_may_be_in_a_folder_per_data_set(tmp_path: Path) -> None:
    sets = {name: find_pairs(make_pairs(tmp_path / name, ["x"], seed)) for name, seed in (("a", 0), ("b/c", 5))}
    folder = tmp_path / "theirs"
    write_pictures(folder / "a", ["x.jpg"], seed=30)
    write_pictures(folder / "b" / "c", ["x.png"], seed=40)
    method = outputs_of(folder, sets)
    low = picture(0)
    np.testing.assert_array_equal(method(sets["b/c"][0], low), read_rgb(folder / "b" / "c" / "x.png"))
    np.testing.assert_array_equal(method(sets["a"][0], low), read_rgb(folder / "a" / "x.jpg"))


def test_one_picture_never_stands_for_two_photographs(tmp_path: Path) -> None:
    sets = {name: find_pairs(make_pairs(tmp_path / name, [stem, "x"])) for name, stem in (("a", "u"), ("b", "v"))}
    folder = tmp_path / "theirs"
    write_pictures(folder, ["u.png", "v.png", "x.png"])
    with pytest.raises(InputError, match=r"theirs should .* but x is .* two; .*theirs/a, .*theirs/b$"):
        outputs_of(folder, sets)
    for pairs in sets.values():
        pairs.pop()
    assert outputs_of(folder, sets)(sets["b"][0], picture(0)).shape == (80, 96, 3)
    Image.fromarray(picture(0)).save(folder / "u.jpg")
    with pytest.raises(InputError, match=r"theirs should hold .* u\.(jpg and u\.png|png and u\.jpg); "):
        outputs_of(folder, sets)


# The command


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    """Two untrained networks, each in FOLDER/NAME.safetensors."""
    torch.manual_seed(3)
    return {name: Generator(ModelConfig(width=8)).eval().requires_grad_(False) for name in ("first", "second")}


def read_scores(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_methods_and_data_sets_in_one_run(
    tmp_path: Path, two_sets: tuple[Path, Path], generators: dict[str, Generator], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in generators]
    for path, generator in zip(files, generators.values(), strict=True):
        save_generator(path, generator, ModelConfig(width=8), {})
    theirs = tmp_path / "theirs"
    for folder in two_sets:
        write_pictures(theirs / folder.name, [path.name for path in (folder / "low").iterdir()], seed=60)
        for path in (theirs / folder.name).iterdir():
            Image.open(path).resize((48, 40)).save(path)
    out = tmp_path / "out"
    assert (
        run_evaluate(
            "--data", *two_sets, "--checkpoint", *files, "--outputs", theirs, "--groups", "sice_*", "--out", out,
            "--protocol", "native",
        )
        == 0
    )  # fmt: skip
    shown = capsys.readouterr().out
    scores = read_scores(out)
    assert len(scores) == 8 * 6
    assert [line["method"] for line in scores[:6]] == ["Input", *BASELINES, "first", "second", "theirs"]
    for line in scores:
        [pair] = [p for p in find_pairs(two_sets[line["data"] == "val"]) if p.low.stem == line["picture"]]
        low, label = map(read_rgb, pair)
        output = {
            "Input": lambda low=low: low,
            **{name: partial(baseline, low) for name, baseline in BASELINES.items()},
            "theirs": lambda line=line: read_rgb(theirs / line["data"] / f"{line['picture']}.png"),
        }.get(line["method"], lambda line=line, low=low: enhance(generators[line["method"]], low))()
        assert [float(line[name]) for name in ("psnr", "ssim", "ciede2000")] == pytest.approx(score(output, label))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"] == {folder.name: str(folder) for folder in two_sets}
    assert list(summary["methods"].items()) == [
        ("first", f"checkpoint {files[0]}"), ("second", f"checkpoint {files[1]}"), ("theirs", f"outputs {theirs}"),
    ]  # fmt: skip
    assert summary["interval"] == {"method": "t", "share": 0.95}
    titles = [f"{name}, native protocol, {n} pictures" for name, n in (("test", 5), ("test sice_*", 3), ("val", 3))]
    assert len(summary["tables"]) == len(titles)
    text = (out / "table.md").read_text()
    for title, table in zip(titles, summary["tables"], strict=True):
        assert f"\n{title}:\n" in text
        assert title in shown
        gain = table["rows"]["second"]["gain"]
        assert f"{gain['mean']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}] |" in text
        assert f"[{gain['low']:+.2f}, {gain['high']:+.2f}]" in shown
    assert "| method | PSNR dB | SSIM | CIEDE2000 | gain dB |\n" in text
    assert "95 % t interval" in text
    assert (out / "examples.jpg").stat().st_size > 10_000


def test_json_is_the_summary_and_nothing_else(
    tmp_path: Path, two_sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_evaluate("--data", two_sets[1], "--outputs", two_sets[1] / "label", "--out", out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "summary.json").read_text())
    assert [table["protocol"] for table in printed["tables"]] == ["paper", "native"]
    text = (out / "table.md").read_text()
    assert "| label | identical | 1.000 [1.000, 1.000] |" in text
    assert "paper protocol: every picture resized to 512 x 512 px (bilinear, antialiased" in text
    assert "native protocol: every picture at its own size" in text
    assert list(printed["protocols"]) == ["paper", "native"]


def test_contradictions_are_refused_before_anything_is_loaded(
    tmp_path: Path, two_sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*arguments: object) -> str:
        assert run_evaluate("--data", *two_sets, "--out", tmp_path / "out", *arguments) == 2
        said = capsys.readouterr()
        assert not said.out
        assert said.err.count("\n") == 1
        return said.err

    assert "--checkpoint, --artifact or --outputs" in refusal()
    assert "--outputs a/theirs should be given once but is" in refusal("--outputs", "a/theirs", "a/theirs")
    same = refusal("--outputs", "x=a/theirs", "x=b/theirs")
    assert "--outputs x=a/theirs should have a name of its own but another row has that name" in same
    for name in ("Input", *BASELINES):
        assert "another row has that name" in refusal("--outputs", f"{name}=theirs")
    assert "--max-side should be at least 16 px but is 8; " in refusal("--checkpoint", "small", "--max-side", "8")
    assert "nonsense (" in refusal("--checkpoint", "small", "--device", "nonsense")
    assert "--device should be left out" in refusal("--artifact", "small.onnx", "--device", "cuda:0")
    assert "--groups 'dped_*'" in refusal("--checkpoint", "small", "--groups", "fivek_*", "dped_*")
    assert "n.pth should be a file of weights" in refusal("--checkpoint", "small", "--nima", "n.pth")
    assert not (tmp_path / "out").exists()


def names_of(*asked: str, reserved: tuple[str, ...] = ()) -> list[str]:
    return list(named_methods([Given(*text.split(" ", 1)) for text in asked], reserved))


def test_methods_are_named_by_the_shortest_ends_that_tell_them_apart(tmp_path: Path) -> None:
    assert names_of("checkpoint runs/a/best.safetensors", "artifact x/y.onnx") == ["best", "y"]
    two = names_of("checkpoint runs/a/best.safetensors", "checkpoint runs/b/best.safetensors", "outputs z/theirs.v2")
    assert two == ["a/best", "b/best", "theirs.v2"]
    deep = [f"checkpoint runs/{run}/last/best.safetensors" for run in ("a", "b")]
    assert names_of(*deep, "artifact elsewhere/best.onnx") == ["a/last/best", "b/last/best", "elsewhere/best"]
    assert names_of("checkpoint small", "artifact exported/small.onnx") == ["small", "exported/small"]
    assert names_of("artifact a/small.onnx", "artifact a/small.xml") == ["small.onnx", "small.xml"]
    assert names_of("outputs pictures/Input", reserved=("Input",)) == ["pictures/Input"]
    assert names_of("checkpoint mine=runs/a/best.safetensors", "outputs x/mine") == ["mine", "x/mine"]
    assert named_methods([Given("checkpoint", "a=small")], ())["a"] == Given("checkpoint", "small")
    assert names_of("checkpoint runs/lr=1/best.safetensors") == ["best"]
    (tmp_path / "lr=1").mkdir()
    assert names_of(f"outputs {tmp_path}/lr=1") == ["lr=1"]
    with pytest.raises(InputError, match=r"--artifact /small\.onnx should .* named '/small', too; .*NAME=/small\.onnx"):
        names_of("artifact /small.onnx", reserved=("small", "/small"))


def test_two_runs_have_rows_of_their_own(
    tmp_path: Path, two_sets: tuple[Path, Path], generators: dict[str, Generator]
) -> None:
    files = [tmp_path / run / "best.safetensors" for run in ("a", "b")]
    for path, generator in zip(files, generators.values(), strict=True):
        path.parent.mkdir()
        save_generator(path, generator, ModelConfig(width=8), {})
    for arguments, names in (([*files], ["a/best", "b/best"]), ([f"one={files[0]}", files[1]], ["one", "best"])):
        given = ("--checkpoint", *arguments, "--data", two_sets[1], "--protocol", "native", "--no-baselines")
        assert run_evaluate(*given, "--out", tmp_path / "out") == 0
        scores = read_scores(tmp_path / "out")
        assert [line["method"] for line in scores[:3]] == ["Input", *names]
        low, label = map(read_rgb, find_pairs(two_sets[1])[0])
        expected = [score(enhance(generator, low), label).psnr for generator in generators.values()]
        assert [float(line["psnr"]) for line in scores[1:3]] == pytest.approx(expected)


def test_everything_is_checked_before_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the last picture has, no method is asked for the first."""
    asked: list[str] = []
    monkeypatch.setattr(bncagan.evaluation.scores, "score", lambda *_: asked.append("scored"))
    data, theirs = make_pairs(tmp_path / "d", ["a", "b", "c"]), tmp_path / "theirs"
    write_pictures(tmp_path / "keep", ["k.png"])
    write_pictures(theirs, ["a.png", "b.png", "c.png"])
    for path in theirs.iterdir():
        Image.fromarray(picture(1, 40, 48)).save(path)

    def refusal(*more: object) -> str:
        assert run_evaluate("--data", data, "--outputs", theirs, "--out", tmp_path / "out", *more) == 2
        assert not asked
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    Image.fromarray(picture(1, 40, 47)).save(theirs / "c.png")
    assert "theirs: c should have the size of its input, 48 x 40 px, but has 47 x 40" in refusal()
    (theirs / "c.png").write_bytes(b"nothing")
    assert "theirs/c.png should be a photograph" in refusal("--protocol", "paper")
    Image.fromarray(picture(1, 40, 48)).save(theirs / "c.png")
    (tmp_path / "keep" / "l.png").write_bytes(b"nothing")
    assert "keep/l.png should be a photograph" in refusal()
    (tmp_path / "keep" / "l.png").unlink()
    (data / "label" / "c.png").write_bytes(b"nothing")
    assert "label/c.png should be a photograph" in refusal()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    for out in (blocked, blocked / "out"):
        said = refusal("--out", out)
        assert f"--out {out} should be a folder to write into but {blocked} is none" in said
    (tmp_path / "taken" / "scores.csv").mkdir(parents=True)
    assert "scores.csv should be a file to write but is a folder" in refusal("--out", tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "file", "keep", "taken", "theirs"]


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, two_sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "TemporaryDirectory", refused)
    assert run_evaluate("--data", two_sets[1], "--outputs", two_sets[1] / "label", "--out", tmp_path / "out") == 2
    assert (
        f"--out {tmp_path / 'out'} should be a folder to write into but {tmp_path} is none" in capsys.readouterr().err
    )


# Large photographs


def test_a_large_photograph_is_reduced_for_the_network(generators: dict[str, Generator]) -> None:
    """Its change is carried over as by the runtimes; up to that side nothing is reduced."""
    generator, pixels = generators["first"], picture(5, 200, 320)
    small = np.asarray(Image.fromarray(pixels).resize((160, 96), Image.Resampling.LANCZOS, reducing_gap=3.0))
    expected = applied(pixels, fit_change(small, enhance(generator, small)))
    pair = Pair(Path("a"), Path("a"))
    np.testing.assert_array_equal(network_method(generator, 160)(pair, pixels), expected)
    np.testing.assert_array_equal(network_method(generator, 320)(pair, pixels), enhance(generator, pixels))


def test_a_picture_too_large_for_the_device_is_named(
    generators: dict[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(bncagan.evaluation.methods, "enhance", full)
    with pytest.raises(InputError, match=r"low/a\.png should fit into the memory of cpu but .* smaller --max-side"):
        network_method(generators["first"])(Pair(Path("low/a.png"), Path("label/a.png")), picture(0))


NATIVE = """
import resource, sys
from bncagan.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process has other units on other systems")
def test_twelve_megapixels_at_native_size_take_less_than_one_and_a_half_gibibytes(tmp_path: Path) -> None:
    for kind, dim in (("low", 2), ("label", 1)):
        (tmp_path / "d" / kind).mkdir(parents=True)
        Image.fromarray(picture(0, 3000, 4000) // dim).save(tmp_path / "d" / kind / "a.jpg")
    given = ["--checkpoint", "small", "--data", tmp_path / "d", "--protocol", "native", "--out", tmp_path / "out"]
    command = [sys.executable, "-c", NATIVE, "evaluate", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1.5


@pytest.mark.parametrize("width", [60, 80, 180])
def test_narrow_terminals_lose_no_digit(width: int) -> None:
    rows = [row._replace(scores={**row.scores, "nima": 4.5}) for row in draw_rows(9, a_rather_long_name=12.0)]
    [table] = summarize(rows)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(terminal_table(table))
    columns = columns_of(table)
    cells = [cell for row in table["rows"].values() for cell in cells_of(row, columns, " ")]
    expected = "".join([title_of(table), COLUMNS["ciede2000"][0], *cells])
    assert sorted(filter(str.isdigit, capture.get())) == sorted(filter(str.isdigit, expected))
    assert len(cells[-1]) > 15
