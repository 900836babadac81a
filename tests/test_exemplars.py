"""A style from exemplars: what is folded in is the mean of what training would have taken from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import runtimes
from bncagan.checkpoint import save_generator
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.errors import InputError
from bncagan.exemplars import style_of
from bncagan.folding import fold
from bncagan.layers import Style
from bncagan.model import Generator
from tests.folders import picture


def test_folding_a_style_is_decoding_under_the_mean_of_the_heads(random_generator: Callable[..., Generator]) -> None:
    generator = random_generator(8).requires_grad_(False)
    exemplars = [picture(seed, 24, 40) for seed in range(3)]
    heads = []
    for pixels in exemplars:
        x = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        _, u = generator.encoder(x)
        assert generator.mask is not None
        attended = u * generator.mask(torch.cat([u.mean((2, 3)), u.amax((2, 3))], 1))[:, :, None, None]
        heads.append(generator.high_style.fc(torch.cat([attended.mean((2, 3)), attended.amax((2, 3))], 1)))
    gamma, beta = torch.cat(heads).mean(0)[None, :, None, None].chunk(2, dim=1)
    style = style_of(generator, exemplars)
    assert torch.allclose(style.gamma, gamma, atol=1e-5)
    assert torch.allclose(style.beta, beta, atol=1e-5)

    image = torch.rand(1, 3, 32, 32)
    signed = 2 * image - 1
    expected = (generator.decode(signed, generator.encode(signed), Style(gamma, beta)) + 1) / 2
    assert torch.allclose(fold(generator, style)(image), expected, atol=1e-5)
    assert not torch.allclose(fold(generator)(image), expected, atol=1e-3)


def test_sizes_that_are_no_multiple_of_8(random_generator: Callable[..., Generator]) -> None:
    style = style_of(random_generator(8), [picture(0, 27, 33)])
    assert style.gamma.shape == (1, 64, 1, 1)
    assert torch.isfinite(style.beta).all()


def test_no_exemplar() -> None:
    with pytest.raises(InputError, match="at least one photograph"):
        style_of(Generator(ModelConfig(width=8)), [])


def test_the_option(tmp_path: Path, random_generator: Callable[..., Generator]) -> None:
    generator = random_generator(8)
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=8), {})
    (tmp_path / "good").mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed, 32, 40)).save(tmp_path / "good" / f"{seed}.png")
    given = ["export", "pt2", "--checkpoint", f"{tmp_path}/g.safetensors", "--shape", "32x32"]
    assert main([*given, "--out", f"{tmp_path}/own.pt2"]) == 0
    assert main([*given, "--out", f"{tmp_path}/styled.pt2", "--style-from", f"{tmp_path}/good"]) == 0
    with runtimes.load(tmp_path / "own.pt2") as own, runtimes.load(tmp_path / "styled.pt2") as styled:
        assert own.spec.weights_sha256 != styled.spec.weights_sha256
        batch = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
        expected = fold(generator, style_of(generator, [picture(seed, 32, 40) for seed in range(2)]))
        assert np.abs(styled.infer(batch) - expected(torch.from_numpy(batch)).numpy()).max() < 2e-5
