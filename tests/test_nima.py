"""NIMA against plain sums over shifted pictures, the files of its weights, and its column in the tables."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from bncagan.cli import main
from bncagan.evaluation.nima import Nima, Vgg16Nima, load_nima, nima
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import make_data, picture

# torchvision.models.vgg16().features: index of each convolution -> input and output channels
VGG16 = {
    0: (3, 64), 2: (64, 64),
    5: (64, 128), 7: (128, 128),
    10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512),
    24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights that keep the scale of the activations, so that the ratings depend on the picture."""
    rng = torch.Generator().manual_seed(5)
    drawn: dict[str, Tensor] = {}
    for index, (channels, out) in VGG16.items():
        weight = torch.randn(out, channels, 3, 3, generator=rng)
        drawn[f"features.{index}.weight"] = weight * math.sqrt(2 / (9 * channels))
        drawn[f"features.{index}.bias"] = 0.1 * torch.randn(out, generator=rng)
    drawn["classifier.1.weight"] = 2 * torch.randn(10, 25088, generator=rng) / math.sqrt(25088)
    drawn["classifier.1.bias"] = 0.3 * torch.randn(10, generator=rng)
    return drawn


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("nima") / "nima.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> Nima:
    return load_nima(weights)


def test_names_and_shapes_are_those_of_the_port() -> None:
    expected: dict[str, tuple[int, ...]] = {"classifier.1.weight": (10, 25088), "classifier.1.bias": (10,)}
    for index, (channels, out) in VGG16.items():
        expected |= {f"features.{index}.weight": (out, channels, 3, 3), f"features.{index}.bias": (out,)}
    assert {name: tuple(tensor.shape) for name, tensor in Vgg16Nima().state_dict().items()} == expected


def plain_nima(state: dict[str, Tensor], pixels: Pixels) -> float:
    """Each convolution as a sum of nine matrix products with shifted features; a plain softmax; a plain mean."""
    w = {name: tensor.numpy() for name, tensor in state.items()}
    resized = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    scaled = (resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x: NDArray[np.float32] = scaled.transpose(2, 0, 1).astype(np.float32)
    for stage in STAGES:
        for index in stage:
            weight, bias = w[f"features.{index}.weight"], w[f"features.{index}.bias"]
            _, height, width = x.shape
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            y = np.zeros((len(weight), height * width), np.float32) + bias[:, None]
            for row in range(3):
                for column in range(3):
                    shifted = padded[:, row : row + height, column : column + width]
                    y += weight[:, :, row, column] @ shifted.reshape(len(x), -1)
            x = np.maximum(y, 0).reshape(-1, height, width)
        x = np.maximum(np.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]), np.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2]))
    logits = w["classifier.1.weight"] @ x.ravel() + w["classifier.1.bias"]
    shares = [math.exp(logit) for logit in logits]
    return sum(rating * share for rating, share in enumerate(shares, start=1)) / sum(shares)


def test_the_score_is_that_of_plain_sums(model: Nima, state: dict[str, Tensor]) -> None:
    pictures = [picture(1, 300, 400), picture(1, 300, 400) // 3, picture(2, 100, 80)]
    found = [nima(model, each) for each in pictures]
    assert found == pytest.approx([plain_nima(state, each) for each in pictures], abs=1e-4)
    assert max(found) - min(found) > 0.05, "the ratings hardly depend on the picture, so that equality says little"


def test_ratings_are_shares_and_count_from_one_to_ten(model: Nima) -> None:
    with torch.no_grad():
        shares = model(torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    assert shares.shape == (2, 10)
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    certain = Vgg16Nima().eval().requires_grad_(False)
    certain.classifier[1].weight.zero_()
    for rating in (1, 4, 10):
        certain.classifier[1].bias.fill_(-100)[rating - 1] = 0
        assert nima(certain, picture(0)) == pytest.approx(rating)


def test_nothing_is_random_in_a_score(model: Nima) -> None:
    assert not model.training
    assert nima(model, picture(3)) == nima(model, picture(3))


# Files


def test_a_pth_file_gives_the_same_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "nima.pth")
    loaded = load_nima(tmp_path / "nima.pth").state_dict()
    (tmp_path / "nima.pth").unlink()  # 59 MB
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


CLASSIFIER = "classifier.1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({CLASSIFIER: None}, f"{CLASSIFIER} is missing"),
        ({"classifier.4.bias": torch.zeros(1)}, r"classifier\.4\.bias is unknown"),
        ({CLASSIFIER: torch.zeros(5, 25088)}, r"classifier\.1\.weight .* \(10, 25088\) but .* \(5, 25088\)"),
        ({"features.28.bias": torch.full((512,), math.nan)}, r"features\.28\.bias is not finite"),
    ],
    ids=["missing", "unknown", "shape", "not finite"],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, state: dict[str, Tensor], change: dict[str, Tensor | None], message: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: tensor for name, tensor in (state | change).items() if tensor is not None}, path)
    with pytest.raises(InputError, match=message) as caught:
        load_nima(path)
    path.unlink()  # 59 MB
    assert str(caught.value).startswith(f"{path} should ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.pth", "nima.pth", "nima.safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    for present in ("nima.pth", "nima.safetensors"):
        (tmp_path / present).write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(InputError, match="does not exist" if name == "absent.pth" else "cannot be read"):
        load_nima(tmp_path / name)


# The column


def test_evaluate_has_a_column_of_it(tmp_path: Path, weights: Path, model: Nima) -> None:
    data, out = make_data(tmp_path / "data") / "val", tmp_path / "out"
    arguments = [
        "--data",
        str(data),
        "--outputs",
        str(data / "label"),
        "--out",
        str(out),
        "--nima",
        str(weights),
        "--no-baselines",
    ]
    assert main(["evaluate", *arguments, "--protocol", "native"]) == 0
    with (out / "scores.csv").open() as file:
        found = {(line["picture"], line["method"]): float(line["nima"]) for line in csv.DictReader(file)}
    assert len(found) == 4
    assert found["y", "Input"] == pytest.approx(nima(model, picture(91) // 3))
    assert found["x", "label"] == pytest.approx(nima(model, picture(90)))
    text = (out / "table.md").read_text()
    assert "| method | PSNR dB | SSIM | NIMA | CIEDE2000 | gain dB |" in text
    mean = (found["x", "Input"] + found["y", "Input"]) / 2
    reach = 12.7062 * abs(found["x", "Input"] - found["y", "Input"]) / 2  # t of one degree of freedom
    assert f"| {mean:.3f} [{mean - reach:.3f}, {mean + reach:.3f}] |" in text
