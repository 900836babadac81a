"""NIMA: how people would rate a picture, without a reference (Talebi and Milanfar 2018, Neural Image Assessment).

Two public ports with weights exist, and the names of the weights tell which one a file is for. No weights are shipped.

MobileNetV2 with a linear head is what the authors' code rates with. The whole picture is reduced to a short side of
256 px, its middle 224 x 224 px are rated, and nothing is normalized. Names: `base_model.0.N...`, `head.2.weight`.

VGG16 with a linear layer is the port by Yunxiao Shi. Names: `features.N.weight` as in torchvision's vgg16,
`classifier.1.weight`. That port trains on crops and without ImageNet's normalization; here the whole picture is rated,
resized to 224 x 224 px, with the normalization.

The two rate on scales of their own: compare scores only with those of the same weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bncagan.network.checkpoint import load_strictly
from bncagan.training.perceptual import ImageNetNormalization, read_weights, vgg_layers
from runtimes.errors import InputError
from runtimes.image import Pixels

VGG16_CHANNELS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
# Of MobileNetV2: expansion, output channels, blocks, stride of the first block
MOBILE_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILE_FEATURES = 1280
SIDE = 224  # px
SHORT_SIDE = 256  # px, before the middle is cut out
RATINGS = 10


class Nima(nn.Module):
    """A network that takes RGB, N x 3 x 224 x 224 in [0, 1]; returns the shares of the ratings 1 to 10, N x 10."""

    @staticmethod
    def prepared(picture: Image.Image) -> Image.Image:
        """The 224 x 224 px of a picture that are rated."""
        raise NotImplementedError


class Vgg16Nima(Nima):
    """VGG16 with one linear layer to ten ratings."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = ImageNetNormalization()
        self.features = vgg_layers(VGG16_CHANNELS)
        maps = VGG16_CHANNELS[-1][-1] * (SIDE // 2 ** len(VGG16_CHANNELS)) ** 2
        self.classifier = nn.Sequential(nn.Dropout(0.75), nn.Linear(maps, RATINGS), nn.Softmax(dim=1))

    @staticmethod
    def prepared(picture: Image.Image) -> Image.Image:
        """The whole picture, whatever its proportion."""
        return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)

    def forward(self, image: Tensor) -> Tensor:
        features = self.features(self.normalize(image))
        ratings: Tensor = self.classifier(features.flatten(1))
        return ratings


class InvertedResidual(nn.Module):
    """MobileNetV2's block: a 1x1 convolution to more channels, one 3x3 per channel, and a 1x1 back to few.

    Unlike torchvision's, it has the first convolution where nothing is expanded, too.
    """

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.adds = stride == 1 and channels == out
        self.conv = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6(),
            nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv(x)
        return x + change if self.adds else change


class MobileNima(Nima):
    """MobileNetV2 with one linear layer to ten ratings."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_normalized(3, 32, kernel=3, stride=2)]
        channels = 32
        for expansion, out, blocks, stride in MOBILE_STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(channels, out, 1 if block else stride, expansion))
                channels = out
        layers += [_normalized(channels, MOBILE_FEATURES, kernel=1, stride=1), nn.AvgPool2d(SIDE // 32)]
        self.base_model = nn.Sequential(nn.Sequential(*layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.75), nn.Linear(MOBILE_FEATURES, RATINGS), nn.Softmax(dim=1))

    @staticmethod
    def prepared(picture: Image.Image) -> Image.Image:
        """The middle of the picture, reduced or enlarged to a short side of 256 px."""
        short = min(picture.size)
        width, height = (int(SHORT_SIDE * side / short) for side in picture.size)
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (round((side - SIDE) / 2) for side in resized.size)
        return resized.crop((left, top, left + SIDE, top + SIDE))

    def forward(self, image: Tensor) -> Tensor:
        ratings: Tensor = self.head(self.base_model(image).flatten(1))
        return ratings


def _normalized(channels: int, out: int, *, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def load_nima(weights: Path) -> Nima:
    """Load the network that the names of the weights tell, in eval mode, from a .safetensors or .pth file.

    InputError if the file cannot be read, or if a weight is missing, unknown, of another shape or type, or not finite.
    """
    state = read_weights(weights)
    model: Nima
    if any(name.startswith("base_model.0.") for name in state):
        model = MobileNima()
        # Files of before PyTorch 0.4.1 lack these counters, which no score depends on
        counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
        state = counters | state
    elif any(name.startswith("features.") for name in state):
        model = Vgg16Nima()
    else:
        raise InputError(
            f"{weights} should hold weights of NIMA, named base_model.0.0.0.weight and so on (MobileNetV2) or "
            f"features.0.weight and so on (VGG16), but holds {next(iter(state), 'nothing')}; use a file of one of them"
        )
    load_strictly(model, state, str(weights))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def nima(model: Nima, picture: Pixels) -> float:
    """Mean rating, 1 to 10, of a picture (H x W x 3 of 0..255)."""
    rated = np.asarray(model.prepared(Image.fromarray(picture)))
    device = next(model.parameters()).device
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # so that a GPU rates as a CPU does
        shares = model((torch.tensor(rated).permute(2, 0, 1)[None] / 255).to(device))[0].cpu().double()
    return float(shares @ torch.arange(1, RATINGS + 1, dtype=torch.float64))
