"""Folders, samples, renderings, splits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2gray

from bncagan.config import LossWeights, RenderingConfig, TrainConfig
from bncagan.data import rendering
from bncagan.data import samples as data_module
from bncagan.data.drawing import dead_leaves
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, check, find_pairs, training_folder
from bncagan.data.rendering import Dull, render_dark, render_dull, tones
from bncagan.data.samples import StepSampler, UnpairedDataset, random_crop, training_loader
from bncagan.data.splitting import split
from bncagan.network.inference import from_signed, to_signed
from runtimes.errors import ArtifactError, InputError
from runtimes.photographs import find_photographs, read_rgb
from tests.folders import make_data, picture, write_pictures


def dataset(data: Path, **changes: object) -> UnpairedDataset:
    config = TrainConfig(data=data, out=data / "run", size=64, crop=64, batch=2, loss=LossWeights(), workers=0)
    of_renderings = {field.name for field in dataclasses.fields(RenderingConfig)} & changes.keys()
    renderings = RenderingConfig(**{name: changes.pop(name) for name in of_renderings})  # type: ignore[arg-type]
    return UnpairedDataset(dataclasses.replace(config, renderings=renderings, **changes))  # type: ignore[arg-type]


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
    with pytest.raises(ArtifactError, match=r"should hold photographs \(.*\) but holds none"):
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
    batches = list(training_loader(dataset(data), 0, 7, 0, 1))
    skipped = {message for batch in batches for message in batch.skipped}
    assert len(skipped) == 1
    assert "b0.jpg" in skipped.pop()
    assert all(batch.high.shape == (2, 3, 64, 64) for batch in batches)
    found = check(data)
    assert [len(photographs.broken) for photographs in found.values()] == [0, 1, 0, 0]
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


def test_random_crop_cuts_squares_and_flips() -> None:
    pixels = np.arange(40 * 60 * 3, dtype=np.int64).reshape(40, 60, 3).astype(np.uint8)
    columns = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, :, None], (40, 60, 3))
    crops = [random_crop(columns, 24, 24, np.random.default_rng(seed)) for seed in range(40)]
    flipped = [crop for crop in crops if crop[0, 0, 0] > crop[0, -1, 0]]
    assert 10 < len(flipped) < 30
    assert {crop.shape for crop in crops} == {(24, 24, 3)}
    assert random_crop(pixels, 512, 16, np.random.default_rng(0)).shape == (16, 16, 3)


def test_pictures_survive_conversion_to_tensors_and_back() -> None:
    codes = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(from_signed(to_signed(codes)), codes)
    assert to_signed(codes).min() == -1
    assert to_signed(codes).max() == 1


def test_a_dull_rendering_is_darker_flatter_and_greyer() -> None:
    good = picture(3, 64, 64)
    plain = Dull(stops=(-1.0, -1.0), cast=0.0, contrast=(1.0, 1.0), saturation=(1.0, 1.0))
    dark = render_dull(good, np.random.default_rng(0), plain)
    # One stop down is half the light: exact in linear values, by an independent sRGB curve.
    expected = 255 * np.clip(_encoded(_decoded(good / 255) / 2), 0, 1)
    assert np.abs(dark - expected).max() <= 0.51
    flat = render_dull(good, np.random.default_rng(0), dataclasses.replace(plain, stops=(0, 0), contrast=(0.5, 0.5)))
    assert rgb2gray(flat).std() == pytest.approx(0.5 * rgb2gray(good).std(), rel=0.08)
    grey = render_dull(good, np.random.default_rng(0), dataclasses.replace(plain, stops=(0, 0), saturation=(0.0, 0.0)))
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    many = [render_dull(good, np.random.default_rng(seed)).mean() for seed in range(20)]
    assert max(many) < good.mean() * 1.05


def test_a_dark_rendering_has_the_tones_of_the_other_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "DARK_SATURATION", (1.0, 1.0))
    monkeypatch.setattr(rendering, "DARK_CAST", 0.0)
    ramp = np.linspace(20, 235, 64 * 64).reshape(64, 64, 1)
    good = (ramp * [1.0, 0.8, 0.6]).astype(np.uint8)
    under = (255 * 0.6 * (np.linspace(0, 1, 64 * 64).reshape(64, 64, 1) ** 2.5).repeat(3, 2)).astype(np.uint8)
    dark = render_dark(good, under, np.random.default_rng(0))
    luma = [np.sort(rgb601(pixels).ravel()) for pixels in (dark, under)]
    for place in (2047, 3890):  # the median and the 95 % quantile of 4096
        assert luma[0][place] == pytest.approx(luma[1][place], abs=1.2)
    assert tones(dark) == pytest.approx(tones(under), abs=1.2 / 255)
    bright = dark[dark[..., 2] > 60].astype(float)
    assert np.abs(bright[:, 1] / bright[:, 0] - 0.8).max() < 0.02  # colours keep their ratios
    assert np.abs(bright[:, 2] / bright[:, 0] - 0.6).max() < 0.02


def test_a_dark_rendering_stays_within_its_gamma() -> None:
    good = picture(3, 64, 64)
    for like in (np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8), good):
        for original in (good, np.zeros_like(good), np.full_like(good, 255)):
            dark = render_dark(original, like, np.random.default_rng(0))
            assert dark.shape == original.shape
            assert dark.dtype == np.uint8
            assert dark.mean() <= original.mean() * 1.1 + 26


def test_a_wandering_rendering_is_monotone_and_different_each_time() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    plain = Dull(stops=(0, 0), cast=0, contrast=(1, 1), saturation=(1, 1))
    means = []
    for seed in range(20):
        curve = render_dull(ramp, np.random.default_rng(seed), dataclasses.replace(plain, wander=1.0)).mean((0, 2))
        assert np.diff(curve).min() > -2.5  # the noise, averaged over 64 rows
        assert -1 < curve[0] < 24
        assert 205 < curve[-1] <= 255
        means.append(curve.mean())
    assert np.std(means) > 5
    assert np.array_equal(render_dull(ramp, np.random.default_rng(0), plain), ramp)


def rgb601(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114


def test_dark_renderings_are_of_the_low_domain(tmp_path: Path) -> None:
    """`original` is the good photograph; `low` has the tones of the low domain, here black except for the brightest."""
    data = make_data(tmp_path)
    for path in find_photographs(training_folder(data, LOW_NAMES)):
        Image.new("RGB", (64, 64), (5, 5, 5)).save(path)
    always = dataset(data, low_from_high=1.0, dark_share=1.0)
    never = dataset(data, low_from_high=1.0, dark_share=0.0)
    for number in range(4):
        dark, dull = always[number], never[number]
        assert bool(dark.rendered)
        assert float(dark.low.mean()) < -0.85
        assert float(dull.low.mean()) > -0.85
        assert float(dark.original.mean()) > float(dark.low.mean()) + 0.2


def test_some_renderings_are_the_photograph_itself_and_some_are_grey(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    intact = dataset(data, low_from_high=1.0, intact_share=0.5)
    same = [torch.equal(sample.low, sample.original) for sample in (intact[number] for number in range(60))]
    assert 18 < sum(same) < 42
    of_grey = dataset(data, low_from_high=1.0, grey_share=0.5)
    originals = [of_grey[number].original for number in range(60)]
    colourless = [float((image.amax(0) - image.amin(0)).max()) == 0 for image in originals]
    assert 18 < sum(colourless) < 42
    photo = picture(3, 64, 64)
    assert np.abs(rendering.grey(photo)[..., 0] - rgb601(photo)).max() < 0.501


def test_only_well_exposed_crops_are_rendered(tmp_path: Path) -> None:
    data = tmp_path / "shades"
    (data / "train" / "high").mkdir(parents=True)
    for name, level in {"dark": 60, "well": 120, "pale": 200}.items():
        Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(data / "train" / "high" / f"{name}.png")
    chosen = dataset(data, low_from_high=1.0, well_exposed=0.4)
    assert {round((float(chosen[number].original.mean()) + 1) * 127.5) for number in range(9)} == {120}
    assert {round((float(chosen[number].high.mean()) + 1) * 127.5) for number in range(9)} == {60, 120, 200}
    for path in (data / "train" / "high").glob("well*"):
        path.unlink()
    with pytest.raises(InputError, match=r"high should .* 0\.4 to 0\.6 but none of its 2 .*--well-exposed"):
        dataset(data, low_from_high=1.0, well_exposed=0.4)[0]


def test_some_renderings_are_of_drawn_pictures(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    for path in find_photographs(training_folder(data, HIGH_NAMES)):
        Image.new("RGB", (64, 64), (250, 10, 10)).save(path)
    drawn = dataset(data, low_from_high=1.0, drawn_share=0.5, well_exposed=0.2)
    originals = [from_signed(drawn[number].original) for number in range(60)]
    photographs = sum(np.abs(pixels.astype(int) - [250, 10, 10]).max() < 12 for pixels in originals)
    assert 18 < photographs < 42
    assert all(0.2 <= rgb601(pixels).mean() / 255 <= 0.8 for pixels in originals)
    again = dataset(data, low_from_high=1.0, drawn_share=0.5, well_exposed=0.2)
    assert np.array_equal(from_signed(again[17].original), originals[17])


def test_both_halves_of_a_sample_are_of_one_kind(tmp_path: Path) -> None:
    """Colour, grey or drawn: a discriminator that never sees good grey pictures would ask for colour in grey ones."""
    data = make_data(tmp_path)
    for path in find_photographs(training_folder(data, HIGH_NAMES)):
        Image.new("RGB", (64, 64), (250, 10, 10)).save(path)
    mixed = dataset(data, low_from_high=0.8, drawn_share=0.3, grey_share=0.4)
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


def test_crops_vary_in_side() -> None:
    columns = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None], (100, 100, 3))
    spans = [np.ptp(random_crop(columns, 80, 16, np.random.default_rng(seed), 0.5)) for seed in range(60)]
    assert 36 <= min(spans) < 45
    assert 70 < max(spans) <= 80


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


def _encoded(light: np.ndarray) -> np.ndarray:
    return np.where(light > 0.0031308, (211 * light ** (5 / 12) - 11) / 200, 323 * light / 25)


def test_the_split_is_unpaired_seeded_and_complete(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(12)]
    write_pictures(tmp_path / "raw", names)
    write_pictures(tmp_path / "expert", names, seed=5)
    counts = split(tmp_path / "raw", tmp_path / "expert", tmp_path / "out", (4, 4, 1, 3), 0)
    assert list(counts.values()) == [4, 4, 1, 1, 3, 3]
    stems = {name: {p.stem for p in (tmp_path / "out" / name).iterdir()} for name in counts}
    assert not stems["train/raw"] & stems["train/exp"]
    assert stems["test/raw"] == stems["test/label"]
    used = stems["train/raw"] | stems["train/exp"] | stems["val/raw"] | stems["test/raw"]
    assert len(used) == 12
    assert training_folder(tmp_path / "out", LOW_NAMES) == tmp_path / "out" / "train" / "raw"
    split(tmp_path / "raw", tmp_path / "expert", tmp_path / "again", (4, 4, 1, 3), 0)
    assert {p.name for p in (tmp_path / "again/train/raw").iterdir()} == {f"{s}.png" for s in stems["train/raw"]}
    with pytest.raises(InputError, match=r"out should be a new folder but exists; .*--out"):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "out", (4, 4, 1, 3), 0)
    with pytest.raises(InputError, match=r"raw should hold at least 5000 .* but holds 12; .*--counts"):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (2250, 2250, 100, 400), 0)
    with pytest.raises(InputError, match=r"--counts should .* 4 4 0 3; "):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (4, 4, 0, 3), 0)
    (tmp_path / "raw" / "00.png").unlink()
    with pytest.raises(InputError, match=r"raw and .*expert should .* 1 are in one only, such as 00; "):
        split(tmp_path / "raw", tmp_path / "expert", tmp_path / "new", (4, 4, 1, 2), 0)
    assert not (tmp_path / "new").exists()
