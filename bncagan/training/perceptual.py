"""Backbones of the perceptual loss, as plain modules with torchvision's parameter names.

Sources: Simonyan and Zisserman 2015 (VGG19), Iandola et al. 2016 (SqueezeNet 1.0). Weights are torchvision's published
files, downloaded with a hash check, or a local file. There is no random initialization to fall back on: random
features punish an edit of tone more than a blur.
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

# torchvision's names; the eight hex digits are the start of the file's SHA-256, checked after the download.
URLS: dict[Backbone, str] = {
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "squeezenet1_0": "https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",
}
# Features are taken after these indices of `features`: relu1_1 .. relu5_1 of VGG19; relu1, fire3, fire5, fire8 and
# fire9 of SqueezeNet.
TAPS: dict[Backbone, tuple[int, ...]] = {"vgg19": (1, 6, 11, 20, 29), "squeezenet1_0": (1, 4, 7, 10, 12)}
WEIGHTS = (1 / 64, 1 / 64, 1 / 32, 1 / 32, 1.0)

VGG19_CHANNELS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], dim=1)


def vgg_layers(stages: Sequence[Sequence[int]]) -> nn.Sequential:
    """`features` of torchvision's VGGs without batch normalization: the output channels, stage by stage."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in stages:
        for out in stage:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg19_layers() -> nn.Sequential:
    """`features` of torchvision's vgg19, up to relu5_1."""
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
    """RGB in [0, 1], N x 3 x H x W, less ImageNet's means, over its deviations: what torchvision's backbones take."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class PerceptualFeatures(nn.Module):
    """phi_j of eq. 6: backbone features, each instance-normalized so that a change of tone is not punished.

    Image, N x 3 x H x W in [-1, 1], H and W at least 64 -> five maps of mean 0 and variance 1 per channel. The
    weights are fixed. Normalizing the features is the authors' choice; the paper does not mention it.
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
    """The backbone with the weights in `weights`, or torchvision's download. InputError if they cannot be used."""
    model = PerceptualFeatures(backbone).eval()
    state = _download(backbone) if weights is None else read_weights(weights)
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    if missing:
        raise InputError(
            f"{weights or URLS[backbone]}: expected torchvision's {backbone} weights, but {missing[0]} is missing or "
            "of another shape; choose the file that belongs to --perceptual"
        )
    model.load_state_dict({name: state[name] for name in wanted})
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a state_dict in a .pth file, without running what it may contain.

    InputError if there is no such file, it cannot be read, or it holds anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, struct.error) as error:
        # What torch says of a damaged file takes many forms and lines; none of them helps more than this.
        raise InputError(
            f"{path}: expected weights as .safetensors or .pth, but it cannot be read; replace it"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path}: expected a dictionary of weights, got {type(state).__name__}; save a state_dict")
    return state


def _download(backbone: Backbone) -> dict[str, Tensor]:
    url = URLS[backbone]
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
        return state
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{url} cannot be downloaded ({error}); fetch it elsewhere and pass it as --perceptual-weights"
        ) from error
