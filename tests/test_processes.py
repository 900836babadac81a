"""Several processes that train one network: the same gradients as one process, killed ranks, torchrun, the lock."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from bncagan.cli import main
from bncagan.config import LossWeights
from bncagan.network.checkpoint import write_atomically
from bncagan.training.devices import job, placed
from bncagan.training.folder import LOCK_NAME, held, in_use, options_of
from bncagan.training.loop import Trainer, train
from runtimes.errors import InputError, StoppedError
from tests.folders import make_data
from tests.one_step import one_step
from tests.processes import start_python
from tests.test_runs import described, equal, lines_of, wait_for
from tests.test_training import config

ROOT = Path(__file__).parents[1]
SMALL = [
    *("--model.width", "8", "--size", "64", "--crop", "64", "--loss.perceptual", "0", "--pool", "3", "--workers", "0"),
    *("--accelerator", "cpu", "--log-every", "2", "--checkpoint-every", "4"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


def torchrun(*arguments: object, processes: int = 2) -> subprocess.Popen[str]:
    """Start processes on this machine by torchrun, which starts `python -m` with the arguments."""
    given = ["--standalone", "--nproc-per-node", processes, *arguments]
    return start_python("-m", "torch.distributed.run", *given, group=True, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")


def pid_of(rank: int, out: Path) -> int:
    """The process of a run in a folder that torchrun gave this rank."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_text().split("\0") if process.name.isdigit() else []
            if str(out) in words and f"RANK={rank}" in (process / "environ").read_text().split("\0"):
                return int(process.name)
        except OSError:  # it has ended
            continue
    raise AssertionError(f"there is no process of rank {rank}")


# One network


def test_two_processes_give_the_gradients_of_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    """Of all losses: the expectations of the adversarial ones are over all scores, and one process has more renderings.

    The images that the pool gives back, and which images get the running style, are the same as well.
    """
    found = tmp_path / "found.safetensors"
    process = torchrun("-m", "tests.one_step", data, tmp_path / "two", found)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    alone = one_step(data, tmp_path / "one", 4)
    gradients = load_file(found)
    for name, network in (("generator", alone.generator), ("discriminator", alone.discriminator)):
        expected = {f"{name}.{inner}": p.grad for inner, p in network.named_parameters() if p.grad is not None}
        assert expected.keys() == {key for key in gradients if key.startswith(f"{name}.")}
        scale = max(float(gradient.abs().max()) for gradient in expected.values())
        for inner, gradient in expected.items():
            assert (gradients[inner] - gradient).abs().max() <= 1e-4 * scale, inner
    rendered = [bool(alone.dataset[number].rendered) for number in range(4)]
    assert 0 < sum(rendered[:2]) < sum(rendered[2:])


# torchrun


@pytest.mark.hard
def test_a_killed_process_ends_the_others_and_torchrun_goes_on_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ["-m", "bncagan", "train", "--data", data, *SMALL, "--batch", "1", "--steps", "40", "--out"]
    process = torchrun("--max-restarts", "1", *options, run)
    wait_for(
        lambda: (run / "metrics.jsonl").exists() and lines_of(run)[-1:] and lines_of(run)[-1]["step"] >= 10, process
    )
    os.kill(pid_of(1, run), signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: not in_use(run), process)
    assert time.monotonic() - killed < 60
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    ended = re.findall("bncagan: the run should go on to step 40 but another of its processes has ended; .*", said)
    assert len(ended) == 1
    assert ended[0].endswith(
        f"; the last checkpoint is kept, continue with: torchrun ... -m bncagan train --resume {run}"
    )
    assert "Traceback" not in said
    uninterrupted = torchrun(*options, whole)
    _, said = uninterrupted.communicate(timeout=300)
    assert uninterrupted.returncode == 0, said
    for name in ("state.safetensors", "generator.safetensors"):
        assert equal(run / name, whole / name)
    assert (run / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_1/none_abcdef/attempt_1/0/error.json",
    "LOCAL_WORLD_SIZE": "1",
    "WORLD_SIZE": "1",
    "RANK": "0",
    "LOCAL_RANK": "0",
}


def under_torchrun(patch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (TORCHRUN | changes).items():
        patch.setenv(name, value)


def test_torchrun_tells_the_numbers_of_processes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = config(data, tmp_path / "run")
    assert placed(plain) is plain
    assert job() is None
    under_torchrun(monkeypatch, LOCAL_WORLD_SIZE="4", WORLD_SIZE="8")
    for given in (plain, dataclasses.replace(plain, devices=4, num_nodes=2)):
        assert (placed(given).devices, placed(given).num_nodes) == (4, 2)
    with pytest.raises(InputError, match=r"^--devices 2 and --num-nodes 1 should be .* 4 and 2, but are not; leave"):
        placed(dataclasses.replace(plain, devices=2))
    assert placed(dataclasses.replace(plain, devices=2, resume=plain.out)).devices == 4


def test_a_run_that_torchrun_starts_again_goes_on_without_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But what another torchrun has started is refused."""
    run = config(data, tmp_path / "run")
    under_torchrun(monkeypatch)
    honest = Trainer._step

    def failing(self: Trainer, batch: Any) -> None:
        if self.step == 6:
            raise RuntimeError("CUDA out of memory")
        honest(self, batch)

    monkeypatch.setattr(Trainer, "_step", failing)
    with pytest.raises(RuntimeError, match="memory"):
        train(run)
    monkeypatch.setattr(Trainer, "_step", honest)
    for changes in (
        {"TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_2/none_ghijkl/attempt_1/0/error.json"},
        {"TORCHELASTIC_RUN_ID": "mine"},
    ):
        under_torchrun(monkeypatch, **changes)
        with pytest.raises(InputError, match="holds a run; continue it with --resume"):
            train(run)
    under_torchrun(monkeypatch, TORCHELASTIC_ERROR_FILE="/tmp/torchelastic_1/none_abcdef/attempt_2/0/error.json")
    train(run)
    assert described(run.out / "state.safetensors")["step"] == 8
    train(config(data, tmp_path / "whole"))
    assert equal(run.out / "state.safetensors", tmp_path / "whole" / "state.safetensors")


# Another number of processes


def of_two_processes(run: Path, batch: int) -> None:
    """Make a state say that two processes wrote it."""
    state = run / "state.safetensors"
    told = described(state)
    options = told["config"] | {"batch": batch, "devices": 2}
    write_atomically(state, load_file(state), told | {"world_size": 2, "config": options})


def test_a_run_goes_on_with_another_number_of_processes_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the same weights, if as many photographs make a step."""
    run = tmp_path / "run"
    train(config(data, run, steps=4))
    train(config(data, tmp_path / "whole", steps=4))
    train(dataclasses.replace(options_of(tmp_path / "whole"), steps=8))
    of_two_processes(run, 1)
    assert main(["train", "--resume", str(run), "--devices", "1", "--steps", "8"]) == 2
    assert capsys.readouterr().err == (
        "bncagan: --batch 1 in each of 1 processes should make the 2 photographs that each step of the run has used "
        "but makes 1; give --batch 2\n"
    )
    assert main(["train", "--resume", str(run), "--devices", "1", "--batch", "2", "--steps", "8"]) == 0
    assert "step 4  changed: --steps 4 -> 8, --batch 1 -> 2, --devices 2 -> 1" in capsys.readouterr().out
    assert equal(run / "state.safetensors", tmp_path / "whole" / "state.safetensors")


def test_processes_that_see_another_folder_are_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on machines that do not share one."""
    monkeypatch.setattr("lightning_fabric.Fabric.broadcast", lambda *_: (4, {}))
    with pytest.raises(InputError, match=r"^--data .*data should be the same folder for all processes but is another"):
        Trainer(config(data, tmp_path / "run"))
    monkeypatch.setattr("lightning_fabric.Fabric.broadcast", lambda _, given: (4, given[1]))
    with pytest.raises(InputError, match=r"^--out .*run should be the same folder for all processes but is another"):
        Trainer(config(data, tmp_path / "run"))


# The lock


def test_two_runs_in_one_folder_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--data", str(data), *SMALL, "--steps", "2"]
    with held(run):
        for given in (["--out", str(run), *options],):
            assert main(["train", *given]) == 2
            said = capsys.readouterr().err
            assert said.startswith(
                f"bncagan: {run} should be the folder of one run at a time but process {os.getpid()} "
            )
            assert len(said.splitlines()) == 1
        with pytest.raises(InputError, match="one run at a time"), held(run):
            pass
    assert not (run / LOCK_NAME).exists()
    (run / LOCK_NAME).write_text("process 1 on a machine that went down\n")
    assert main(["train", "--out", str(run), *options]) == 0
    assert not (run / LOCK_NAME).exists()


def test_a_run_holds_its_folder_until_it_ends(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, honest = config(data, tmp_path / "run", steps=2), Trainer._step

    def looking(self: Trainer, batch: Any) -> None:
        assert in_use(run.out)
        with pytest.raises(InputError, match="one run at a time"):
            Trainer(dataclasses.replace(run, resume=run.out))
        honest(self, batch)

    monkeypatch.setattr(Trainer, "_step", looking)
    train(run)
    assert not in_use(run.out)


# A process that is gone


def test_an_error_of_the_connection_says_that_another_process_has_ended(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process says it, and the others only if it is the first one that is gone."""
    lost = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    monkeypatch.setattr(Trainer, "_step", lambda *_: (_ for _ in ()).throw(lost))
    trainer = Trainer(config(data, tmp_path / "run"))
    with pytest.raises(RuntimeError, match="by peer"):
        trainer.fit()
    monkeypatch.setattr("lightning_fabric.Fabric.world_size", 2)
    with pytest.raises(StoppedError, match="to step 8 but another of its processes has ended; the last checkpoint is"):
        trainer.fit()
    monkeypatch.setattr("lightning_fabric.Fabric.is_global_zero", False)
    with pytest.raises(StoppedError, match="another of its processes has ended"):
        trainer.fit()
    with held(tmp_path / "run"), pytest.raises(SystemExit):
        trainer.fit()


def test_the_processes_disconnect_unless_one_is_lost(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a run, and after a signal that all have heard of."""
    ended: list[str] = []
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: ended.append("all"))
    loss = LossWeights(adversarial=0, perceptual=0)  # the pool needs real processes
    trainer, honest = Trainer(config(data, tmp_path / "run", steps=4, loss=loss)), Trainer._step
    monkeypatch.setattr("lightning_fabric.Fabric.world_size", 2)

    def signalled(self: Trainer, batch: Any) -> None:
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        honest(self, batch)

    monkeypatch.setattr(Trainer, "_step", signalled)
    with pytest.raises(StoppedError, match="SIGTERM; step 2 is saved"):
        trainer.fit()
    assert ended == ["all"]
    monkeypatch.setattr(Trainer, "_step", lambda *_: (_ for _ in ()).throw(RuntimeError("gloo: by peer")))
    with pytest.raises(StoppedError, match="another of its processes has ended"):
        trainer.fit()
    assert ended == ["all"]
    monkeypatch.setattr(Trainer, "_step", honest)
    trainer.fit()
    assert ended == ["all", "all"]
