"""Folders, samples, renderings, splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bncagan.config import LossWeights, TrainConfig
from bncagan.data import rendering
from bncagan.data import samples as data_module
from bncagan.data.checking import check
from bncagan.data.drawing import dead_leaves
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, find_pairs, training_folder
from bncagan.data.reading import StepSampler, training_batches
from bncagan.data.rendering import render, render_frame, render_lit
from bncagan.data.samples import Samples, Square, UnpairedDataset, scaled, toned
from bncagan.data.splitting import split
from bncagan.network.inference import from_signed, to_signed, to_unit
from bncagan.network.tone import ToneHead
from runtimes.errors import InputError
from runtimes.photographs import find_photographs, read_rgb
from tests.folders import make_data, picture, write_pictures


def dataset(data: Path, **changes: object) -> UnpairedDataset:
    config = TrainConfig(data=data, out=data / "run", size=64, crop=64, batch=2, loss=LossWeights(), workers=0)
    return UnpairedDataset(dataclasses.replace(config, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "label"), [("low", "high", "label"), ("raw", "exp", "label"), ("iphone", "canon", "canon")]
)
def test_layouts(tmp_path: Path, low: str, high: str, label: str) -> None:
    make_data(tmp_path, low, high, label)
    for root in (tmp_path, tmp_path / "train"):
        assert training_folder(root, LOW_NAMES) == tmp_path / "train" / low
        assert training_folder(root, HIGH_NAMES) == tmp_path / "train" / high
    assert [pair.low.stem for pair in find_pairs(tmp_path / "val")] == ["x", "y"]
    assert all(pair.low.stem == pair.label.stem for pair in find_pairs(tmp_path / "val"))


def test_dped_training_layout(tmp_path: Path) -> None:
    for name in ("iphone", "canon"):
        write_pictures(tmp_path / "training_data" / name, ["0.jpg"])
    assert training_folder(tmp_path, HIGH_NAMES) == tmp_path / "training_data" / "canon"


def test_pairs_without_a_partner_are_named(tmp_path: Path) -> None:
    make_data(tmp_path)
    (tmp_path / "val" / "low" / "x.png").rename(tmp_path / "val" / "low" / "z.png")
    with pytest.raises(InputError, match=r"val should hold .* 2 have no partner \(x, z\); "):
        find_pairs(tmp_path / "val")
    (tmp_path / "val" / "low" / "z.png").rename(tmp_path / "val" / "low" / "y.jpg")
    with pytest.raises(InputError, match=r"low should hold .* y\.(png and y\.jpg|jpg and y\.png); "):
        find_pairs(tmp_path / "val")


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        training_folder(tmp_path / "nowhere", LOW_NAMES)
    with pytest.raises(InputError, match="low or raw or iphone"):
        training_folder(tmp_path, LOW_NAMES)
    with pytest.raises(InputError, match=r"should hold photographs \(.*\) but holds none"):
        find_photographs(tmp_path)


def test_each_domain_has_epochs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = dataset(make_data(tmp_path), cache=0)
    seen: list[str] = []
    monkeypatch.setattr("bncagan.data.samples.read_rgb", lambda path, _side: seen.append(path.name) or picture(0))
    for number in range(70):
        samples[number]
    low, high = seen[::2], seen[1::2]
    assert all(len(set(low[start : start + 5])) == 5 for start in range(0, 70, 5))
    assert all(len(set(high[start : start + 7])) == 7 for start in range(0, 70, 7))
    assert len({tuple(low[start : start + 5]) for start in range(0, 70, 5)}) > 5


def test_the_domains_are_not_paired_by_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = dataset(make_data(tmp_path), cache=0)
    samples.high = samples.low  # the same names, so that pairing by index would be visible
    seen: list[str] = []
    monkeypatch.setattr("bncagan.data.samples.read_rgb", lambda path, _side: seen.append(path.name) or picture(0))
    for number in range(50):
        samples[number]
    same = sum(low == high for low, high in zip(seen[::2], seen[1::2], strict=True))
    assert 2 <= same <= 25  # about one in five by chance, not all
    assert {seen.count(name) for name in set(seen)} == {20}  # each once in an epoch of its domain


def test_samples_depend_on_the_seed_and_the_number_alone(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    first, again = dataset(data, low_from_high=0.5), dataset(data, low_from_high=0.5)
    order = [7, 3, 3, 11]
    ours, theirs = [first[n] for n in order], [again[n] for n in reversed(order)]
    for one, other in zip(ours, reversed(theirs), strict=True):
        assert torch.equal(one.low, other.low)
        assert torch.equal(one.high, other.high)
    assert not torch.equal(dataset(data, seed=1)[3].high, first[3].high)
    assert ours[0].low.shape == (3, 64, 64)
    assert -1 <= ours[0].low.min() <= ours[0].low.max() <= 1


def test_processes_draw_different_samples_and_resume_where_they_stopped() -> None:
    whole = [list(StepSampler(0, 6, 2, rank, 2)) for rank in (0, 1)]
    numbers = [number for rank in whole for step in rank for number in step]
    assert sorted(numbers) == list(range(24))
    assert list(StepSampler(4, 6, 2, 1, 2)) == whole[1][4:]


def test_a_corrupt_photograph_is_named_and_skipped(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    whole = (data / "train" / "high" / "b0.jpg").read_bytes()
    (data / "train" / "high" / "b0.jpg").write_bytes(whole[: len(whole) // 2])
    batches = list(training_batches(dataset(data), 0, 7, 0, 1))
    skipped = {message for batch in batches for message in batch.skipped}
    assert len(skipped) == 1
    assert "b0.jpg" in skipped.pop()
    assert all(batch.high.shape == (2, 3, 64, 64) for batch in batches)
    found = check(data)
    assert [len(photographs.broken) for photographs in found.folders.values()] == [0, 1, 0, 0]
    for path in (data / "train" / "high").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"high should hold .* of its 7 "):
        dataset(data)[0]


def test_good_photographs_alone_are_enough(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train" / "high", ["a.png", "b.png"])
    sample = dataset(tmp_path, low_from_high=1.0)[0]
    assert sample.low.mean() < sample.high.mean() + 0.5
    with pytest.raises(InputError, match="low or raw or iphone"):
        dataset(tmp_path, low_from_high=0.9)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_large_photographs_are_reduced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large{suffix}"
    Image.fromarray(picture(0, 600, 900)).save(path)
    small = read_rgb(path, 200)
    assert small.shape == (200, 300, 3)
    assert np.abs(small.astype(int) - picture(0, 200, 300)).mean() < 3
    assert read_rgb(path, 700).shape == (600, 900, 3)


def test_squares_are_cut_and_mirrored() -> None:
    columns = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, :, None], (40, 60, 3))
    squares = [Square.of(columns, 24, np.random.default_rng(seed)).cut(columns) for seed in range(40)]
    mirrored = [square for square in squares if square[0, 0, 0] > square[0, -1, 0]]
    assert 10 < len(mirrored) < 30
    assert {square.shape for square in squares} == {(24, 24, 3)}
    assert len({int(square.min()) for square in squares}) > 15


def test_photographs_are_scaled_so_that_a_crop_has_the_size() -> None:
    pixels = picture(0, 40, 60)
    assert scaled(pixels, 512, 16, np.random.default_rng(0)).shape == (16, 24, 3)
    assert scaled(pixels, 20, 20, np.random.default_rng(0)) is pixels
    assert scaled(pixels, 20, 40, np.random.default_rng(0)).shape == (80, 120, 3)
    sides = [scaled(pixels, 32, 16, np.random.default_rng(seed), 0.5).shape[0] for seed in range(60)]
    assert 20 <= min(sides) < 23  # the whole crop, 32 px, becomes 16
    assert 36 < max(sides) <= 40


def test_pictures_survive_conversion_to_tensors_and_back() -> None:
    codes = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(from_signed(to_signed(codes)), codes)
    assert to_signed(codes).min() == -1
    assert to_signed(codes).max() == 1


def test_a_deep_frame_has_the_light_of_its_stops_and_noise() -> None:
    good = picture(3, 96, 96) // 2 + 60
    code = good / np.float32(255)
    light = [_decoded(render_frame(code, -3.0, np.random.default_rng(seed)) / 255).mean() for seed in range(30)]
    # A raised black level adds light to most of them.
    assert np.quantile(light, 0.2) / _decoded(code).mean() == pytest.approx(1 / 8, rel=0.25)
    flat = np.full((64, 64, 3), 0.7, np.float32)
    spread = [render_frame(flat, -1.0, np.random.default_rng(seed)).std((0, 1)).max() for seed in range(8)]
    assert 1 < max(spread) < 10


def test_light_raises_the_contrast_of_large_areas_and_keeps_colours() -> None:
    """Against an independent formulation: the gain of each pixel is the same for its three channels."""
    code = np.full((96, 192, 3), (0.5, 0.4, 0.3), np.float32)
    code[:, 96:] *= 1.6
    ratios = []
    for seed in range(12):
        lit = render_lit(code, np.random.default_rng(seed), (-0.5, -0.5))
        gains = _decoded(lit) / _decoded(code)
        assert np.median(np.abs(gains / gains.mean(2, keepdims=True) - 1)) < 0.02  # 8 bits
        ratios.append(gains[:, 120:].mean() / gains[:, :72].mean())
    assert np.median(ratios) > 1.2
    assert len({round(float(ratio), 3) for ratio in ratios}) == 12


def test_some_renderings_are_the_photograph_itself() -> None:
    good = picture(3, 64, 64)
    same = [render(good, np.random.default_rng(seed)) is good for seed in range(200)]
    assert 8 < sum(same) < 40


def rgb601(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114


def test_grey_is_the_luma() -> None:
    photo = picture(3, 64, 64)
    assert np.abs(rendering.grey(photo)[..., 0] - rgb601(photo)).max() < 0.501


def test_the_generator_gets_what_the_head_makes_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crop of the toned photograph, not the toned crop; its original has the same tones, or is the same."""
    data = make_data(tmp_path)
    torch.manual_seed(0)
    head = ToneHead()
    for member in head.members:
        torch.nn.init.normal_(member.mlp[-1].weight, std=0.3)
    monkeypatch.setattr(data_module, "VARIED", 0.0)
    plain, behind = dataset(data), UnpairedDataset(dataset(data).config, head)
    for number in range(10):
        before, after = plain[number], behind[number]
        whole = read_rgb(find_named(plain, before, number))
        toned = from_signed(2 * head(to_unit(whole))[0] - 1)
        assert any(np.array_equal(from_signed(after.low), cut) for cut in squares(toned, 64))
        assert torch.equal(after.low, after.original)
        grey = from_signed(before.low) @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(after.before[0].numpy(), grey / 127.5 - 1, atol=1e-5)
    rendered = UnpairedDataset(dataset(data, low_from_high=1.0).config, head)
    means = [(float(sample.low.mean()), float(sample.original.mean())) for sample in (rendered[n] for n in range(20))]
    assert np.abs(np.diff(means, axis=1)).mean() < 0.1


def find_named(plain: UnpairedDataset, sample: Samples, number: int) -> Path:
    """The photograph of which the low picture of a sample is a crop."""
    low = from_signed(sample.low)
    return next(path for path in plain.low if any(np.array_equal(low, cut) for cut in squares(read_rgb(path), 64)))


def squares(pixels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """All squares of a picture, and their mirror images."""
    for top in range(pixels.shape[0] - size + 1):
        for left in range(pixels.shape[1] - size + 1):
            cut = pixels[top : top + size, left : left + size]
            yield cut
            yield cut[:, ::-1]


def test_the_heads_decision_varies_a_little() -> None:
    head = ToneHead()
    for member in head.members:
        torch.nn.init.normal_(member.mlp[-1].weight, std=0.3)
    pixels = picture(1)
    exact = head(to_unit(pixels))[0].permute(1, 2, 0).detach().numpy()
    many = np.stack([toned(head, pixels, np.random.default_rng(seed)) for seed in range(40)])
    assert np.abs(many.mean((1, 2, 3)) - exact.mean()).max() < 0.2
    assert 0.005 < many.mean((1, 2, 3)).std() < 0.08
    assert abs(many.mean() - exact.mean()) < 0.02


def test_both_halves_of_a_sample_are_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour, grey or drawn: a discriminator that never sees good grey pictures would ask for colour in grey ones."""
    data = make_data(tmp_path)
    for path in find_photographs(training_folder(data, HIGH_NAMES)):
        Image.new("RGB", (64, 64), (250, 10, 10)).save(path)
    monkeypatch.setattr(data_module, "KIND_SHARES", (0.3, 0.4, 0.3))
    monkeypatch.setattr(data_module, "render", lambda original, _rng: original)
    mixed = dataset(data, low_from_high=0.8)
    kinds = []
    for number in range(80):
        sample = mixed[number]
        kinds.append([kind(from_signed(image)) for image in (sample.original, sample.high)])
        assert kinds[-1][0] == kinds[-1][1] or not sample.rendered
        assert sample.rendered or kinds[-1][1] == "photograph"
    assert {high for _, high in kinds} == {"photograph", "grey", "drawn"}


def kind(pixels: np.ndarray) -> str:
    """Whether a picture is the red photograph, its grey version, or something else."""
    if np.abs(pixels.astype(int) - [250, 10, 10]).max() < 12:
        return "photograph"
    return "grey" if np.ptp(pixels) < 6 and abs(int(pixels[0, 0, 0]) - 82) < 6 else "drawn"


def test_drawn_pictures_are_flat_shaded_and_covered() -> None:
    """Half of them are grey; they have few edges, and elsewhere they are as smooth as noise and ramps."""
    pictures = [dead_leaves(64, np.random.default_rng(seed)) for seed in range(80)]
    assert all(pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 for pixels in pictures)
    grey = [np.ptp(pixels, axis=2).max() == 0 for pixels in pictures]
    assert 25 < sum(grey) < 55
    steps = [np.median(np.abs(np.diff(rgb601(pixels), axis=1))) for pixels in pictures]
    assert 0.1 < np.median(steps) < 4  # grain of 0.2 to 2 codes, ramps of at most 4 codes a pixel
    edges = [np.abs(np.diff(rgb601(pixels), axis=axis)).max() > 30 for pixels in pictures for axis in (0, 1)]
    assert 0.4 < np.mean(edges) < 0.95  # some have no leaf at all
    means = [rgb601(pixels).mean() for pixels in pictures]
    assert np.std(means) > 25


def test_photographs_are_kept_in_memory_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path)
    calls: list[Path] = []

    def reading(path: Path, short_side: int | None = None) -> np.ndarray:
        calls.append(path)
        return read_rgb(path, short_side)

    monkeypatch.setattr(data_module, "read_rgb", reading)
    kept, fresh = dataset(data), dataset(data, cache=0)
    first = [kept[number] for number in range(6)]
    decoded = len(calls)
    again = [kept[number] for number in range(6)]
    assert len(calls) == decoded == len(set(calls))
    assert all(torch.equal(a.low, b.low) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a.low, fresh[number].low) for number, a in enumerate(first))
    assert len(calls) == decoded + 12


def _decoded(code: np.ndarray) -> np.ndarray:
    return np.where(code > 0.04045, ((200 * code + 11) / 211) ** 2.4, 25 * code / 323)


def test_the_split_is_unpaired_seeded_and_complete(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(12)]
    write_pictures(tmp_path / "raw", names)
    write_pictures(tmp_path / "expert", names, seed=5)
    counts = split(tmp_path / "raw", tmp_path / "expert", tmp_path / "out", (4, 4, 1, 3), seed=0)
    assert list(counts.values()) == [4, 4, 1, 1, 3, 3]
    stems = {name: {p.stem for p in (tmp_path / "out" / name).iterdir()} for name in counts}
    assert not stems["train/raw"] & stems["train/exp"]
    assert stems["test/raw"] == stems["test/label"]
    used = stems["train/raw"] | stems["train/exp"] | stems["val/raw"] | stems["test/raw"]
    assert len(used) == 12
    assert training_folder(tmp_path / "out", LOW_NAMES) == tmp_path / "out" / "train" / "raw"
    split(tmp_path / "raw", tmp_path / "expert", tmp_path / "again", (4, 4, 1, 3), seed=0)
    assert {p.name for p in (tmp_path / "again/train/raw").iterdir()} == {f"{s}.png" for s in stems["train/raw"]}
    with pytest.raises(InputError, match=r"out should be a new folder but exists; .*--out"):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "out", (4, 4, 1, 3), seed=0)
    with pytest.raises(InputError, match=r"raw should hold at least 5000 .* but holds 12; .*--counts"):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (2250, 2250, 100, 400), seed=0)
    with pytest.raises(InputError, match=r"--counts should .* 4 4 0 3; "):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (4, 4, 0, 3), seed=0)
    (tmp_path / "raw" / "00.png").unlink()
    with pytest.raises(InputError, match=r"raw and .*expert should .* 1 are in one only, such as 00; "):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (4, 4, 1, 2), seed=0)
    assert not (tmp_path / "new").exists()
