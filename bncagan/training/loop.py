"""The training loop: eqs. 4 to 9 on unpaired batches. A resumed run ends with the weights of an uninterrupted one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bncagan.config import TrainConfig
from bncagan.data.reading import training_batches
from bncagan.data.samples import Samples
from bncagan.network.checkpoint import save_generator
from bncagan.network.layers import clip_rho
from bncagan.network.model import Generator
from bncagan.training import losses
from bncagan.training.devices import all_of, command, disconnect, expectation, is_lost
from bncagan.training.directions import Translated
from bncagan.training.folder import GENERATOR_NAME, held, in_use, told
from bncagan.training.state import RunState
from bncagan.training.stopping import Stopping
from runtimes.errors import DivergedError, StoppedError, UserError


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


class Trainer(RunState):
    """A run as an algorithm: `fit`."""

    # Losses

    def discriminator_loss(self, batch: Samples, fakes: Tensor) -> Tensor:
        """L_D, eq. 4; one forward pass scores the high-quality, raw and enhanced images."""
        maps = self.score(torch.cat([batch.high, batch.low, fakes]))
        high, low, fake = zip(*(scores.chunk(3) for scores in maps), strict=True)
        return losses.relativistic_hinge_d(high, low, fake, self._expectation)

    def generator_loss(self, batch: Samples, outputs: Translated) -> dict[str, Tensor]:
        """The terms of L_G, eq. 9, without their weights, and their weighted sum as `generator`."""
        weights = self.config.loss
        terms: dict[str, Tensor] = {}
        with self.fabric.autocast():
            if weights.adversarial:
                # Not `self.score`: no gradient reaches D here, and distributed training would wait for one.
                maps = self.discriminator(torch.cat([batch.high, outputs.enhanced]))
                high, fake = zip(*(scores.float().chunk(2) for scores in maps), strict=True)
                terms["adversarial"] = losses.relativistic_hinge_g(high, fake, self._expectation)
            if self.phi is not None:
                terms["perceptual"] = losses.perceptual(self.phi, batch.low, outputs.enhanced)
                terms["perceptual"] += losses.perceptual(self.phi, batch.high, outputs.degraded)
        if weights.identity:
            terms["identity"] = losses.identity(batch.high, outputs.enhanced)
            terms["identity"] += losses.identity(batch.low, outputs.degraded)
        if weights.classification:
            logit_low, logit_high = outputs.logits.chunk(2)
            terms["classification"] = losses.domain_classification(logit_high, logit_low)
        if weights.supervised:
            terms["supervised"] = self._supervised_loss(batch, outputs.enhanced)
        total = sum((getattr(weights, name) * term for name, term in terms.items()), start=batch.low.new_zeros(()))
        return {**terms, "generator": total}

    def _supervised_loss(self, batch: Samples, enhanced: Tensor) -> Tensor:
        """L_sup of this process's renderings; its mean over the processes is that of all renderings of the step."""
        rendered = batch.rendered
        share = rendered.float().mean()
        of_all: Tensor = self.fabric.all_reduce(share.clone(), reduce_op="mean")
        if not rendered.any():
            return 0 * enhanced.sum()
        return losses.supervised(batch.original[rendered], enhanced[rendered]) * (share / of_all)

    def _expectation(self, scores: Tensor) -> Tensor:
        return expectation(self.fabric, scores)

    # The algorithm

    def fit(self) -> None:
        """Train from the current step to the last.

        DivergedError if a loss or a weight is not finite. StoppedError after a signal, if reading the photographs
        fails, or if another process of the run has ended; the state is saved first where it can be. The messages leave
        to the caller what to do next. A process that another one speaks for ends by SystemExit.
        """
        patience = 60 * self.config.patience
        world = self.fabric.global_rank, self.fabric.world_size
        with contextlib.ExitStack() as stack:
            if self.fabric.is_global_zero:
                stack.enter_context(held(self.config.out))
            stack.enter_context(self.monitor)
            self._begin()
            batches = training_batches(self.dataset, self.step, self.total, *world, patience=patience)
            stack.enter_context(contextlib.closing(batches))
            stopping = stack.enter_context(Stopping(self.fabric, 1.5 * patience))
            try:
                for batch in stopping.items(batches):
                    self._step(batch)
                    if self.step % self.config.checkpoint_every == 0 or self.step == self.total:
                        with stopping.unwatched():
                            self._checkpoint()
                    if self.step % self.config.log_every == 0 and self.step < self.total:
                        stopping.agree()
            except (UserError, OSError, RuntimeError) as error:
                self._end(error, stopping)
                raise
        disconnect(self.fabric)

    def _end(self, error: UserError | OSError | RuntimeError, stopping: Stopping) -> None:
        """Save the state after an error between two steps; raise StoppedError, or SystemExit if another one says it.

        Whatever it depends on is the same in all processes, and the first one saves it.
        """
        first = self.fabric.is_global_zero
        if isinstance(error, UserError | OSError) and stopping.between:
            self._refuse_not_finite()
            self._save_state()
        if stopping.agreed:
            disconnect(self.fabric)
        if not first and (stopping.agreed or isinstance(error, DivergedError)):
            raise SystemExit(getattr(error, "exit_code", 1)) from error
        if is_lost(error, self.fabric):
            if not first and in_use(self.config.out):
                raise SystemExit(1) from error
            error = StoppedError("another of its processes has ended")
        if isinstance(error, StoppedError):
            saved = first and stopping.between
            kept = f"step {self.step} is saved" if saved else "the last checkpoint is kept"
            done = f"the run should go on to step {self.total} but {error}; {kept}"
            raise StoppedError(done, error.exit_code) from error

    def _begin(self) -> None:
        if self.step == 0 or self.changed:
            self._save_state()  # so that a run that is killed before its next checkpoint can be resumed
        if self.changed:
            self.monitor.note(self.step, self.changed)
        self.selection.begin(self.monitor)

    def _step(self, batch: Samples) -> None:
        """One step: D, then G, then what follows from G's weights."""
        config, fabric, monitor = self.config, self.fabric, self.monitor
        # The same in all processes, so that together they draw what one would for all of their batches
        rng = torch.Generator().manual_seed(config.seed * self.total + self.step)
        count = len(batch.low)
        own = slice(fabric.global_rank * count, (fabric.global_rank + 1) * count)
        self._set_learning_rates()
        batch = fabric.to_device(batch)
        domain = torch.rand(count * fabric.world_size, generator=rng)[own] < config.domain_style_share
        outputs: Translated = self.translate(batch.low, batch.high, batch.before, fabric.to_device(domain))

        terms = {}
        if config.loss.adversarial:
            fakes = self.pool.query(all_of(fabric, outputs.enhanced.detach()), rng)[own]
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
            monitor.sums = fabric.all_reduce(monitor.sums, reduce_op="mean")
            monitor.log(self.step, {"learning_rate": self.optimizer_g.param_groups[0]["lr"]})

    def _update(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()

    def _set_learning_rates(self) -> None:
        factor = learning_rate_factor(self.step, self.total, self.config)
        self.optimizer_g.param_groups[0]["lr"] = self.config.learning_rate * factor
        self.optimizer_d.param_groups[0]["lr"] = self.config.discriminator_learning_rate * factor

    def _refuse_not_finite(self) -> None:
        bad = self.not_finite()
        if bad is not None:
            raise DivergedError(f"{bad} should be finite but is NaN or infinite after step {self.step}")

    def _checkpoint(self) -> None:
        """Write the state and the averaged generator; also as best.safetensors if its score is the highest so far."""
        self._refuse_not_finite()
        self.fabric.barrier()
        if not self.fabric.is_global_zero:
            return
        out, config = self.config.out, self.config
        validation = self.monitor.validate(self.step, self.average)
        scores = None if validation is None else validation.record()
        training: dict[str, Any] = {"step": self.step, "scores": scores, "config": told(config)}
        if self.history:
            training["history"] = self.history
        save_generator(out / GENERATOR_NAME, self.average, config.model, training)
        if self.selection.takes(validation):
            save_generator(self.selection.path, self.average, config.model, training)
        self._save_state()


def train(config: TrainConfig) -> Path:
    """Train a generator and return the path of its file; with `config.resume`, continue that run.

    UserError if an option, a folder or a photograph cannot be used; DivergedError if a loss or a weight is not finite
    (the last checkpoint is then kept); StoppedError after Ctrl-C, SIGTERM or a failure to read (the state is saved).

        from pathlib import Path
        from bncagan.config import ModelConfig, TrainConfig
        from bncagan.training.loop import train

        config = TrainConfig(data=Path("photographs"), out=Path("run"), model=ModelConfig(width=16), steps=2000)
        if __name__ == "__main__":  # the processes that read photographs import this file, too
            generator_file = train(config)  # run/generator.safetensors
    """
    trainer = Trainer(config)
    goes_on = f"{command()} train --resume {config.out}"
    try:
        trainer.fit()
    except StoppedError as error:
        raise StoppedError(f"{error}, continue with: {goes_on}", error.exit_code) from error
    except DivergedError as error:
        raise DivergedError(
            f"{error}; go on from the last checkpoint with a lower --learning-rate, or with --precision bf16-mixed or "
            f"32-true: {goes_on} --learning-rate {config.learning_rate / 2:g}"
        ) from error
    trainer.fabric.print(f"trained generator: {config.out / GENERATOR_NAME}")
    return config.out / GENERATOR_NAME
