"""The devices, the precision and the processes of a training run, set up by Lightning Fabric, and what these share."""

from __future__ import annotations

import dataclasses
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from bncagan.config import TrainConfig
from runtimes.errors import InputError

# Variables by which torchrun, Slurm, or a script of one's own (Lightning's) tells a process its place among machines
JOB = "TORCHELASTIC_RUN_ID"
STARTED = (("RANK", "WORLD_SIZE"), ("SLURM_NTASKS", "SLURM_PROCID"), ("NODE_RANK", "MASTER_ADDR"))


def launch(config: TrainConfig) -> Fabric:
    """Start the processes of a run; InputError if its devices do not exist or do not support its precision."""
    if config.num_nodes > 1 and not any(set(names) <= set(os.environ) for names in STARTED):
        raise InputError(
            f"--num-nodes {config.num_nodes} should be given to torchrun on each machine but no torchrun has started "
            f"this process; start it with: torchrun --nnodes {config.num_nodes} --nproc-per-node {config.devices} "
            "-m bncagan train ... and without --num-nodes and --devices"
        )
    several = config.devices * config.num_nodes > 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*fp16 is not supported on CPU")  # refused below instead of changed
            fabric = Fabric(
                accelerator=config.accelerator,
                strategy=_together(config) if several else "auto",
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


def _together(config: TrainConfig) -> DDPStrategy:
    """How several processes train. Where a loss has weight 0, some parameters get no gradient.

    The others wait while the first one validates: `Stopping`, which says so, has to end a run that hangs.
    """
    return DDPStrategy(find_unused_parameters=True, timeout=timedelta(minutes=30 + 2 * config.patience))


# torchrun


def placed(config: TrainConfig) -> TrainConfig:
    """The options with the numbers of processes and machines that torchrun has started, if it has.

    InputError if a new run was given others.
    """
    if JOB not in os.environ:
        return config
    per_node, every = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    nodes = every // per_node
    given = config.devices, config.num_nodes
    if config.resume is None and given not in {(1, 1), (per_node, nodes)}:
        raise InputError(
            f"--devices {config.devices} and --num-nodes {config.num_nodes} should be what torchrun has started, "
            f"{per_node} and {nodes}, but are not; leave them out"
        )
    return dataclasses.replace(config, devices=per_node, num_nodes=nodes)


def job() -> str | None:
    """What is the same whenever one torchrun starts the processes of a run, again after an error; None without it."""
    name = os.environ.get(JOB)
    if name == "none":  # without --rdzv-id: the folder that this torchrun made for errors
        return Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parents[2].name
    return name


def command() -> str:
    """How a user calls the commands of this process again."""
    return "torchrun ... -m bncagan" if JOB in os.environ else "bncagan"


# What the processes of a run share


def expectation(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean over the values of all processes, of which each has equally many; each gets the gradient of its own."""
    mean: Tensor = _Mean.apply(values.mean(), fabric)  # type: ignore[no-untyped-call]
    return mean


class _Mean(torch.autograd.Function):
    """The mean of one number over the processes, which is part of the loss of each of them."""

    @staticmethod
    def forward(ctx: Any, number: Tensor, fabric: Fabric) -> Tensor:
        ctx.fabric = fabric
        mean: Tensor = fabric.all_reduce(number.clone(), reduce_op="mean")
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.fabric.all_reduce(gradient.clone(), reduce_op="mean"), None


def all_of(fabric: Fabric, images: Tensor) -> Tensor:
    """The images of all processes, N x 3 x H x W of each, in their order; without gradients."""
    if fabric.world_size == 1:
        return images
    gathered = [torch.empty_like(images) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, images.contiguous())
    return torch.cat(gathered)


def disconnect(fabric: Fabric) -> None:
    """End the connections to the other processes: one that ends with them open may be aborted by their threads."""
    if fabric.world_size > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_lost(error: Exception, fabric: Fabric) -> bool:
    """Whether an error came out of the connection to another process, which has ended."""
    if fabric.world_size == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
