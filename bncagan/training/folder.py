"""The folder of a run: what the run was made with, what may change when it goes on, and what a failed start left."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bncagan.config import TrainConfig, option, refuse_other_options, to_json_dict, train_config_from_dict
from bncagan.data.samples import UnpairedDataset
from bncagan.network.checkpoint import STATE_FORMAT, read_description
from bncagan.training.devices import job
from runtimes.errors import ArtifactError, InputError
from runtimes.files import sweep
from runtimes.schema import parse_object

if sys.platform != "win32":
    import fcntl

STATE_NAME = "state.safetensors"
GENERATOR_NAME = "generator.safetensors"
CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
SAMPLES_NAME = "samples"
LOCK_NAME = "run.lock"  # held by a run that is going on
PARTIAL_NAME = f"{STATE_NAME}.partial"  # left by a first checkpoint of an older version
# What is there before the first step
FIRST_NAMES = {STATE_NAME, CONFIG_NAME, METRICS_NAME, SAMPLES_NAME, LOCK_NAME, PARTIAL_NAME}
# Options that may differ when a run is resumed, because they do not affect the weights.
FREE_FIELDS = {
    *("data", "keep", "out", "init", "resume", "workers", "accelerator", "perceptual_weights", "tensorboard", "cache"),
    "patience",
}
# Options that may be changed when a run is resumed; the change is recorded.
CHANGEABLE = (
    *("learning_rate", "discriminator_learning_rate", "precision", "steps", "epochs", "decay_epochs"),
    *("log_every", "checkpoint_every"),
    *("batch", "devices", "num_nodes"),  # if their product stays
)
UNCHANGED = (
    f"leave it out, because a run may only change {', '.join(map(option, CHANGEABLE[:-1]))} and "
    f"{option(CHANGEABLE[-1])}; the weights could not be made again from the record of any other change"
)


def told(config: TrainConfig) -> dict[str, Any]:
    """The options that a run depends on, as JSON values: without the paths of this machine."""
    return {name: value for name, value in to_json_dict(config).items() if name not in FREE_FIELDS}


def options_of(run: Path) -> TrainConfig:
    """The options to continue a run with: its own; InputError if the folder holds no run.

    train(dataclasses.replace(options_of(Path("runs/mine")), learning_rate=5e-5))
    """
    state, written = run / STATE_NAME, run / CONFIG_NAME
    if state.exists():
        values, source = described(state)["config"], state
    elif written.exists():
        try:
            values, source = parse_object(written.read_text(encoding="utf-8"), str(written)), written
        except ArtifactError as error:
            raise InputError(str(error)) from error
    else:
        raise InputError(
            f"--resume {run} should name the folder of a run but holds no {STATE_NAME}; "
            f"check the path, or start a run with --out"
        )
    return dataclasses.replace(train_config_from_dict({**values, "out": str(run)}, str(source)), resume=run)


def described(state: Path) -> dict[str, Any]:
    """The description in a state file; InputError if it is damaged or of another kind."""
    description = read_description(state, STATE_FORMAT)
    for name, kind in (("step", int), ("total", int), ("world_size", int), ("config", dict)):
        if not isinstance(description.get(name), kind):
            raise InputError(f"{state} should say the {name} of its run but does not; put back the file that it wrote")
    return description


def prepare(config: TrainConfig) -> dict[str, Any] | None:
    """Make the folder ready; returns the description of the state to go on from, or None for a run from the start.

    What a failed start left is taken over. A run that torchrun starts again is one to be resumed. InputError if a new
    run would overwrite files, or if one to be resumed has no state or was made with options that may not change.
    """
    out, state = config.out, config.out / STATE_NAME
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} should be a folder but is a file; choose another")
    if out.exists():
        if in_use(out):
            raise _used(out)
        sweep(out)
    if state.exists() and (config.resume is not None or _is_ours(state)):
        description = described(state)
        fixed = {name: value for name, value in told(config).items() if name not in CHANGEABLE}
        refuse_other_options(state, description["config"], fixed, UNCHANGED)
        return description
    if not (_failed_start(out) if out.exists() else config.resume is None):
        raise InputError(_refusal(config))
    (out / PARTIAL_NAME).unlink(missing_ok=True)
    return None


def _is_ours(state: Path) -> bool:
    """Whether a state was written by what the torchrun started before that has started this process."""
    return job() is not None and described(state).get("job") == job()


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder; InputError if one is there. The lock goes when the process ends."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / LOCK_NAME
    with path.open("a") as file:
        if not _lock(file) or not _is_at(file, path):
            raise _used(out)
        file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows deletes no open files
                path.unlink()


def in_use(out: Path) -> bool:
    """Whether a run is going on in a folder, as far as its file system has locks."""
    try:
        with (out / LOCK_NAME).open("r+") as file:
            return not _lock(file)
    except OSError:  # there is none, or a folder without access, which what follows names
        return False


def _lock(file: IO[str]) -> bool:
    """Lock a file until it is closed; False if another process has."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file still has its name: a run that ends deletes its lock."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _used(out: Path) -> InputError:
    try:
        who = (out / LOCK_NAME).read_text(encoding="utf-8").strip()
    except OSError:  # it has just ended
        who = ""
    return InputError(
        f"{out} should be the folder of one run at a time but {who or 'another process'} is training there; wait for "
        "it, or choose another --out"
    )


def _failed_start(out: Path) -> bool:
    """Whether a folder is empty or holds only what a run writes before its first steps are logged."""
    others = [path.name for path in out.iterdir() if not path.name.startswith("events.out.tfevents")]
    if not set(others) <= FIRST_NAMES or any((out / SAMPLES_NAME).glob("*")):
        return False
    state, metrics = out / STATE_NAME, out / METRICS_NAME
    if metrics.exists() and metrics.stat().st_size:
        return False
    return not state.exists() or described(state)["step"] == 0


def _refusal(config: TrainConfig) -> str:
    """Why a folder cannot be used."""
    out, state = config.out, config.out / STATE_NAME
    if config.resume is not None:
        return f"{state} should be the checkpoint to resume from but does not exist; leave --resume out"
    if state.exists():
        return (
            f"--out {out} should be a new or empty folder but holds a run; continue it with --resume {out}, or choose "
            "another"
        )
    return f"--out {out} should be a new or empty folder but holds other files; choose another"


def changes(description: Mapping[str, Any], config: TrainConfig) -> dict[str, dict[str, Any]]:
    """The options of a resumed run that differ from before, by name: `from` and `to`."""
    before, now = description["config"], told(config)
    return {
        name: {"from": before[name], "to": now[name]}
        for name in CHANGEABLE
        if name in before and before[name] != now[name]
    }


def in_words(changed: Mapping[str, Mapping[str, Any]]) -> str:
    """Changes as a line of a log shows them."""
    return ", ".join(f"{option(name)} {values['from']} -> {values['to']}" for name, values in changed.items())


def photographs(dataset: UnpairedDataset) -> dict[str, Any]:
    """The number of photographs of each domain, and a hash of their names and sizes: samples depend on all of them."""
    found = {}
    for name, paths in (("low", dataset.low), ("high", dataset.high)):
        listed = b"".join(os.fsencode(path.name) + b" %d\n" % path.stat().st_size for path in paths)
        found[name] = {"photographs": len(paths), "sha256": hashlib.sha256(listed).hexdigest()}
    return found


def refuse_other_photographs(before: Mapping[str, Any], dataset: UnpairedDataset) -> None:
    """InputError if the training photographs are not those in `before`, which `photographs` returned."""
    now = photographs(dataset)
    for name, paths in (("low", dataset.low), ("high", dataset.high)):
        if now[name] != before[name]:
            counts = now[name]["photographs"], before[name]["photographs"]
            came = f"holds {counts[0]}" if counts[0] != counts[1] else "holds others"
            raise InputError(
                f"{paths[0].parent} should hold the {counts[1]} photographs that the run was started with but {came}; "
                f"put them back, or start a new run with --init and this one's {GENERATOR_NAME}: which photographs a "
                "step uses depends on all of them"
            )
