"""Every option of the network and of its training; contradictions are refused at construction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from runtimes.errors import InputError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Backbone = Literal["vgg19", "squeezenet1_0"]


@dataclass(frozen=True)
class ModelConfig:
    """The network; the three switches are the architecture rows of Table 2."""

    width: int = 32
    """Channels after the first convolution, w: 32 in the paper, 16 for `small`."""
    use_aac: bool = True
    """Auxiliary attention classifier, eq. 2."""
    use_bnm: bool = True
    """Learned mix of instance and layer normalization, eq. 3; without it, instance normalization alone."""
    use_cam: bool = True
    """Colour attention module of the discriminator."""

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise InputError(f"width must be a positive multiple of 4, got {self.width}; use 32 or 16")


@dataclass(frozen=True)
class LossWeights:
    """The four lambdas of eq. 9, at the paper's values, and one beyond it; 0 turns a term off."""

    adversarial: float = 0.1
    """Relativistic hinge, eq. 5."""
    perceptual: float = 1.0
    """Feature distance between an image and its translation, eq. 6."""
    identity: float = 0.1
    """Multi-scale L1 to the other domain's image, eq. 7."""
    classification: float = 0.1
    """Domain classification by the AAC, eq. 8."""
    supervised: float = 0.0
    """Beyond the paper: L1 of luma, of colours and of steps, from an enhanced rendering to its original."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value < float("inf"):
                raise InputError(f"loss weight {name} must be a finite number of at least 0, got {value}")


@dataclass(frozen=True)
class RenderingConfig:
    """Dull renderings of good photographs, which stand among the low-quality samples."""

    low_from_high: float = 0.0
    """Share of low-quality samples made by rendering a good photograph dull, for who has only good ones."""
    darkest_stops: float = 1.6
    """How far the exposure of such a rendering goes down, in stops of linear light."""
    dark_share: float = 0.0
    """Share of those renderings that take the tones of a random low-quality photograph instead."""
    wander: float = 0.0
    """Strength of a random tone curve and of noise on top of each rendering, so that its recipe cannot be inverted."""
    intact_share: float = 0.0
    """Share of renderings that are the good photograph itself: what is good already is to stay as it is."""
    grey_share: float = 0.0
    """Share of renderings made of a photograph without its colours: what is grey is to stay grey but for a cast."""
    drawn_share: float = 0.0
    """Share of renderings made of a drawn picture, dead leaves: flat areas, edges and ramps, half of them grey."""
    well_exposed: float = 0.0
    """Only crops with a mean luma from this to 1 minus this are rendered, of 1: what is dark or pale is no example."""

    def __post_init__(self) -> None:
        for name in ("low_from_high", "dark_share", "wander", "intact_share", "grey_share", "drawn_share"):
            _require_share(name, getattr(self, name))
        for name in ("dark_share", "intact_share", "grey_share", "drawn_share", "well_exposed"):
            if getattr(self, name) > 0 and self.low_from_high == 0:
                raise InputError(f"{name} is of dull renderings, but there are none; raise low_from_high")
        if not 0 <= self.well_exposed <= 0.45:
            raise InputError(f"well_exposed must lie between 0 and 0.45, got {self.well_exposed}")
        if self.darkest_stops < 0.1:
            raise InputError(f"darkest_stops must be at least 0.1, got {self.darkest_stops}")


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on unpaired photographs; the defaults are the paper's."""

    data: Path
    """Folder with train/{low,high} (also raw/exp, or iphone/canon) and, if there, val/{low,label}."""
    out: Path
    """Folder of the run: config.json, metrics.jsonl, generator.safetensors, state.safetensors, samples/."""
    resume: bool = False
    """Continue the run in `out` from its last checkpoint; ends with the weights of an uninterrupted run."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    renderings: Annotated[RenderingConfig, tyro.conf.arg(name="")] = field(default_factory=RenderingConfig)
    epochs: int = 75
    """Epochs at the full learning rate; an epoch passes once over the larger domain."""
    decay_epochs: int = 75
    """Epochs in which the learning rate falls linearly to 0."""
    steps: int | None = None
    """Total steps instead of epochs, divided between the two phases in the same proportion."""
    batch: int = 8
    """Photographs of each domain per step and device."""
    short_side: int = 600
    """Larger photographs are first reduced to this short side, in pixels: a crop then shows a scene, not a detail."""
    crop: int = 512
    """Side of the square random crop, in pixels; clipped to the photograph's short side."""
    smallest_crop: float = 1.0
    """Crops vary in side from this share of it to the whole."""
    size: int = 256
    """Side to which the crop is resized, in pixels; a multiple of 8."""
    init: str | None = None
    """Generator weights to start from, a file or the name of shipped weights; random if not given."""
    learning_rate: float = 1e-4
    """Adam's rate for the generator."""
    discriminator_learning_rate: float = 4e-4
    """Adam's rate for the discriminator."""
    ema_decay: float = 0.999
    """Decay of the generator's moving average, which is what is validated, saved and exported."""
    domain_style_share: float = 0.5
    """Share of samples normalized with the running high-quality style, the one used at inference."""
    pool: int = 50
    """Past enhanced images from which the discriminator's fakes are drawn; 0 turns the pool off."""
    perceptual: Backbone = "vgg19"
    """Backbone of the perceptual loss."""
    perceptual_weights: Path | None = None
    """Its weights (.safetensors or .pth, torchvision's names); torchvision's file is downloaded if not given."""
    precision: Precision = "32-true"
    """Autocast: none, bfloat16, or float16 with loss scaling."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: auto, cpu, cuda, mps."""
    devices: int = 1
    """Processes or GPUs; several are trained data-parallel."""
    num_nodes: int = 1
    """Machines, when started by torchrun on each."""
    workers: int = 2
    """Processes that read photographs; 0 reads them in the training process."""
    cache: int = 256
    """Decoded photographs that each of them keeps in memory, in MiB."""
    seed: int = 0
    """Decides every crop, flip, pool draw and initial weight."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 200
    """Steps between checkpoints, sample grids and validations; a multiple of log_every."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the tensorboard package)."""

    def __post_init__(self) -> None:
        _positive(
            self,
            "epochs",
            "batch",
            "short_side",
            "crop",
            "size",
            "devices",
            "num_nodes",
            "log_every",
            "checkpoint_every",
        )
        _positive(self, "learning_rate", "discriminator_learning_rate")
        if not any(dataclasses.asdict(self.loss).values()):
            raise InputError("all loss weights are 0, so there is nothing to train on; raise at least one")
        for name in ("smallest_crop", "domain_style_share", "ema_decay"):
            _require_share(name, getattr(self, name))
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if min(self.decay_epochs, self.pool, self.workers, self.cache, self.seed) < 0:
            raise InputError("decay_epochs, pool, workers, cache and seed must not be negative")
        if self.size % 8 or self.size < 64:
            raise InputError(f"size must be a multiple of 8 and at least 64, got {self.size}")
        if self.crop < self.size:
            raise InputError(f"crop must be at least size ({self.size}), got {self.crop}; raise crop or lower size")
        if self.short_side < self.size:
            raise InputError(f"short_side must be at least size ({self.size}), got {self.short_side}; raise it")
        if self.checkpoint_every % self.log_every:
            raise InputError(
                f"checkpoint_every must be a multiple of log_every ({self.log_every}), got {self.checkpoint_every}"
            )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.loss.supervised > 0 and self.renderings.low_from_high == 0:
            raise InputError("the supervised loss is of dull renderings, but there are none; raise low_from_high")
        if self.loss.classification > 0 and not self.model.use_aac:
            raise InputError("use_aac is off, so nothing classifies domains; also set the classification weight to 0")


def _positive(config: TrainConfig, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise InputError(f"{name} must be positive, got {getattr(config, name)}")
        if getattr(config, name) == float("inf"):
            raise InputError(f"{name} must be finite, got inf")


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} must lie between 0 and 1, got {value}")


def to_json_dict(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """Plain JSON values of a config; paths become strings."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def options_by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `to_json_dict` or a run of any earlier version wrote them, each under its full name: loss.identity."""
    renderings = {field.name for field in dataclasses.fields(RenderingConfig)}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:  # renderings had no group of their own in version 0.1
            found[f"renderings.{name}" if name in renderings else name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, Path) else value


def model_config_from_dict(values: Any, source: str) -> ModelConfig:
    """Read a ModelConfig from parsed JSON; unknown, missing or mistyped fields raise InputError naming `source`."""
    expected = {f.name: type(f.default) for f in dataclasses.fields(ModelConfig)}
    if not isinstance(values, dict) or set(values) != set(expected):
        came = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise InputError(
            f"{source}: expected the model fields {sorted(expected)}, got {came}; retrain or re-download it"
        )
    for name, kind in expected.items():
        if type(values[name]) is not kind:
            raise InputError(f"{source}: model field {name} must be {kind.__name__}, got {values[name]!r}")
    try:
        return ModelConfig(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
