"""One generator from several: the mean of the weights of runs that started from the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bncagan.config import ModelConfig, model_config_from_dict
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.model import Generator
from runtimes.errors import InputError

# Cosine of the weights of two networks. Measured: 0.93 to 1.00 after hundreds of steps and more from a common start,
# 0.66 between random weights and what 3000 steps made of them, at most 0.01 between networks without a common start.
COMMON_START = 0.3


def average_generators(checkpoints: Sequence[str]) -> tuple[Generator, ModelConfig, dict[str, Any]]:
    """Average the weights of generators; returns the generator in eval mode, its config and its origin for its file.

    The average costs as much to run as one network and has smaller random errors (Model soups, Wortsman et al. 2022).
    All checkpoints must descend from the same weights (`--init`); otherwise their mean is useless. InputError if there
    are fewer than two, if one does not load, if their networks differ, or if they have no common start.
    """
    if len(checkpoints) < 2:
        raise InputError(f"checkpoints to average should be at least two but are {len(checkpoints)}; name more")
    loaded = [load_generator(checkpoint) for checkpoint in checkpoints]
    models = [
        model_config_from_dict(description["model"], checkpoint)
        for checkpoint, (_, description) in zip(checkpoints, loaded, strict=True)
    ]
    for checkpoint, model in zip(checkpoints, models, strict=True):
        if model != models[0]:
            raise InputError(
                f"{checkpoint} should hold the network of {checkpoints[0]}, {models[0]}, but holds {model}; "
                "average checkpoints of one network"
            )
    config = models[0]
    states = [generator.state_dict() for generator, _ in loaded]
    for checkpoint, state in zip(checkpoints, states, strict=True):
        alike = likeness(states[0], state)
        if alike < COMMON_START:
            raise InputError(
                f"{checkpoint} should descend from the same weights as {checkpoints[0]} but the cosine of their "
                f"weights is {alike:.2f}; average checkpoints of one run, or of runs with the same --init"
            )
    averaged = Generator(config)
    averaged.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    parts = [
        {"unfolded_sha256": weights_sha256(state), "training": description.get("training")}
        for state, (_, description) in zip(states, loaded, strict=True)
    ]
    return averaged.eval().requires_grad_(False), config, {"average_of": parts}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of weights, computed in float64; of integers (counts) the largest."""
    stacked = torch.stack(list(tensors))
    return stacked.double().mean(0).to(stacked.dtype) if stacked.is_floating_point() else stacked.amax(0)


def likeness(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The cosine of the weights of two generators; 1 if there are none but those of a tone head."""
    names = [name for name in first if name.endswith("weight") and first[name].dim() > 1 and "tone." not in name]
    if not names:
        return 1.0
    one, other = (torch.cat([state[name].double().flatten() for name in names]) for state in (first, second))
    return float(one @ other / (one.norm() * other.norm()))
