"""Devices, precision and processes of a training run, by Lightning Fabric."""

from __future__ import annotations

import warnings

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bncagan.config import TrainConfig
from runtimes.errors import InputError


def launch(config: TrainConfig) -> Fabric:
    """The devices; InputError if they are not here or cannot compute in the asked precision."""
    several = config.devices * config.num_nodes > 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*fp16 is not supported on CPU")  # refused below, not changed
            fabric = Fabric(
                accelerator=config.accelerator,
                # A loss of weight 0 leaves some parameters unused.
                strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
                devices=config.devices,
                num_nodes=config.num_nodes,
                precision=config.precision,
            )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"accelerator {config.accelerator} with {config.devices} devices: {reason}") from error
    if config.precision == "16-mixed" and fabric.device.type == "cpu":
        raise InputError("precision 16-mixed needs a GPU, got the CPU; use bf16-mixed or 32-true")
    fabric.launch()
    return fabric
