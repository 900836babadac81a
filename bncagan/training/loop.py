"""The training loop: eqs. 4 to 9 on unpaired batches. A resumed run ends with the weights of an uninterrupted one."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bncagan.config import TrainConfig, refuse_other_options, to_json_dict
from bncagan.data.samples import Samples, UnpairedDataset, training_loader
from bncagan.network.checkpoint import (
    STATE_FORMAT,
    load_optimizer,
    load_strictly,
    optimizer_tensors,
    read,
    save_generator,
    with_prefix,
    without_prefix,
    write_atomically,
)
from bncagan.network.layers import clip_rho
from bncagan.network.model import Discriminator, Generator
from bncagan.training import losses
from bncagan.training.devices import launch
from bncagan.training.directions import Enhancements, Inference, Translated, Translations
from bncagan.training.monitoring import HOW_TO_GO_ON, Monitor
from bncagan.training.perceptual import load_perceptual
from bncagan.training.pool import ImagePool
from bncagan.training.selection import Selection
from bncagan.training.start import start
from runtimes.errors import DivergedError, InputError

STATE_NAME = "state.safetensors"
GENERATOR_NAME = "generator.safetensors"
# Options that may change when a run is resumed, because they do not affect the weights.
FREE_FIELDS = {
    *("data", "keep", "out", "init", "resume", "workers", "accelerator", "perceptual_weights", "tensorboard", "cache"),
}


def learning_rate_factor(step: int, total: int, config: TrainConfig) -> float:
    """Factor of the learning rate: 1 in the first phase, then falling linearly to 0 at the end of the second."""
    constant = total * config.epochs / (config.epochs + config.decay_epochs)
    return 1.0 if step < constant else (total - step) / (total - constant)


@torch.no_grad()
def update_average(average: Generator, generator: Generator, decay: float, step: int) -> None:
    """Update the moving average of the weights; the decay starts low, so that early weights are soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    for weight, new in zip(average.parameters(), generator.parameters(), strict=True):
        weight.lerp_(new, 1 - decay)
    for statistic, current in zip(average.buffers(), generator.buffers(), strict=True):
        statistic.copy_(current)


class Trainer:
    """The parts of a run: networks, optimizers, data and state; `fit` is the algorithm."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.fabric = launch(config)
        torch.manual_seed(config.seed)
        self.generator, self.discriminator = Generator(config.model), Discriminator(config.model)
        start(self.generator, config)
        self.dataset = UnpairedDataset(config, self.generator.tone)
        self.total = config.steps or self._steps_of(config.epochs + config.decay_epochs)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.pool = ImagePool(config.pool)
        self.phi = load_perceptual(config.perceptual, config.perceptual_weights) if config.loss.perceptual else None
        self.step = 0
        self.selection = Selection(config.out, self.fabric.device)
        self._set_up()

    def _steps_of(self, epochs: int) -> int:
        samples = max(len(self.dataset.low), len(self.dataset.high))
        per_step = self.config.batch * int(self.fabric.world_size)
        return epochs * math.ceil(samples / per_step)

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

    # Losses

    def discriminator_loss(self, batch: Samples, fakes: Tensor) -> Tensor:
        """L_D, eq. 4; one forward pass scores the high-quality, raw and enhanced images."""
        maps = self.score(torch.cat([batch.high, batch.low, fakes]))
        high, low, fake = zip(*(scores.chunk(3) for scores in maps), strict=True)
        return losses.relativistic_hinge_d(high, low, fake)

    def generator_loss(self, batch: Samples, outputs: Translated) -> dict[str, Tensor]:
        """The terms of L_G, eq. 9, without their weights, and their weighted sum as `generator`."""
        weights = self.config.loss
        terms: dict[str, Tensor] = {}
        with self.fabric.autocast():
            if weights.adversarial:
                # Not `self.score`: no gradient reaches D here, and distributed training would wait for one.
                maps = self.discriminator(torch.cat([batch.high, outputs.enhanced]))
                high, fake = zip(*(scores.float().chunk(2) for scores in maps), strict=True)
                terms["adversarial"] = losses.relativistic_hinge_g(high, fake)
            if self.phi is not None:
                terms["perceptual"] = losses.perceptual(self.phi, batch.low, outputs.enhanced)
                terms["perceptual"] += losses.perceptual(self.phi, batch.high, outputs.degraded)
        if weights.identity:
            terms["identity"] = losses.identity(batch.high, outputs.enhanced)
            terms["identity"] += losses.identity(batch.low, outputs.degraded)
        if weights.classification:
            logit_low, logit_high = outputs.logits.chunk(2)
            terms["classification"] = losses.domain_classification(logit_high, logit_low)
        if weights.supervised and bool(batch.rendered.any()):
            rendered = batch.rendered
            terms["supervised"] = losses.supervised(batch.original[rendered], outputs.enhanced[rendered])
        total = sum((getattr(weights, name) * term for name, term in terms.items()), start=batch.low.new_zeros(()))
        return {**terms, "generator": total}

    # The algorithm

    def fit(self) -> None:
        """Train from the current step to the last; DivergedError if a loss or a weight is not finite."""
        config, fabric = self.config, self.fabric
        batches = training_loader(self.dataset, self.step, self.total, fabric.global_rank, fabric.world_size)
        with Monitor(config, self.step, self.total, fabric.is_global_zero) as monitor:
            if self.step == 0:
                self._save_state()  # so that a run that is killed before its first checkpoint can be resumed
            self.selection.begin(monitor)
            for batch in _named_errors(batches):
                rng = torch.Generator().manual_seed(
                    (config.seed * self.total + self.step) * fabric.world_size + fabric.global_rank
                )
                self._set_learning_rates()
                batch = fabric.to_device(batch)  # noqa: PLW2901 (the same batch)
                domain = torch.rand(len(batch.low), generator=rng) < config.domain_style_share
                outputs: Translated = self.translate(batch.low, batch.high, fabric.to_device(domain))

                terms = {}
                if config.loss.adversarial:
                    fakes = self.pool.query(outputs.enhanced.detach(), rng)
                    terms["discriminator"] = self.discriminator_loss(batch, fakes)
                    self._update(self.optimizer_d, terms["discriminator"])

                self.discriminator.requires_grad_(False)
                terms |= self.generator_loss(batch, outputs)
                self._update(self.optimizer_g, terms["generator"])
                self.discriminator.requires_grad_(True)

                clip_rho(self.generator)
                style = torch.stack([part.detach().float().mean(0, keepdim=True) for part in outputs.high_style])
                self.generator.update_running_style(fabric.all_reduce(style, reduce_op="mean"))
                update_average(self.average, self.generator, config.ema_decay, self.step)
                self.step += 1

                monitor.update(terms, batch.skipped)
                if self.step % config.log_every == 0 or self.step == self.total:
                    monitor.log(self.step, {"learning_rate": self.optimizer_g.param_groups[0]["lr"]})
                if self.step % config.checkpoint_every == 0 or self.step == self.total:
                    self._checkpoint(monitor)

    def _update(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()

    def _set_learning_rates(self) -> None:
        factor = learning_rate_factor(self.step, self.total, self.config)
        self.optimizer_g.param_groups[0]["lr"] = self.config.learning_rate * factor
        self.optimizer_d.param_groups[0]["lr"] = self.config.discriminator_learning_rate * factor

    # Checkpoints

    def _checkpoint(self, monitor: Monitor) -> None:
        """Write the state and the averaged generator; also as best.safetensors if its score is the highest so far."""
        bad = [n for n, t in self._state_tensors().items() if t.is_floating_point() and not torch.isfinite(t).all()]
        if bad:
            raise DivergedError(
                f"{bad[0]} should be finite but is NaN or infinite after step {self.step}; {HOW_TO_GO_ON}"
            )
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return
        out, config = self.config.out, self.config
        validation = monitor.validate(self.step, self.average)
        scores = None if validation is None else validation.record()
        told = {name: value for name, value in to_json_dict(config).items() if name not in FREE_FIELDS}
        training = {"step": self.step, "scores": scores, "config": told}  # leaves out the paths of this machine
        save_generator(out / GENERATOR_NAME, self.average, config.model, training)
        if self.selection.takes(validation):
            save_generator(self.selection.path, self.average, config.model, training)
        self._save_state()

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
        }
        return {name: t for prefix, tensors in groups.items() for name, t in with_prefix(prefix, tensors).items()}

    def _state_description(self) -> dict[str, Any]:
        return {
            "format": STATE_FORMAT,
            "step": self.step,
            "total": self.total,
            **self.selection.description(),
            "world_size": self.fabric.world_size,
            "loss_scale": self.fabric.strategy.precision.state_dict(),  # of 16-mixed; empty otherwise
            "config": to_json_dict(self.config),
        }

    def restore(self) -> None:
        """Load the last checkpoint in `out`; InputError if there is none, or if it was made with other options."""
        path = self.config.out / STATE_NAME
        tensors, description = read(path, STATE_FORMAT)
        ours = self._state_description()
        asked = {name: value for name, value in ours["config"].items() if name not in FREE_FIELDS}
        refuse_other_options(path, description["config"], asked)
        for name, what in (("total", "steps in total"), ("world_size", "processes")):
            if description.get(name) != ours[name]:
                raise InputError(
                    f"{path} should be of a run with {ours[name]} {what} but is of one with {description.get(name)}; "
                    "resume with the same photographs and devices"
                )
        for name in ("generator", "discriminator", "average"):
            load_strictly(getattr(self, name), without_prefix(name, tensors), str(path))
        for name in ("optimizer_g", "optimizer_d"):
            load_optimizer(getattr(self, name), without_prefix(name, tensors))
        images = without_prefix("pool", tensors)
        self.pool.images = [images[str(i)].to(self.fabric.device) for i in range(len(images))]
        self.fabric.strategy.precision.load_state_dict(description["loss_scale"])
        self.step = description["step"]
        self.selection.restore(description)


def _named_errors(batches: Iterable[Samples]) -> Iterator[Samples]:
    """Yield the batches; an error of a reading process comes with its traceback, whose last line is the message."""
    try:
        yield from batches
    except InputError as error:
        raise InputError(str(error).strip().splitlines()[-1].removeprefix("runtimes.errors.InputError: ")) from error


def train(config: TrainConfig) -> Path:
    """Train a generator and return the path of its file; with `config.resume`, continue the run in `config.out`.

    UserError if an option, a folder or a photograph cannot be used; DivergedError if a loss or a weight is not finite
    (the last checkpoint is then kept).

        from pathlib import Path
        from bncagan.config import ModelConfig, TrainConfig
        from bncagan.training.loop import train

        config = TrainConfig(data=Path("photographs"), out=Path("run"), model=ModelConfig(width=16), steps=2000)
        if __name__ == "__main__":  # the processes that read photographs import this file, too
            generator_file = train(config)  # run/generator.safetensors
    """
    state = config.out / STATE_NAME
    if not config.resume and config.out.exists() and any(config.out.iterdir()):
        raise InputError(
            f"{config.out} should be a new or empty folder but holds files; choose another, or pass --resume"
        )
    if config.resume and not state.exists():
        raise InputError(f"{state} should be the checkpoint to resume from but does not exist; leave --resume out")
    trainer = Trainer(config)
    if config.resume:
        trainer.restore()
    trainer.fit()
    trainer.fabric.print(f"trained generator: {config.out / GENERATOR_NAME}")
    return config.out / GENERATOR_NAME
