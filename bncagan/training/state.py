"""The parts of a run: networks, optimizers, photographs. They are saved in its folder and restored from it."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bncagan.config import TrainConfig, to_json_dict, train_config_from_dict
from bncagan.data.samples import UnpairedDataset
from bncagan.network.checkpoint import (
    STATE_FORMAT,
    load_optimizer,
    load_strictly,
    optimizer_tensors,
    read,
    with_prefix,
    without_prefix,
    write_atomically,
)
from bncagan.network.model import Discriminator, Generator
from bncagan.training.devices import job, launch, placed
from bncagan.training.directions import Enhancements, Inference, Translations
from bncagan.training.folder import STATE_NAME, changes, photographs, prepare, refuse_other_photographs
from bncagan.training.monitoring import Monitor
from bncagan.training.perceptual import load_perceptual
from bncagan.training.pool import ImagePool
from bncagan.training.selection import Selection
from bncagan.training.start import start
from runtimes.errors import InputError


class RunState:
    """A run at a step: at its start, or with `config.resume` at its last checkpoint.

    Everything that a user can mend is checked first, before weights are downloaded.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config = placed(config)
        saved = prepare(config)
        self.fabric = launch(config)
        torch.manual_seed(config.seed)
        self.generator, self.discriminator = Generator(config.model), Discriminator(config.model)
        if saved is None:
            start(self.generator, config)
        elif self.generator.tone is not None:
            self.generator.tone.requires_grad_(False)
        self.dataset = UnpairedDataset(config)
        self.photographs = photographs(self.dataset)
        self.total, self.step = self._steps(config), 0
        self.history: list[dict[str, Any]] = []
        self.changed: dict[str, dict[str, Any]] = {}
        if saved is not None:
            self._check(saved)
        self._compare()
        self.monitor = Monitor(config, self.step, self.total, self.fabric.is_global_zero)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.pool = ImagePool(config.pool)
        self.phi = load_perceptual(config.perceptual, config.perceptual_weights) if config.loss.perceptual else None
        self.selection = Selection(config.out, self.fabric.device)
        self._set_up()
        if saved is not None:
            self._restore()
        if self.generator.tone is not None:
            self.dataset.head = copy.deepcopy(self.generator.tone).cpu()  # photographs are read without the GPU

    def _steps(self, config: TrainConfig) -> int:
        """The total number of steps."""
        samples = max(len(self.dataset.low), len(self.dataset.high))
        per_step = config.batch * int(self.fabric.world_size)
        return config.steps or (config.epochs + config.decay_epochs) * math.ceil(samples / per_step)

    def _set_up(self) -> None:
        config, fabric = self.config, self.fabric
        loss = config.loss
        both = loss.perceptual or loss.identity
        parts = Translations(self.generator) if both else Enhancements(self.generator)
        if not (both or loss.adversarial or loss.classification) and config.domain_style_share == 1:
            parts = Inference(self.generator)
        betas = (0.5, 0.999)
        optimizer_g = torch.optim.Adam(
            [p for p in self.generator.parameters() if p.requires_grad], config.learning_rate, betas
        )
        optimizer_d = torch.optim.Adam(self.discriminator.parameters(), config.discriminator_learning_rate, betas)
        self.translate, self.optimizer_g = fabric.setup(parts, optimizer_g)
        self.score, self.optimizer_d = fabric.setup(self.discriminator, optimizer_d)
        self.average.to(fabric.device)
        if self.phi is not None:
            self.phi.to(fabric.device)

    # Saving and restoring

    def not_finite(self) -> str | None:
        """The name of the first tensor with a NaN or an infinity, or None."""
        tensors = self._state_tensors().items()
        return next((name for name, t in tensors if t.is_floating_point() and not torch.isfinite(t).all()), None)

    def _save_state(self) -> None:
        if self.fabric.is_global_zero:
            write_atomically(self.config.out / STATE_NAME, self._state_tensors(), self._state_description())

    def _state_tensors(self) -> dict[str, Tensor]:
        images = {str(i): image for i, image in enumerate(self.pool.images)}
        groups = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "optimizer_g": optimizer_tensors(self.optimizer_g),
            "optimizer_d": optimizer_tensors(self.optimizer_d),
            "pool": images,
            "sums": self.monitor.sums,  # of the losses since the last line of the log
        }
        return {name: t for prefix, tensors in groups.items() for name, t in with_prefix(prefix, tensors).items()}

    def _state_description(self) -> dict[str, Any]:
        return {
            "format": STATE_FORMAT,
            "step": self.step,
            "total": self.total,
            "history": self.history,
            "photographs": self.photographs,
            "summed": {"steps": self.monitor.count, "names": list(self.monitor.sums)},
            **self.selection.description(),
            "world_size": self.fabric.world_size,
            "job": job(),
            "loss_scale": self.fabric.strategy.precision.state_dict(),  # of 16-mixed; empty otherwise
            "config": to_json_dict(self.config),
        }

    def _check(self, saved: Mapping[str, Any]) -> None:
        """Take over the step and the record of a state; InputError if this run cannot go on from it."""
        options = train_config_from_dict(saved["config"], str(self.config.out / STATE_NAME))
        self._refuse_other_batches(options.batch * saved["world_size"])
        if "photographs" in saved:
            refuse_other_photographs(saved["photographs"], self.dataset)
        elif (now := self._steps(dataclasses.replace(options, batch=self.config.batch))) != saved["total"]:
            raise InputError(  # all that older versions tell of them
                f"{self.config.data} should hold the photographs that the run was started with, for {saved['total']} "
                f"steps, but holds others, for {now}; put them back"
            )
        self.step = saved["step"]
        if self.total < self.step:
            raise InputError(
                f"--steps or --epochs should give at least the {self.step} steps that the run has done but give "
                f"{self.total}; raise them"
            )
        self.changed = changes(saved, self.config)
        self.history = list(saved.get("history", []))
        if self.changed:
            self.history.append({"step": self.step, "changed": self.changed})

    def _refuse_other_batches(self, before: int) -> None:
        """InputError if all processes together would not use as many photographs in a step as before."""
        world_size = self.fabric.world_size
        if self.config.batch * world_size != before:
            fits = f"give --batch {before // world_size}" if before % world_size == 0 else "take as many as before"
            raise InputError(
                f"--batch {self.config.batch} in each of {world_size} processes should make the {before} photographs "
                f"that each step of the run has used but makes {self.config.batch * world_size}; {fits}"
            )

    def _compare(self) -> None:
        """InputError if the first process sees other photographs, or the run at another step."""
        step, photographs = self.fabric.broadcast((self.step, self.photographs))
        for came, expected, name in ((self.photographs, photographs, "data"), (self.step, step, "out")):
            if came != expected:
                raise InputError(
                    f"--{name} {getattr(self.config, name)} should be the same folder for all processes but is another "
                    f"for process {self.fabric.global_rank} than for the first; use one that all machines see"
                )

    def _restore(self) -> None:
        """Load the last checkpoint; InputError if it is damaged."""
        path = self.config.out / STATE_NAME
        tensors, description = read(path, STATE_FORMAT)
        for name in ("generator", "discriminator", "average"):
            load_strictly(getattr(self, name), without_prefix(name, tensors), str(path))
        for name in ("optimizer_g", "optimizer_d"):
            load_optimizer(getattr(self, name), without_prefix(name, tensors))
        device = self.fabric.device
        images = without_prefix("pool", tensors)
        self.pool.images = [images[str(i)].to(device) for i in range(len(images))]
        summed = description.get("summed", {"steps": 0, "names": []})
        self.monitor.sums = {name: tensors[f"sums.{name}"].to(device) for name in summed["names"]}
        self.monitor.count = summed["steps"]
        if "precision" not in self.changed:
            self.fabric.strategy.precision.load_state_dict(description["loss_scale"])
        self.selection.restore(description)
