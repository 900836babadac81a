"""Files of weights: reading gives back every bit that was written; a file that cannot be used is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bncagan.config import ModelConfig, to_json_dict
from bncagan.network import checkpoint
from bncagan.network.checkpoint import (
    GENERATOR_FORMAT,
    STATE_FORMAT,
    load_generator,
    load_optimizer,
    load_strictly,
    optimizer_tensors,
    read,
    save_generator,
    shipped_names,
    weights_sha256,
    with_prefix,
    without_prefix,
    write_atomically,
)
from bncagan.network.folding import fold
from bncagan.network.layers import UNKNOWN_LICENCE
from bncagan.network.model import Generator
from export.artifact import describe
from runtimes import ShapeSet
from runtimes.errors import InputError
from tests.conftest import randomise

MakeGenerator = Callable[..., Generator]

CONFIG = ModelConfig(width=4)
TRAINING = {"step": 7, "scores": {"psnr": 21.5}}


@pytest.fixture
def generator(random_generator: MakeGenerator) -> Generator:
    return random_generator(4)


@pytest.fixture
def path(tmp_path: Path, generator: Generator) -> Path:
    """A file as `save_generator` writes it."""
    path = tmp_path / "generator.safetensors"
    save_generator(path, generator, CONFIG, TRAINING)
    return path


def rewrite(path: Path, tensors: Mapping[str, Tensor], model: Any) -> None:
    """A file with these tensors that says its network is `model`."""
    write_atomically(path, tensors, {"format": GENERATOR_FORMAT, "model": model, "training": {}})


def refusal(path: Path) -> str:
    """The message of the InputError, which must name the file in one line."""
    with pytest.raises(InputError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# Round trip


@pytest.mark.parametrize("switches", [{}, {"use_aac": False}, {"use_bnm": False}, {"use_cam": False}], ids=str)
def test_a_generator_is_read_back_exactly(
    tmp_path: Path, random_generator: MakeGenerator, switches: dict[str, bool]
) -> None:
    saved, config = random_generator(4, **switches), dataclasses.replace(CONFIG, **switches)
    path = tmp_path / "g.safetensors"
    save_generator(path, saved, config, TRAINING)
    loaded, description = load_generator(path)
    assert list(loaded.state_dict()) == list(saved.state_dict())
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, saved.state_dict()[name]), name
        assert tensor.dtype == saved.state_dict()[name].dtype, name
    assert {"style_mean", "style_updates"} <= set(loaded.state_dict())
    assert description == {"format": GENERATOR_FORMAT, "model": to_json_dict(config), "training": TRAINING}
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_name_of_shipped_weights_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: Generator) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    save_generator(tmp_path / "tiny.safetensors", generator, CONFIG, TRAINING)
    assert shipped_names() == ["tiny"]
    loaded, _ = load_generator("tiny")
    assert torch.equal(loaded.style_mean, generator.style_mean)
    with pytest.raises(InputError, match=r"name of shipped weights \(tiny\)"):
        load_generator("huge")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, UNKNOWN_LICENCE),
        ("# mine\n\nlicense: not front matter\n", UNKNOWN_LICENCE),
        ("---\ntags: photographs\nlicense: CC-BY-4.0\n---\n\n# mine\n", "CC-BY-4.0"),
    ],
)
def test_the_licence_of_the_card_goes_into_what_is_exported(path: Path, card: str | None, licence: str) -> None:
    if card is not None:
        path.with_suffix(".md").write_text(card)
    folded = fold(load_generator(path)[0])
    spec = describe(folded, precision="fp32", shapes=ShapeSet.of((1, 32, 32)), io="float32", tools=())
    assert spec.details == {"weights' licence": licence}


def test_prefixes_are_removed_again() -> None:
    tensors = {"a.b": torch.zeros(1), "average.c": torch.ones(2)}
    prefixed = with_prefix("generator", tensors) | with_prefix("average", {"a.b": torch.zeros(3)})
    assert without_prefix("generator", prefixed) == tensors
    assert list(without_prefix("average", prefixed)) == ["a.b"]
    assert without_prefix("gener", prefixed) == {}


# Files that cannot be used


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert ", ".join(shipped_names()) in refusal(tmp_path / "absent.safetensors")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cannot be read" in refusal(path)


def test_another_safetensors_file_is_refused(path: Path, generator: Generator) -> None:
    save_file(dict(generator.state_dict()), path)
    assert f"should be a {GENERATOR_FORMAT} file but is another" in refusal(path)


def test_a_state_file_is_refused(path: Path, generator: Generator) -> None:
    write_atomically(path, generator.state_dict(), {"format": STATE_FORMAT})
    assert f"should be a {GENERATOR_FORMAT} file but is {STATE_FORMAT}" in refusal(path)
    assert read(path, STATE_FORMAT)[1] == {"format": STATE_FORMAT}


@pytest.mark.parametrize("description", ["null", "[1]", "{", '"text"'])
def test_a_broken_description_is_refused(path: Path, description: str) -> None:
    save_file({"a": torch.zeros(1)}, path, metadata={"description": description})
    assert "cannot be read" in refusal(path)


def test_an_unknown_weight_is_refused(path: Path) -> None:
    rewrite(path, load_file(path) | {"encoder.conv5.weight": torch.zeros(1)}, to_json_dict(CONFIG))
    assert "encoder.conv5.weight is unknown" in refusal(path)


@pytest.mark.parametrize("name", ["style_mean", "decoder.tail.conv2.bias"])
def test_a_missing_weight_is_refused(path: Path, name: str) -> None:
    tensors = load_file(path)
    del tensors[name]
    rewrite(path, tensors, to_json_dict(CONFIG))
    assert f"{name} is missing" in refusal(path)


def test_weights_of_another_width_are_refused(path: Path, random_generator: MakeGenerator) -> None:
    rewrite(path, random_generator(8).state_dict(), to_json_dict(CONFIG))
    message = refusal(path)
    name = message.split(" should hold ")[1].split()[0]
    expected, came = (tuple(module.state_dict()[name].shape) for module in (Generator(CONFIG), random_generator(8)))
    assert f"float32 of shape {expected} but holds torch.float32 of shape {came}; " in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["style_mean", "bnr.block.norm1.rho"])
def test_a_weight_that_is_not_finite_is_refused(path: Path, name: str, value: float) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[-1] = value
    rewrite(path, tensors, to_json_dict(CONFIG))
    assert f"{name} is not finite" in refusal(path)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (None, "should be an object but is null"),
        (to_json_dict(CONFIG) | {"depth": 3}, "but has depth"),
        (to_json_dict(CONFIG) | {"width": "4"}, 'width should be a whole number from 0 but is "4"'),
        (to_json_dict(CONFIG) | {"width": 4.0}, "width should be a whole number from 0 but is 4.0"),
        (to_json_dict(CONFIG) | {"width": True}, "width should be a whole number from 0 but is true"),
        (to_json_dict(CONFIG) | {"use_aac": 1}, "use_aac should be true or false but is 1"),
        pytest.param(
            to_json_dict(CONFIG) | {"width": 6},
            "width should be a multiple of 4 from 0 up but is 6",
        ),
    ],
    ids=["none", "many", "string", "float", "bool", "integer", "six"],
)
def test_a_bad_field_of_the_network_is_refused(path: Path, model: Any, problem: str) -> None:
    rewrite(path, load_file(path), model)
    assert problem in refusal(path)


def test_a_file_from_before_a_switch_has_its_default(path: Path) -> None:
    model = to_json_dict(CONFIG)
    del model["use_cam"]
    rewrite(path, load_file(path), model)
    load_generator(path)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_weights_of_another_dtype_are_refused(path: Path, dtype: torch.dtype) -> None:
    tensors = load_file(path)
    tensors["style_mean"] = tensors["style_mean"].to(dtype)
    rewrite(path, tensors, to_json_dict(CONFIG))
    assert "style_mean" in refusal(path)


def test_a_refused_file_changes_no_weight(path: Path, generator: Generator) -> None:
    tensors = load_file(path)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    for tensor in tensors.values():
        tensor.zero_()
    tensors["style_mean"].fill_(float("nan"))
    with pytest.raises(InputError):
        load_strictly(generator, tensors, "here")
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


# Writing


@pytest.mark.parametrize("written", [0, 100])
def test_a_failure_while_writing_keeps_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, random_generator: MakeGenerator, written: int
) -> None:
    def fail(tensors: Mapping[str, Tensor], target: Path, metadata: Mapping[str, str]) -> None:
        Path(target).write_bytes(b"x" * written)
        raise OSError(28, "No space left on device")

    old, new = path.read_bytes(), path.with_name("new.safetensors")
    monkeypatch.setattr(checkpoint, "save_file", fail)
    for target in (path, new):
        with pytest.raises(OSError, match="No space"):
            save_generator(target, random_generator(4, seed=1), CONFIG, TRAINING)
    assert path.read_bytes() == old
    assert not new.exists()
    monkeypatch.undo()
    save_generator(path, random_generator(4, seed=1), CONFIG, TRAINING)
    assert path.read_bytes() != old
    load_generator(path)
    assert list(path.parent.iterdir()) == [path]


# Optimizer


def train_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


def small_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    randomise(model)
    return model, torch.optim.Adam(model.parameters(), 1e-2, (0.5, 0.999))


@pytest.mark.parametrize("steps", [0, 5])
def test_an_optimizer_read_from_a_file_continues_exactly(tmp_path: Path, steps: int) -> None:
    model, optimizer = small_network()
    train_steps(model, optimizer, range(steps))
    path = tmp_path / "state.safetensors"
    tensors = with_prefix("model", model.state_dict()) | with_prefix("adam", optimizer_tensors(optimizer))
    write_atomically(path, tensors, {"format": STATE_FORMAT})
    train_steps(model, optimizer, range(steps, 9))

    resumed, optimizer = small_network()
    tensors, _ = read(path, STATE_FORMAT)
    load_strictly(resumed, without_prefix("model", tensors), str(path))
    load_optimizer(optimizer, without_prefix("adam", tensors))
    train_steps(resumed, optimizer, range(steps, 9))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


# The hash by which artifacts name weights


def test_sha256_changes_with_any_value(generator: Generator) -> None:
    state = generator.state_dict()
    seen = {weights_sha256(state)}
    for name, tensor in state.items():
        changed = tensor.clone()
        last = changed.view(-1)[-1]
        changed.view(-1)[-1] = torch.nextafter(last, last + 1) if tensor.is_floating_point() else last + 1
        seen.add(weights_sha256(state | {name: changed}))
    assert len(seen) == len(state) + 1


def test_sha256_changes_with_names_and_shapes() -> None:
    values = torch.arange(6.0)
    states = [{"a": values}, {"b": values}, {"a": values.view(2, 3)}, {"a": values.view(3, 2)}, {"a": values[:5]}, {}]
    assert len({weights_sha256(state) for state in states}) == len(states)


def test_sha256_does_not_change_with_order_layout_or_precision_of_equal_values(generator: Generator) -> None:
    state = generator.state_dict()
    expected = weights_sha256(state)
    assert len(expected) == 64
    assert weights_sha256(dict(reversed(state.items()))) == expected
    assert weights_sha256({name: tensor.double() for name, tensor in state.items()}) == expected
    turned = {n: t.transpose(0, 1).contiguous().transpose(0, 1) if t.ndim > 1 else t for n, t in state.items()}
    assert weights_sha256(turned) == expected
