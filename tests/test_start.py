"""What a run starts from: given weights, a tone head, a narrower generator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from bncagan.training.loop import Trainer, train
from runtimes.errors import InputError
from tests.folders import make_data
from tests.test_training import config


def test_a_generator_starts_behind_its_head_as_nearly_the_identity(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    head, old = tmp_path / "head.safetensors", tmp_path / "old.safetensors"
    torch.manual_seed(0)
    alone = Generator(ModelConfig(width=0, tone=True))
    assert alone.tone is not None
    for member in alone.tone.members:
        torch.nn.init.normal_(member.mlp[-1].weight, std=0.1)
    save_generator(head, alone, ModelConfig(width=0, tone=True), {})
    save_generator(old, Generator(ModelConfig(width=8)), ModelConfig(width=8), {})
    model = ModelConfig(width=8, tone=True, detail=True)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    for init in (None, str(old)):
        trainer = Trainer(config(data, tmp_path / "run", model=model, tone=str(head), init=init))
        with torch.no_grad():
            change = trainer.generator(image) - (2 * alone.tone((image + 1) / 2) - 1)
        assert 0 < change.abs().mean() < 0.05
        assert not any(weight.requires_grad for weight in trainer.generator.tone.parameters())
    read_with = trainer.dataset.head  # by other processes, which have no GPU
    assert read_with is not None
    assert {id(p) for p in read_with.parameters()}.isdisjoint({id(p) for p in trainer.generator.parameters()})
    started = trainer.generator.state_dict()
    assert all(
        torch.equal(started[name], weight) for name, weight in load_file(old).items() if "tail.conv2" not in name
    )
    first = train(config(data, tmp_path / "run", model=model, tone=str(head), init=str(old), steps=2))
    trained = load_file(first)
    assert not torch.equal(trained["decoder.detail.conv.weight"], started["decoder.detail.conv.weight"])
    for name, weight in load_file(head).items():
        assert torch.equal(trained[name], weight)
    again = Trainer(config(data, tmp_path / "again", model=model, init=str(first)))  # with the head of its own
    assert all(torch.equal(weight, again.generator.state_dict()[name]) for name, weight in trained.items())


def test_weights_without_a_head_are_named(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    old = train(config(data, tmp_path / "old", steps=2))
    model = ModelConfig(width=8, tone=True)
    for options in ({"init": str(old)}, {"tone": str(old)}):
        with pytest.raises(InputError, match=r"generator\.safetensors should hold a tone head but holds none; .*nano"):
            Trainer(config(data, tmp_path / "run", model=model, **options))
    behind = tmp_path / "behind.safetensors"
    save_generator(behind, Generator(model), model, {})
    with pytest.raises(InputError, match=r"behind\.safetensors should .*tone=False.* but holds .*tone=True"):
        Trainer(config(data, tmp_path / "run", init=str(behind)))


def test_a_run_starts_from_given_weights(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    first = train(config(data, tmp_path / "first", steps=2))
    trainer = Trainer(config(data, tmp_path / "second", init=str(first), seed=5))
    for network in (trainer.generator, trainer.average):
        assert all(torch.equal(weight, network.state_dict()[name]) for name, weight in load_file(first).items())
    with pytest.raises(InputError, match=r"generator\.safetensors should .*width=4.* but holds .*width=8"):
        Trainer(config(data, tmp_path / "third", init=str(first), model=ModelConfig(width=4)))
