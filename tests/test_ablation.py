"""Table 2 as a command: what each row turns off, what is scored, the intervals, and how a stopped one continues."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import itertools
import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import t
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bncagan import ablation
from bncagan.ablation import FULL, ROWS, ablate, run_config, verdict
from bncagan.cli import main
from bncagan.cli.ablation import text_below, write_picture
from bncagan.config import LossWeights, ModelConfig, TrainConfig
from bncagan.evaluation import methods
from bncagan.evaluation.intervals import crossed_interval, t_interval
from bncagan.network.checkpoint import load_generator
from bncagan.network.inference import enhance
from bncagan.training.loop import Trainer, train
from runtimes.errors import DivergedError, InputError
from runtimes.photographs import read_rgb
from tests.folders import make_data, picture, write_pictures

# The methods of the paper's Table 2, and the losses that each of them lacks (with --loss.perceptual 0).
TABLE_2 = {
    "BNCAGAN w/o L_idt, w/o L_cla": {"identity", "classification"},
    "BNCAGAN w/o L_idt": {"identity"},
    "BNCAGAN w/o L_cla": {"classification"},
    "BNCAGAN w/o AAC": {"classification"},
    "BNCAGAN w/o BNM": set(),
    "BNCAGAN w/o CAM": set(),
    "BNCAGAN": set(),
}
# Weights that only exist with the module.
WEIGHTS = {
    "BNCAGAN w/o AAC": {"generator.mask.fc.weight", "generator.classifier.weight"},
    "BNCAGAN w/o BNM": {"generator.bnr.block.norm1.rho", "generator.bnr.block.norm2.rho"},
    "BNCAGAN w/o CAM": {"discriminator.cam.gate", "discriminator.cam.query.weight"},
}


def data_with_test(root: Path) -> Path:
    """The small data set with two validation pairs, and three test pairs in addition."""
    make_data(root)
    write_pictures(root / "test" / "low", ["p.png", "q.png", "r.png"], seed=70, dim=2)
    write_pictures(root / "test" / "label", ["p.png", "q.png", "r.png"], seed=70)
    return root


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    small: dict[str, Any] = {
        "data": data, "out": out, "model": ModelConfig(width=4), "loss": LossWeights(perceptual=0), "batch": 1,
        "size": 64, "crop": 64, "workers": 0, "log_every": 1, "checkpoint_every": 1, "steps": 3,
        "accelerator": "cpu", "learning_rate": 1e-3,
    }  # fmt: skip
    return TrainConfig(**(small | changes))


SMALL = [
    *("--model.width", "4", "--loss.perceptual", "0", "--batch", "1", "--size", "64", "--crop", "64", "--workers", "0"),
    *("--log-every", "1", "--checkpoint-every", "1", "--steps", "3", "--accelerator", "cpu", "--learning-rate", "1e-3"),
]


class Finished(NamedTuple):
    """An ablation of all rows by the command, never interrupted."""

    data: Path
    out: Path
    said: str
    report: dict[str, Any]

    @property
    def arguments(self) -> list[str]:
        return ["ablate", "--data", str(self.data), "--out", str(self.out), *SMALL]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("ablation")
    done = Finished(data_with_test(root / "data"), root / "out", "", {})
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(done.arguments) == 0
    return done._replace(said=said.getvalue(), report=json.loads((root / "out" / "ablation.json").read_text()))


def test_every_row_turns_off_what_its_title_says(finished: Finished) -> None:
    assert {row.title for row in ROWS} == set(TABLE_2)
    for row, seed in itertools.product(ROWS, (0, 1)):
        run = finished.out / f"{row.name}-seed{seed}"
        weights = set(load_file(run / "state.safetensors"))
        for title, names in WEIGHTS.items():
            assert not names & weights if title == row.title else names <= weights, (row.name, title)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [set(line) for line in lines if "generator" in line]
        told = {"step", "generator", "discriminator", "learning_rate", "skipped"}
        every = {"adversarial", "identity", "classification"}
        assert losses == [told | every - TABLE_2[row.title]] * 3, row.name


def test_rows_share_everything_else(finished: Finished) -> None:
    full = json.loads((finished.out / "full-seed0" / "config.json").read_text())
    for row, seed in itertools.product(ROWS, (0, 1)):
        ours = json.loads((finished.out / f"{row.name}-seed{seed}" / "config.json").read_text())
        different = {name for name in full if ours[name] != full[name]} - {"out", "seed"}
        assert different == {name for name, off in (("model", row.modules), ("loss", row.losses)) if off}, row.name
        assert ours["seed"] == seed


@pytest.mark.parametrize("row", [FULL, ROWS[1]], ids=lambda row: row.name)
def test_a_run_equals_the_same_run_alone(finished: Finished, tmp_path: Path, row: ablation.Variant) -> None:
    """A run after other runs in one process ends with the same weights as a run alone."""
    alone = dataclasses.replace(run_config(config(finished.data, tmp_path), row, 1), out=tmp_path / "alone")
    expected, ours = load_file(train(alone)), load_file(finished.out / f"{row.name}-seed1" / "generator.safetensors")
    assert all(torch.equal(ours[name], weight) for name, weight in expected.items())


def test_scores_are_of_the_test_pairs_at_their_own_size(finished: Finished) -> None:
    assert finished.report["scored_on"] == "test"
    for name, seed in (("full", "0"), ("without-cam", "1")):
        run = finished.report["rows"][name]["runs"][seed]
        generator, _ = load_generator(finished.out / run["run"] / "generator.safetensors")
        assert list(run["pictures"]) == ["p", "q", "r"]
        for stem, scores in run["pictures"].items():
            low, label = (read_rgb(finished.data / "test" / side / f"{stem}.png") for side in ("low", "label"))
            enhanced = enhance(generator, low)
            assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(label, enhanced, data_range=255))
            ssim = structural_similarity(label, enhanced, channel_axis=-1, data_range=255)
            assert scores["ssim"] == pytest.approx(ssim)


def test_means_and_differences_are_those_of_the_pictures(finished: Finished) -> None:
    rows = finished.report["rows"]
    for name, score in itertools.product(rows, ("psnr", "ssim")):
        total, difference = 0.0, 0.0
        for seed in ("0", "1"):
            of_seed = 0.0
            for stem in ("p", "q", "r"):
                ours, full = (rows[row]["runs"][seed]["pictures"][stem][score] for row in (name, "full"))
                of_seed += ours / 3
                difference += (ours - full) / 6
            assert rows[name][score]["seeds"][seed] == pytest.approx(of_seed)
            total += of_seed / 2
        assert rows[name][score]["mean"] == pytest.approx(total)
        if name == "full":
            assert "to_full" not in rows[name][score]
        else:
            to_full = rows[name][score]["to_full"]
            assert to_full["difference"] == pytest.approx(difference)
            assert to_full["low"] <= difference <= to_full["high"]
            assert to_full["verdict"] == verdict(to_full["low"], to_full["high"])
    assert any(rows[name]["psnr"]["to_full"]["difference"] for name in rows if name != "full")


def test_table_and_markdown_hold_the_same_numbers(finished: Finished) -> None:
    written = (finished.out / "ablation.md").read_text()
    for row in finished.report["rows"].values():
        for score, decimals in (("psnr", 3), ("ssim", 4)):
            cells = [f"{mean:.{decimals}f}" for mean in (row[score]["mean"], *row[score]["seeds"].values())]
            if row is not finished.report["rows"]["full"]:
                to_full = row[score]["to_full"]
                difference, low, high = (f"{to_full[name]:+.{decimals}f}" for name in ("difference", "low", "high"))
                cells += [difference, f"{low} to {high}", to_full["verdict"]]
            assert f"| {row['title']} | " + " | ".join(cells) in written
            lines = [line for line in finished.said.splitlines() if line.startswith(f"│ {row['title']} ")]
            assert any(all(cell in line for cell in cells) for line in lines), (row["title"], score)
    for told in (written, finished.said):
        assert "3 steps, width 4, size 64 px (crops of 64), batch 1; seeds: 0, 1" in told
        assert "3 pictures of test" in told
        assert "With two seeds, they are wide" in told


def test_the_picture_shows_the_intervals(finished: Finished, tmp_path: Path) -> None:
    """Whichever number of a row changes, the picture does, and not otherwise."""

    def drawn(report: dict[str, Any]) -> bytes:
        write_picture(tmp_path / "x.png", report)
        with Image.open(tmp_path / "x.png") as image:
            assert image.width > 1000
            return image.convert("RGB").tobytes()

    plain = drawn(finished.report)
    assert plain == drawn(copy.deepcopy(finished.report))
    name = list(finished.report["rows"])[-1]
    for score in ("psnr", "ssim"):
        for number in ("difference", "low", "high", "seed"):
            report = copy.deepcopy(finished.report)
            row = report["rows"][name][score]
            numbers, key = (row["seeds"], "1") if number == "seed" else (row["to_full"], number)
            numbers[key] += 0.2 * (row["to_full"]["high"] - row["to_full"]["low"])
            assert drawn(report) != plain, (score, number)


def test_the_text_depends_on_the_number_of_seeds(finished: Finished) -> None:
    assert "comparisons, 12" in text_below(finished.report)
    for seeds, told in (([4], "With one seed, they do not"), ([0, 1, 2], "over seeds and pictures. Better or worse")):
        report = copy.deepcopy(finished.report)
        report["budget"]["seeds"] = seeds
        for row in report["rows"].values():
            row["psnr"]["seeds"] = {str(seed): 0.0 for seed in seeds}
        assert told in text_below(report)


def test_what_is_finished_is_not_repeated(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(*_: object) -> None:
        raise AssertionError("repeated")

    monkeypatch.setattr(Trainer, "fit", repeated)
    monkeypatch.setattr(methods, "enhance", repeated)
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    (out / "ablation.json").unlink()
    arguments = [*finished.arguments, "--out", str(out)]
    assert main(arguments) == 0
    assert (out / "ablation.json").read_bytes() == (finished.out / "ablation.json").read_bytes()
    assert main([*arguments, "--seeds", "1", "--only", "without-cam"]) == 0
    again = json.loads((out / "ablation.json").read_text())
    assert again["rows"] == finished.report["rows"], "fewer rows or seeds were asked for, but the others are there"


def test_a_seed_more_for_one_row_is_added_to_the_table(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    assert main([*finished.arguments, "--out", str(out), "--seeds", "2", "--only", "without-cam"]) == 0
    report = json.loads((out / "ablation.json").read_text())
    assert list(report["rows"]) == list(finished.report["rows"])
    assert report["budget"]["seeds"] == [0, 1, 2]
    for name, row in report["rows"].items():
        seeds = ["0", "1", "2"] if name in {"full", "without-cam"} else ["0", "1"]
        assert list(row["psnr"]["seeds"]) == seeds
        if name not in {"full", "without-cam"}:
            assert row == finished.report["rows"][name], "it is compared on the seeds that both have"
    row = report["rows"]["without-cam"]
    found = [
        [one["pictures"][stem]["psnr"] - full["pictures"][stem]["psnr"] for stem in "pqr"]
        for one, full in ((row["runs"][seed], report["rows"]["full"]["runs"][seed]) for seed in ("0", "1", "2"))
    ]
    low, high = crossed_interval(np.array(found))
    assert row["psnr"]["to_full"] == {
        "difference": pytest.approx(np.mean(found)), "low": pytest.approx(low), "high": pytest.approx(high),
        "verdict": verdict(low, high),
    }  # fmt: skip
    text = (out / "ablation.md").read_text()
    assert "A row is compared with the full model on the seeds that both have." in text
    [line] = [line for line in text.splitlines() if line.startswith("| BNCAGAN w/o BNM |") and "0." in line][:1]
    assert line.split("|")[5].strip() == "", "a seed that the row does not have"


def test_the_paper_protocol_takes_pairs_of_unequal_size(finished: Finished, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(finished.data, data)
    Image.fromarray(picture(71, 60, 90)).save(data / "test" / "label" / "q.png")
    with pytest.raises(InputError, match=r"label/q\.png should have the size .* 96 x 80 px, .* 90 x 60; .*paper"):
        ablate(config(data, out), [0], ["full"])
    assert not out.exists()
    report = ablate(config(data, out), [0], ["full"], "paper")
    assert report["protocol"] == "paper"
    assert "paper protocol: every picture resized to 512 x 512 px (bilinear" in text_below(report)
    generator, _ = load_generator(out / "full-seed0" / "generator.safetensors")
    for stem, scores in report["rows"]["full"]["runs"]["0"]["pictures"].items():
        low, label = (
            np.asarray(Image.open(data / "test" / side / f"{stem}.png").resize((512, 512), Image.Resampling.BILINEAR))
            for side in ("low", "label")
        )
        enhanced = enhance(generator, low)[4:-4, 4:-4]
        expected = peak_signal_noise_ratio(label[4:-4, 4:-4], enhanced, data_range=255)
        assert scores["psnr"] == pytest.approx(expected)
    assert sorted(path.name for path in (out / "full-seed0").glob("scores*")) == ["scores-paper.json"]


def test_changed_references_are_scored_again(finished: Finished, tmp_path: Path) -> None:
    """If a reference changes, the runs keep their weights and get other scores."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(finished.data, data)
    first = ablate(config(data, out), [0], ["full"])
    Image.fromarray(picture(1)).save(data / "test" / "label" / "q.png")
    second = ablate(config(data, out), [0], ["full"])
    ours, theirs = (report["rows"]["full"]["runs"]["0"] for report in (first, second))
    assert ours["weights_sha256"] == theirs["weights_sha256"]
    assert [ours["pictures"][stem] == theirs["pictures"][stem] for stem in "pqr"] == [True, False, True]


def test_options_other_than_the_first_calls_are_refused(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*finished.arguments, "--steps", "4"]) == 2
    said = capsys.readouterr()
    assert "--steps 4 but is of one with 3; " in said.err
    assert said.err.count("\n") == 1
    assert "run 1" not in said.out
    shutil.copytree(finished.data, tmp_path / "data")
    for changes, named in (
        ({"data": tmp_path / "data"}, "--data "),
        ({"init": "small"}, "--init small but is of one with None"),
        ({"model": ModelConfig(width=8)}, r"--model\.width 8 but is of one with 4"),
        ({"loss": LossWeights(perceptual=0, identity=0.2)}, r"--loss\.identity 0\.2 but "),
        ({"learning_rate": 2e-3}, r"--learning-rate 0\.002 but is of one with 0\.001"),
    ):
        with pytest.raises(InputError, match=named):
            ablate(dataclasses.replace(config(finished.data, finished.out), **changes))
    shutil.copytree(finished.out, tmp_path / "out")
    (tmp_path / "out" / "options.json").write_text(
        (finished.out / "options.json").read_text().replace('"steps": 3', '"steps": 4')
    )
    with pytest.raises(InputError, match=r"full-seed0.*--steps 4 but is of one with 3"):  # by the run itself
        ablate(config(finished.data, tmp_path / "out", steps=4))


def test_an_interrupted_ablation_continues(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is stopped in the second step of the third run, it does the two missing steps and the fourth run."""
    steps: list[tuple[str, int]] = []
    honest = Trainer._set_learning_rates

    def counted(stop: int | None) -> Callable[[Trainer], None]:
        def step(self: Trainer) -> None:
            if len(steps) == stop:
                raise KeyboardInterrupt
            steps.append((self.config.out.name, self.step))
            honest(self)

        return step

    arguments = config(finished.data, tmp_path / "out")
    monkeypatch.setattr(Trainer, "_set_learning_rates", counted(7))
    with pytest.raises(KeyboardInterrupt):
        ablate(arguments, [0, 1], ["without-bnm"])
    assert not (tmp_path / "out" / "ablation.json").exists()
    assert steps[-1] == ("full-seed1", 0)
    monkeypatch.setattr(Trainer, "_set_learning_rates", counted(None))
    report = ablate(arguments, [0, 1], ["without-bnm"])
    assert steps[7:] == [("full-seed1", 1), ("full-seed1", 2), *(("without-bnm-seed1", step) for step in range(3))]
    for name in ("full", "without-bnm"):
        assert report["rows"][name] == finished.report["rows"][name]


def test_a_run_killed_before_its_first_checkpoint_starts_again(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    for run in out.glob("*-seed*"):
        options = (run / "config.json").read_text()
        shutil.rmtree(run)
        run.mkdir()
        (run / "config.json").write_text(options)
        (run / "state.safetensors.partial").touch()
    report = ablate(config(finished.data, out), [0], ["full"])
    assert report["rows"]["full"]["runs"]["0"] == finished.report["rows"]["full"]["runs"]["0"]


def test_contradictions_are_refused_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = data_with_test(tmp_path / "data"), tmp_path / "out"
    given = ["ablate", "--data", str(data), "--out", str(out), *SMALL]
    for more, named in (
        ("--model.no-use-cam", "--model.use-cam should"),
        ("--model.no-use-aac --loss.classification 0", "--model.use-aac should"),
        ("--loss.identity 0", "--loss.identity should"),
        ("--loss.adversarial 0", "--loss.adversarial should"),
        ("--seeds 0 0", "--seeds should .* is 0 0; "),
        ("--seeds", "--seeds should .* is empty; "),
        ("--seeds -1", "--seeds should .* at least 0 but is -1; "),
        ("--seed 3", "--seed should .* is 3; .*--seeds"),
        (f"--resume {out}", "--resume should .* but is .*; ablate continues by itself"),
        ("--devices 2", "--devices should be 1 .* is 2; "),
        ("--num-nodes 2", "--num-nodes should be 1 .* is 2; "),
        ("--only without-per", "--only should .*without-idt-cla but names 'without-per'"),
    ):
        assert main([*given, *more.split()]) == 2, more
        said = capsys.readouterr().err
        assert re.search(named, said), more
        assert said.count("\n") == 1
    assert not out.exists()
    out.mkdir()
    (out / "letter.txt").write_text("another's")
    with pytest.raises(InputError, match="out should be a new or empty folder"):
        ablate(config(data, out))
    assert [path.name for path in out.iterdir()] == ["letter.txt"]


def test_references_are_checked_before_the_first_step(tmp_path: Path) -> None:
    data, out = data_with_test(tmp_path / "data"), tmp_path / "out"
    Image.fromarray(picture(0, 40, 40)).save(data / "test" / "label" / "q.png")
    with pytest.raises(InputError, match=r"label/q\.png should have the size .* 96 x 80 px, .* 40 x 40; "):
        ablate(config(data, out))
    (data / "test" / "label" / "q.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"q\.png"):
        ablate(config(data, out))
    for side in ("low", "label"):
        for stem in "qr":
            (data / "test" / side / f"{stem}.png").unlink()
    with pytest.raises(InputError, match="test should hold at least 2 pairs but holds 1"):
        ablate(config(data, out))
    shutil.rmtree(data / "test")
    assert ablation.references(data)[0] == "val"
    shutil.rmtree(data / "val")
    with pytest.raises(InputError, match="data should hold test or val"):
        ablate(config(data, out))
    assert not out.exists()


def test_a_perfect_picture_is_left_out(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = methods.enhance

    def perfect_once(generator: Any, low: Any) -> Any:
        is_p = (low == read_rgb(finished.data / "test" / "low" / "p.png")).all()
        return read_rgb(finished.data / "test" / "label" / "p.png") if is_p else honest(generator, low)

    monkeypatch.setattr(methods, "enhance", perfect_once)
    report = ablate(config(finished.data, tmp_path / "out", steps=1), [0], ["without-cam"])
    assert report["identical"] == ["p"]
    assert report["budget"]["pictures"] == 2
    runs = [report["rows"][row]["runs"]["0"]["pictures"] for row in ("full", "without-cam")]
    assert [run["p"]["psnr"] for run in runs] == [None, None]
    difference = np.mean([runs[1][stem]["psnr"] - runs[0][stem]["psnr"] for stem in "qr"])
    assert report["rows"]["without-cam"]["psnr"]["to_full"]["difference"] == pytest.approx(difference)
    assert "Left out, because a run made exactly the reference: p." in text_below(report)
    json.loads((tmp_path / "out" / "ablation.json").read_text(), parse_constant=pytest.fail)


def test_a_picture_too_large_for_the_device_is_named(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(methods, "enhance", full)
    with pytest.raises(InputError, match=r"low/p\.png should .* memory of cpu .*--accelerator cpu"):
        ablate(config(finished.data, tmp_path / "out", steps=1), [0], ["full"])
    monkeypatch.undo()
    report = ablate(config(finished.data, tmp_path / "out", steps=1), [0], ["full"])
    assert "To full" not in text_below(report)  # nothing is compared


def test_a_diverged_run_is_named(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Trainer.generator_loss

    def failing(self: Trainer, batch: Any, outputs: Any) -> dict[str, torch.Tensor]:
        terms = honest(self, batch, outputs)
        return terms if self.config.model.use_cam else {**terms, "identity": terms["identity"] * float("nan")}

    monkeypatch.setattr(Trainer, "generator_loss", failing)
    with pytest.raises(DivergedError, match=r"without-cam-seed0: the identity loss .* is nan at step .*--out"):
        ablate(config(finished.data, tmp_path / "out"), [0])
    assert (tmp_path / "out" / "without-bnm-seed0" / "scores.json").exists()


# Differences of two seeds and three pictures; the pictures differ more than the seeds.
DIFFERENCES = np.array([[0.9, -0.5, 0.2], [1.6, 0.1, 1.1]])


def test_the_interval_is_that_of_plain_loops() -> None:
    """The mean squares of a two-way layout, written out."""
    rng = random.Random(3)
    seeds, pictures = 3, 12
    of_seed = [rng.gauss(0.2, 0.3) for _ in range(seeds)]
    of_picture = [rng.gauss(0, 1) for _ in range(pictures)]
    table = [[s + p + rng.gauss(0, 0.2) for p in of_picture] for s in of_seed]
    mean = sum(map(sum, table)) / (seeds * pictures)
    rows = [sum(row) / pictures for row in table]
    columns = [sum(column) / seeds for column in zip(*table, strict=True)]
    seed_square = pictures * sum((row - mean) ** 2 for row in rows) / (seeds - 1)
    picture_square = seeds * sum((column - mean) ** 2 for column in columns) / (pictures - 1)
    rest = sum((table[s][p] - rows[s] - columns[p] + mean) ** 2 for s in range(seeds) for p in range(pictures))
    rest_square = rest / ((seeds - 1) * (pictures - 1))
    total = seed_square + picture_square - rest_square
    freedom = total**2 / (
        seed_square**2 / (seeds - 1)
        + picture_square**2 / (pictures - 1)
        + rest_square**2 / ((seeds - 1) * (pictures - 1))
    )
    half = t.ppf(0.975, freedom) * math.sqrt(total / (seeds * pictures))
    assert crossed_interval(np.array(table)) == pytest.approx((mean - half, mean + half))


@pytest.mark.parametrize(("seeds", "least"), [(2, 860), (3, 910), (5, 930)])
def test_the_interval_holds_the_true_mean_whatever_varies_most(seeds: int, least: int) -> None:
    """Of 1000; resampling two seeds and eleven pictures held it in 611 where seeds vary most."""
    rng = np.random.default_rng(seeds)
    for of_seed, of_picture in ((1.0, 1.0), (0.3, 1.0), (1.0, 0.3)):
        held = 0
        for _ in range(1000):
            effects = rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_picture, 11)
            low, high = crossed_interval(effects + rng.normal(0, 0.3, (seeds, 11)))
            held += low < 0 < high
        assert held > least


def test_intervals_of_one_seed_and_of_equal_differences() -> None:
    assert crossed_interval(DIFFERENCES[:1]) == t_interval(DIFFERENCES[0])
    assert crossed_interval(np.full((2, 5), 0.25)) == (0.25, 0.25)


def test_a_verdict_needs_an_interval_without_zero() -> None:
    assert verdict(0.01, 0.2) == "better"
    assert verdict(-0.2, -0.01) == "worse"
    for low, high in ((0.0, 0.2), (-0.2, 0.0), (-0.1, 0.1), (0.0, 0.0)):
        assert verdict(low, high) == "not distinguished"
