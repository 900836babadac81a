"""NIMA: how much people would like a picture, without a reference (Talebi and Milanfar 2018, Neural Image Assessment).

VGG16 with one linear layer to ten ratings, with the parameter names of the PyTorch port by Yunxiao Shi:
`features.N.weight` and `.bias` as torchvision's vgg16, `classifier.1.weight` and `.bias`. No weights are shipped; a
local file has to be given, and untrained ones would say nothing. That port trains on crops, and without ImageNet's
normalization; scores here are of the whole picture and with it, so compare them with each other, not with a paper's.
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
    """The distribution of ratings: N x 3 x 224 x 224 of RGB in [0, 1] -> N x 10, shares of the ratings 1 to 10."""

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
    """The network in eval mode with the weights of a .safetensors or .pth file.

    InputError if the file cannot be read, a weight is missing, unknown, of another shape or type, or not finite.
    """
    model = Nima()
    load_strictly(model, read_weights(weights), str(weights))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def nima(model: Nima, picture: Pixels) -> float:
    """Mean rating, 1 to 10, of a picture, H x W x 3 of 0..255, resized to 224 x 224."""
    resized = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    shares = model(torch.tensor(resized).permute(2, 0, 1)[None] / 255)[0].double()
    return float(shares @ torch.arange(1, RATINGS + 1, dtype=torch.float64))
