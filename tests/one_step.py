"""A program that torchrun starts: one step of randomised networks, whose gradients the first process writes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from bncagan.config import LossWeights
from bncagan.data.reading import training_batches
from bncagan.training.devices import disconnect
from bncagan.training.loop import Trainer
from tests.conftest import randomise
from tests.test_training import config

# Weights that do not move, so that the generator's gradient is that behind the same discriminator everywhere
STILL = {"learning_rate": 1e-20, "discriminator_learning_rate": 1e-20}


def one_step(data: Path, out: Path, batch: int) -> Trainer:
    """Take the first step, with a full pool; the gradients stay in the networks."""
    loss = LossWeights(1.0, 0.0, 1.0, 1.0, 1.0)
    options = {"low_from_high": 0.5, "pool": 2, "precision": "32-true", "batch": batch, "loss": loss, "seed": 1}
    trainer = Trainer(config(data, out, **STILL, **options))
    randomise(trainer.generator, 1)
    randomise(trainer.discriminator, 2)
    # So far apart that the hinges are open for some scores alone
    trainer.discriminator.register_forward_hook(lambda _, __, maps: [8 * scores for scores in maps])
    trainer.pool.images = [torch.full((3, 64, 64), value, dtype=torch.half) for value in (-0.5, 0.5)]
    world = trainer.fabric.global_rank, trainer.fabric.world_size
    trainer._step(next(training_batches(trainer.dataset, 0, 1, *world)))
    return trainer


if __name__ == "__main__":
    done = one_step(Path(sys.argv[1]), Path(sys.argv[2]), 2)
    if done.fabric.is_global_zero:
        networks = {"generator": done.generator, "discriminator": done.discriminator}
        gradients = {
            f"{name}.{inner}": weight.grad
            for name, network in networks.items()
            for inner, weight in network.named_parameters()
            if weight.grad is not None
        }
        logged = {f"sums.{name}": total for name, total in done.monitor.sums.items()}
        save_file({**gradients, **logged}, sys.argv[3])
    done.fabric.barrier()
    disconnect(done.fabric)
    assert not torch.distributed.is_initialized()
