"""The paper's Table 2 with a given budget: train the full network and six reduced ones alike, score and compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bncagan.config import TrainConfig, option, refuse_other_options, to_json_dict
from bncagan.data.folders import Pair, find_pairs
from bncagan.evaluation.intervals import INTERVAL, crossed_interval
from bncagan.evaluation.metrics import score
from bncagan.evaluation.scores import SMALLEST, size_of
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.inference import enhance
from bncagan.training.loop import FREE_FIELDS, GENERATOR_NAME, STATE_NAME, Trainer
from runtimes.console import terminal, tracked
from runtimes.errors import DivergedError, InputError
from runtimes.files import write_json
from runtimes.photographs import read_rgb

OPTIONS_NAME, SCORES_NAME = "options.json", "scores.json"
SCORES = ("psnr", "ssim")  # the scores of Table 2


@dataclass(frozen=True)
class Variant:
    """A row of Table 2."""

    name: str
    """Name on the command line and in reports."""
    title: str
    """Title in the paper."""
    modules: tuple[str, ...] = ()
    """Switches of `ModelConfig` that are off in it."""
    losses: tuple[str, ...] = ()
    """Losses whose weight is 0 in it."""


FULL = Variant("full", "BNCAGAN")
# Without the AAC there is no domain classifier, so L_cla is off as well.
ROWS = (
    FULL,
    Variant("without-aac", "BNCAGAN w/o AAC", modules=("use_aac",), losses=("classification",)),
    Variant("without-bnm", "BNCAGAN w/o BNM", modules=("use_bnm",)),
    Variant("without-cam", "BNCAGAN w/o CAM", modules=("use_cam",)),
    Variant("without-idt", "BNCAGAN w/o L_idt", losses=("identity",)),
    Variant("without-cla", "BNCAGAN w/o L_cla", losses=("classification",)),
    Variant("without-idt-cla", "BNCAGAN w/o L_idt, w/o L_cla", losses=("identity", "classification")),
)


def ablate(config: TrainConfig, seeds: Sequence[int] = (0, 1), names: Sequence[str] = ()) -> dict[str, Any]:
    """Train every row with every seed, score the runs, and write the report to `config.out`/ablation.json.

    `config` describes the full model. `names` chooses the rows; all if empty, and always the full model. Every run has
    a folder, OUT/<row>-seed<k>. A second call continues the first: finished runs are not trained or scored again.
    Returns the report (`report_of`). UserError, before the first step, if the options cannot be used or differ from
    those of the first call, or if the references cannot be used; DivergedError names the run that diverged.
    """
    rows = chosen(names)
    _refuse_contradictions(config, seeds)
    split, pairs, content = references(config.data)
    _start(config)
    console = terminal()
    runs = [(row, seed) for seed in seeds for row in rows]
    found: dict[str, dict[str, Any]] = {row.name: {} for row in rows}
    for number, (row, seed) in enumerate(runs, start=1):
        console.print(f"run {number} of {len(runs)}: {row.title}, seed {seed}", soft_wrap=True)
        run = run_config(config, row, seed)
        trainer = _trained(run)
        found[row.name][str(seed)] = _scored(run.out, pairs, content, trainer.fabric.device)
    report = report_of(config, trainer.total, split, found)
    write_json(config.out / "ablation.json", report)
    return report


def chosen(names: Sequence[str]) -> list[Variant]:
    """The full model and the named rows, or all rows if none is named; InputError if a name is unknown."""
    known = [row.name for row in ROWS]
    for name in names:
        if name not in known:
            raise InputError(f"--only should name rows among {', '.join(known)} but names {name!r}; use one of these")
    return [row for row in ROWS if not names or row.name in {FULL.name, *names}]


def run_config(config: TrainConfig, row: Variant, seed: int) -> TrainConfig:
    """The options of one run: those of the full model, with the switches of the row, the seed and its own folder."""
    return replace(
        config,
        model=replace(config.model, **dict.fromkeys(row.modules, False)),
        loss=replace(config.loss, **dict.fromkeys(row.losses, 0.0)),
        seed=seed,
        out=config.out / f"{row.name}-seed{seed}",
    )


def _refuse_contradictions(config: TrainConfig, seeds: Sequence[int]) -> None:
    off = [f"model.{name}" for name in ("use_aac", "use_bnm", "use_cam") if not getattr(config.model, name)]
    off += [f"loss.{name}" for name in ("adversarial", "identity", "classification") if not getattr(config.loss, name)]
    if off:
        raise InputError(f"{option(off[0])} should be on in the full model but is off; leave it on")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        given = " ".join(map(str, seeds)) or "empty"
        raise InputError(f"--seeds should be different numbers of at least 0 but is {given}; name each seed once")
    if config.seed:
        raise InputError(f"--seed should be left out of ablate but is {config.seed}; use --seeds")
    if config.resume:
        raise InputError("--resume should be left out of ablate but is on; leave it out, ablate continues by itself")
    for name in ("devices", "num_nodes"):
        if getattr(config, name) > 1:
            raise InputError(f"{option(name)} should be 1 for ablate but is {getattr(config, name)}; leave it out")


def references(data: Path) -> tuple[str, list[Pair], str]:
    """The folder of `data` to score on (test, else val), its pairs, and the SHA-256 of their names and pixels.

    InputError if there is neither folder, if there are fewer than two pairs, or if a pair cannot be decoded or its
    pictures differ in size.
    """
    split = next((name for name in ("test", "val") if (data / name).is_dir()), None)
    if split is None:
        raise InputError(f"{data} should hold test or val, with low and label in it, but holds neither; add one")
    pairs = find_pairs(data / split)
    if len(pairs) < 2:
        raise InputError(f"{data / split} should hold at least 2 pairs but holds {len(pairs)}; add some")
    digest = hashlib.sha256()
    for pair in tracked(pairs, f"checking the pairs in {split}"):
        low, label = map(read_rgb, pair)
        if low.shape != label.shape or min(low.shape[:2]) < SMALLEST:
            raise InputError(
                f"{pair.label} should have the size of its input and at least {SMALLEST} x {SMALLEST} px but has "
                f"{size_of(label)}, and its input {size_of(low)}; crop one of them"
            )
        digest.update(f"{pair.low.stem}{low.shape}".encode() + low.tobytes() + label.tobytes())
    return split, pairs, digest.hexdigest()


def _options(config: TrainConfig) -> dict[str, Any]:
    """The options that all runs of an ablation share, including the photographs and the weights to start from."""
    everything = {**to_json_dict(config), "data": str(config.data.resolve())}
    return {name: value for name, value in everything.items() if name not in FREE_FIELDS - {"data", "init"}}


def _start(config: TrainConfig) -> None:
    """Write down the options of a new ablation; InputError if `out` holds one with other options."""
    path, ours = config.out / OPTIONS_NAME, _options(config)
    if not path.exists() and config.out.exists() and any(config.out.iterdir()):
        raise InputError(
            f"{config.out} should be a new or empty folder, or that of an ablation, but holds other files; "
            "choose another --out"
        )
    if any(config.out.glob(f"*/{STATE_NAME}")):
        refuse_other_options(config.out, json.loads(path.read_text(encoding="utf-8")), ours)
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(path, ours)


def _trained(config: TrainConfig) -> Trainer:
    """Train a run to its last step: from the start, from its last checkpoint, or not at all if it is finished."""
    trainer = Trainer(config)
    if (config.out / STATE_NAME).exists():
        trainer.restore()
    if trainer.step < trainer.total:
        try:
            trainer.fit()
        except DivergedError as error:
            raise DivergedError(f"{config.out}: {error}, for all runs and in another --out") from error
    return trainer


def _scored(run: Path, pairs: Sequence[Pair], content: str, device: torch.device) -> dict[str, Any]:
    """Score the averaged generator of a run at native size, or read its scores if weights and pairs are unchanged."""
    generator, _ = load_generator(run / GENERATOR_NAME)
    about = {"run": run.name, "weights_sha256": weights_sha256(generator.state_dict()), "references_sha256": content}
    path = run / SCORES_NAME
    if path.exists():
        scored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about.items() <= scored.items():
            return scored
    pictures = {}
    generator.to(device)
    for pair in tracked(pairs, f"scoring {run.name}"):
        low, label = map(read_rgb, pair)
        try:
            scores = score(enhance(generator, low), label)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{pair.low} should fit into the memory of {device} but does not; continue with --accelerator cpu"
            ) from error
        if not np.isfinite(scores.psnr):
            raise InputError(
                f"{pair.label} should differ from the output but equals it (infinite PSNR); remove the pair"
            )
        pictures[pair.low.stem] = scores._asdict()
    scored = {**about, "pictures": pictures}
    write_json(path, scored)
    return scored


def verdict(low: float, high: float) -> str:
    """What the interval of a difference shows, if higher is better; an interval that includes 0 shows nothing."""
    return "better" if low > 0 else "worse" if high < 0 else "not distinguished"


def report_of(config: TrainConfig, steps: int, split: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the scored runs, `found[row][seed]`; returns JSON values.

    format, scored_on (test or val)
    config: the options of the full model
    budget: steps, width, size, crop, batch, seeds, pictures
    interval: method, share
    rows, by name:
        title
        psnr, ssim: mean (over pictures and seeds); seeds (the mean of each); to_full, not for the full model:
            difference (row minus full model), low and high (its interval), verdict
        runs, by seed: run (its folder), weights_sha256, references_sha256, pictures (psnr, ssim, ciede2000 by name)
    """

    def table(row: Variant, name: str) -> NDArray[np.float64]:
        return np.array([[one[name] for one in run["pictures"].values()] for run in found[row.name].values()])

    seeds, rows = [int(seed) for seed in found[FULL.name]], {}
    full = {name: table(FULL, name) for name in SCORES}
    for row in chosen(list(found)):
        scores = {name: _summary(seeds, full[name] if row is FULL else table(row, name), full[name]) for name in SCORES}
        rows[row.name] = {"title": row.title, **scores, "runs": found[row.name]}
    budget = {"steps": steps, "width": config.model.width, "size": config.size, "crop": config.crop}
    return {
        "format": "bncagan-ablation-1",
        "config": {name: value for name, value in _options(config).items() if name not in {"data", "seed"}},
        "budget": {**budget, "batch": config.batch, "seeds": seeds, "pictures": full["psnr"].shape[1]},
        "scored_on": split,
        "interval": INTERVAL,
        "rows": rows,
    }


def _summary(seeds: Sequence[int], scores: NDArray[np.float64], full: NDArray[np.float64]) -> dict[str, Any]:
    """Means of one score of a row (seeds x pictures), and the difference to the full model unless it is the row."""
    means = {"mean": float(scores.mean()), "seeds": dict(zip(map(str, seeds), scores.mean(1).tolist(), strict=True))}
    if scores is full:
        return means
    low, high = crossed_interval(scores - full)
    difference = {"difference": float((scores - full).mean()), "low": low, "high": high}
    return {**means, "to_full": {**difference, "verdict": verdict(low, high)}}
