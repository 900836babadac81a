"""One generator from several: the mean of the weights that runs from one start have led to."""

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
    """The mean of the weights, in eval mode, its config, and for its file where it came from.

    Model soups (Wortsman et al., 2022): one network's cost, and most of what the errors of single runs and checkpoints
    have of chance gone. They need a common ancestor (`--init`); the mean of strangers is nothing. InputError if there
    are fewer than two, if one does not load, or if their networks differ.
    """
    if len(checkpoints) < 2:
        raise InputError(f"expected at least two checkpoints to average, got {len(checkpoints)}; name more")
    loaded = [load_generator(checkpoint) for checkpoint in checkpoints]
    models = [
        model_config_from_dict(description["model"], checkpoint)
        for checkpoint, (_, description) in zip(checkpoints, loaded, strict=True)
    ]
    for checkpoint, model in zip(checkpoints, models, strict=True):
        if model != models[0]:
            raise InputError(
                f"{checkpoint}: expected the network of {checkpoints[0]}, {models[0]}, got {model}; "
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
    """The mean, taken in float64, of weights; the largest of counts."""
    stacked = torch.stack(list(tensors))
    return stacked.double().mean(0).to(stacked.dtype) if stacked.is_floating_point() else stacked.amax(0)
