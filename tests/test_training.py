"""The loop: resuming, the schedule, the average, the pool, divergence."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bncagan.config import LossWeights, ModelConfig, TrainConfig
from bncagan.data.reading import collate, training_batches
from bncagan.data.samples import Samples, UnpairedDataset
from bncagan.network.checkpoint import load_generator
from bncagan.network.layers import Style
from bncagan.network.model import Generator
from bncagan.network.tone import luma
from bncagan.training import losses
from bncagan.training.directions import Enhancements, Inference, Translated, Translations
from bncagan.training.loop import Trainer, learning_rate_factor, train, update_average
from bncagan.training.pool import ImagePool
from runtimes.errors import DivergedError, InputError
from tests.folders import make_data, picture
from tests.tiny_models import make_spec, write_gain

SMALL = [
    "--model.width",
    "8",
    "--batch",
    "2",
    "--size",
    "64",
    "--crop",
    "64",
    "--loss.perceptual",
    "0",
    "--workers",
    "1",
]
TRAIN = [sys.executable, "-m", "bncagan", "train"]
EVERY = ["--log-every", "2", "--checkpoint-every", "4", "--accelerator", "cpu", "--low-from-high", "0.5", "--pool", "3"]


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    small: dict[str, Any] = {
        "data": data, "out": out, "model": ModelConfig(width=8), "loss": LossWeights(perceptual=0), "batch": 2,
        "size": 64, "crop": 64, "workers": 0, "log_every": 2, "checkpoint_every": 4, "steps": 8,
        "accelerator": "cpu", "pool": 3,
    }  # fmt: skip
    return TrainConfig(**(small | changes))


def command(data: Path, out: Path, *more: str) -> list[str]:
    given = ["--data", str(data), "--out", str(out), "--steps", "16", *SMALL, *EVERY, *more]
    return [*TRAIN, *given]


def run_until_killed(arguments: list[str], out: Path, step: int) -> None:
    """Start a run and send SIGKILL as soon as its metrics reach `step`."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # until no process of the run is left that could write


def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(data, whole), check=True, capture_output=True)
    run_until_killed(command(data, killed), killed, 10)
    assert json.loads((killed / "metrics.jsonl").read_text().splitlines()[-1])["step"] < 16
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')  # what a process leaves if it is killed while writing
    subprocess.run([*TRAIN, "--resume", str(killed)], check=True, capture_output=True)
    for name in ("generator.safetensors", "state.safetensors"):
        expected, resumed = load_file(whole / name), load_file(killed / name)
        assert expected.keys() == resumed.keys()
        assert all(torch.equal(expected[key], resumed[key]) for key in expected), name
    assert (whole / "metrics.jsonl").read_text() == (killed / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_the_order_of_samples_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    for workers in (0, 2):
        train(config(data, tmp_path / str(workers), workers=workers, steps=4))
    first, second = (load_file(tmp_path / name / "generator.safetensors") for name in ("0", "2"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = train(config(data, tmp_path / "other", steps=4, seed=1))
    assert not torch.equal(load_file(other)["encoder.conv1.weight"], first["encoder.conv1.weight"])


class Collecting(UnpairedDataset):
    """Collects garbage before every sample."""

    def __getitem__(self, number: int) -> Samples:
        gc.collect()
        return super().__getitem__(number)


def read_beside_garbage(folder: Path) -> None:
    """Leave an OpenVINO model that ran to the garbage collector, and read a batch in a worker process."""
    import openvino

    gc.disable()
    compiled = openvino.Core().compile_model(write_gain(folder / "m.onnx", make_spec()), "CPU")
    compiled(np.zeros((1, 3, 32, 32), np.float32))
    garbage = [compiled]
    garbage.append(garbage)
    del compiled, garbage
    dataset = Collecting(config(make_data(folder / "data"), folder, workers=1))
    assert len(next(iter(training_batches(dataset, 0, 1, 0, 1))).low) == 2


def test_a_worker_does_not_hang_on_what_its_parent_left(tmp_path: Path) -> None:
    """A forked one has the model without its threads, and waits for them for ever."""
    pytest.importorskip("openvino")
    code = f"from pathlib import Path; from tests.test_training import *; read_beside_garbage(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200, cwd=Path(__file__).parents[1])


def test_half_precision_autocast_trains(tmp_path: Path) -> None:
    path = train(config(make_data(tmp_path / "data"), tmp_path / "run", precision="bf16-mixed", steps=4))
    assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values())


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    """With all losses; rounding differs, and Adam makes much of it where a gradient is almost 0."""
    data = make_data(tmp_path / "data")
    for name, more in {"one": [], "two": ["--devices", "2", "--batch", "1"]}.items():
        done = subprocess.run(
            command(data, tmp_path / name, "--steps", "4", *more), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_file(tmp_path / name / "generator.safetensors") for name in ("one", "two"))
    apart = torch.cat(
        [(one[name] - two[name]).abs().flatten() for name in Generator(ModelConfig(width=8)).state_dict()]
    )
    assert apart.mean() < 2e-6  # with twice the batch: 8e-5
    assert apart.max() < 2e-4


def test_what_a_run_writes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(config(make_data(tmp_path / "data"), out))
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [record for record in records if "generator" in record]
    assert [record["step"] for record in trained] == [2, 4, 6, 8]
    weights = LossWeights(perceptual=0)
    for record in trained:
        terms = ("adversarial", "identity", "classification")
        total = sum(getattr(weights, name) * record[name] for name in terms)
        assert record["generator"] == pytest.approx(total, rel=1e-5)
    assert [record["step"] for record in records if "psnr" in record] == [4, 8]
    assert sorted(p.name for p in (out / "samples").iterdir()) == ["000004.png", "000008.png"]
    assert (out / "best.safetensors").exists()
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("switch", ["use_aac", "use_bnm", "use_cam"])
def test_ablations_train_every_weight(tmp_path: Path, switch: str) -> None:
    loss = LossWeights(perceptual=0, classification=0 if switch == "use_aac" else 0.1)
    settings = config(
        make_data(tmp_path / "data"),
        tmp_path / "run",
        model=ModelConfig(width=8, **{switch: False}),
        loss=loss,
        steps=2,
    )
    trainer = Trainer(settings)
    start = {name: weight.clone() for name, weight in trainer.average.named_parameters()}
    trainer.fit()
    trained = load_generator(tmp_path / "run" / "generator.safetensors")[0]
    still = {name for name, weight in trained.named_parameters() if torch.equal(weight, start[name])}
    assert all(name.endswith("rho") for name in still)  # rho may stay at an end of [0, 1]
    assert all(torch.isfinite(weight).all() for weight in trained.parameters())


def test_a_loss_of_zero_weight_is_not_computed(tmp_path: Path) -> None:
    loss = LossWeights(adversarial=0, perceptual=0, identity=1, classification=0)
    train(config(make_data(tmp_path / "data"), tmp_path / "run", loss=loss, steps=2))
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert set(record) == {"step", "identity", "generator", "learning_rate", "skipped"}


def test_the_supervised_loss_is_of_renderings_and_their_originals(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    trainer = Trainer(
        config(
            data,
            tmp_path / "run",
            low_from_high=0.5,
            loss=LossWeights(perceptual=0, supervised=2),
        )
    )
    batch = collate([trainer.dataset[number] for number in range(6)])
    assert 0 < int(batch.rendered.sum()) < 6
    for i, rendered in enumerate(batch.rendered):
        assert torch.equal(batch.low[i], batch.original[i]) != bool(rendered)
    enhanced = torch.rand_like(batch.low)
    outputs = Translated(enhanced, batch.high, torch.zeros(12, 1), Style(torch.ones(1), torch.zeros(1)))
    terms = trainer.generator_loss(batch, outputs)
    expected = losses.supervised(batch.original[batch.rendered], enhanced[batch.rendered])
    assert terms["supervised"] == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(InputError, match=r"--loss\.supervised .*--low-from-high"):
        config(data, tmp_path / "run", loss=LossWeights(supervised=1))


def test_one_direction_gives_the_same_as_both() -> None:
    """If no loss needs the degraded picture, it is not computed; everything else is the same."""
    torch.manual_seed(0)
    generator = Generator(ModelConfig(width=8))
    generator.style_mean.normal_()
    low, high = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    domain = torch.tensor([True, False, True])
    both, one = (parts(generator)(low, high, low[:, :1], domain) for parts in (Translations, Enhancements))
    torch.testing.assert_close(one.enhanced, both.enhanced)
    torch.testing.assert_close(one.logits, both.logits)
    torch.testing.assert_close(one.high_style, both.high_style)
    assert one.degraded.numel() == 0


def test_the_supervised_loss_alone_skips_what_it_does_not_need(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    alone = LossWeights(adversarial=0, perceptual=0, identity=0, classification=0, supervised=1)
    trainer = Trainer(config(data, tmp_path / "a", loss=alone, low_from_high=1.0, steps=2))
    assert isinstance(trainer.translate.module, Enhancements)
    before = {name: weight.clone() for name, weight in trainer.generator.named_parameters()}
    trainer.fit()
    still = {name for name, weight in trainer.generator.named_parameters() if torch.equal(weight, before[name])}
    assert {name.split(".")[0] for name in still} <= {"low_style", "classifier", "high_style", "bnr", "encoder"}
    assert not any(name.startswith(("decoder", "mask")) for name in still)
    assert any(name.startswith("low_style") for name in still)


@pytest.mark.parametrize("part", [Translations, Enhancements, Inference])
def test_training_sees_what_the_network_sees_behind_a_head(
    random_double_generator: Callable[..., Generator], part: type[Translations]
) -> None:
    """The crop that the head made and the luma before it, given apart, give what `forward` gives for the photograph."""
    generator = random_double_generator(8, tone=True, detail=True, untoned=True)
    assert generator.tone is not None
    frame = torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    low = 2 * generator.tone((frame + 1) / 2) - 1
    before = (frame * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    enhanced = part(generator)(low, low, before, torch.ones(2, dtype=torch.bool)).enhanced
    torch.testing.assert_close(enhanced, generator(frame), rtol=0, atol=1e-6)
    without = part(generator)(low, low, luma(low), torch.ones(2, dtype=torch.bool)).enhanced
    assert (without - enhanced).abs().max() > 1e-3


def test_without_a_use_for_good_pictures_the_generator_is_trained_as_at_inference(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(ModelConfig(width=8, detail=True))
    generator.style_mean.normal_()
    low = torch.rand(2, 3, 64, 64) * 2 - 1
    outputs = Inference(generator)(low, low[:0], low[:, :1], torch.ones(2, dtype=torch.bool))
    assert torch.equal(outputs.enhanced, generator(low))
    outputs.enhanced.square().mean().backward()
    without = {name.split(".")[0] for name, weight in generator.named_parameters() if weight.grad is None}
    assert without == {"high_style", "low_style", "classifier"}
    alone = LossWeights(adversarial=0, perceptual=0, identity=0, classification=0, supervised=1)
    options = {"loss": alone, "low_from_high": 1.0, "domain_style_share": 1.0, "steps": 2}
    trainer = Trainer(config(make_data(tmp_path), tmp_path / "run", **options))
    assert isinstance(trainer.translate.module, Inference)
    before = trainer.generator.style_mean.clone()
    trainer.fit()
    assert torch.equal(trainer.generator.style_mean, before)


def test_training_lowers_the_identity_loss(tmp_path: Path) -> None:
    loss = LossWeights(adversarial=0, perceptual=0, identity=1, classification=0)
    train(config(make_data(tmp_path / "data"), tmp_path / "run", loss=loss, steps=40, learning_rate=1e-3, log_every=4))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = [line["identity"] for line in lines if "identity" in line]
    assert min(values[-3:]) < 0.8 * values[0]


def test_divergence_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config(make_data(tmp_path / "data"), tmp_path / "run"))
    honest = Trainer.generator_loss

    def failing(self: Trainer, batch: Any, outputs: Any) -> dict[str, torch.Tensor]:
        terms = honest(self, batch, outputs)
        return {**terms, "identity": terms["identity"] * float("nan")} if self.step == 5 else terms

    monkeypatch.setattr(Trainer, "generator_loss", failing)
    with pytest.raises(DivergedError, match=r"identity loss .* is nan at step 6"):
        trainer.fit()
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values() if tensor.is_floating_point())


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config(make_data(tmp_path / "data"), tmp_path / "run"))
    honest = Trainer._update

    def poisoned(self: Trainer, optimizer: Any, loss: torch.Tensor) -> None:
        honest(self, optimizer, loss)
        if self.step == 3:
            self.generator.encoder.conv1.weight.data[0] = float("nan")

    monkeypatch.setattr(Trainer, "_update", poisoned)
    with pytest.raises(DivergedError, match=r"conv1\.weight should be finite"):
        trainer.fit()
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values() if tensor.is_floating_point())


def test_a_run_stopped_before_its_first_checkpoint_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path / "data")
    first = config(data, tmp_path / "run", steps=4, checkpoint_every=4)
    trainer = Trainer(first)
    monkeypatch.setattr("bncagan.training.loop.clip_rho", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    monkeypatch.undo()
    resumed = load_file(train(dataclasses.replace(first, resume=first.out)))
    whole = load_file(train(dataclasses.replace(first, out=tmp_path / "whole")))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_bad_validation_pairs_are_refused_before_the_first_step(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    Image.fromarray(picture(0, 81, 96)).save(data / "val" / "low" / "x.png")
    with pytest.raises(
        InputError, match=r"label/x\.png should have the size of .*low/x\.png .* 96 x 80 and not 96 x 81 px"
    ):
        train(config(data, tmp_path / "run", steps=2))


def test_undecodable_examples_do_not_stop_a_run(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    shutil.rmtree(data / "val")
    (data / "train" / "low" / "a0.png").write_bytes(b"nothing")
    train(config(data, tmp_path / "run", steps=2, checkpoint_every=2, workers=2))
    for path in (data / "train" / "low").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"low should hold .* of its 5 ") as caught:
        train(config(data, tmp_path / "other", steps=2, workers=2))
    assert "\n" not in str(caught.value)


def test_precision_that_the_device_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--precision 16-mixed should .* GPU"):
        Trainer(config(make_data(tmp_path / "data"), tmp_path / "run", precision="16-mixed"))
    with pytest.raises(InputError, match="--accelerator nonsense with --devices 1 should"):
        Trainer(config(tmp_path / "data", tmp_path / "run", accelerator="nonsense"))


def test_learning_rate_is_constant_then_falls_to_zero(tmp_path: Path) -> None:
    settings = config(tmp_path, tmp_path, epochs=75, decay_epochs=75)
    factors = [learning_rate_factor(step, 100, settings) for step in range(100)]
    assert factors[:50] == [1.0] * 50
    assert factors[50:] == pytest.approx([1 - i / 50 for i in range(50)])
    assert learning_rate_factor(99, 100, config(tmp_path, tmp_path, decay_epochs=0)) == 1.0


def test_the_average_follows_the_weights() -> None:
    torch.manual_seed(0)
    average, generator = Generator(ModelConfig(width=8)), Generator(ModelConfig(width=8))
    start = average.encoder.conv1.weight.detach().clone()
    update_average(average, generator, 0.999, step=20)
    decay = 21 / 30  # (1 + step) / (10 + step), below 0.999
    expected = decay * start + (1 - decay) * generator.encoder.conv1.weight
    assert torch.allclose(average.encoder.conv1.weight, expected, atol=1e-7)


def test_the_pool_returns_past_fakes_half_the_time() -> None:
    pool, rng = ImagePool(4), torch.Generator().manual_seed(0)
    stream = [torch.full((2, 3, 1, 1), float(i)) for i in range(200)]
    drawn = [pool.query(fakes, rng) for fakes in stream]
    assert all(torch.equal(drawn[i], stream[i]) for i in range(2))  # until it is full, fakes come back unchanged
    past = sum(int((d != s).any(dim=1).sum()) for d, s in zip(drawn[2:], stream[2:], strict=True))
    assert 0.4 < past / (198 * 2) < 0.6
    assert all(d.max() <= i for i, d in enumerate(drawn))
    assert torch.equal(ImagePool(0).query(stream[3], rng), stream[3])
