"""NIMA: how people would rate a picture, without a reference (Talebi and Milanfar 2018, Neural Image Assessment).

The network is VGG16 with one linear layer to ten ratings. Its parameters have the names of the PyTorch port by Yunxiao
Shi: `features.N.weight` and `.bias` as in torchvision's vgg16, `classifier.1.weight` and `.bias`. No weights are
shipped: give a file. That port trains on crops and without ImageNet's normalization. Here the whole picture is rated,
with the normalization, so compare scores only with each other and not with those of a paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bncagan.network.checkpoint import load_strictly
from bncagan.training.perceptual import ImageNetNormalization, read_weights, vgg_layers
from runtimes.image import Pixels

VGG16_CHANNELS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
SIDE = 224  # px
RATINGS = 10


class Nima(nn.Module):
    """Takes RGB, N x 3 x 224 x 224 in [0, 1]; returns the distribution of the ratings 1 to 10, N x 10."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = ImageNetNormalization()
        self.features = vgg_layers(VGG16_CHANNELS)
        maps = VGG16_CHANNELS[-1][-1] * (SIDE // 2 ** len(VGG16_CHANNELS)) ** 2
        self.classifier = nn.Sequential(nn.Dropout(0.75), nn.Linear(maps, RATINGS), nn.Softmax(dim=1))

    def forward(self, image: Tensor) -> Tensor:
        features = self.features(self.normalize(image))
        ratings: Tensor = self.classifier(features.flatten(1))
        return ratings


def load_nima(weights: Path) -> Nima:
    """Load the network, in eval mode, from a .safetensors or .pth file.

    InputError if the file cannot be read, or if a weight is missing, unknown, of another shape or type, or not finite.
    """
    model = Nima()
    load_strictly(model, read_weights(weights), str(weights))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def nima(model: Nima, picture: Pixels) -> float:
    """Mean rating, 1 to 10, of a picture (H x W x 3 of 0..255), which is resized to 224 x 224."""
    resized = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    shares = model(torch.tensor(resized).permute(2, 0, 1)[None] / 255)[0].double()
    return float(shares @ torch.arange(1, RATINGS + 1, dtype=torch.float64))
