"""Fine-tune a generator until a photograph and its reduced copy get the same change.

    python examples/match_sizes.py small DATA/train matched.safetensors

A photograph of 2048 px receives the change of its copy of 512 px: docs/full-size.md. Each step takes the supervised
loss of the training on crops of renderings, and sees a crop of a real photograph twice, as it is and enlarged 2 to
4 times. As far as the two changes are further apart than --agreement, the logarithm of their distance is added, and
the crop is seen again later.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from bncagan.config import TrainConfig, model_config_from_dict
from bncagan.data import rendering
from bncagan.data.reading import training_batches
from bncagan.data.samples import Samples, UnpairedDataset
from bncagan.network.checkpoint import load_generator, save_generator
from bncagan.network.layers import clip_rho
from bncagan.network.model import Generator
from bncagan.training.loop import update_average
from bncagan.training.losses import supervised
from runtimes.console import tracked

SIZE, TWICE = 192, 144  # px: sides of the crops, and of those that are enlarged as well
ENLARGED, SHARES = (2, 3, 4), (0.2, 0.3, 0.5)  # how many times, and how often
CELL = 4  # px of the crop: the two changes are compared as means over such cells
AGAIN = 0.5  # how often a crop is seen again whose two changes were too far apart
WARM_UP = 50  # steps in which the learning rate rises
KEPT = 200  # steps after which the moving average of the weights is written


@dataclass(frozen=True)
class Options:
    """Fine-tune a generator until a photograph and its reduced copy get the same change."""

    start: tyro.conf.Positional[str]
    """Generator with a tone head: a file or the name of shipped weights."""
    data: tyro.conf.Positional[Path]
    """Folder with photographs in `low` and `high`, as for `bncagan train`."""
    out: tyro.conf.Positional[Path]
    """Generator file to write."""
    steps: int = 4000
    """Number of steps."""
    batch: int = 4
    """Crops of renderings in each step."""
    agreement: float = 45.0
    """Agreement of the two changes, PSNR in dB, above which they are not brought nearer."""
    weight: float = 0.25
    """Weight of the distance."""
    learning_rate: float = 2.5e-4
    """Of Adam; it falls to 0 over the second half."""
    uneven: float = 0.6
    """Share of the renderings that are in uneven light, up to 0.8; the more, the fewer are deeply under-exposed."""
    seed: int = 0
    """Seed of the samples."""


def change(generator: Generator, toned: Tensor, before: Tensor) -> Tensor:
    """What the generator adds to a picture after the tone head, N x 3 x H x W in [-1, 1]; `before`: its luma before."""
    with torch.autocast("cpu", torch.bfloat16):
        features = generator.encode(toned, before)
        added = generator.decoder(generator.bnr(features.attended, generator.running_style), features.skips)
    told: Tensor = added.float() * generator.contrast(toned / 2)
    return told


def distance(generator: Generator, batch: Samples, times: int) -> Tensor:
    """The mean square between the change of a crop and that of the crop enlarged, in [0, 1]^2."""
    large = [
        F.interpolate(picture, scale_factor=times, mode="bicubic", align_corners=False).clamp(-1, 1)
        for picture in (batch.low, batch.before)
    ]
    added = change(generator, batch.low, batch.before)
    both = F.avg_pool2d(added, CELL), F.avg_pool2d(change(generator, *large), times * CELL)
    return (both[0] - both[1]).square().mean() / 4


def main(options: Options) -> None:
    """Train, and write the moving average of the weights from time to time."""
    rendering.SHARES["deep"] -= options.uneven - rendering.SHARES["uneven"]
    rendering.SHARES["uneven"] = options.uneven
    generator, description = load_generator(options.start)
    model = model_config_from_dict(description["model"], options.start)
    average = copy.deepcopy(generator)
    # What decides at inference: not the tone head, the styles of single pictures and the classifier
    parts = [generator.encoder, generator.mask, generator.bnr, generator.decoder]
    trained = [weights.requires_grad_() for part in parts if part is not None for weights in part.parameters()]
    optimizer = torch.optim.Adam(trained, options.learning_rate, betas=(0.9, 0.99))
    config = TrainConfig(
        data=options.data, out=options.out, model=model, tone=options.start, low_from_high=1, short_side=384, crop=384,
        smallest_crop=0.55, size=SIZE, batch=options.batch, seed=options.seed, cache=1200, workers=0,
    )  # fmt: skip
    rendered = UnpairedDataset(config, generator.tone)
    real = UnpairedDataset(dataclasses.replace(config, size=TWICE, batch=1, low_from_high=0), generator.tone)
    real.low += real.high
    batches = (training_batches(dataset, 0, options.steps, 0, 1) for dataset in (rendered, real))
    hard: list[Samples] = []  # crops whose two changes were too far apart when last seen
    aim = 10 ** (-options.agreement / 10)
    for step, batch, fresh in zip(tracked(range(options.steps), "matching"), *batches, strict=True):
        rate = min((step + 1) / WARM_UP, 1, 2 * (1 - step / options.steps))
        optimizer.param_groups[0]["lr"] = options.learning_rate * rate
        optimizer.zero_grad()
        enhanced = batch.low + change(generator, batch.low, batch.before)
        supervised(batch.original, enhanced.clamp(-1, 1)).backward()
        rng = np.random.default_rng((options.seed, step))
        crop = hard.pop(rng.integers(len(hard))) if hard and rng.random() < AGAIN else fresh
        times = int(rng.choice(ENLARGED, p=SHARES))
        apart = torch.log(distance(generator, crop, times) / aim + 1e-9)
        if apart > 0:
            hard.append(crop)
            (options.weight * apart).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1)
        optimizer.step()
        clip_rho(generator)
        update_average(average, generator, 0.995, step)
        if not math.isfinite(apart.item()):
            raise SystemExit(f"match_sizes: the distance should be finite but is not after step {step}")
        if (step + 1) % KEPT == 0 or step + 1 == options.steps:
            told = {"sizes_matched": {"step": step + 1, "agreement": options.agreement, "weight": options.weight}}
            save_generator(options.out, average, model, description["training"] | told)


main(tyro.cli(Options))
