"""The rows of baselines and the table of photographs to leave alone, against plain second formulations."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import brentq
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.evaluation import metrics
from bncagan.evaluation.baselines import BASELINES, autocontrast, middle_gamma
from bncagan.evaluation.best_controls import best_psnr
from bncagan.network.checkpoint import save_generator
from bncagan.network.inference import enhance, head_alone
from bncagan.network.model import Generator
from runtimes.image import Pixels, to_uint8
from tests.folders import picture, write_pictures

KEPT = ["a.png", "b.png", "c.png"]


def noise(seed: int, bottom: int, top: int) -> Pixels:
    return np.random.default_rng(seed).integers(bottom, top, (37, 41, 3), np.uint8)


def luma(values: Any) -> Any:
    return 0.299 * values[..., 0] + 0.587 * values[..., 1] + 0.114 * values[..., 2]


@pytest.mark.parametrize(("seed", "bottom", "top"), [(0, 0, 256), (1, 30, 90), (2, 200, 256), (3, 0, 9)])
def test_autocontrast_stretches_all_but_the_ends(seed: int, bottom: int, top: int) -> None:
    pixels = noise(seed, bottom, top)
    pixels[0, :3] = [[0, 0, 0], [255, 255, 255], [0, 255, 0]]  # fewer than 0.5 % of the pixels
    out = autocontrast(pixels)
    for channel in range(3):
        ordered = np.sort(pixels[..., channel].ravel())
        cut = int(len(ordered) * 0.005)
        assert cut > 3
        low, high = (float(ordered[place]) for place in (cut, -1 - cut))
        expected = np.clip((pixels[..., channel] - low) * 255 / (high - low), 0, 255)
        assert np.abs(out[..., channel] - expected).max() <= 1  # Pillow rounds down


@pytest.mark.parametrize(("seed", "bottom", "top"), [(0, 0, 256), (1, 30, 90), (2, 200, 256), (3, 0, 9)])
def test_gamma_gives_the_mean(seed: int, bottom: int, top: int) -> None:
    pixels = noise(seed, bottom, top)
    power = brentq(lambda p: luma((pixels / 255) ** p).mean() - 0.45, 0.01, 100)
    out = middle_gamma(pixels)
    assert np.abs(out - 255 * (pixels / 255) ** power).max() <= 0.5 + 1e-6
    assert luma(out / 255).mean() == pytest.approx(0.45, abs=0.5 / 255)


@torch.no_grad()
def with_mild_head(generator: Generator) -> Generator:
    """The same generator with a head whose curve moves a picture by a part of its range."""
    assert generator.tone is not None
    for member in generator.tone.members:
        last = member.mlp[-1]
        last.weight.zero_()
        last.bias.copy_(torch.linspace(-0.3, 0.5, len(last.bias)))
    return generator


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_have_no_gamma(level: int) -> None:
    pixels = np.full((5, 7, 3), level, np.uint8)
    np.testing.assert_array_equal(middle_gamma(pixels), pixels)


def test_a_gamma_out_of_range_is_the_nearest() -> None:
    pixels = np.full((5, 7, 3), 254, np.uint8)
    np.testing.assert_array_equal(middle_gamma(pixels), np.full((5, 7, 3), round(255 * (254 / 255) ** 64)))


def test_the_head_alone(random_generator: Callable[..., Generator]) -> None:
    assert head_alone(random_generator()) is None
    generator = with_mild_head(random_generator(tone=True))
    alone = head_alone(generator)
    assert alone is not None
    assert head_alone(alone) is None
    pixels = picture(3, 40, 48)
    image = np.moveaxis(pixels / 255, 2, 0)[None]
    [expected] = generator.tone(torch.from_numpy(image.astype(np.float32))).detach().numpy()  # type: ignore[misc]
    assert np.abs(enhance(alone, pixels) - 255 * np.moveaxis(expected, 0, 2)).max() < 0.51
    assert np.abs(enhance(alone, pixels).astype(int) - enhance(generator, pixels)).mean() > 1


# The command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "val" / "low", ["x_1.png", "x_2.png"], dim=3)
    write_pictures(tmp_path / "val" / "label", ["x_1.png", "x_2.png"])
    write_pictures(tmp_path / "keep", KEPT, seed=40, dim=2)
    return tmp_path


@pytest.fixture
def toned(data: Path, random_generator: Callable[..., Generator]) -> Path:
    path = data / "toned.safetensors"
    save_generator(path, with_mild_head(random_generator(4, tone=True)), ModelConfig(width=4, tone=True), {})
    return path


def run(data: Path, *arguments: object) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The summary and the lines of scores.csv."""
    words = ("evaluate", "--data", data / "val", "--out", data / "out", "--protocol", "native", *arguments)
    assert main(list(map(str, words))) == 0
    with (data / "out" / "scores.csv").open(encoding="utf-8") as file:
        return json.loads((data / "out" / "summary.json").read_text()), list(csv.DictReader(file))


def test_baselines_have_rows_unless_left_out(data: Path, toned: Path) -> None:
    summary, _ = run(data, "--checkpoint", toned)
    for table in summary["tables"]:
        assert list(table["rows"]) == ["Input", *BASELINES, "toned", "toned, head alone"]
    [pairs, keep] = summary["tables"]
    rows = pairs["rows"]
    for name, baseline in BASELINES.items():
        labels = [
            (_read(data / "val" / "label" / f"x_{n}.png"), _read(data / "val/low" / f"x_{n}.png")) for n in (1, 2)
        ]
        psnr = [peak_signal_noise_ratio(label, baseline(low), data_range=255) for label, low in labels]
        assert rows[name]["psnr"]["mean"] == pytest.approx(np.mean(psnr))
    assert rows["toned"]["psnr"]["mean"] != rows["toned, head alone"]["psnr"]["mean"]
    assert (keep["data"], keep["pictures"]) == ("keep", 3)
    summary, _ = run(data, "--checkpoint", toned, "--no-baselines")
    for table in summary["tables"]:
        assert list(table["rows"]) == ["Input", "toned"]


def _read(path: Path) -> Pixels:
    return np.asarray(Image.open(path))


def test_the_table_of_photographs_to_leave_alone(data: Path, toned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, lines = run(data, "--checkpoint", toned)
    shown = capsys.readouterr().out
    [table] = [table for table in summary["tables"] if table["data"] == "keep"]
    photographs = [_read(data / "keep" / name) for name in KEPT]
    outputs = [autocontrast(photograph) for photograph in photographs]
    pairs = list(zip(photographs, outputs, strict=True))
    expected = {
        "psnr": [peak_signal_noise_ratio(before, after, data_range=255) for before, after in pairs],
        "ciede2000": [deltaE_ciede2000(rgb2lab(before), rgb2lab(after)).mean() for before, after in pairs],
        "luma": [luma(after.astype(float)).mean() for after in outputs],
        "rise": [np.quantile(luma(1.0 * y), 0.05) - np.quantile(luma(1.0 * x), 0.05) for x, y in pairs],
    }
    row = table["rows"]["Autocontrast"]
    assert list(row) == list(expected)
    for name, values in expected.items():
        assert row[name]["mean"] == pytest.approx(np.mean(values)), name
        found = [float(line[name]) for line in lines if (line["data"], line["method"]) == ("keep", "Autocontrast")]
        assert found == pytest.approx(values)
    before = [luma(photograph.astype(float)).mean() for photograph in photographs]
    assert list(table["rows"]["Input"]) == ["luma"]
    assert table["rows"]["Input"]["luma"]["mean"] == pytest.approx(np.mean(before))
    assert {line["psnr"] for line in lines if (line["data"], line["method"]) == ("keep", "Input")} == {""}
    text = (data / "out" / "table.md").read_text()
    heading = "keep, native protocol, 3 pictures"
    assert f"{heading}:\n\n| method | PSNR dB | CIEDE2000 | mean luma | 5 % quantile |\n" in text
    assert heading in shown
    assert "keep: photographs to leave alone" in text
    assert summary["keep"] == str(data / "keep")


def test_other_folders_to_leave_alone_and_none(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = data / "theirs"
    write_pictures(theirs, ["x_1.png", "x_2.png"], seed=70)
    write_pictures(data / "night", ["n.png"], seed=80, dim=5)
    summary, lines = run(data, "--outputs", theirs, "--keep", data / "night")
    assert {line["picture"] for line in lines if line["data"] == "keep"} == {"n"}
    assert "theirs" not in summary["tables"][1]["rows"], "there are no pictures of theirs of these"
    write_pictures(theirs / "keep", ["n.png"], seed=80, dim=5)
    summary, _ = run(data, "--outputs", theirs, "--keep", data / "night")
    assert summary["tables"][1]["rows"]["theirs"]["psnr"]["mean"] == 60
    assert summary["tables"][1]["rows"]["theirs"]["ciede2000"]["mean"] == 0
    (data / "keep").rename(data / "kept")
    summary, _ = run(data, "--outputs", theirs)
    assert len(summary["tables"]) == 1
    assert summary["keep"] is None
    assert "keep" not in (data / "out" / "table.md").read_text()
    (data / "val").rename(data / "keep")
    words = [
        "evaluate",
        "--data",
        data / "keep",
        "--outputs",
        theirs,
        "--keep",
        data / "night",
        "--out",
        tmp_path / "o",
    ]
    capsys.readouterr()
    assert main(list(map(str, words))) == 2
    assert "--data should name no data set keep" in capsys.readouterr().err


def test_the_picture_shows_methods_and_no_baselines(data: Path, toned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr("bncagan.evaluation.tables.write_picture", lambda _path, examples: shown.extend(examples))
    run(data, "--checkpoint", toned)
    assert [title.split("\n")[1].split(":")[0] for title in shown[0].titles] == [
        "Input", "toned", "toned, head alone", "reference",
    ]  # fmt: skip


# The best setting of the controls


def to_light(code: Any) -> Any:
    return np.where(code <= 0.04045, code / 12.92, ((np.maximum(code, 0) + 0.055) / 1.055) ** 2.4)


def to_code(light: Any) -> Any:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


def test_the_best_setting_is_the_best_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all strengths and exposures, by the plain formula; the strength works on codes, the exposure on light."""
    low, enhanced, label = noise(1, 5, 150) / 255, noise(2, 60, 256) / 255, noise(3, 40, 240)
    found = [
        peak_signal_noise_ratio(
            label,
            np.clip(255 * to_code(2**stops * to_light(low + strength * (enhanced - low))) + 0.5, 0, 255).astype(
                np.uint8
            ),
            data_range=255,
        )
        for strength in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)
        for stops in (-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1)
    ]
    codes = [(255 * values + 0.5).astype(np.uint8) for values in (low, enhanced)]
    assert best_psnr(codes[0], codes[1], label) == pytest.approx(max(found), abs=1e-3)
    monkeypatch.setattr(metrics, "BAND", 7 * label.shape[1])
    assert best_psnr(codes[0], codes[1], label) == pytest.approx(max(found), abs=1e-3)


def test_a_setting_that_made_the_reference_is_found() -> None:
    low, enhanced = noise(1, 5, 100), noise(2, 60, 180)
    label = to_uint8(to_code(2**-0.5 * to_light((low + 1.25 * (enhanced.astype(float) - low)) / 255)))
    assert best_psnr(low, enhanced, label) > 60


def test_the_column_of_the_best_setting(data: Path, toned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, lines = run(data, "--checkpoint", toned, "--best-controls")
    for line in lines:
        if line["data"] == "keep":
            assert line["best"] == ""
            continue
        low, label = (_read(data / "val" / folder / f"{line['picture']}.png") for folder in ("low", "label"))
        if line["method"] in {"Input", *BASELINES}:
            output = BASELINES.get(line["method"], lambda picture: picture)(low)
            assert float(line["best"]) == pytest.approx(best_psnr(low, output, label))
        assert float(line["best"]) >= float(line["psnr"])
    assert "best" not in summary["tables"][1]["rows"]["toned"]
    assert "| method | PSNR dB | best dB | SSIM |" in (data / "out" / "table.md").read_text()
    assert "best dB" in capsys.readouterr().out
