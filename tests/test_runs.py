"""Runs that are interrupted, fail or go on with other options: what is kept, what is said, and with which exit code."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bncagan.cli import main, parse
from bncagan.config import LossWeights, ModelConfig
from bncagan.data.reading import training_batches
from bncagan.data.samples import Samples, UnpairedDataset
from bncagan.network.checkpoint import load_generator, save_generator, write_atomically
from bncagan.network.model import Generator
from bncagan.training.folder import options_of
from bncagan.training.loop import Trainer, train
from runtimes.errors import InputError, StoppedError
from tests.folders import make_data
from tests.processes import BNCAGAN, ROOT, start, start_python
from tests.test_training import config

SMALL = [
    *("--model.width", "8", "--batch", "2", "--size", "64", "--crop", "64", "--loss.perceptual", "0", "--pool", "3"),
    *("--accelerator", "cpu", "--log-every", "2", "--checkpoint-every", "4", "--steps", "8"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def described(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        description: dict[str, Any] = json.loads(file.metadata()["description"])
    return description


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def equal(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Going on


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_bits(
    data: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The whole group gets it, reading processes included, as from a terminal or from systemd."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = ["--data", data, *SMALL, "--checkpoint-every", "16", "--steps", "16", "--workers", "1"]
    first = start(BNCAGAN, "train", *options, "--out", run, group=True)
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(lines_of(run)) > 1, first)
    os.killpg(first.pid, number)
    _, said = first.communicate(timeout=60)
    step = described(run / "state.safetensors")["step"]
    name = "Ctrl-C" if code == 130 else "SIGTERM"
    assert said == (
        f"bncagan: the run should go on to step 16 but was stopped by {name}; step {step} is saved, "
        f"continue with: bncagan train --resume {run}\n"
    )
    assert first.returncode == code
    assert 4 <= step < 16
    assert not list(run.glob(".*"))
    for given in (["--resume", run], [*options, "--out", whole]):
        assert main(["train", *map(str, given), "--workers", "0"]) == 0
    for file in ("generator.safetensors", "state.safetensors"):
        assert equal(run / file, whole / file)
    assert (run / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_a_second_ctrl_c_ends_at_once(data: Path, tmp_path: Path) -> None:
    program = BNCAGAN.replace("sys.exit(main())", "") + (
        "from bncagan.training.loop import Trainer; import time; honest = Trainer._step\n"
        "def slow(self, batch):\n    print('step', flush=True); time.sleep(60)\n"
        "Trainer._step = slow; sys.exit(main())"
    )
    process = start(program, "train", "--data", data, *SMALL, "--workers", "0", "--out", tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "bncagan: stopped\n")


def test_a_run_goes_on_with_a_lower_rate_and_more_steps_and_the_log_tells_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(config(data, run))
    assert (
        main(["train", "--resume", str(run), "--learning-rate", "5e-5", "--steps", "12", "--precision", "bf16-mixed"])
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "step 8  changed: --learning-rate 0.0001 -> 5e-05, --precision 32-true -> bf16-mixed, --steps 8 -> 12" in said
    )
    changed = {
        "learning_rate": {"from": 1e-4, "to": 5e-5},
        "precision": {"from": "32-true", "to": "bf16-mixed"},
        "steps": {"from": 8, "to": 12},
    }
    lines = lines_of(run)
    assert lines[[line.get("changed") for line in lines].index(changed)] == {"step": 8, "changed": changed}
    rates = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    expected = {2: 1e-4, 4: 1e-4, 6: 7.5e-5, 8: 2.5e-5, 10: 5e-5 / 2, 12: 5e-5 / 6}  # linear from step 4, then from 6
    assert rates == pytest.approx(expected, rel=1e-9)
    told = [{"step": 8, "changed": changed}]
    assert described(run / "state.safetensors")["history"] == told
    assert load_generator(run / "generator.safetensors")[1]["training"]["history"] == told
    assert json.loads((run / "config.json").read_text())["learning_rate"] == 5e-5
    assert options_of(run) == dataclasses.replace(
        config(data, run), resume=run, learning_rate=5e-5, steps=12, precision="bf16-mixed"
    )


def test_a_run_behind_a_tone_head_goes_on_to_the_same_bits_without_its_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is not trained along, and photographs go through it on the CPU."""
    head, alone = tmp_path / "head.safetensors", ModelConfig(width=0, tone=True)
    torch.manual_seed(3)
    save_generator(head, Generator(alone), alone, {})
    options = {"model": ModelConfig(width=8, tone=True), "tone": str(head), "low_from_high": 0.5}
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(config(data, whole, **options))
    trainer, honest = Trainer(config(data, run, **options)), Trainer._step
    kept = trainer.dataset.head
    assert kept is not None
    assert kept is not trainer.generator.tone

    def killed(self: Trainer, batch: Samples) -> None:
        if self.step == 6:
            raise KeyboardInterrupt
        honest(self, batch)

    monkeypatch.setattr(Trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    monkeypatch.undo()
    head.unlink()
    assert described(run / "state.safetensors")["step"] == 4
    train(options_of(run))
    assert equal(run / "state.safetensors", whole / "state.safetensors")


def test_a_change_is_kept_when_the_run_is_killed_before_its_next_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(config(data, run, steps=4))
    trainer = Trainer(dataclasses.replace(options_of(run), learning_rate=5e-5, steps=8))
    monkeypatch.setattr(Trainer, "_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    monkeypatch.undo()
    assert (options_of(run).learning_rate, options_of(run).steps) == (5e-5, 8)
    train(options_of(run))
    assert len(described(run / "state.safetensors")["history"]) == 1


def test_what_may_not_change_is_refused_with_the_reason(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(config(data, run))
    before = (run / "state.safetensors").read_bytes()
    for given, said in (
        (
            ["--batch", "4"],
            "--batch 4 in each of 1 processes should make the 2 photographs that each step of the run has used but "
            "makes 4; give --batch 2",
        ),
        (
            ["--loss.identity", "1"],
            "--loss.identity 1.0 but is of one with 0.1; leave it out, because a run may only change --learning-rate",
        ),
        (["--steps", "6"], "--steps or --epochs should give at least the 8 steps that the run has done but give 6; "),
        (
            ["--out", "elsewhere"],
            f"--out should be left out with --resume {run}, which goes on there, but is elsewhere",
        ),
    ):
        assert main(["train", "--resume", str(run), *given]) == 2
        assert said in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "nowhere")]) == 2
    assert "nowhere should name the folder of a run but holds no state.safetensors; " in capsys.readouterr().err
    assert main(["train", "--data", str(data), "--out", str(run)]) == 2
    assert f"holds a run; continue it with --resume {run}, or choose another" in capsys.readouterr().err
    assert (run / "state.safetensors").read_bytes() == before


def test_other_photographs_are_noticed(data: Path, tmp_path: Path) -> None:
    """Added ones, and others under the same names; a copy of the folder elsewhere is the same."""
    run = tmp_path / "run"
    train(config(data, run, steps=4))
    moved = data.rename(tmp_path / "moved")
    train(dataclasses.replace(options_of(run), data=moved, steps=6))
    low = moved / "train" / "low"
    shutil.copy(low / "a0.png", low / "b.png")
    with pytest.raises(
        InputError, match=r"low should hold the 5 photographs .* started with but holds 6; put .*--init"
    ):
        train(dataclasses.replace(options_of(run), data=moved))
    (low / "b.png").replace(low / "a1.png")
    with pytest.raises(InputError, match=r"the 5 photographs .* but holds others; "):
        train(dataclasses.replace(options_of(run), data=moved))


def test_a_run_goes_on_without_the_weights_it_started_from(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And checks come before work: no weights are read for a run that is refused."""
    first = train(config(data, tmp_path / "first", steps=2))
    run = tmp_path / "run"
    train(config(data, run, steps=4, init=str(first)))
    first.unlink()
    train(dataclasses.replace(options_of(run), steps=6))

    def fail(*_: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("bncagan.training.state.load_perceptual", fail)
    shutil.rmtree(data / "val" / "label")
    perceptual = config(data, tmp_path / "other", loss=LossWeights())
    with pytest.raises(InputError, match="val should hold a folder named label"):
        train(perceptual)
    assert not perceptual.out.exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state.safetensors", {"config": None}),
        ("state.safetensors", {"config": {}}),
        ("state.safetensors", {"step": "4"}),
        ("config.json", {"batch": "two"}),
        ("config.json", {"precision": "int4"}),
    ],
)
def test_a_damaged_record_is_a_sentence(
    data: Path, tmp_path: Path, name: str, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(config(data, run, steps=1, log_every=1, checkpoint_every=1))
    if name == "config.json":
        (run / "state.safetensors").unlink()
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | change))
    else:
        write_atomically(run / name, load_file(run / name), described(run / name) | change)
    assert main(["train", "--resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bncagan: {run / name}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    "left",
    [
        ["state.safetensors.partial"],
        [".bncagan-0123456789abcdef.safetensors", "samples/"],
        ["config.json", "metrics.jsonl", "samples/", ".bncagan-0123456789abcdef.safetensors"],
    ],
)
def test_a_failed_start_is_taken_over(data: Path, tmp_path: Path, left: list[str], resumed: bool) -> None:
    """Without --resume, and with it where the options are known."""
    run = tmp_path / "run"
    if "config.json" in left:
        train(config(data, run, steps=2))
        options = (run / "config.json").read_text()
        shutil.rmtree(run)
    run.mkdir()
    for name in left:
        (run / name).mkdir() if name.endswith("/") else (run / name).touch()
    if "config.json" in left:
        (run / "config.json").write_text(options)
    if resumed and "config.json" not in left:
        with pytest.raises(InputError, match="holds no state"):
            options_of(run)
        return
    train(options_of(run) if resumed else config(data, run, steps=2))
    assert described(run / "state.safetensors")["step"] == 2
    assert {path.name for path in run.iterdir()} == {
        *("best.safetensors", "config.json", "generator.safetensors", "metrics.jsonl", "samples", "state.safetensors")
    }


def test_a_start_that_fails_in_its_first_steps_is_taken_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Trainer, "_step", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    with pytest.raises(RuntimeError, match="memory"):
        train(config(data, run))
    monkeypatch.undo()
    train(config(data, run, batch=1))


@pytest.mark.parametrize("name", ["notes.txt", "generator.safetensors", "samples/000004.png"])
def test_a_folder_that_holds_anything_else_is_not(data: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(InputError, match=r"--out .*run should be a new or empty folder but holds other files; choose"):
        train(config(data, tmp_path / "run"))
    assert file.exists()


def test_a_divergence_says_how_to_go_on_and_that_works(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest, run = Trainer.generator_loss, tmp_path / "run"

    def failing(self: Trainer, batch: Any, outputs: Any) -> dict[str, torch.Tensor]:
        terms = honest(self, batch, outputs)
        return {**terms, "identity": terms["identity"] * float("nan")} if self.step == 5 else terms

    monkeypatch.setattr(Trainer, "generator_loss", failing)
    assert main(["train", "--data", str(data), "--out", str(run), *SMALL, "--workers", "0"]) == 1
    said = capsys.readouterr().err
    assert "lower --learning-rate, or with --precision bf16-mixed or 32-true: bncagan train --resume" in said
    monkeypatch.undo()
    advised = said.strip().partition(": bncagan ")[2].split()
    assert main(advised) == 0
    assert described(run / "state.safetensors")["history"][0]["step"] == 4


# Reading


class Stuck(UnpairedDataset):
    """Hangs at a sample as a network folder does."""

    def __getitem__(self, number: int) -> Samples:
        if number == 6:
            time.sleep(3600)
        return super().__getitem__(number)


def test_a_reading_process_that_dies_ends_the_run_with_its_state(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(config(data, run, workers=1, steps=400, checkpoint_every=400))
    honest = trainer.monitor.update

    def killing(*arguments: Any) -> None:
        honest(*arguments)
        if trainer.step == 5:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    trainer.monitor.update = killing  # type: ignore[method-assign]
    with pytest.raises(
        StoppedError, match=r"to step 400 but a process .* has ended \(by SIGKILL; was .* memory\?\)"
    ) as e:
        trainer.fit()
    assert e.value.exit_code == 1
    step = described(run / "state.safetensors")["step"]
    assert f"; step {step} is saved" in str(e.value)
    assert 5 <= step <= 8  # what was read ahead is used
    assert not multiprocessing.active_children()


def test_photographs_that_do_not_come_end_the_run_with_its_state(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(config(data, run, workers=1, patience=0.25))
    next(training_batches(trainer.dataset, 0, 1, 0, 1))  # so that what starts processes is there
    trainer.dataset = Stuck(trainer.config)
    with pytest.raises(
        StoppedError, match=r"but no photographs came for 0\.25 minutes \(--patience\); step 3 is saved"
    ):
        trainer.fit()
    assert described(run / "state.safetensors")["step"] == 3
    assert not multiprocessing.active_children()


def test_a_step_that_does_not_end_is_a_sentence(data: Path, tmp_path: Path) -> None:
    program = BNCAGAN.replace("sys.exit(main())", "") + (
        "from bncagan.training.loop import Trainer; import time; honest = Trainer._step\n"
        "def slow(self, batch):\n    if self.step == 5: time.sleep(600)\n    honest(self, batch)\n"
        "Trainer._step = slow; sys.exit(main())"
    )
    run = tmp_path / "run"
    given = ["train", "--data", data, *SMALL, "--out", run, "--workers", "0", "--patience", "0.1"]
    process = start(program, *given)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.startswith("bncagan: a step should end within 0.15 minutes (--patience) but does not; ")
    assert described(run / "state.safetensors")["step"] == 4
    assert len(said.splitlines()) == 1


def test_an_error_of_a_reading_process_is_its_own(data: Path, tmp_path: Path) -> None:
    for path in (data / "train" / "low").iterdir():
        path.write_bytes(b"nothing")
    dataset = UnpairedDataset(config(data, tmp_path, workers=2))
    with pytest.raises(InputError, match=r"^\S+low should hold .* of its 5 can; replace them$"):
        list(training_batches(dataset, 0, 4, 0, 1))


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bncagan` where small file systems are mounted: `mounted("64m", "/dev/shm", "train", ...)`."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("mounting a file system is not permitted here")

    def run(options: str, place: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        mount = f'mount -t tmpfs -o {options} tmpfs {place} && exec "$@"'
        given = [sys.executable, "-m", "bncagan", *map(str, arguments)]
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", mount, "sh", *given],
            capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return run


def test_64_mb_of_shared_memory_are_enough(
    data: Path, tmp_path: Path, mounted: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """As Docker gives: with torch's loader, four processes and batches of 19 MB hang after the second step."""
    sizes = ["--size", "256", "--crop", "256", "--short-side", "256", "--batch", "8", "--workers", "4", "--steps", "3"]
    small = ["--model.width", "4", "--loss.adversarial", "0", "--loss.classification", "0"]
    done = mounted("size=64m", "/dev/shm", "train", "--data", data, "--out", tmp_path / "run", *SMALL, *sizes, *small)
    assert (done.returncode, done.stderr) == (0, "")
    assert described(tmp_path / "run" / "state.safetensors")["step"] == 3


def test_a_full_disk_is_a_sentence(
    data: Path, tmp_path: Path, mounted: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "small"
    out.mkdir()
    done = mounted("size=1m", str(out), "train", "--data", data, "--out", out / "run", *SMALL)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "state.safetensors should be written but cannot be (" in done.stderr
    assert "No space left" in done.stderr


def test_a_folder_that_may_not_be_written_to_is_a_sentence(
    data: Path, tmp_path: Path, mounted: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    out = tmp_path / "readonly"
    out.mkdir()
    for given in (
        ["average", "small", "small", "--out", out / "mean.safetensors"],
        ["train", "--data", data, "--out", out / "run", *SMALL],
    ):
        done = mounted("ro,size=1m", str(out), *given)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert str(out) in done.stderr
        assert "ead-only file system" in done.stderr


# What is said


def test_a_log_has_lines_and_no_progress_bar(data: Path, tmp_path: Path) -> None:
    process = start(BNCAGAN, "train", "--data", data, *SMALL, "--out", tmp_path / "run", "--workers", "0")
    said, _ = process.communicate(timeout=120)
    first = [line.split()[0] for line in said.splitlines()]
    assert first == ["step", "step", "step", "all", "step", "step", "step", "all", "trained"]
    assert not set("━╸╺╌") & set(said)
    assert "0:00:0" not in said


def test_output_in_ascii_is_no_error(data: Path, tmp_path: Path) -> None:
    """Names of files keep their bytes; the frames of tables become ASCII."""
    named = data.rename(tmp_path / "größe")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    average = ["average", "small", "small", "--out", tmp_path / "läuft.safetensors"]
    for given in (["data", "check", named], average):
        process = start(BNCAGAN, *given, **ascii_only)
        said, error = process.communicate(timeout=120)
        assert (process.returncode, error) == (0, "")
        assert said.replace("größe", "").replace("läuft", "").isascii()
    assert "läuft.safetensors: mean of 2" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model.width", "6"], "--model.width should be a multiple of 4 from 0 up but is 6; use 32 or 16\n"),
        (["--loss.identity", "-1"], "--loss.identity should be a finite number of at least 0 but is -1.0; "),
        (["--num-nodes", "2"], "--num-nodes 2 should be given to torchrun on each machine but no torchrun has started"),
        (["--patience", "0"], "--patience should be above 0 and finite but is 0.0; "),
        (["--init", "smal"], "smal should be a generator file or the name of shipped weights (base, nano, small) but "),
        (["--perceptual-weights", "no.pth", "--loss.perceptual", "1"], "no.pth should be a file of weights "),
    ],
)  # fmt: skip
def test_messages_name_the_option_as_it_is_typed(
    data: Path, tmp_path: Path, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL, *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bncagan: {said}")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_only_train_reads_the_options_of_a_run(tmp_path: Path) -> None:
    for words in (["--resume", str(tmp_path)], [f"--resume={tmp_path}"], ["--steps", "4", "--resume", str(tmp_path)]):
        with pytest.raises(InputError, match="should name the folder of a run"):
            parse(["train", *words])
    with pytest.raises(SystemExit):
        parse(["train", "--resume", str(tmp_path), "--help"])


@pytest.mark.slow
def test_several_processes_stop_after_the_same_step(data: Path, tmp_path: Path) -> None:
    """Only one of them gets the signal, and one says so; the run goes on."""
    run = tmp_path / "run"
    options = ["--data", data, *SMALL, "--out", run, "--devices", "2", "--steps", "400", "--checkpoint-every", "400"]
    first = start_python("-m", "bncagan", "train", *options, "--workers", "0")
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(lines_of(run)) > 1, first)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=120)
    step = described(run / "state.safetensors")["step"]
    assert step % 2 == 0  # at a line of the log
    assert first.returncode == 143
    assert said.count("was stopped by SIGTERM") == 1
