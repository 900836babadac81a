"""Backbones against torchvision's published layout, their features against plain convolutions, and their files."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.config import Backbone
from bncagan.network.inference import to_signed
from bncagan.training import losses
from bncagan.training.perceptual import URLS, PerceptualFeatures, load_perceptual
from runtimes.errors import InputError
from runtimes.photographs import read_rgb
from tests.conftest import randomise

SQUEEZENET_FILE = Path(__file__).resolve().parents[2] / "shared" / "weights" / "squeezenet1_0.safetensors"

# torchvision.models.vgg19().features: index of each convolution -> its weight's shape
VGG19 = {
    0: (64, 3, 3, 3), 2: (64, 64, 3, 3),
    5: (128, 64, 3, 3), 7: (128, 128, 3, 3),
    10: (256, 128, 3, 3), 12: (256, 256, 3, 3), 14: (256, 256, 3, 3), 16: (256, 256, 3, 3),
    19: (512, 256, 3, 3), 21: (512, 512, 3, 3), 23: (512, 512, 3, 3), 25: (512, 512, 3, 3),
    28: (512, 512, 3, 3),
}  # fmt: skip
VGG19_STAGES = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))
# torchvision.models.squeezenet1_0().features: index of each Fire -> (in, squeeze, expand)
FIRES = {
    3: (96, 16, 64), 4: (128, 16, 64), 5: (128, 32, 128),
    7: (256, 32, 128), 8: (256, 48, 192), 9: (384, 48, 192), 10: (384, 64, 256),
    12: (512, 64, 256),
}  # fmt: skip


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def random_features(backbone: Backbone) -> PerceptualFeatures:
    model = PerceptualFeatures(backbone)
    randomise(model.features)
    return model.eval()


def draw_image(seed: int, side: int = 64) -> Tensor:
    return 2 * torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 1


# Layout


def test_vgg19_has_torchvisions_names_and_shapes() -> None:
    expected = {f"features.{i}.weight": shape for i, shape in VGG19.items()}
    expected |= {f"features.{i}.bias": shape[:1] for i, shape in VGG19.items()}
    assert shapes_of(PerceptualFeatures("vgg19")) == expected


def test_squeezenet_has_torchvisions_names_and_shapes() -> None:
    expected: dict[str, tuple[int, ...]] = {"features.0.weight": (96, 3, 7, 7), "features.0.bias": (96,)}
    for i, (channels, squeeze, expand) in FIRES.items():
        expected[f"features.{i}.squeeze.weight"] = (squeeze, channels, 1, 1)
        expected[f"features.{i}.squeeze.bias"] = (squeeze,)
        for side in (1, 3):
            expected[f"features.{i}.expand{side}x{side}.weight"] = (expand, squeeze, side, side)
            expected[f"features.{i}.expand{side}x{side}.bias"] = (expand,)
    assert shapes_of(PerceptualFeatures("squeezenet1_0")) == expected


@pytest.mark.parametrize("backbone", ["vgg19", "squeezenet1_0"])
def test_every_tap_follows_a_relu(backbone: Backbone) -> None:
    model = PerceptualFeatures(backbone)
    assert model.taps == {"vgg19": (1, 6, 11, 20, 29), "squeezenet1_0": (1, 4, 7, 10, 12)}[backbone]
    assert len(model.features) == model.taps[-1] + 1, "layers after the last tap would only cost time"
    for tap in model.taps:
        assert isinstance(model.features[tap], nn.ReLU) or tap in FIRES
    assert not any(p.requires_grad for p in model.parameters())


# Features


def imagenet_input(image: Tensor) -> Tensor:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return torch.stack([((image[:, c] + 1) / 2 - mean[c]) / std[c] for c in range(3)], dim=1)


def standardized(x: Tensor) -> Tensor:
    deviation = x - x.mean((2, 3), keepdim=True)
    return deviation / (deviation.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


@torch.no_grad()
def test_vgg19_features_are_relu1_1_to_relu5_1() -> None:
    model, image = random_features("vgg19"), draw_image(1)
    w, x, expected = model.state_dict(), imagenet_input(image), []
    for depth, stage in enumerate(VGG19_STAGES):
        if depth:
            x = F.max_pool2d(x, 2, 2)
        for i in stage:
            x = F.conv2d(x, w[f"features.{i}.weight"], w[f"features.{i}.bias"], padding=1).clamp(min=0)
            if i == stage[0]:
                expected.append(standardized(x))
    found = model(image)
    assert [tuple(f.shape[1:]) for f in found] == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@torch.no_grad()
def test_squeezenet_features_are_those_of_plain_fire_modules() -> None:
    model, image = random_features("squeezenet1_0"), draw_image(2, 96)
    w, expected = model.state_dict(), {}

    def conv(name: str, x: Tensor, padding: int = 0, stride: int = 1) -> Tensor:
        return F.conv2d(x, w[f"features.{name}.weight"], w[f"features.{name}.bias"], stride, padding).clamp(min=0)

    x = conv("0", imagenet_input(image), stride=2)
    expected[1] = x
    for i in range(2, 13):
        if i in FIRES:
            squeezed = conv(f"{i}.squeeze", x)
            x = torch.cat([conv(f"{i}.expand1x1", squeezed), conv(f"{i}.expand3x3", squeezed, padding=1)], dim=1)
        else:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        expected[i] = x
    wanted = [standardized(expected[tap]) for tap in (1, 4, 7, 10, 12)]
    torch.testing.assert_close(model(image), wanted, rtol=0, atol=1e-3)


@torch.no_grad()
def test_normalized_features_ignore_gain_and_offset_of_a_channel() -> None:
    """A gain and an offset in the first convolution change the tone of its features; normalization removes both."""
    model, image = random_features("squeezenet1_0"), draw_image(3)
    first = model.features[0]
    before = model(image)
    first.bias.copy_(torch.full_like(first.bias, 30.0))  # every ReLU is active
    shifted = model(image)
    first.weight.mul_(2)
    first.bias.mul_(2)
    torch.testing.assert_close(model(image)[0], shifted[0], rtol=0, atol=1e-3)
    assert (before[0] - shifted[0]).abs().max() > 0.1
    for features in before:
        torch.testing.assert_close(features.mean((2, 3)), torch.zeros(features.shape[:2]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_equal_images_have_no_perceptual_loss_and_others_do() -> None:
    model, image = random_features("squeezenet1_0"), draw_image(3)
    assert losses.perceptual(model, image, image.clone()).item() == 0
    assert losses.perceptual(model, image, image.flip(3)).item() > 0.01


# Files


@pytest.fixture(scope="module")
def squeezenet_state() -> dict[str, Tensor]:
    """The tensors of a torchvision file: features and classifier, randomised."""
    state = dict(random_features("squeezenet1_0").state_dict())
    return state | {"classifier.1.weight": torch.zeros(1000, 512, 1, 1), "classifier.1.bias": torch.zeros(1000)}


@pytest.fixture
def pth(tmp_path: Path, squeezenet_state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(squeezenet_state, path)
    return path


@pytest.fixture
def safetensors(tmp_path: Path, squeezenet_state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(squeezenet_state, path)
    return path


def refusal(backbone: Backbone, path: Path) -> str:
    """The message of the InputError, which must name the file in one line."""
    with pytest.raises(InputError) as caught:
        load_perceptual(backbone, path)
    message = str(caught.value)
    assert message.startswith(f"{path} should ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_file_with_torchvisions_names_loads(
    request: pytest.FixtureRequest, squeezenet_state: dict[str, Tensor], kind: str
) -> None:
    model = load_perceptual("squeezenet1_0", request.getfixturevalue(kind))
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, squeezenet_state[name]), name


def test_the_file_of_a_training_script_loads(tmp_path: Path, squeezenet_state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": squeezenet_state}, path)
    for name, tensor in load_perceptual("squeezenet1_0", path).state_dict().items():
        assert torch.equal(tensor, squeezenet_state[name]), name
    torch.save({"epoch": 3, "model": squeezenet_state}, path)
    assert "should hold a dictionary of weights but holds int as 'epoch'; " in refusal("squeezenet1_0", path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal("vgg19", tmp_path / "absent.pth")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_the_other_backbones_file_is_refused(request: pytest.FixtureRequest, kind: str) -> None:
    message = refusal("vgg19", request.getfixturevalue(kind))
    assert "--perceptual vgg19" in message
    assert "features.0.weight" in message


def test_a_file_without_one_weight_is_refused(tmp_path: Path, squeezenet_state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    name = "features.12.expand3x3.bias"
    save_file({key: value for key, value in squeezenet_state.items() if key != name}, path)
    assert name in refusal("squeezenet1_0", path)
    save_file(squeezenet_state | {name: torch.zeros(255)}, path)
    assert name in refusal("squeezenet1_0", path)


@pytest.mark.parametrize("kept", [0.0, 1e-6, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_truncated_file_is_refused(request: pytest.FixtureRequest, kind: str, kept: float) -> None:
    path = request.getfixturevalue(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cannot be read" in refusal("squeezenet1_0", path)


@pytest.mark.parametrize("size", [3, 18, 100, 500_000, 2_000_000])
def test_a_truncated_file_of_the_older_format_is_refused(
    tmp_path: Path, squeezenet_state: dict[str, Tensor], size: int
) -> None:
    """vgg19-dcbb9e9d.pth was published in the format before zip archives."""
    path = tmp_path / "weights.pth"
    torch.save(squeezenet_state, path, _use_new_zipfile_serialization=False)
    assert path.stat().st_size > size
    path.write_bytes(path.read_bytes()[:size])
    assert "cannot be read" in refusal("squeezenet1_0", path)


@pytest.mark.parametrize("content", [b"hello world\n", b"<!DOCTYPE html>", bytes(range(256))])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refusal("squeezenet1_0", path)


@pytest.mark.parametrize(
    "content",
    [[1, 2], torch.zeros(3), {"features.0.weight": 3}, nn.Conv2d(3, 96, 7)],
    ids=["list", "tensor", "numbers", "module"],
)
def test_a_file_of_other_objects_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    refusal("squeezenet1_0", path)


# Download


def test_torchvisions_file_is_downloaded_with_its_hash_checked(
    monkeypatch: pytest.MonkeyPatch, squeezenet_state: dict[str, Tensor]
) -> None:
    calls = []

    def download(url: str, **options: object) -> dict[str, Tensor]:
        calls.append((url, options))
        return squeezenet_state

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    model = load_perceptual("squeezenet1_0", None)
    assert torch.equal(model.features[0].weight, squeezenet_state["features.0.weight"])
    [(url, options)] = calls
    assert url == URLS["squeezenet1_0"] == "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth"
    assert options["check_hash"] is True
    assert options["weights_only"] is True


@pytest.mark.parametrize(
    "error", [URLError("no route"), TimeoutError("timed out"), RuntimeError("invalid hash value")], ids=repr
)
def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(url: str, **options: object) -> dict[str, Tensor]:
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(InputError) as caught:
        load_perceptual("vgg19", None)
    message = str(caught.value)
    assert message.startswith(URLS["vgg19"])
    assert "--perceptual-weights" in message
    assert str(error) in message


# The real weights


@torch.no_grad()
def test_published_squeezenet_weights_punish_blur_more_than_tone(photographs_root: Path) -> None:
    """The purpose of the loss; random weights do the opposite."""
    if not SQUEEZENET_FILE.is_file():
        pytest.skip(f"the published weights are not here: {SQUEEZENET_FILE} does not exist")
    model = load_perceptual("squeezenet1_0", SQUEEZENET_FILE)
    pixels = read_rgb(min((photographs_root / "test" / "label").iterdir()))
    image = to_signed(pixels)[None, :, :256, :256]
    for features in model(image):
        assert torch.isfinite(features).all()
        assert features.std() > 0.5
    brighter = 2 * ((image + 1) / 2) ** 0.7 - 1
    blurred = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    assert losses.perceptual(model, image, blurred) > 2 * losses.perceptual(model, image, brighter) > 0
