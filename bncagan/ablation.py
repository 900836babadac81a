"""The paper's Table 2 with a given budget: train the full network and six reduced ones alike, score and compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bncagan.config import TrainConfig, option, refuse_other_options, to_json_dict
from bncagan.data.folders import Pair, find_pairs, pair_folder
from bncagan.evaluation.intervals import INTERVAL, crossed_interval
from bncagan.evaluation.methods import network_method
from bncagan.evaluation.metrics import score
from bncagan.evaluation.protocols import Protocol, prepared_pair, read_pair, scored_part
from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.training.folder import FREE_FIELDS, GENERATOR_NAME, STATE_NAME, described, told
from bncagan.training.loop import Trainer
from runtimes.console import terminal, tracked
from runtimes.errors import DivergedError, InputError, StoppedError
from runtimes.files import write_json
from runtimes.photographs import read_rgb

OPTIONS_NAME = "options.json"
SCORES_NAMES: dict[Protocol, str] = {"native": "scores.json", "paper": "scores-paper.json"}
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


def ablate(
    config: TrainConfig, seeds: Sequence[int] = (0, 1), names: Sequence[str] = (), protocol: Protocol = "native"
) -> dict[str, Any]:
    """Train every row with every seed, score the runs, and write the report to `config.out`/ablation.json.

    `config` describes the full model. `names` chooses the rows; all if empty, and always the full model. Every run has
    a folder, OUT/<row>-seed<k>. A second call continues the first: finished runs are not trained or scored again, and
    the report has those of all calls. Returns the report (`report_of`). UserError, before the first step, if the
    options cannot be used or differ from those of the first call, or if the references cannot be used; DivergedError
    names the run that diverged.
    """
    rows = chosen(names)
    _refuse_contradictions(config, seeds)
    split, pairs, content = references(config.data, protocol)
    _start(config)
    console = terminal()
    runs = [(row, seed) for seed in seeds for row in rows]
    found: dict[str, dict[str, Any]] = {row.name: {} for row in rows}
    for number, (row, seed) in enumerate(runs, start=1):
        console.print(f"run {number} of {len(runs)}: {row.title}, seed {seed}", soft_wrap=True)
        run = run_config(config, row, seed)
        trainer = _trained(run)
        found[row.name][str(seed)] = _scored(run.out, References(pairs, content, protocol), trainer.fabric.device)
    for row, seed, out in _finished(config.out):
        if str(seed) not in found.setdefault(row.name, {}):
            found[row.name][str(seed)] = _scored(out, References(pairs, content, protocol), trainer.fabric.device)
    report = report_of(config, trainer.total, {"scored_on": split, "protocol": protocol}, found)
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
        raise InputError(f"--resume should be left out of ablate but is {config.resume}; ablate continues by itself")
    for name in ("devices", "num_nodes"):
        if getattr(config, name) > 1:
            raise InputError(f"{option(name)} should be 1 for ablate but is {getattr(config, name)}; leave it out")


class References(NamedTuple):
    """What the runs are scored on."""

    pairs: Sequence[Pair]
    """The pairs of photographs."""
    content: str
    """SHA-256 of their names and pixels."""
    protocol: Protocol
    """Protocol of the scores."""


def references(data: Path, protocol: Protocol = "native") -> tuple[str, list[Pair], str]:
    """The folder of `data` to score on (test, else val), its pairs, and the SHA-256 of their names and pixels.

    InputError if there is neither folder, if there are fewer than two pairs, or if a pair cannot be decoded or, at
    native size, its pictures differ in size.
    """
    split = next((name for name in ("test", "val") if pair_folder(data, name) is not None), None)
    folder = None if split is None else pair_folder(data, split)
    if split is None or folder is None:
        raise InputError(f"{data} should hold test or val, with low and label in it, but holds neither; add one")
    pairs = find_pairs(folder)
    if len(pairs) < 2:
        raise InputError(f"{folder} should hold at least 2 pairs but holds {len(pairs)}; add some")
    digest = hashlib.sha256()
    for pair in tracked(pairs, f"checking the pairs in {split}"):
        low, label = map(read_rgb, pair)
        prepared_pair(pair, low, label, protocol)
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
    state = config.out / STATE_NAME
    if state.exists():
        refuse_other_options(state, described(state)["config"], told(config))
        config = replace(config, resume=config.out)
    trainer = Trainer(config)
    if trainer.step < trainer.total:
        try:
            trainer.fit()
        except DivergedError as error:
            raise DivergedError(
                f"{config.out}: {error}; start again with a lower --learning-rate, or with --precision bf16-mixed or "
                "32-true, for all runs and in another --out"
            ) from error
        except StoppedError as error:
            raise StoppedError(f"{config.out}: {error}, continue with the same command", error.exit_code) from error
    return trainer


def _finished(out: Path) -> Iterator[tuple[Variant, int, Path]]:
    """The runs in the folder of an ablation that were scored once, and so are finished: row, seed and folder."""
    for row in ROWS:
        for run in out.glob(f"{row.name}-seed*"):
            seed = run.name.removeprefix(f"{row.name}-seed")
            if seed.isdigit() and any((run / name).exists() for name in SCORES_NAMES.values()):
                yield row, int(seed), run


def _scored(run: Path, on: References, device: torch.device) -> dict[str, Any]:
    """Score the averaged generator of a run, or read its scores if weights and pairs are unchanged.

    A picture that equals its reference has an infinite PSNR, which is None.
    """
    generator, _ = load_generator(run / GENERATOR_NAME)
    about = {"run": run.name, "weights_sha256": weights_sha256(generator.state_dict()), "references_sha256": on.content}
    path = run / SCORES_NAMES[on.protocol]
    if path.exists():
        scored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if about.items() <= scored.items():
            return scored
    method = network_method(generator.to(device), mend="continue with --accelerator cpu")
    pictures = {}
    for pair in tracked(on.pairs, f"scoring {run.name}"):
        low, label = read_pair(pair, on.protocol)
        enhanced = scored_part(method(pair, low), on.protocol)
        scores = score(enhanced, scored_part(label, on.protocol))._asdict()
        pictures[pair.low.stem] = scores | {"psnr": scores["psnr"] if np.isfinite(scores["psnr"]) else None}
    scored = {**about, "pictures": pictures}
    write_json(path, scored)
    return scored


def verdict(low: float, high: float) -> str:
    """What the interval of a difference shows, if higher is better; an interval that includes 0 shows nothing."""
    return "better" if low > 0 else "worse" if high < 0 else "not distinguished"


def report_of(
    config: TrainConfig, steps: int, scored: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Compare the scored runs, `found[row][seed]`; returns JSON values.

    format, and what `scored` holds: scored_on (test or val), protocol
    config: the options of the full model
    budget: steps, width, size, crop, batch, seeds, pictures
    identical: names of pictures that are left out, because one of the runs made exactly their reference
    interval: method, share
    rows, by name:
        title
        psnr, ssim: mean (over pictures and seeds); seeds (the mean of each); to_full, not for the full model:
            difference (row minus full model, on the seeds that both have), low and high (its interval), verdict
        runs, by seed: run (its folder), weights_sha256, references_sha256, pictures (psnr, ssim, ciede2000 by name)
    """
    everything = [run["pictures"] for runs in found.values() for run in runs.values()]
    identical = sorted({name for run in everything for name, each in run.items() if each["psnr"] is None})
    left = [name for name in everything[0] if name not in identical]
    if not left:
        raise InputError("references should differ from what the runs made of them but none does; add other pairs")

    def table(row: str, name: str) -> dict[int, NDArray[np.float64]]:
        runs = sorted((int(seed), run["pictures"]) for seed, run in found[row].items())
        return {seed: np.array([pictures[each][name] for each in left]) for seed, pictures in runs}

    full, rows = {name: table(FULL.name, name) for name in SCORES}, {}
    for row in chosen(list(found)):
        tables = {name: table(row.name, name) for name in SCORES}
        summaries = {name: _summary(each, None if row is FULL else full[name]) for name, each in tables.items()}
        rows[row.name] = {"title": row.title, **summaries, "runs": found[row.name]}
    seeds = sorted({int(seed) for runs in found.values() for seed in runs})
    budget = {"steps": steps, "width": config.model.width, "size": config.size, "crop": config.crop}
    return {
        "format": "bncagan-ablation-1",
        "config": {name: value for name, value in _options(config).items() if name not in {"data", "seed"}},
        "budget": {**budget, "batch": config.batch, "seeds": seeds, "pictures": len(left)},
        **scored,
        "identical": identical,
        "interval": INTERVAL,
        "rows": rows,
    }


def _summary(
    scores: Mapping[int, NDArray[np.float64]], full: Mapping[int, NDArray[np.float64]] | None
) -> dict[str, Any]:
    """Means of one score of a row (of the pictures, by seed), and the difference to the full model if that is given."""
    means = {"mean": float(np.mean(list(scores.values())))}
    summary = {**means, "seeds": {str(seed): float(each.mean()) for seed, each in scores.items()}}
    shared = [] if full is None else [seed for seed in scores if seed in full]
    if full is None or not shared:
        return summary
    differences = np.stack([scores[seed] - full[seed] for seed in shared])
    low, high = crossed_interval(differences)
    difference = {"difference": float(differences.mean()), "low": low, "high": high}
    return {**summary, "to_full": {**difference, "verdict": verdict(low, high)}}
