"""The training of the tone head, from finished photographs alone: renderings of them, and what each asks for.

Minutes on one core. The result depends on the photographs, their order and the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bncagan.data.camera import Code, exposed
from bncagan.data.look import Look
from bncagan.data.mixture import COMPONENTS, Photographs
from bncagan.network.tone import FEATURES, MEMBERS, SIDE, Decision, ToneHead, area_mean, luma
from runtimes.console import tracked
from runtimes.errors import InputError
from runtimes.image import Pixels, reduced_size, resize

SHORT_SIDE = 128  # px at which photographs are rendered
EXPOSURES = (0, -1, -2, -3, -4)  # stops at which the same photograph should come to the same brightness
LADDERS = 300  # photographs rendered at all of them
BATCH, LADDER_BATCH = 24, 4
PIXELS = 64  # of each 48 x 48 copy, drawn anew in each step
STEPS = 1150  # longer training fits the renderings better and real photographs worse
RATE, DECAY = 2e-3, 1e-2  # AdamW
NOISE = 0.05  # added to the normalized features
AVERAGE = 0.997  # of the weights
BRIGHTNESS = 0.5  # weight of the error of the mean luma
AGREEMENT = 0.4  # weight of the difference between exposures of the same photograph


@dataclass(frozen=True)
class Renderings:
    """48 x 48 copies of frames and of what they should become."""

    frames: Tensor
    """R x 3 x 48 x 48."""
    targets: Tensor
    """R x 3 x 48 x 48."""
    shares: Tensor
    """R weights with which they are drawn."""
    ladders: Tensor
    """L x E x 3 x 48 x 48: the same photograph at each of EXPOSURES."""


def fit_tone(
    photographs: Sequence[Pixels],
    *,
    seed: int,
    start: ToneHead | None = None,
    steps: int = STEPS,
    look: Look | None = None,
    share: float = 1.0,
) -> ToneHead:
    """Train a head so that renderings of finished photographs (uint8, H x W x 3) come back as they were.

    It starts from `start`, which stays as it is, or from nothing. With `look`, that of the photographs, the frames are
    made as from ordinary photographs, so that the head learns to give it. `share` is how much of the usual number of
    renderings is made, which takes most of the time.
    InputError if there is no photograph.
    """
    if not photographs:
        raise InputError("photographs to learn from should be at least one but are none; name a folder that holds some")
    codes = [reduced(each) for each in photographs]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = ToneHead()
    if start is not None:
        head.load_state_dict(start.state_dict())
    head.warmth.fill_(0.0 if look is None else look.warmth)
    for number, member in enumerate(head.members):
        assert isinstance(member, Decision)
        of_member = MEMBERS * seed + number
        _fit(head, member, render_all(codes, of_member, look, share), of_member, steps, fresh=start is None)
    return head.eval().requires_grad_(False)


def render_all(codes: Sequence[Code], seed: int, look: Look | None = None, share: float = 1.0) -> Renderings:
    """The renderings of all components; with a look, it is taken from the pictures first and given to the targets."""
    rng = np.random.default_rng(seed)
    photographs = Photographs.sort(codes if look is None else [look.undone(each) for each in codes])
    components = [replace(each, count=math.ceil(share * each.count)) for each in COMPONENTS.values()]
    jobs = [component for component in components for _ in range(component.count)]
    frames, targets = torch.empty(len(jobs), 3, SIDE, SIDE), torch.empty(len(jobs), 3, SIDE, SIDE)
    for i, component in enumerate(tracked(jobs, "rendering")):
        pair = component.make(photographs, rng)
        frames[i], targets[i] = _small(pair.frame), _small(pair.target if look is None else look.given(pair.target))
    wide = photographs.wide
    ladders = torch.stack([torch.stack([_small(exposed(code, stops)) for stops in EXPOSURES])
                           for code in (wide[int(rng.integers(len(wide)))] for _ in range(LADDERS))])  # fmt: skip
    return Renderings(frames, targets, torch.tensor([each.share / each.count for each in jobs]), ladders)


def _fit(head: ToneHead, member: Decision, renderings: Renderings, seed: int, steps: int, *, fresh: bool) -> None:
    """The loop for one member of the head, which gets its averaged weights."""
    rng = torch.Generator().manual_seed(seed)
    features = torch.cat([head.features(part) for part in torch.split(renderings.frames, 500)])
    ladder_features = torch.cat([head.features(part) for part in torch.split(renderings.ladders.flatten(0, 1), 500)])
    if fresh:
        member.feature_mean.copy_(features.mean(0))
        member.feature_deviation.copy_(features.std(0) + 1e-3)
    features = (features - member.feature_mean) / member.feature_deviation
    ladder_features = ((ladder_features - member.feature_mean) / member.feature_deviation).view(LADDERS, -1, FEATURES)
    weights = list(member.parameters())
    optimizer = torch.optim.AdamW(weights, RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = [weight.detach().clone() for weight in weights]
    for step in tracked(range(steps), "training the tone head"):
        chosen = torch.multinomial(renderings.shares, BATCH, generator=rng)
        ladders = torch.randint(LADDERS, (LADDER_BATCH,), generator=rng)
        pixels = torch.randint(SIDE * SIDE, (PIXELS,), generator=rng)
        seen = torch.cat([features[chosen], ladder_features[ladders].flatten(0, 1)])
        decided = member.from_normalized(seen + NOISE * torch.randn(seen.shape, generator=rng))
        frames = torch.cat([renderings.frames[chosen], renderings.ladders[ladders].flatten(0, 1)])
        toned = head.applied(_drawn(frames, pixels), decided)
        loss = distance(toned[:BATCH], _drawn(renderings.targets[chosen], pixels))
        loss = loss + AGREEMENT * disagreement(toned[BATCH:].view(LADDER_BATCH, len(EXPOSURES), 3, 1, PIXELS))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        kept = min(AVERAGE, (step + 1) / (step + 10))
        for mean, weight in zip(average, weights, strict=True):
            mean.lerp_(weight.detach(), 1 - kept)
    with torch.no_grad():
        for mean, weight in zip(average, weights, strict=True):
            weight.copy_(mean)


def distance(toned: Tensor, target: Tensor) -> Tensor:
    """L1 of the pixels and of the mean luma; pictures are N x 3 x 1 x P."""
    brightness = (luma(toned) - luma(target)).mean((1, 2, 3)).abs().mean()
    return (toned - target).abs().mean() + BRIGHTNESS * brightness


def disagreement(toned: Tensor) -> Tensor:
    """How much exposures of the same photograph differ after the head, in mean luma and by pixel; L x E x 3 x 1 x P."""
    y = luma(toned.flatten(0, 1)).view(*toned.shape[:2], -1)
    apart = y - y.mean(1, keepdim=True)
    return apart.mean(2).abs().mean() + 0.5 * apart.abs().mean()


def _drawn(pictures: Tensor, pixels: Tensor) -> Tensor:
    """The same pixels of each picture, N x 3 x 48 x 48 -> N x 3 x 1 x P."""
    return pictures.flatten(2)[:, :, None, pixels]


def reduced(pixels: Pixels) -> Code:
    """A photograph at the size at which it is rendered."""
    width, height = reduced_size((pixels.shape[1], pixels.shape[0]), SHORT_SIDE)
    return np.asarray(resize(pixels, height, width) / np.float32(255), np.float32)


def _small(code: Code) -> Tensor:
    """The 48 x 48 copy that the head sees, 3 x 48 x 48."""
    return area_mean(torch.from_numpy(np.ascontiguousarray(code, np.float32)).permute(2, 0, 1)[None])[0]
