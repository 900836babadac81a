"""The weights that a run starts from: those of `--init`, and the tone head of `--tone`."""

from __future__ import annotations

import dataclasses

import torch

from bncagan.config import TrainConfig, model_config_from_dict
from bncagan.network.checkpoint import load_generator
from bncagan.network.model import Generator, Tail
from bncagan.network.tone import ToneHead
from runtimes.errors import InputError

FIRST_CHANGE = 0.1  # factor of the last convolution of a generator that has not been behind a tone head


def start(generator: Generator, config: TrainConfig) -> None:
    """Load the weights of `--init` and the tone head of `--tone`; InputError if they do not fit the network.

    The head is not trained. A generator that has not been behind one starts as nearly the identity, because the head
    has decided the brightness. Without weights for the full-size features (`--model.detail`), these start at random.
    """
    behind_head = False
    if config.init is not None:
        given, description = load_generator(config.init)
        came, asked = model_config_from_dict(description["model"], config.init), config.model
        grown = dataclasses.replace(came, tone=came.tone or asked.tone, detail=came.detail or asked.detail)
        if grown != asked:
            raise InputError(
                f"{config.init} should hold {asked} but holds {came}; pass the --model options of this one"
            )
        generator.load_state_dict(given.state_dict(), strict=False)
        behind_head = came.tone
    if generator.tone is None:
        return
    if not behind_head and config.tone is None:
        raise InputError(f"{config.init} should hold a tone head but holds none; pass --tone nano")
    if not behind_head:
        _make_small(generator)
    if config.tone is not None:
        generator.tone.load_state_dict(_head_of(config.tone).state_dict())
    generator.tone.requires_grad_(False)


@torch.no_grad()
def _make_small(generator: Generator) -> None:
    """Make the change that an untrained decoder computes small."""
    tail = generator.decoder.tail
    assert isinstance(tail, Tail)
    tail.conv2.weight *= FIRST_CHANGE
    assert tail.conv2.bias is not None
    tail.conv2.bias.zero_()


def _head_of(checkpoint: str) -> ToneHead:
    head = load_generator(checkpoint)[0].tone
    if head is None:
        raise InputError(f"{checkpoint} should hold a tone head but holds none; choose another, such as nano")
    return head
