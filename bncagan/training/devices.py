"""The devices, the precision and the processes of a training run, set up by Lightning Fabric."""

from __future__ import annotations

import os
import warnings

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bncagan.config import TrainConfig
from runtimes.errors import InputError

# Variables by which torchrun, Slurm, or a script of one's own (Lightning's) tells a process its place among machines
STARTED = (("RANK", "WORLD_SIZE"), ("SLURM_NTASKS", "SLURM_PROCID"), ("NODE_RANK", "MASTER_ADDR"))


def launch(config: TrainConfig) -> Fabric:
    """Start the processes of a run; InputError if its devices do not exist or do not support its precision."""
    if config.num_nodes > 1 and not any(set(names) <= set(os.environ) for names in STARTED):
        raise InputError(
            f"--num-nodes {config.num_nodes} should be given to torchrun on each machine but no torchrun has started "
            f"this process; start it with: torchrun --nnodes {config.num_nodes} --nproc-per-node {config.devices} "
            "-m bncagan train ..."
        )
    several = config.devices * config.num_nodes > 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*fp16 is not supported on CPU")  # refused below instead of changed
            fabric = Fabric(
                accelerator=config.accelerator,
                # If a loss has weight 0, some parameters get no gradient.
                strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
                devices=config.devices,
                num_nodes=config.num_nodes,
                precision=config.precision,
            )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--accelerator {config.accelerator} with --devices {config.devices} should be available "
            f"but is not ({reason}); choose others"
        ) from error
    if config.precision == "16-mixed" and fabric.device.type == "cpu":
        raise InputError(
            "--precision 16-mixed should run on a GPU but the device is the CPU; use bf16-mixed or 32-true"
        )
    fabric.launch()
    return fabric
