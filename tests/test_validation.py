"""The score that chooses checkpoints, against a plain second formulation, and how training uses it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import bncagan.evaluation.validation
from bncagan.cli import main
from bncagan.config import LossWeights, ModelConfig, TrainConfig
from bncagan.data.folders import Pair, find_pairs, keep_photographs
from bncagan.evaluation.validation import KindScores, Validation, by_kind, measured_on, validate
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from bncagan.training.loop import Trainer, train
from bncagan.training.monitoring import Monitor, _scalars
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import make_data, picture, write_pictures

SIZES = [(20, 24), (16, 31), (25, 17), (30, 30), (21, 22)]
NAMES = ["fivek_a", "sice_a", "fivek_b", "sice_b", "fivek_c_d"]


def noise(seed: int, size: tuple[int, int] = (20, 24), top: int = 256) -> Pixels:
    return np.random.default_rng(seed).integers(0, top, (*size, 3), np.uint8)


def pull(low: Pixels) -> Pixels:
    """An enhancer whose output depends on everything in its input."""
    return np.clip(0.8 * low.astype(float) + 0.3 * low.mean() + 9, 0, 255).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Random pairs of two kinds, each of another brightness, and photographs to keep."""
    for folder in ("val/low", "val/label", "keep"):
        (tmp_path / folder).mkdir(parents=True)
    for seed, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        Image.fromarray(noise(seed, size, 60 + 30 * seed)).save(tmp_path / "val" / "low" / f"{name}.png")
        Image.fromarray(noise(seed + 9, size, 256 - 40 * (seed % 3))).save(tmp_path / "val" / "label" / f"{name}.png")
    for seed in (30, 31, 32):
        Image.fromarray(noise(seed, top=20 * (seed - 28))).save(tmp_path / "keep" / f"{seed}.png")
    return tmp_path


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path))


def grey(pixels: Pixels) -> Any:
    return 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]


def test_the_scores_are_those_of_a_plain_formulation(data: Path) -> None:
    found = validate(pull, find_pairs(data / "val"), keep_photographs(data))
    expected = 0.0
    assert list(found.kinds) == ["fivek", "sice"]
    for kind, scores in found.kinds.items():
        names = [name for name in NAMES if name.startswith(kind)]
        triples = [(read(data / "val/low" / f"{n}.png"), read(data / "val/label" / f"{n}.png")) for n in names]
        triples = [(low, pull(low), label) for low, label in triples]
        assert scores.pictures == len(names)
        before = np.mean([peak_signal_noise_ratio(label, low, data_range=255) for low, _, label in triples])
        after = np.mean([peak_signal_noise_ratio(label, out, data_range=255) for _, out, label in triples])
        assert (scores.psnr_input, scores.psnr) == pytest.approx((before, after))
        similar = [structural_similarity(label, out, channel_axis=2, data_range=255) for _, out, label in triples]
        assert scores.ssim == pytest.approx(np.mean(similar))
        outs, labels = ([grey(each[i]).mean() for each in triples] for i in (1, 2))
        assert (scores.luma, scores.luma_spread) == pytest.approx((np.mean(outs), np.std(outs)))
        assert (scores.reference_luma, scores.reference_spread) == pytest.approx((np.mean(labels), np.std(labels)))
        centred = np.array(outs) - np.mean(outs), np.array(labels) - np.mean(labels)
        cosine = centred[0] @ centred[1] / np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1]))
        assert scores.correlation == pytest.approx(cosine)
        low = [np.quantile(grey(out), 0.05) - np.quantile(grey(label), 0.05) for _, out, label in triples]
        assert scores.low_difference == pytest.approx(np.mean(low))
        expected += after - before
    photographs = [read(path) for path in sorted((data / "keep").iterdir())]
    change = np.mean([deltaE_ciede2000(rgb2lab(photo), rgb2lab(pull(photo))).mean() for photo in photographs])
    assert len(found.keep) == 3
    assert found.kept is not None
    assert found.kept.ciede2000 == pytest.approx(change)
    same = [peak_signal_noise_ratio(photo, pull(photo), data_range=255) for photo in photographs]
    assert found.kept.psnr == pytest.approx(np.mean(same))
    assert found.kept.luma_before == pytest.approx(np.mean([grey(photo).mean() for photo in photographs]))
    assert found.kept.luma == pytest.approx(np.mean([grey(pull(photo)).mean() for photo in photographs]))
    rise = [np.quantile(grey(pull(photo)), 0.05) - np.quantile(grey(photo), 0.05) for photo in photographs]
    assert found.kept.rise == pytest.approx(np.mean(rise))
    assert found.score == pytest.approx(expected - change)


def test_one_kind_cannot_make_up_for_another(data: Path) -> None:
    """With twice as many pictures of a kind the sum is the same, and the mean over all pictures is not."""
    pairs = find_pairs(data / "val")
    doubled = pairs + [Pair(pair.low, pair.label) for pair in pairs if pair.low.stem.startswith("sice")]
    once, twice = validate(pull, pairs), validate(pull, doubled)
    assert twice.kinds["sice"].pictures == 2 * once.kinds["sice"].pictures
    assert twice.score == pytest.approx(once.score)
    assert twice.record()["psnr"] != pytest.approx(once.record()["psnr"])


def test_without_kinds_and_keep_the_score_is_the_mean_gain(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    pairs = find_pairs(data / "val")
    gains = []
    for pair in pairs:
        low, label = read(pair.low), read(pair.label)
        gains.append(
            peak_signal_noise_ratio(label, pull(low), data_range=255)
            - peak_signal_noise_ratio(label, low, data_range=255)
        )
    found = validate(pull, pairs, keep_photographs(data))
    assert list(found.kinds) == ["all"]
    assert found.kept is None
    assert found.score == pytest.approx(np.mean(gains))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["fivek_a", "sice_a", "fivek_b"], {"fivek": ["fivek_a", "fivek_b"], "sice": ["sice_a"]}),
        (["fivek_a_1", "fivek_b"], {"fivek": ["fivek_a_1", "fivek_b"]}),
        (["a", "b", "c"], {"all": ["a", "b", "c"]}),
        (["a0001-jmac_DSC1459", "a0002-dgw_005"], {"all": ["a0001-jmac_DSC1459", "a0002-dgw_005"]}),
        (["beach", "night_1", "night_2", "town"], {"all": ["beach", "town"], "night": ["night_1", "night_2"]}),
        (["night_1"], {"all": ["night_1"]}),
    ],
)
def test_kinds_are_the_beginnings_of_names(names: list[str], expected: dict[str, list[str]]) -> None:
    pairs = [Pair(Path(f"low/{name}.png"), Path(f"label/{name}.jpg")) for name in names]
    assert {kind: [pair.low.stem for pair in each] for kind, each in by_kind(pairs).items()} == expected
    counts = {kind: len(each) for kind, each in expected.items()}
    assert measured_on(pairs, [Path("a")]) == {"kinds": counts, "keep": 1}


def test_equal_and_flat_pictures_have_finite_scores(tmp_path: Path) -> None:
    """A black frame stays black, a reference is met exactly, all outputs are equally bright."""
    for folder in ("low", "label", "keep"):
        (tmp_path / folder).mkdir()
        for name in "ab":
            Image.fromarray(np.full((16, 16, 3), 90 if folder != "keep" else 0, np.uint8)).save(
                tmp_path / folder / f"{name}.png"
            )
    found = validate(lambda low: low, find_pairs(tmp_path), keep_photographs(tmp_path))
    [kind] = found.kinds.values()
    assert (kind.psnr_input, kind.psnr, kind.gain, kind.correlation) == (60, 60, 0, None)
    assert found.kept == (0, 60, 0, 0, 0)
    assert found.score == 0
    assert json.loads(json.dumps(found.record(), allow_nan=False))["kinds"]["all"]["correlation"] is None
    assert "correlation undefined" in found.lines()[1]


def test_photographs_are_reduced_and_shown(data: Path) -> None:
    rows: list[tuple[Pixels, Pixels, Pixels]] = []
    pairs = find_pairs(data / "val")
    validate(pull, pairs, (), 10, lambda *row: rows.append(row))
    assert [min(row[0].shape[:2]) for row in rows] == [10] * 5
    for low, output, label in rows:
        assert np.array_equal(output, pull(low))
        assert label.shape == low.shape


def test_the_lines_of_the_log() -> None:
    fivek = KindScores(11, 16.6, 23.8, 0.87, 111, 17, 119, 22, 0.94, 3)
    sice = KindScores(6, 10.9, 18.1, 0.7, 98, 14, 120, 20, None, -2)
    kept = bncagan.evaluation.validation.Kept(6.1, 30.2, 60, 64, 2)
    found = Validation({"fivek": fivek, "sice": sice}, (kept, kept))
    assert found.score == pytest.approx(7.2 + 7.2 - 6.1)
    assert found.lines() == [
        "score +8.30 (fivek +7.20 dB, sice +7.20 dB, CIEDE2000 -6.10)",
        "fivek (11): 16.60 -> 23.80 dB, SSIM 0.870, luma 111 +- 17 (references 119 +- 22, correlation 0.94), "
        "5 % quantile +3",
        "sice (6): 10.90 -> 18.10 dB, SSIM 0.700, luma 98 +- 14 (references 120 +- 20, correlation undefined), "
        "5 % quantile -2",
        "keep (2): CIEDE2000 6.10, 30.20 dB, luma 60 -> 64, 5 % quantile +2",
    ]
    record = found.record()
    assert (record["psnr_input"], record["psnr"]) == pytest.approx(
        ((11 * 16.6 + 6 * 10.9) / 17, (11 * 23.8 + 6 * 18.1) / 17)
    )
    scalars = dict(_scalars({"step": 4, **record}))
    assert scalars["kinds/fivek/gain"] == pytest.approx(7.2)
    assert scalars["keep/ciede2000"] == pytest.approx(6.1)
    assert "kinds/sice/correlation" not in scalars
    assert all(isinstance(value, int | float) for value in scalars.values())


# Training


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    small: dict[str, Any] = {
        "data": data, "out": out, "model": ModelConfig(width=4), "loss": LossWeights(perceptual=0), "batch": 1,
        "size": 64, "crop": 64, "workers": 0, "log_every": 1, "checkpoint_every": 1, "steps": 2, "accelerator": "cpu",
    }  # fmt: skip
    return TrainConfig(**(small | changes))


def scores_in(path: Path) -> dict[str, Any]:
    training: dict[str, Any] = load_generator(path)[1]["training"]
    return training["scores"]


def with_keep(tmp_path: Path) -> Path:
    data = make_data(tmp_path / "data")
    write_pictures(data / "keep", ["night.png", "fog.png"], seed=200, dim=8)
    return data


def test_a_run_is_scored_on_pairs_and_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = with_keep(tmp_path), tmp_path / "run"
    train(config(data, out, keep=data / "keep"))
    generator, _ = load_generator(out / "generator.safetensors")
    pairs, keep = find_pairs(data / "val"), sorted((data / "keep").iterdir())
    expected = validate(lambda low: enhance(generator, low), pairs, keep)
    assert scores_in(out / "generator.safetensors") == expected.record()
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "score" in record] == [1, 2]
    assert records[-1] == {"step": 2, **scores_in(out / "generator.safetensors")}
    said = capsys.readouterr().out
    for line in expected.lines():
        assert line in said
    assert str(data) not in json.dumps(load_generator(out / "generator.safetensors")[1])


def test_the_highest_score_is_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the highest PSNR: of three checkpoints the second has the best score, and the third the best PSNR."""
    kind = KindScores(2, 10, 10, 0.5, 100, 10, 100, 10, 0.5, 0)
    kept = bncagan.evaluation.validation.Kept(0, 60, 0, 0, 0)
    found = [
        Validation({"all": dataclasses.replace(kind, psnr=psnr)}, (kept._replace(ciede2000=change),))
        for psnr, change in ((12.0, 4.0), (14.0, 1.0), (20.0, 9.0))
    ]
    monkeypatch.setattr(Monitor, "scored", lambda *_: found.pop(0))
    out = tmp_path / "run"
    train(config(with_keep(tmp_path), out, steps=3))
    assert load_generator(out / "best.safetensors")[1]["training"]["step"] == 2
    with safe_open(out / "state.safetensors", "pt") as file:
        state = json.loads(file.metadata()["description"])
    assert (state["best"], state["best_measured_on"]) == (3.0, {"kinds": {"all": 2}, "keep": 2})


def resume(settings: TrainConfig) -> Trainer:
    return Trainer(dataclasses.replace(settings, resume=settings.out))


def test_best_is_scored_again_only_where_the_photographs_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = with_keep(tmp_path), tmp_path / "run"
    settings = config(data, out)
    train(settings)
    best = scores_in(out / "best.safetensors")["score"]

    def begun(**changes: Any) -> tuple[float, str]:
        trainer = resume(dataclasses.replace(settings, **changes))
        capsys.readouterr()
        with Monitor(trainer.config, 2, 2, active=True) as monitor:
            trainer.selection.begin(monitor)
        return trainer.selection.best, capsys.readouterr().out

    score, said = begun()
    assert score == best
    assert "best.safetensors" not in said
    write_pictures(tmp_path / "others", ["a.png"], seed=300)
    generator, _ = load_generator(out / "best.safetensors")
    pairs = find_pairs(data / "val")
    expected = validate(lambda low: enhance(generator, low), pairs, [tmp_path / "others" / "a.png"]).score
    score, said = begun(keep=tmp_path / "others")
    assert score == pytest.approx(expected)
    assert score != pytest.approx(best)
    assert f"best.safetensors was chosen by PSNR alone, or on other photographs: its score is now {score:+.2f}" in said
    (out / "best.safetensors").unlink()
    score, said = begun(keep=tmp_path / "others")
    assert score == -np.inf
    assert "it is gone, so the next checkpoint takes its place" in said


def test_keep_needs_pairs_and_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = with_keep(tmp_path)
    with pytest.raises(InputError, match="nowhere should be a photograph or a folder of them but does not exist"):
        train(config(data, tmp_path / "a", keep=tmp_path / "nowhere"))
    (data / "keep" / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.png should be a photograph"):
        train(config(data, tmp_path / "b"))
    assert not list(tmp_path.glob("[ab]/*.safetensors"))  # before the first step
    assert main(["data", "check", str(data)]) == 1
    assert "keep/broken.png" in capsys.readouterr().out
    for folder in ("low", "label"):
        for path in (data / "val" / folder).iterdir():
            path.unlink()
        (data / "val" / folder).rmdir()
    (data / "val").rmdir()
    with pytest.raises(InputError, match=r"--keep .*keep should be used with pairs in .*val but there are none; "):
        train(config(data, tmp_path / "c", keep=data / "keep"))
    assert train(config(data, tmp_path / "d", steps=1)).exists()  # DATA/keep alone chooses nothing
    assert not (tmp_path / "d" / "best.safetensors").exists()


def test_validation_pairs_too_small_to_compare_are_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    for folder in ("low", "label"):
        Image.fromarray(picture(0, 7, 9)).save(data / "val" / folder / "x.png")
    with pytest.raises(InputError, match=r"low/x\.png should have at least 8 x 8 px but has 9 x 7; "):
        train(config(data, tmp_path / "run"))
