"""Contradictory options are refused when a config is made, with a message that says what to do."""

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
    RenderingConfig,
    TrainConfig,
    model_config_from_dict,
    options_by_name,
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
    with pytest.raises(InputError, match=f"^width must be a positive multiple of 4, got {width}; use 32 or 16$"):
        ModelConfig(width=width)


@pytest.mark.parametrize("value", [-0.1, NAN, INFINITE])
@pytest.mark.parametrize("name", ["adversarial", "perceptual", "identity", "classification"])
def test_loss_weights_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^loss weight {name} must be a finite number of at least 0, got {value}$"):
        LossWeights(**{name: value})
    assert getattr(LossWeights(**{name: 0}), name) == 0


POSITIVE = ("epochs", "batch", "crop", "size", "devices", "num_nodes", "log_every", "checkpoint_every")
RATES = ("learning_rate", "discriminator_learning_rate")
SHARES = ("smallest_crop", "domain_style_share", "ema_decay")
NOT_NEGATIVE = ("decay_epochs", "pool", "workers", "cache", "seed")
ACCEPTED: list[dict[str, Any]] = [
    *({name: 0} for name in (*NOT_NEGATIVE, *SHARES)),
    *({name: 1} for name in (*SHARES, "epochs", "batch", "devices", "num_nodes", "log_every", "steps")),
    {"size": 64, "crop": 64},
    {"renderings": RenderingConfig(dark_share=0.5, low_from_high=0.1)},
    {"log_every": 7, "checkpoint_every": 21},
    {"model": ModelConfig(use_aac=False), "loss": LossWeights(classification=0)},
    {"model": ModelConfig(use_cam=False, use_bnm=False)},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, f"{name} must be positive, got {value}") for name in POSITIVE for value in (0, -1)),
    *(({name: value}, f"{name} must be positive, got {value}") for name in RATES for value in (0, -1e-4, NAN)),
    *(
        ({name: value}, f"{name} must lie between 0 and 1, got {value}")
        for name in SHARES
        for value in (-0.1, 1.1, NAN)
    ),
    *(({name: -1}, "decay_epochs, pool, workers, cache and seed must not be negative") for name in NOT_NEGATIVE),
    *(({"steps": value}, f"steps must be at least 1, got {value}") for value in (0, -5)),
    *(({"size": value}, f"size must be a multiple of 8 and at least 64, got {value}") for value in (56, 100)),
    ({"crop": 128}, "crop must be at least size (256), got 128; raise crop or lower size"),
    ({"checkpoint_every": 30}, "checkpoint_every must be a multiple of log_every (20), got 30"),
    (
        {"model": ModelConfig(use_aac=False)},
        "use_aac is off, so nothing classifies domains; also set the classification weight to 0",
    ),
]

REFUSED_RENDERINGS: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: 0.5}, f"{name} is of dull renderings, but there are none; raise low_from_high")
        for name in ("dark_share", "intact_share", "grey_share", "drawn_share", "well_exposed")
    ),
    ({"well_exposed": 0.5, "low_from_high": 1}, "well_exposed must lie between 0 and 0.45, got 0.5"),
    ({"wander": -0.5}, "wander must lie between 0 and 1, got -0.5"),
    ({"dark_share": 1.5, "low_from_high": 1}, "dark_share must lie between 0 and 1, got 1.5"),
    ({"low_from_high": 1.1}, "low_from_high must lie between 0 and 1, got 1.1"),
    ({"darkest_stops": 0, "low_from_high": 1}, "darkest_stops must be at least 0.1, got 0"),
]


@pytest.mark.parametrize("options", ACCEPTED, ids=str)
def test_options_at_the_edge_pass(options: dict[str, Any]) -> None:
    config = train_config(**options)
    assert all(getattr(config, name) == value for name, value in options.items())


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_contradiction_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        train_config(**options)


@pytest.mark.parametrize(("options", "message"), REFUSED_RENDERINGS, ids=lambda value: str(value)[:60])
def test_contradictory_renderings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        RenderingConfig(**options)


def test_options_of_the_first_version_are_found_under_todays_names() -> None:
    today = to_json_dict(train_config(renderings=RenderingConfig(low_from_high=0.5, dark_share=0.25)))
    before = {**today, **today["renderings"]}
    del before["renderings"]
    assert options_by_name(before) == options_by_name(today)
    assert options_by_name(before)["renderings.dark_share"] == 0.25
    assert options_by_name(before)["model.width"] == 32


def test_a_training_without_any_loss_is_refused() -> None:
    with pytest.raises(InputError):
        train_config(loss=LossWeights(adversarial=0, perceptual=0, identity=0, classification=0))


def test_an_infinite_learning_rate_is_refused() -> None:
    with pytest.raises(InputError):
        train_config(learning_rate=INFINITE)


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
    assert values["model"] == {"width": 16, "use_aac": True, "use_bnm": True, "use_cam": True}
    assert values["loss"]["perceptual"] == 1


@pytest.mark.parametrize("switch", ["use_aac", "use_bnm", "use_cam"])
def test_a_model_config_comes_back_from_json(switch: str) -> None:
    config = ModelConfig(width=16, **{switch: False})
    assert model_config_from_dict(json.loads(json.dumps(to_json_dict(config))), "file") == config
