"""Reports of a training run: progress, metrics.jsonl, sample grids, validation, skipped photographs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from bncagan.config import TrainConfig, to_json_dict
from bncagan.data.folders import HIGH_NAMES, LOW_NAMES, SMALLEST, Pair, find_pairs, keep_photographs, training_folder
from bncagan.evaluation.protocols import size_of
from bncagan.evaluation.validation import Show, Validation, measured_on, validate
from bncagan.network.inference import enhance
from bncagan.network.model import Generator
from bncagan.training.folder import CONFIG_NAME, METRICS_NAME, SAMPLES_NAME, in_words
from runtimes.console import terminal
from runtimes.errors import DivergedError, InputError
from runtimes.files import replacing, write_json, write_text
from runtimes.image import Pixels
from runtimes.photographs import find_photographs, read_rgb

GRID_SIDE = 256
GRID_ROWS = 6


class Monitor:
    """Report one run; a context manager that shows a progress bar on a terminal, and lines in a log.

    Only the first process (`active`) writes. What it needs is checked when it is made; files are opened on entering.
    """

    def __init__(self, config: TrainConfig, step: int, total: int, active: bool) -> None:
        self.config, self.active, self.step, self.total = config, active, step, total
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.skipped: set[str] = set()
        self.console = terminal()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = active and self.console.is_terminal
        self.progress = Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not shown)
        self.task = self.progress.add_task("training", total=total, completed=step)
        self.pairs = self._validation_pairs()
        self.keep = self._keep()
        self.tensorboard: Any = None
        self._writer_of = _summary_writer() if active and config.tensorboard else None

    def __enter__(self) -> Monitor:
        if self.active:
            self._open()
        self.progress.start()
        return self

    def _open(self) -> None:
        out = self.config.out
        (out / SAMPLES_NAME).mkdir(parents=True, exist_ok=True)
        write_json(out / CONFIG_NAME, to_json_dict(self.config))
        metrics = out / METRICS_NAME
        kept = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
        lines = [line for line in kept if _step(line) <= self.step]  # steps after the checkpoint will run again
        write_text(metrics, "".join(line + "\n" for line in lines))
        if self._writer_of is not None:
            self.tensorboard = self._writer_of(str(out))

    def _validation_pairs(self) -> list[Pair]:
        """The pairs in DATA/val; UserError, before the first step, if one cannot be decoded or differs in size."""
        folder = self.config.data / "val"
        pairs = find_pairs(folder) if self.active and folder.is_dir() else []
        for pair in pairs:
            low, label = (read_rgb(path, self.config.short_side) for path in pair)
            if low.shape != label.shape:
                raise InputError(
                    f"{pair.label} should have the size of {pair.low} but, at --short-side {self.config.short_side}, "
                    f"is {size_of(label)} and not {size_of(low)} px; crop or resize one"
                )
            if min(low.shape[:2]) < SMALLEST:
                raise InputError(
                    f"{pair.low} should have at least {SMALLEST} x {SMALLEST} px but has {size_of(low)}; "
                    "remove the pair"
                )
        return pairs

    def _keep(self) -> list[Path]:
        """The photographs to leave alone; UserError, before the first step, if one cannot be decoded."""
        if self.active and self.config.keep is not None and not self.pairs:
            raise InputError(
                f"--keep {self.config.keep} should be used with pairs in {self.config.data / 'val'} but there are "
                "none; add some, or leave it out"
            )
        keep = keep_photographs(self.config.data, self.config.keep) if self.pairs else []
        for path in keep:
            read_rgb(path, self.config.short_side)
        return keep

    @property
    def measured_on(self) -> dict[str, Any]:
        """The numbers of the photographs that checkpoints are scored on."""
        return measured_on(self.pairs, self.keep)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.skipped:
            self.console.print(f"skipped photographs that cannot be decoded: {len(self.skipped)}")

    def update(self, terms: Mapping[str, Tensor], skipped: Sequence[str]) -> None:
        """Add the losses of a step to the running sums, and print photographs that are skipped for the first time."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value.detach())) + value.detach()
        self.count += 1
        self.progress.advance(self.task)
        self._name_skipped(skipped)

    def _name_skipped(self, messages: Sequence[str]) -> None:
        for message in messages:
            if message not in self.skipped:
                self.skipped.add(message)
                self.console.print(f"skipped: {message}")

    def log(self, step: int, extra: Mapping[str, float]) -> None:
        """Write the mean losses since the last call; DivergedError if one is not finite."""
        means = {name: total.item() / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"the {bad[0]} loss should be finite but is {means[bad[0]]} at step {step}")
        self._write({"step": step, **means, **extra, "skipped": len(self.skipped)})
        summary = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.progress.update(self.task, description=summary)
        if self.active and not self.console.is_terminal:
            self.console.print(f"step {step}/{self.total}  {summary}", soft_wrap=True)

    def note(self, step: int, changed: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down the options that were changed when the run was resumed."""
        if self.active:
            self._write({"step": step, "changed": changed})
            self.console.print(f"step {step}  changed: {in_words(changed)}", soft_wrap=True)

    def validate(self, step: int, generator: Generator) -> Validation | None:
        """Write a sample grid; with validation pairs, also score the generator, at `short_side` px at most."""
        if not self.pairs:
            self._write_grid(step, [[_tile(low), _tile(enhance(generator, low))] for low in self._examples()])
            return None
        rows: list[list[Pixels]] = []
        validation = self.scored(generator, lambda *row: rows.append(list(map(_tile, row))))
        self._write_grid(step, rows)
        self._write({"step": step, **validation.record()})
        first, *rest = validation.lines()
        for line in (f"step {step}  validation {first}", *(f"  {line}" for line in rest)):
            self.console.print(line, soft_wrap=True)
        return validation

    def scored(self, generator: Generator, show: Show = lambda *_: None) -> Validation:
        """The scores of a generator on the validation pairs, at least one, and on the photographs to leave alone."""
        return validate(lambda low: enhance(generator, low), self.pairs, self.keep, self.config.short_side, show)

    def _examples(self) -> Iterator[Pixels]:
        """The first few training photographs that can be decoded, of the low-quality domain if there is one."""
        names = HIGH_NAMES if self.config.low_from_high == 1 else LOW_NAMES
        for path in find_photographs(training_folder(self.config.data, names))[:GRID_ROWS]:
            try:
                yield read_rgb(path, self.config.short_side)
            except InputError as error:
                self._name_skipped([str(error)])

    def _write_grid(self, step: int, rows: list[list[Pixels]]) -> None:
        """Write evenly chosen rows (tiles of input, output, reference if known) as samples/<step>.png."""
        if not rows:
            return
        chosen = rows[:: max(1, len(rows) // GRID_ROWS)][:GRID_ROWS]
        grid = np.concatenate([np.concatenate(row, axis=1) for row in chosen], axis=0)
        with replacing(self.config.out / SAMPLES_NAME / f"{step:06d}.png") as temporary:
            Image.fromarray(grid).save(temporary)

    def _write(self, record: Mapping[str, Any]) -> None:
        if not self.active:
            return
        with (self.config.out / METRICS_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self.tensorboard is not None:
            for name, value in _scalars(record):
                self.tensorboard.add_scalar(name, value, record["step"])


def _summary_writer() -> Any:
    """TensorBoard's writer, a class; InputError if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise InputError(
            "--tensorboard should find the tensorboard package but it is not installed; "
            "install it with: pip install tensorboard"
        ) from error
    return SummaryWriter


def _tile(picture: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((GRID_SIDE, GRID_SIDE)))


def _scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record by name; those of a record in it are named like kinds/fivek/gain."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield prefix + name, value


def _step(line: str) -> float:
    """The step of a line of metrics.jsonl; infinite for a line that a killed process left incomplete."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
