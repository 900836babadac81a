"""Backbones of the perceptual loss, as plain modules with torchvision's parameter names.

Sources: Simonyan and Zisserman 2015 (VGG19), Iandola et al. 2016 (SqueezeNet 1.0). The weights are torchvision's
published files, downloaded with a hash check, or a local file. There is no random initialization, because random
features punish a change of tone more than a blur.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from bncagan.config import Backbone
from runtimes.errors import InputError

# The eight hex digits in a name are the start of the file's SHA-256, which is checked after the download.
URLS: dict[Backbone, str] = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "squeezenet1_0": "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
}
# The layers of `features` whose outputs are used: relu1_1 to relu5_1 of VGG19; relu1, fire3, fire5, fire8 and fire9
# of SqueezeNet.
TAPS: dict[Backbone, tuple[int, ...]] = {"vgg19": (1, 6, 11, 20, 29), "squeezenet1_0": (1, 4, 7, 10, 12)}
WEIGHTS = (1 / 64, 1 / 64, 1 / 32, 1 / 32, 1.0)

VGG19_CHANNELS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 convolution to few channels, then a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], dim=1)


def vgg_layers(stages: Sequence[Sequence[int]]) -> nn.Sequential:
    """`features` of a VGG without batch normalization; `stages` lists the output channels of each stage."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in stages:
        for out in stage:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg19_layers() -> nn.Sequential:
    """`features` of torchvision's vgg19 up to relu5_1."""
    return nn.Sequential(*list(vgg_layers(VGG19_CHANNELS))[: TAPS["vgg19"][-1] + 1])


def squeezenet1_0_layers() -> nn.Sequential:
    """`features` of torchvision's squeezenet1_0."""
    pools = [nn.MaxPool2d(3, stride=2, ceil_mode=True) for _ in range(3)]
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(), pools[0],
        Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), pools[1],
        Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), pools[2],
        Fire(512, 64, 256),
    )  # fmt: skip


class ImageNetNormalization(nn.Module):
    """Normalize RGB, N x 3 x H x W in [0, 1], by ImageNet's means and deviations, as torchvision's networks expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class PerceptualFeatures(nn.Module):
    """phi_j of eq. 6: features of a network with fixed weights, instance-normalized.

    Takes an image, N x 3 x H x W in [-1, 1] with H and W at least 64; returns five maps with mean 0 and variance 1 in
    each channel. The normalization, so that a change of tone is not punished, is in the authors' code but not in the
    paper.
    """

    weights = WEIGHTS

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features = vgg19_layers() if backbone == "vgg19" else squeezenet1_0_layers()
        self.taps = TAPS[backbone]
        self.normalize = ImageNetNormalization()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.normalize((image + 1) / 2)
        found = []
        for start, stop in pairwise((0, *(tap + 1 for tap in self.taps))):
            x = self.features[start:stop](x)
            found.append(F.instance_norm(x.float()))
        return found


def load_perceptual(backbone: Backbone, weights: Path | None) -> PerceptualFeatures:
    """The backbone with the weights in a file, or downloaded if it is None; InputError if they cannot be used."""
    model = PerceptualFeatures(backbone).eval()
    state = _download(backbone) if weights is None else read_weights(weights)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    if missing:
        raise InputError(
            f"{weights or URLS[backbone]} should hold torchvision's {backbone} weights but {missing[0]} is missing or "
            f"of another shape; choose the file for --perceptual {backbone}"
        )
    model.load_state_dict({name: state[name] for name in wanted})
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a state_dict in a .pth file; never runs code from the file.

    InputError if the file does not exist, cannot be read, or holds anything else.
    """
    if not path.is_file():
        raise InputError(
            f"{path} should be a file of weights (.safetensors or .pth) but does not exist; check the path"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, struct.error) as error:
        # PyTorch's own messages about damaged files are long, and none of them helps more than this one.
        raise InputError(f"{path} should hold weights (.safetensors or .pth) but cannot be read; replace it") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # as training scripts save it, beside the epoch and the optimizer
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path} should hold a dictionary of weights but holds {_contents(state)}; save a state_dict")
    return state


def _contents(state: object) -> str:
    """What a file holds instead of weights."""
    if not isinstance(state, dict):
        return type(state).__name__
    name, value = next((name, value) for name, value in state.items() if not isinstance(value, Tensor))
    return f"{type(value).__name__} as {name!r}"


def _download(backbone: Backbone) -> dict[str, Tensor]:
    url = URLS[backbone]
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
        return state
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{url} should be downloaded but cannot be ({error}); get it elsewhere and pass it as --perceptual-weights"
        ) from error
