"""Options that cannot be used are refused when a config is made; the message names the option and the value."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bncagan.config import (
    LossWeights,
    ModelConfig,
    TrainConfig,
    model_config_from_dict,
    options_by_name,
    refuse_other_options,
    to_json_dict,
)
from runtimes.errors import InputError

NAN, INFINITE = float("nan"), float("inf")


def train_config(**options: Any) -> TrainConfig:
    return TrainConfig(Path("photographs"), Path("run"), **options)


def test_defaults_are_the_papers() -> None:
    config = train_config()
    assert (config.epochs, config.decay_epochs, config.batch, config.crop, config.size) == (75, 75, 8, 512, 256)
    assert (config.learning_rate, config.discriminator_learning_rate, config.pool) == (1e-4, 4e-4, 50)
    assert config.loss == LossWeights(adversarial=0.1, perceptual=1, identity=0.1, classification=0.1)
    assert config.model == ModelConfig(width=32, use_aac=True, use_bnm=True, use_cam=True)


@pytest.mark.parametrize("width", [4, 8, 16, 32, 64])
def test_widths_that_are_multiples_of_4_pass(width: int) -> None:
    assert ModelConfig(width=width).width == width


@pytest.mark.parametrize("width", [0, -4, 2, 6, 33])
def test_other_widths_are_refused(width: int) -> None:
    with pytest.raises(InputError, match=rf"^--model\.width should .* but is {width}; "):
        ModelConfig(width=width)


@pytest.mark.parametrize("value", [-0.1, NAN, INFINITE])
@pytest.mark.parametrize("name", ["adversarial", "perceptual", "identity", "classification"])
def test_loss_weights_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^--loss\.{name} should .* but is {value}; "):
        LossWeights(**{name: value})
    assert getattr(LossWeights(**{name: 0}), name) == 0


POSITIVE = ("epochs", "batch", "crop", "size", "devices", "num_nodes", "log_every", "checkpoint_every")
RATES = ("learning_rate", "discriminator_learning_rate")
SHARES = ("low_from_high", "smallest_crop", "domain_style_share", "ema_decay")
NOT_NEGATIVE = ("decay_epochs", "pool", "workers", "cache", "seed")
ACCEPTED: list[dict[str, Any]] = [
    *({name: 0} for name in (*NOT_NEGATIVE, *SHARES)),
    *({name: 1} for name in (*SHARES, "epochs", "batch", "devices", "num_nodes", "log_every", "steps")),
    {"size": 64, "crop": 64},
    {"low_from_high": 0.1, "loss": LossWeights(supervised=1)},
    {"model": ModelConfig(tone=True), "tone": "nano"},
    {"model": ModelConfig(tone=True), "init": "small"},
    {"log_every": 7, "checkpoint_every": 21},
    {"model": ModelConfig(use_aac=False), "loss": LossWeights(classification=0)},
    {"model": ModelConfig(use_cam=False, use_bnm=False)},
]
# The options that are refused, the option that the message names first, its value, and another option to be named.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    *(({name: value}, name, "") for name in POSITIVE for value in (0, -1)),
    *(({name: value}, name, "") for name in RATES for value in (0, -1e-4, NAN, INFINITE)),
    *(({name: value}, name, "") for name in SHARES for value in (-0.1, 1.1, NAN)),
    *(({name: -1}, name, "") for name in NOT_NEGATIVE),
    *(({"steps": value}, "steps", "") for value in (0, -5)),
    *(({"size": value}, "size", "") for value in (56, 100)),
    *(({name: 128}, name, "--size (256)") for name in ("crop", "short_side")),
    ({"checkpoint_every": 30}, "checkpoint_every", "--log-every (20)"),
]
REFUSED_TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"model": ModelConfig(use_aac=False)}, r"^--loss\.classification should .*--model\.no-use-aac but is 0\.1; "),
    ({"loss": LossWeights(supervised=2.0)}, r"^--loss\.supervised should .* but is 2\.0; .*--low-from-high"),
    ({"model": ModelConfig(width=0, tone=True)}, r"^--model\.width should .* but is 0; use 16 or 32"),
    ({"tone": "nano"}, r"^--tone should .*--model\.tone but is nano; "),
    ({"model": ModelConfig(tone=True)}, r"^--tone should .*--model\.tone but is not given; pass --tone nano"),
    ({"loss": LossWeights(0, 0, 0, 0)}, r"^--loss\.adversarial .* but all are 0; "),
]


def refusal(name: str, value: object, other: str) -> str:
    """The pattern of a message: the option first, its value, what to do, and anywhere the other option or limit."""
    shown = re.escape(str(value))
    return f"(?=.*{re.escape(other)})^--{name.replace('_', '-')} should .* but is {shown}; .+$"


@pytest.mark.parametrize("options", ACCEPTED, ids=str)
def test_options_at_the_edge_pass(options: dict[str, Any]) -> None:
    config = train_config(**options)
    assert all(getattr(config, name) == value for name, value in options.items())


@pytest.mark.parametrize(("options", "name", "other"), REFUSED, ids=str)
def test_an_option_out_of_range_is_refused(options: dict[str, Any], name: str, other: str) -> None:
    with pytest.raises(InputError, match=refusal(name, options[name], other)):
        train_config(**options)


@pytest.mark.parametrize(("options", "message"), REFUSED_TOGETHER, ids=lambda value: str(value)[:60])
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_config(**options)


def test_options_of_the_older_versions_are_found_under_todays_names() -> None:
    today = to_json_dict(train_config(low_from_high=0.5))
    del today["low_from_high"]
    first, second = {**today, "low_from_high": 0.5}, {**today, "renderings": {"low_from_high": 0.5}}
    assert options_by_name(first) == options_by_name(second)
    assert options_by_name(second)["low_from_high"] == 0.5
    assert options_by_name(second)["model.width"] == 32


def test_a_run_with_renderings_of_older_versions_is_refused() -> None:
    """One without renderings goes on, because its options mean the same today."""
    theirs = to_json_dict(train_config())
    del theirs["low_from_high"], theirs["tone"]
    older = {**theirs, "renderings": {"low_from_high": 0.0, "darkest_stops": 1.6}}
    refuse_other_options(Path("run"), older, to_json_dict(train_config()))
    older["renderings"]["low_from_high"] = 0.5
    with pytest.raises(InputError, match=r"^run should .*today's renderings but is .*; finish it with that version"):
        refuse_other_options(Path("run"), older, to_json_dict(train_config(low_from_high=0.5)))


def test_an_option_other_than_that_of_a_run_is_named_as_it_is_typed() -> None:
    run, theirs = Path("run"), to_json_dict(train_config())
    refuse_other_options(run, theirs, theirs)
    for options, message in (
        ({"low_from_high": 0.5}, "--low-from-high 0.5 but is of one with 0.0; "),
        ({"model": ModelConfig(width=16)}, "--model.width 16 but is of one with 32; "),
        ({"decay_epochs": 3}, "--decay-epochs 3 but is of one with 75; "),
    ):
        with pytest.raises(InputError, match=f"^run should be of a run with {re.escape(message)}"):
            refuse_other_options(run, theirs, to_json_dict(train_config(**options)))


def test_a_config_cannot_be_changed() -> None:
    config = train_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.batch = 4  # type: ignore[misc]


# As JSON


def test_a_train_config_becomes_plain_json() -> None:
    config = train_config(perceptual_weights=Path("vgg.pth"), model=ModelConfig(width=16))
    values = to_json_dict(config)
    assert json.loads(json.dumps(values)) == values
    assert set(values) == {field.name for field in dataclasses.fields(TrainConfig)}
    assert (values["data"], values["perceptual_weights"], values["steps"]) == ("photographs", "vgg.pth", None)
    switches = {"use_aac": True, "use_bnm": True, "use_cam": True, "tone": False, "detail": False, "untoned": False}
    assert values["model"] == {"width": 16, **switches}
    assert values["loss"]["perceptual"] == 1


@pytest.mark.parametrize("options", [{}, {"tone": False}, {"width": 0, "tone": True}], ids=str)
def test_without_a_head_and_a_generator_nothing_is_untoned(options: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"^--model\.untoned should .*without a tone head and a generator.*--model\.tone"
    ):
        ModelConfig(**options, untoned=True)


@pytest.mark.parametrize("switch", ["use_aac", "use_bnm", "use_cam"])
def test_a_model_config_comes_back_from_json(switch: str) -> None:
    config = ModelConfig(width=16, **{switch: False})
    assert model_config_from_dict(json.loads(json.dumps(to_json_dict(config))), "file") == config
