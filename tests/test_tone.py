"""The tone head against an independent formulation in NumPy, float64."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bncagan.data.look import Look
from bncagan.data.mixture import COMPONENTS
from bncagan.network.tone import (
    CURVE,
    FEATURES,
    LEVELS,
    SIDE,
    STEPS,
    STOPS,
    Decision,
    ToneHead,
    area_mean,
)
from bncagan.training import tone
from runtimes.errors import InputError
from runtimes.image import Pixels

Array = NDArray[np.float64]
LUMA = np.array([0.299, 0.587, 0.114])


def random_picture(height: int, width: int, seed: int = 0) -> Array:
    """Smooth colours with noise, 3 x height x width in [0, 1]; different in all three channels."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (a * down + b * across)) for a, b in rng.uniform(0.3, 2, (3, 2))]
    return np.clip(0.4 + 0.35 * np.array(waves) + 0.08 * rng.standard_normal((3, height, width)), 0, 1)


def random_head(seed: int = 0) -> ToneHead:
    """A head in float64 with random weights and statistics, and a warmth."""
    torch.manual_seed(seed)
    head = ToneHead().double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for member in head.members:
        member.feature_mean.uniform_(0, 0.5)
        member.feature_deviation.uniform_(0.5, 1.5)
    head.warmth.fill_(0.07)
    return head.requires_grad_(False)


def area_means(picture: Array) -> Array:
    """Means over 48 x 48 equal cells: each pixel is split into 48 x 48 equal parts, and whole cells are averaged."""
    parts = picture.repeat(SIDE, 1).repeat(SIDE, 2)
    channels, height, width = picture.shape
    return parts.reshape(channels, SIDE, height, SIDE, width).mean((2, 4))


def features(small: Array) -> Array:
    """The features of a 3 x 48 x 48 copy, one pixel and one level at a time; the outermost cells do not count."""
    small = np.stack([channel[1:47, 1:47] for channel in small])
    y = np.array([LUMA @ pixel for pixel in small.reshape(3, -1).T])
    red, green, blue = small.reshape(3, -1)
    spread = np.array([max(p) - min(p) for p in zip(red, green, blue, strict=True)])
    highest = small.max(0).ravel()
    step = {level: min(max(level / 2, 0.008), 0.1) for level in LEVELS}
    found = [np.mean(np.interp(y, [level - w / 2, level + w / 2], [0, 1])) for level, w in step.items()]
    found += [np.log(y + 0.02).mean(), y.mean(), y.std()]
    found += [spread.mean(), red.mean() - y.mean(), green.mean() - y.mean(), blue.mean() - y.mean()]
    found += [np.interp(highest, [0.95, 0.99], [0, 1]).mean(), (spread / (highest + 0.02)).mean()]
    light = np.maximum(((y + 0.055) / 1.055) ** 2.4 - 8e-4, 1e-5)
    top = (light**4).mean() ** 0.25
    stops = np.log2(light / top + 2.0**-9)
    found += [np.mean(np.interp(stops, [stop - 0.35, stop + 0.35], [0, 1])) for stop in STOPS]
    found += [np.log2(top), stops.mean(), spread.mean() / (y.mean() + 0.01)]
    return np.array(found + [(channel.mean() - y.mean()) / (y.mean() + 0.01) for channel in (red, green, blue)])


def curve(picture: Array, p: Array) -> Array:
    """The curve, the saturation and the warmth on 3 x H x W."""
    y = np.clip((picture - 0.2 * p[0]) * np.exp(0.2 * p[1]), 0, 1)
    for k in range(STEPS):
        y = y + np.tanh(p[2 + k]) * y * (1 - y)
    y = y + np.tanh(p[2 + STEPS]) * y * (1 - y) * (2 * y - 1)
    y = y + 0.1 * p[3 + STEPS] * (1 - y)
    grey = np.tensordot(LUMA, y, 1)
    y = grey + (y - grey) * np.exp(0.5 * p[4 + STEPS])
    gain = np.exp([p[CURVE], 0, -p[CURVE]])
    return np.clip(y * gain[:, None, None], 0, 1)


@pytest.mark.parametrize("size", [(48, 48), (16, 24), (31, 77), (100, 144), (200, 53)])
def test_the_copy_holds_the_area_means_of_any_size(size: tuple[int, int]) -> None:
    picture = random_picture(*size)
    copy = area_mean(torch.from_numpy(picture)[None])[0].numpy()
    assert np.abs(copy - area_means(picture)).max() < 1e-12


def test_the_features_are_those_of_the_formulas() -> None:
    pictures = [random_picture(SIDE, SIDE, seed) * light for seed, light in enumerate((1, 0.3, 0.02))]
    found = ToneHead().double().features(torch.from_numpy(np.array(pictures))).numpy()
    assert found.shape == (3, FEATURES)
    expected = np.array([features(picture) for picture in pictures])
    assert np.abs(found - expected).max() < 5e-6  # the deviation has 1e-8 under its root


def test_the_curve_is_that_of_the_formulas() -> None:
    picture, parameters = random_picture(40, 56), np.random.default_rng(1).normal(0, 0.7, (2, CURVE))
    both = random_head().applied(torch.from_numpy(picture).expand(2, -1, -1, -1), torch.from_numpy(parameters)).numpy()
    for toned, each in zip(both, parameters, strict=True):
        assert np.abs(toned - curve(picture, np.append(each, 0.07))).max() < 1e-8  # the warmth is a float32


def decided_by(member: Decision, found: Array) -> Array:
    """The parameters that one member decides, by matrix products."""
    hidden = normalized = (found - member.feature_mean.numpy()) / member.feature_deviation.numpy()
    first, second, last = ((member.mlp[i].weight.numpy(), member.mlp[i].bias.numpy()) for i in (0, 2, 4))
    for weight, bias in (first, second):
        hidden = weight @ hidden + bias
        hidden = hidden / (1 + np.exp(-hidden))
    result: Array = last[0] @ hidden + last[1] + member.direct.weight.numpy() @ normalized
    return result


def test_the_head_is_its_parts_in_a_row() -> None:
    head, picture = random_head(), random_picture(100, 144)
    found = features(area_means(picture))
    decided = np.mean([decided_by(member, found) for member in head.members], axis=0)
    expected = curve(picture, np.append(decided, 0.07))
    assert np.abs(expected - picture).max() > 0.1  # it changes the picture
    assert np.abs(head(torch.from_numpy(picture)[None])[0].numpy() - expected).max() < 1e-5


def test_a_new_head_leaves_photographs_as_they_are() -> None:
    picture = torch.from_numpy(random_picture(64, 80))[None].float()
    assert torch.allclose(ToneHead()(picture), picture, rtol=0, atol=1e-6)


def test_a_picture_of_one_colour_comes_back_exactly() -> None:
    flat = torch.tensor([0.2, 0.5, 0.7])[None, :, None, None].expand(1, 3, 64, 64)
    assert torch.equal(random_head().float()(flat), flat)


def test_the_decision_does_not_depend_on_the_size() -> None:
    head, picture = random_head(), torch.from_numpy(random_picture(96, 144))[None]
    larger = picture.repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert torch.allclose(head.decide(area_mean(picture)), head.decide(area_mean(larger)), atol=1e-12)


def test_shape_and_ratios_stay_when_the_exposure_changes() -> None:
    """All but the top of the light, which falls by the stops; a picture whose darkest pixels stay above black."""
    light = 0.1 + 0.9 * random_picture(SIDE, SIDE) ** 2
    head = ToneHead().double()
    codes = [torch.from_numpy(1.055 * (light * gain) ** (1 / 2.4) - 0.055)[None] for gain in (1, 0.25)]
    first, second = (head.shape(torch.from_numpy(np.tensordot(LUMA, code[0].numpy(), 1)).view(1, -1)) for code in codes)
    moved = len(STOPS)
    assert first[0, moved] - second[0, moved] == pytest.approx(2, abs=0.05)
    others = [i for i in range(first.shape[1]) if i != moved]
    assert torch.allclose(first[0, others], second[0, others], atol=0.05)


def some_photographs(count: int = 4) -> list[Pixels]:
    return [
        (random_picture(60, 80, seed).transpose(1, 2, 0) * 255).astype(np.uint8)[:, :: 1 if seed % 2 else -1]
        for seed in range(count)
    ]


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few renderings, so that a training takes a second."""
    few = {name: dataclasses.replace(each, count=6) for name, each in COMPONENTS.items()}
    monkeypatch.setattr(tone, "COMPONENTS", few)
    monkeypatch.setattr(tone, "LADDERS", 6)


@pytest.mark.usefixtures("_few")
def test_a_seed_gives_the_same_head_and_the_start_stays() -> None:
    once, again, other = (tone.fit_tone(some_photographs(), seed=seed, steps=8) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True))
    weights = [[member.direct.weight for member in head.members] for head in (once, other)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(itertools.chain(*weights), 2))
    before = {name: value.clone() for name, value in once.state_dict().items()}
    further = tone.fit_tone(some_photographs(), seed=5, steps=8, start=once)
    assert all(torch.equal(value, before[name]) for name, value in once.state_dict().items())
    for older, newer in zip(once.members, further.members, strict=True):
        assert torch.equal(newer.feature_mean, older.feature_mean)
        assert not torch.equal(newer.direct.weight, older.direct.weight)


@pytest.mark.usefixtures("_few")
def test_training_brings_renderings_nearer_to_what_they_should_become() -> None:
    photographs = some_photographs()
    renderings = tone.render_all([each / np.float32(255) for each in photographs], seed=0)
    heads = ToneHead(), tone.fit_tone(photographs, seed=0, steps=150)
    errors = [(head(renderings.frames) - renderings.targets).abs().mean().item() for head in heads]
    assert errors[1] < 0.75 * errors[0]


@pytest.mark.usefixtures("_few")
def test_a_look_is_taken_from_the_frames_and_given_to_the_targets() -> None:
    look = Look(np.array([0, 0.5, 1]), np.array([0, 0.6, 1]), saturation=1.2, warmth=0.05)
    codes = [each / np.float32(255) for each in some_photographs()]
    plain, found = tone.render_all([look.undone(each) for each in codes], 0), tone.render_all(codes, 0, look)
    assert torch.equal(found.frames, plain.frames)
    assert torch.equal(found.ladders, plain.ladders)
    for theirs, ours in zip(plain.targets, found.targets, strict=True):
        expected = look.given(theirs.permute(1, 2, 0).numpy())  # of the means; the real one is the mean of these
        assert np.abs(ours.permute(1, 2, 0).numpy() - expected).mean() < 0.5 * (ours - theirs).abs().mean()
    heads = [tone.fit_tone(some_photographs(), seed=0, steps=2, look=each) for each in (None, look)]
    assert [round(float(head.warmth), 6) for head in heads] == [0, 0.05]


def test_a_folder_without_photographs_is_refused() -> None:
    with pytest.raises(InputError, match="at least one but are none"):
        tone.fit_tone([], seed=0)
