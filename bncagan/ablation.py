"""The paper's Table 2 at a stated budget: the full network and six reduced ones, trained alike, scored and compared."""

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
from rich.console import Console

from bncagan.config import TrainConfig, options_by_name, to_json_dict
from bncagan.data.folders import Pair, find_pairs
from bncagan.evaluation.intervals import RESAMPLES, SHARE, hierarchical_interval
from bncagan.evaluation.metrics import score
from bncagan.evaluation.scores import SMALLEST, size_of
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.inference import enhance
from bncagan.training.loop import FREE_FIELDS, GENERATOR_NAME, STATE_NAME, Trainer
from runtimes.console import tracked
from runtimes.errors import DivergedError, InputError
from runtimes.photographs import read_rgb

OPTIONS_NAME, SCORES_NAME = "options.json", "scores.json"
SCORES = ("psnr", "ssim")  # those of Table 2


@dataclass(frozen=True)
class Variant:
    """A row of Table 2: its name here, its title in the paper, and what it turns off in the full model."""

    name: str
    title: str
    modules: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


FULL = Variant("full", "BNCAGAN")
# Without AAC nothing classifies domains, so that L_cla goes with it.
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
    """Train every row with every seed, score the runs, and write `report_of` them to `config.out`/ablation.json.

    `config` is the full model; `names` chooses rows, all if empty, the full model always among them. Every run is an
    ordinary one in OUT/<row>-seed<k>. A second call continues: what is finished is neither trained nor scored again.
    UserError, before the first step, if the options contradict each other or those of the first call, or if no
    references can be used; DivergedError names the run whose loss is not finite.
    """
    rows = chosen(names)
    _refuse_contradictions(config, seeds)
    split, pairs, content = references(config.data)
    _start(config)
    console = Console(markup=False, highlight=False)
    runs = [(row, seed) for seed in seeds for row in rows]
    found: dict[str, dict[str, Any]] = {row.name: {} for row in rows}
    for number, (row, seed) in enumerate(runs, start=1):
        console.print(f"run {number} of {len(runs)}: {row.title}, seed {seed}", soft_wrap=True)
        run = run_config(config, row, seed)
        trainer = _trained(run)
        found[row.name][str(seed)] = _scored(run.out, pairs, content, trainer.fabric.device)
    report = report_of(config, trainer.total, split, found)
    _write(config.out / "ablation.json", report)
    return report


def chosen(names: Sequence[str]) -> list[Variant]:
    """The full model and the named rows, all if none is named; InputError names one that there is not."""
    known = [row.name for row in ROWS]
    for name in names:
        if name not in known:
            raise InputError(f"expected rows among {', '.join(known)}, got {name!r}; name one of these")
    return [row for row in ROWS if not names or row.name in {FULL.name, *names}]


def run_config(config: TrainConfig, row: Variant, seed: int) -> TrainConfig:
    """The options of one run: the full model's, but for the row's switches, the seed and the folder."""
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
        raise InputError(f"the rows are told from the full model, but {off[0]} is off in it already; leave it on")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"expected different seeds of at least 0, got {list(seeds)}; name each once")
    if config.seed:
        raise InputError(f"expected the seeds in --seeds, got --seed {config.seed}; name it there")
    if config.resume:
        raise InputError("ablate continues by itself what it finds, but --resume came; leave it out")
    if config.devices * config.num_nodes > 1:
        raise InputError(f"expected one device, got {config.devices * config.num_nodes}; leave --devices out")


def references(data: Path) -> tuple[str, list[Pair], str]:
    """The folder of `data` that is scored on, test or else val, its pairs, and the SHA-256 of their names and pixels.

    InputError if it has neither, or fewer than two pairs, or one that cannot be decoded or is not of one size.
    """
    split = next((name for name in ("test", "val") if (data / name).is_dir()), None)
    if split is None:
        raise InputError(f"{data}: expected references in test or val, each with low and label, got neither; add one")
    pairs = find_pairs(data / split)
    if len(pairs) < 2:
        raise InputError(f"{data / split}: expected at least 2 pairs to compare on, got {len(pairs)}; add some")
    digest = hashlib.sha256()
    for pair in tracked(pairs, f"checking the pairs in {split}"):
        low, label = map(read_rgb, pair)
        if low.shape != label.shape or min(low.shape[:2]) < SMALLEST:
            raise InputError(
                f"{pair.label}: expected the size of its input, at least {SMALLEST} x {SMALLEST} px, got "
                f"{size_of(low)} and {size_of(label)}; crop one"
            )
        digest.update(f"{pair.low.stem}{low.shape}".encode() + low.tobytes() + label.tobytes())
    return split, pairs, digest.hexdigest()


def _options(config: TrainConfig) -> dict[str, Any]:
    """What every run of an ablation must share: with what decides the weights also the photographs and the start."""
    everything = {**to_json_dict(config), "data": str(config.data.resolve())}
    return {name: value for name, value in everything.items() if name not in FREE_FIELDS - {"data", "init"}}


def _start(config: TrainConfig) -> None:
    """Note the options of a new ablation; InputError if `out` holds one that was started with others."""
    path, ours = config.out / OPTIONS_NAME, _options(config)
    if not path.exists() and config.out.exists() and any(config.out.iterdir()):
        raise InputError(f"{config.out}: expected a new or empty folder, or that of an ablation; choose another")
    if any(config.out.glob(f"*/{STATE_NAME}")):
        theirs = options_by_name(json.loads(path.read_text(encoding="utf-8")))
        for name, value in options_by_name(ours).items():
            if theirs.get(name) != value:
                was = f"{config.out}: this ablation was started with {name} = {theirs.get(name)}"
                raise InputError(f"{was}, but got {value}; give the same options, or another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    _write(path, ours)


def _trained(config: TrainConfig) -> Trainer:
    """The run after its last step: trained, resumed at its last checkpoint, or found finished."""
    trainer = Trainer(config)
    if (config.out / STATE_NAME).exists():
        trainer.restore()
    if trainer.step < trainer.total:
        try:
            trainer.fit()
        except DivergedError as error:
            raise DivergedError(f"{config.out}: {error}, for all runs in another --out") from error
    return trainer


def _scored(run: Path, pairs: Sequence[Pair], content: str, device: torch.device) -> dict[str, Any]:
    """Scores of the run's final averaged generator at native size; those found in `run` if of the same files."""
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
            raise InputError(f"{pair.low}: too large for {device}; go on with --accelerator cpu") from error
        if not np.isfinite(scores.psnr):
            raise InputError(f"{pair.label}: expected a finite PSNR, got an output equal to it; take the pair out")
        pictures[pair.low.stem] = scores._asdict()
    scored = {**about, "pictures": pictures}
    _write(path, scored)
    return scored


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """JSON, either the old file or the whole new one, so that a killed process leaves no half."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says, higher being better; one that touches 0 says nothing."""
    return "better" if low > 0 else "worse" if high < 0 else "not distinguished"


def report_of(config: TrainConfig, steps: int, split: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The comparison of scored runs, `found[row][seed]`, as JSON.

    format; config, the full model's options; budget: steps, width, size, crop, batch, seeds, pictures; scored_on, test
    or val; interval: share, resamples; rows, by name: title; psnr and ssim, each with the mean over pictures and seeds,
    the mean of each seed in seeds and, but for the full model, to_full: the difference (the row minus the full model),
    low and high of its interval, the verdict; runs, by seed: run (its folder), the hashes of weights and references,
    and pictures, by name: psnr, ssim and ciede2000.
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
        "interval": {"share": SHARE, "resamples": RESAMPLES},
        "rows": rows,
    }


def _summary(seeds: Sequence[int], scores: NDArray[np.float64], full: NDArray[np.float64]) -> dict[str, Any]:
    """One score of a row, seeds x pictures, and its difference to the full model's, unless it is that."""
    means = {"mean": float(scores.mean()), "seeds": dict(zip(map(str, seeds), scores.mean(1).tolist(), strict=True))}
    if scores is full:
        return means
    low, high = hierarchical_interval(scores - full)
    difference = {"difference": float((scores - full).mean()), "low": low, "high": high}
    return {**means, "to_full": {**difference, "verdict": verdict(low, high)}}
