"""A look of one's own: what a folder has in common is found, and a head trained on it gives it to other photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

import bncagan.evaluation.look
import bncagan.training.look
import bncagan.training.tone
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.data.look import ORDINARY, SPREAD, averages, is_colourless, look_of
from bncagan.data.mixture import COMPONENTS
from bncagan.evaluation.look import compare_looks
from bncagan.network.checkpoint import load_generator, save_generator, weights_sha256
from bncagan.network.inference import enhance
from bncagan.network.layers import UNKNOWN_LICENCE
from bncagan.network.model import Generator
from bncagan.network.tone import ToneHead
from bncagan.training.look import left_out, train_look
from bncagan.training.tone import SHORT_SIDE, reduced
from runtimes.image import Pixels
from runtimes.photographs import read_rgb
from tests.folders import make_data, picture

ROOT = Path(__file__).parent.parent
Values = NDArray[np.float32]


def photograph(seed: int) -> Pixels:
    """A smooth picture that uses its range and whose colours are as strong as those of a photograph."""
    values = picture(seed, 64, 96).astype(np.float32) / 255
    grey = values.mean(2, keepdims=True)
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    return np.rint(255 * (0.05 + 0.9 * grey + 0.3 * (values - values.mean(2, keepdims=True))).clip(0, 1)).astype(
        np.uint8
    )


def edited(pixels: Pixels, gamma: float = 1.0, saturation: float = 1.0, warmth: float = 0.0) -> Pixels:
    """The same as someone might finish it, by a power, a saturation and a gain of red against blue."""
    values = (pixels / 255.0) ** gamma
    luma = values @ [0.299, 0.587, 0.114]
    values = luma[..., None] + saturation * (values - luma[..., None])
    values *= [np.exp(warmth), 1, np.exp(-warmth)]
    return np.floor(255 * values.clip(0, 1) + 0.5).astype(np.uint8)


def write_folder(folder: Path, count: int, **edit: float) -> Path:
    folder.mkdir()
    for seed in range(count):
        Image.fromarray(edited(photograph(seed), **edit)).save(folder / f"{seed:03}.png")
    return folder


# What photographs have in common


def code(pixels: Pixels) -> Values:
    return pixels.astype(np.float32) / np.float32(255)


def test_averages_are_those_of_a_plain_loop() -> None:
    photographs = [code(photograph(seed)) for seed in range(3)]
    tones, saturations = [], []
    for each in photographs:
        luma = sorted(0.299 * r + 0.587 * g + 0.114 * b for r, g, b in each.reshape(-1, 3).tolist())
        place = [level * (len(luma) - 1) for level in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)]
        tones.append(np.interp(place, range(len(luma)), luma))
        span = np.mean([max(pixel) - min(pixel) for pixel in each.reshape(-1, 3).tolist()])
        saturations.append(np.log(span / (each.mean() + 0.01) + 0.02))
    found = averages(photographs)
    assert found.tones == pytest.approx(np.mean(tones, axis=0), abs=1e-5)
    assert found.saturation == pytest.approx(np.mean(saturations), abs=1e-4)


@pytest.mark.parametrize("warmth", [-0.1, 0.0, 0.05, 0.15])
def test_the_warmth_is_the_gain_that_grey_pixels_received(warmth: float) -> None:
    luma = np.random.default_rng(0).uniform(0.2, 0.7, (4, 20, 20, 1)).astype(np.float32)
    gain = np.array([np.exp(warmth), 1, np.exp(-warmth)], np.float32)
    assert averages([each * gain for each in luma]).warmth == pytest.approx(warmth, abs=0.005)


def test_a_folder_of_colours_alone_has_no_warmth() -> None:
    assert averages([np.full((8, 8, 3), (0.9, 0.2, 0.1), np.float32)]).warmth == 0


def test_a_difference_counts_less_the_likelier_it_is_chance() -> None:
    few, many = ([code(edited(photograph(seed), warmth=0.15)) for seed in range(count)] for count in (4, 64))
    for photographs in (few, many):
        difference = averages(photographs).warmth - ORDINARY.warmth
        chance = SPREAD.warmth**2 / len(photographs)
        assert look_of(photographs).warmth == pytest.approx(difference**3 / (difference**2 + chance), rel=1e-4)


@pytest.mark.parametrize("edit", [{"gamma": 0.7}, {"gamma": 1.5, "saturation": 0.6}, {"warmth": 0.1}], ids=str)
def test_an_edit_is_found_and_undone(edit: dict[str, float]) -> None:
    plain, finished = ([code(edited(photograph(seed), **each)) for seed in range(60)] for each in ({}, edit))
    before, look = look_of(plain), look_of(finished)
    assert look.warmth - before.warmth == pytest.approx(edit.get("warmth", 0), abs=0.015)
    middle = float(np.interp(0.5, look.ordinary, look.finished) - np.interp(0.5, before.ordinary, before.finished))
    assert middle == pytest.approx(0.5 ** edit.get("gamma", 1) - 0.5, abs=0.05)
    for own, other in zip(plain[:9], finished[:9], strict=True):
        # without their looks, the plain photographs and the edited ones are the same pictures
        assert np.abs(before.undone(own) - look.undone(other)).mean() < 0.025
        assert np.abs(look.given(look.undone(other)) - other).mean() < 0.01


def test_ordinary_photographs_are_those_of_nano(photographs_root: Path) -> None:
    names = (ROOT / "examples" / "free_photographs.txt").read_text(encoding="utf-8").splitlines()
    found = averages([reduced(read_rgb(photographs_root / "train" / "high" / name, SHORT_SIDE)) for name in names])
    assert found.tones == pytest.approx(ORDINARY.tones, abs=0.001)
    assert (found.saturation, found.warmth) == pytest.approx((ORDINARY.saturation, ORDINARY.warmth), abs=0.001)


def test_black_and_white_is_seen() -> None:
    assert is_colourless(code(np.repeat(photograph(0)[..., :1], 3, axis=2)))
    assert not is_colourless(code(photograph(0)))


# Those left out, and what they show


def test_a_tenth_is_left_out() -> None:
    names = [f"{number}.jpg" for number in range(400)]
    for count, expected in ((30, 6), (100, 10), (240, 24), (400, 24)):
        chosen = left_out(names[:count], 0)
        assert len(set(chosen)) == expected
        assert chosen == sorted(chosen, key=names.index)
        assert chosen == left_out(names[:count], 0)
        assert chosen != left_out(names[:count], 1)


def test_the_rows_are_means_over_photographs() -> None:
    finished = [photograph(seed) for seed in range(3)]
    dull = [each // 2 for each in finished]
    rows, lines = compare_looks(["a.png", "b" * 50, "c.png"], dull, finished, {"twice": lambda each: each * 2})
    assert list(rows) == ["dull rendering", "twice", "finished photograph"]
    errors = [10 * np.log10(255**2 / np.mean((each.astype(float) - each // 2 * 2) ** 2)) for each in finished]
    assert rows["twice"].psnr == pytest.approx(np.mean(errors))
    assert rows["finished photograph"].psnr is None
    colours = rows["finished photograph"].colours
    lab = np.stack([rgb2lab(each) for each in finished])
    assert colours == pytest.approx(
        (lab[..., 0].mean(), np.sqrt(lab[..., 1] ** 2 + lab[..., 2] ** 2).mean(), lab[..., 2].mean())
    )
    line = lines[1]
    assert [title.split("\n")[1] for title in line.titles] == list(rows)
    assert line.titles[0].startswith("b" * 30 + "...\n")
    for tile, whole in zip(line.tiles, (dull[1], dull[1] * 2, finished[1]), strict=True):
        assert np.array_equal(tile, whole[:, 16:-16])


# The command


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """So little training that a look takes a second."""
    few = {name: replace(each, count=10 + each.count // 60) for name, each in COMPONENTS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bncagan.training.tone, "COMPONENTS", few)
        patch.setattr(bncagan.training.tone, "LADDERS", 10)
        patch.setattr(bncagan.training.look, "STEPS", 150)
        patch.setattr(bncagan.evaluation.look, "SHEET_ROWS", 2)
        yield


def write_weights(path: Path, config: ModelConfig, generator: Generator | None = None) -> str:
    save_generator(path, generator or Generator(config), config, {})
    return str(path)


def look(folder: Path, out: str, init: str, *more: str) -> int:
    return main(["look", str(folder), "--out", f"{folder.parent}/{out}.safetensors", "--init", init, *more])


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    """A folder with looks of 40 photographs each: plain, warm and bright; the start is a head that changes nothing."""
    root = tmp_path_factory.mktemp("looks")
    start = write_weights(root / "start.safetensors", ModelConfig(width=0, tone=True))
    for name, edit in {"plain": {}, "warm": {"warmth": 0.12}, "bright": {"gamma": 0.6}}.items():
        assert look(write_folder(root / f"of-{name}", 40, **edit), name, start) == 0
    return root


def test_a_warm_look_warms_and_a_bright_one_brightens(looks: Path) -> None:
    others = [photograph(seed) // 2 for seed in range(500, 510)]  # dull, and in none of the folders
    lightness, warmth = {}, {}
    for name in ("plain", "warm", "bright"):
        generator, description = load_generator(looks / f"{name}.safetensors")
        assert generator.licence == UNKNOWN_LICENCE
        found = np.stack([rgb2lab(enhance(generator, each)) for each in others])
        lightness[name], warmth[name] = found[..., 0].mean(), found[..., 2].mean()
        about = description["training"]["look"]
        assert (about["photographs"], about["left_out"]) == (34, 6)
        assert about["scores"]["this look"]["psnr"] > about["scores"]["dull rendering"]["psnr"] + 1
        with Image.open(looks / f"{name}.png") as sheet:
            assert min(sheet.size) > 500
    assert warmth["warm"] - warmth["plain"] > 3
    assert abs(warmth["bright"] - warmth["plain"]) < 2
    assert lightness["bright"] - lightness["plain"] > 3
    assert abs(lightness["warm"] - lightness["plain"]) < 2


def test_a_look_is_exported_evaluated_and_stressed_like_other_weights(looks: Path, tmp_path: Path) -> None:
    weights = ["--checkpoint", f"{looks}/warm.safetensors", "--out"]
    data = make_data(tmp_path / "data") / "val"
    assert main(["export", "pt2", "--shape", "64x64", *weights, f"{tmp_path}/warm.pt2"]) == 0
    assert main(["evaluate", "--data", str(data), "--protocol", "native", *weights, f"{tmp_path}/scores"]) == 0
    assert main(["stress", "--photos", f"{looks}/of-warm", "--count", "2", *weights, f"{tmp_path}/stress"]) in {0, 1}


def test_equal_seeds_give_equal_bits(quick: None) -> None:
    photographs, start = [photograph(seed) for seed in range(8)], ToneHead()
    first, again, other = (train_look(photographs, start, seed)[0].state_dict() for seed in (3, 3, 4))
    assert weights_sha256(first) == weights_sha256(again)
    assert weights_sha256(first) != weights_sha256(other)


def test_a_generator_stays_behind_the_new_head(
    tmp_path: Path, random_generator: Callable[..., Generator], quick: None
) -> None:
    whole = random_generator(8, tone=True)
    init = write_weights(tmp_path / "whole.safetensors", ModelConfig(width=8, tone=True), whole)
    assert look(write_folder(tmp_path / "mine", 30), "look", init) == 0
    mine, description = load_generator(tmp_path / "look.safetensors")
    assert description["model"]["width"] == 8
    theirs = whole.state_dict()
    changed = {name for name, tensor in mine.state_dict().items() if not torch.equal(tensor, theirs[name])}
    assert {name.split(".")[0] for name in changed} == {"tone"}


@pytest.mark.parametrize(("count", "start"), [(199, "{init}, since there are fewer than 200"), (200, "nothing")])
def test_many_photographs_need_no_start(
    tmp_path: Path, count: int, start: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = []

    def fit(photographs: Sequence[Pixels], *, start: ToneHead | None, **_: object) -> ToneHead:
        starts.append((len(photographs), start is None))
        return ToneHead()

    monkeypatch.setattr(bncagan.training.look, "fit_tone", fit)
    init = write_weights(tmp_path / "start.safetensors", ModelConfig(width=0, tone=True))
    assert look(write_folder(tmp_path / "mine", count), "look", init) == 0
    training = count - count // 10
    said = f"training on {training} of {count} photographs, starting from {start.format(init=init)}\n"
    assert said in capsys.readouterr().out
    assert starts == [(training, start == "nothing")]


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = write_weights(tmp_path / "start.safetensors", ModelConfig(width=0, tone=True))
    folder = write_folder(tmp_path / "mine", 29)
    (folder / "broken.png").write_bytes(b"no picture")
    Image.fromarray(photograph(0)).convert("L").save(folder / "grey.png")
    assert look(folder, "look", start) == 2
    error = capsys.readouterr().err
    assert f"skipped: {folder}/broken.png should be a photograph" in error
    assert "skipped: 1 in black and white" in error
    assert f"{folder} should hold at least 30 finished colour photographs but holds 29; add more" in error
    assert not list(tmp_path.glob("look*"))
    assert main(["look", str(folder), "--out", f"{tmp_path}/look.png", "--init", start]) == 2
    assert "--out should end in .safetensors but is" in capsys.readouterr().err
    assert look(folder, "look", write_weights(tmp_path / "old.safetensors", ModelConfig(width=8))) == 2
    assert "--init should have a tone head but" in capsys.readouterr().err
