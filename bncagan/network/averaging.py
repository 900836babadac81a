"""One generator from several: the mean of the weights of runs that started from the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bncagan.config import ModelConfig, model_config_from_dict
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.model import Generator
from runtimes.errors import InputError


def average_generators(checkpoints: Sequence[str]) -> tuple[Generator, ModelConfig, dict[str, Any]]:
    """Average the weights of generators; returns the generator in eval mode, its config and its origin for its file.

    The average costs as much to run as one network and has smaller random errors (Model soups, Wortsman et al. 2022).
    All checkpoints must descend from the same weights (`--init`); otherwise their mean is useless. InputError if there
    are fewer than two, if one does not load, or if their networks differ.
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
