"""A style from examples: folding uses the mean of the styles that training would have computed for them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

import runtimes
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.evaluation.metrics import ciede2000
from bncagan.network.checkpoint import save_generator
from bncagan.network.folding import fold
from bncagan.network.layers import Style
from bncagan.network.model import Generator
from bncagan.network.style import style_of
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import picture, write_pictures

ROOT = Path(__file__).parent.parent


def test_folding_a_style_equals_decoding_with_the_mean_of_the_heads(random_generator: Callable[..., Generator]) -> None:
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


def test_photographs_of_any_size_have_a_style(random_generator: Callable[..., Generator]) -> None:
    style = style_of(random_generator(8), [picture(0, 27, 33)])
    assert style.gamma.shape == (1, 64, 1, 1)
    assert torch.isfinite(style.beta).all()


def test_a_style_of_no_photographs_is_refused() -> None:
    with pytest.raises(InputError, match="--style-from should be at least one but are none"):
        style_of(Generator(ModelConfig(width=8)), [])


def test_style_from_exports_the_mean_style(tmp_path: Path, random_generator: Callable[..., Generator]) -> None:
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


def test_the_example_measures_the_looks(
    tmp_path: Path,
    random_generator: Callable[..., Generator],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = random_generator(8)
    save_generator(tmp_path / "g.safetensors", generator, ModelConfig(width=8), {})
    exemplars = {"good": [0, 1], "better": [7, 8]}
    for name, seeds in exemplars.items():
        write_pictures(tmp_path / name, [f"{seed}.png" for seed in seeds], seed=seeds[0])
    Image.fromarray(picture(20, 45, 50)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    options = ["--photo", "photo.png", "--out", "looks.png"]
    monkeypatch.setattr("sys.argv", ["looks.py", "g.safetensors", *exemplars, *options])
    runpy.run_path(str(ROOT / "examples" / "looks.py"))
    rows = {
        cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in capsys.readouterr().out.splitlines())
    }

    def look(style: Style | None) -> Pixels:
        batch = torch.from_numpy(picture(20, 45, 50)[:40, :48].astype(np.float32) / 255).permute(2, 0, 1)[None]
        output = fold(generator, style)(batch)[0].permute(1, 2, 0).clamp(0, 1).numpy()
        return np.round(output * 255).astype(np.uint8)

    def colours(pixels: Pixels) -> list[float]:
        L, a, b = rgb2lab(pixels).reshape(-1, 3).T
        return [L.mean(), a.mean(), b.mean(), np.sqrt(a**2 + b**2).mean(), np.sqrt(((L - L.mean()) ** 2).mean())]

    trained = look(None)
    assert [float(cell) for cell in rows["trained style"][:5]] == pytest.approx(colours(trained), abs=0.02)
    for name, seeds in exemplars.items():
        own = look(style_of(generator, [picture(seed) for seed in seeds]))
        differences = np.subtract(colours(own), colours(trained))
        assert [float(cell) for cell in rows[f"style of {name}"]] == pytest.approx(
            [*differences, ciede2000(own, trained)], abs=0.02
        )
        assert np.abs(differences).max() > 0.1
    with Image.open(tmp_path / "looks.png") as image:
        assert image.width > 3 * image.height
