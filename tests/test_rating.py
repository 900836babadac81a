"""NIMA with MobileNetV2 against a plain float64 pass, which file is for which network, and `bncagan rate`."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import ttest_1samp
from torch import Tensor

from bncagan.cli import main
from bncagan.evaluation.nima import MobileNima, Vgg16Nima, load_nima, nima
from runtimes.errors import InputError
from runtimes.image import Pixels
from tests.folders import make_data, picture, write_pictures

# Of each of the 17 blocks: input channels, expansion, output channels, stride
BLOCKS = [
    (32, 1, 16, 1), (16, 6, 24, 2), (24, 6, 24, 1), (24, 6, 32, 2), (32, 6, 32, 1), (32, 6, 32, 1),
    (32, 6, 64, 2), (64, 6, 64, 1), (64, 6, 64, 1), (64, 6, 64, 1), (64, 6, 96, 1), (96, 6, 96, 1), (96, 6, 96, 1),
    (96, 6, 160, 2), (160, 6, 160, 1), (160, 6, 160, 1), (160, 6, 320, 1),
]  # fmt: skip


def names_and_shapes() -> dict[str, tuple[int, ...]]:
    """Those of the file that the authors' code loads."""
    found: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, norm: str, *shape: int) -> None:
        found[f"{name}.weight"] = shape
        found.update({f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{norm}.num_batches_tracked"] = ()

    convolution("base_model.0.0.0", "base_model.0.0.1", 32, 3, 3, 3)
    for number, (channels, expansion, out, _) in enumerate(BLOCKS, start=1):
        inner, block = channels * expansion, f"base_model.0.{number}.conv"
        convolution(f"{block}.0", f"{block}.1", inner, channels, 1, 1)
        convolution(f"{block}.3", f"{block}.4", inner, 1, 3, 3)
        convolution(f"{block}.6", f"{block}.7", out, inner, 1, 1)
    convolution("base_model.0.18.0", "base_model.0.18.1", 1280, 320, 1, 1)
    return found | {"head.2.weight": (10, 1280), "head.2.bias": (10,)}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Made-up weights that keep the scale of the activations."""
    rng = torch.Generator().manual_seed(6)
    drawn: dict[str, Tensor] = {}
    for name, shape in names_and_shapes().items():
        values = torch.randn(shape, generator=rng)
        if name.endswith("num_batches_tracked"):
            values = torch.tensor(7)
        elif name.endswith("running_var"):
            values = 0.5 + values.square()
        elif len(shape) == 4:
            values = values * math.sqrt(2 / math.prod(shape[1:]))
        elif name == "head.2.weight":
            values = 0.25 * values / math.sqrt(1280)
        elif name.endswith("weight"):
            values = 1 + 0.2 * values
        else:
            values = 0.2 * values
        drawn[name] = values
    return drawn


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("nima") / "mobile.safetensors"
    save_file(state, path)
    return path


class Plain:
    """The network in float64 NumPy: convolutions as sums over shifted pictures."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.w = {name: tensor.double().numpy() for name, tensor in state.items()}

    def normalized(self, x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        gamma, beta, mean, variance = (
            self.w[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def shifted(self, x: NDArray[np.float64], stride: int) -> list[NDArray[np.float64]]:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        height, width = x.shape[1:]
        return [padded[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)]

    def block(self, x: NDArray[np.float64], name: str, stride: int, adds: bool) -> NDArray[np.float64]:
        y = np.einsum("oc,chw->ohw", self.w[f"{name}.0.weight"][:, :, 0, 0], x)
        y = np.clip(self.normalized(y, f"{name}.1"), 0, 6)
        kernels = self.w[f"{name}.3.weight"].reshape(len(y), 9)
        y = sum(kernels[:, k, None, None] * part for k, part in enumerate(self.shifted(y, stride)))
        y = np.clip(self.normalized(y, f"{name}.4"), 0, 6)
        y = self.normalized(np.einsum("oc,chw->ohw", self.w[f"{name}.6.weight"][:, :, 0, 0], y), f"{name}.7")
        return x + y if adds else y

    def rating(self, pixels: Pixels) -> float:
        image = Image.fromarray(pixels)
        width, height = image.size
        if width < height:
            image = image.resize((256, int(256 * height / width)), Image.Resampling.BILINEAR)
        else:
            image = image.resize((int(256 * width / height), 256), Image.Resampling.BILINEAR)
        left, top = round((image.size[0] - 224) / 2), round((image.size[1] - 224) / 2)
        x = np.asarray(image).transpose(2, 0, 1)[:, top : top + 224, left : left + 224] / 255
        kernels = self.w["base_model.0.0.0.weight"].reshape(32, 3, 9)
        y = sum(np.einsum("oc,chw->ohw", kernels[:, :, k], part) for k, part in enumerate(self.shifted(x, 2)))
        x = np.maximum(self.normalized(y, "base_model.0.0.1"), 0)
        for number, (channels, _, out, stride) in enumerate(BLOCKS, start=1):
            x = self.block(x, f"base_model.0.{number}.conv", stride, stride == 1 and channels == out)
        x = np.einsum("oc,chw->ohw", self.w["base_model.0.18.0.weight"][:, :, 0, 0], x)
        pooled = np.maximum(self.normalized(x, "base_model.0.18.1"), 0).mean((1, 2))
        shares = np.exp(self.w["head.2.weight"] @ pooled + self.w["head.2.bias"])
        return float(shares @ np.arange(1, 11) / shares.sum())


def test_names_and_shapes_are_those_that_the_authors_code_loads() -> None:
    assert {name: tuple(tensor.shape) for name, tensor in MobileNima().state_dict().items()} == names_and_shapes()


def test_the_rating_is_that_of_a_plain_pass(weights: Path, state: dict[str, Tensor]) -> None:
    model, plain = load_nima(weights), Plain(state)
    assert isinstance(model, MobileNima)
    pictures = [picture(1, 300, 401), picture(1, 300, 401) // 3, picture(2, 100, 80), picture(3, 256, 256)]
    found = [nima(model, each) for each in pictures]
    assert found == pytest.approx([plain.rating(each) for each in pictures], abs=1e-5)
    assert max(found) - min(found) > 0.05, "the ratings hardly depend on the picture, so that equality says little"


def test_names_tell_the_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")  # of before PyTorch 0.4.1
    assert isinstance(load_nima(tmp_path / "old.pth"), MobileNima)
    torch.save(Vgg16Nima().state_dict(), tmp_path / "vgg.pth")
    assert isinstance(load_nima(tmp_path / "vgg.pth"), Vgg16Nima)
    (tmp_path / "vgg.pth").unlink()  # 59 MB
    for other, told in (({"fc.weight": torch.zeros(1)}, "fc.weight"), ({}, "nothing")):
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(InputError, match=rf"other\.pth should .*base_model.*features.*but holds {told}; "):
            load_nima(tmp_path / "other.pth")
    del old["head.2.bias"]
    torch.save(old, tmp_path / "old.pth")
    with pytest.raises(InputError, match=r"head\.2\.bias is missing"):
        load_nima(tmp_path / "old.pth")


# The command


def test_photographs_without_references_are_rated(
    tmp_path: Path, weights: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "mine", ["a.png", "b.png", "c.png"])
    write_pictures(tmp_path / "one", ["a.png"], seed=7)
    given = ["rate", str(tmp_path / "mine"), str(tmp_path / "one" / "a.png"), "--nima", str(weights)]
    assert main([*given, "--out", str(tmp_path / "new" / "ratings.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    plain = Plain(state)
    expected = [plain.rating(picture(seed)) for seed in range(3)]
    ends = ttest_1samp(expected, 0).confidence_interval(0.95)
    mean = told["means"][str(tmp_path / "mine")]
    assert list(mean.values()) == pytest.approx([3, sum(expected) / 3, ends.low, ends.high], abs=1e-4)
    alone = told["means"][str(tmp_path / "one" / "a.png")]
    assert alone == {
        "pictures": 1,
        "mean": pytest.approx(plain.rating(picture(7)), abs=1e-4),
        "low": None,
        "high": None,
    }
    with (tmp_path / "new" / "ratings.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [Path(line["picture"]).name for line in lines] == ["a.png", "b.png", "c.png", "a.png"]
    assert [float(line["nima"]) for line in lines[:3]] == pytest.approx(expected, abs=1e-4)
    (tmp_path / "mine" / "b.png").write_bytes(b"nothing")
    assert main(given) == 1
    shown = capsys.readouterr().out
    assert "mine/b.png should be a photograph" in shown
    assert f"{(expected[0] + expected[2]) / 2:.3f}" in shown


def test_what_cannot_be_rated_is_refused_first(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "mine", ["a.png"])
    mine, file = str(tmp_path / "mine"), str(tmp_path / "mine" / "a.png")
    for more, told in (
        ([mine, mine], "named twice"),
        ([mine, "--out", f"{file}/x.csv"], "should be a folder to write into"),
        ([mine, "--device", "nonsense"], "--device should be one that PyTorch can use"),
        ([str(tmp_path / "none")], "none should be a photograph or a folder of them"),
        ([], "should be at least one"),
    ):
        assert main(["rate", *more, "--nima", str(weights)]) == 2
        assert told in capsys.readouterr().err


def test_evaluate_points_to_it_and_has_its_column(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = make_data(tmp_path / "data") / "val", tmp_path / "out"
    given = ["evaluate", "--data", str(data), "--out", str(out), "--nima", str(weights), "--protocol", "native"]
    assert main(given) == 2
    assert "`bncagan rate` rates photographs without references" in capsys.readouterr().err
    assert main([*given, "--outputs", str(data / "label"), "--no-baselines"]) == 0
    with (out / "scores.csv").open() as file:
        found = {(line["picture"], line["method"]): float(line["nima"]) for line in csv.DictReader(file)}
    assert found["x", "label"] == nima(load_nima(weights), picture(90))
