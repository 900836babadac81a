"""The options of the network and of its training. Values that cannot work together raise InputError at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runtimes.errors import ArtifactError, InputError
from runtimes.schema import build

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Backbone = Literal["vgg19", "squeezenet1_0"]


@dataclass(frozen=True)
class ModelConfig:
    """The network. Its three switches are the architecture rows of Table 2."""

    width: int = 32
    """Channels after the first convolution (w): 32 in the paper, 16 for `small`; 0 for the tone head alone."""
    use_aac: bool = True
    """Use the auxiliary attention classifier (eq. 2)."""
    use_bnm: bool = True
    """Mix instance and layer normalization by learned weights (eq. 3); if off, use instance normalization alone."""
    use_cam: bool = True
    """Use the colour attention module of the discriminator."""
    tone: bool = False
    """Not in the paper: let a tone head decide brightness, contrast and saturation before the generator."""
    detail: bool = False
    """Not in the paper: let the decoder see the full-size features of the encoder and not only their gate."""
    untoned: bool = False
    """Not in the paper: let the encoder also see the luma before the tone head, which tells what was lifted."""

    def __post_init__(self) -> None:
        if self.width < 0 or self.width % 4:
            raise InputError(f"--model.width should be a multiple of 4 from 0 up but is {self.width}; use 32 or 16")
        if self.width == 0 and not self.tone:
            raise InputError("--model.width should be above 0 without a tone head but is 0; use 16, or --model.tone")
        if self.untoned and not (self.tone and self.width):
            raise InputError(
                "--model.untoned should be left out without a tone head and a generator but is given; "
                "add --model.tone, or leave it out"
            )


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms: the four of eq. 9 with the paper's values, and one more. 0 turns a term off."""

    adversarial: float = 0.1
    """Weight of the relativistic hinge loss (eq. 5)."""
    perceptual: float = 1.0
    """Weight of the distance between the features of an image and of its translation (eq. 6)."""
    identity: float = 0.1
    """Weight of the multi-scale L1 distance to the image of the other domain (eq. 7)."""
    classification: float = 0.1
    """Weight of the domain classification by the attention classifier (eq. 8)."""
    supervised: float = 0.0
    """Not in the paper: weight of the distance (luma, colours, gradients) of an enhanced rendering to its original."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value < float("inf"):
                raise InputError(
                    f"--loss.{name} should be a finite number of at least 0 but is {value}; use 0 to turn it off"
                )


_POSITIVE = (
    "epochs",
    "batch",
    "short_side",
    "crop",
    "size",
    "devices",
    "num_nodes",
    "log_every",
    "checkpoint_every",
    "learning_rate",
    "discriminator_learning_rate",
    "patience",
)


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator on unpaired photographs. The defaults are the paper's."""

    data: Path
    """Folder with train/{low,high} (or raw and exp, or iphone and canon), optionally val/{low,label} and keep."""
    out: Path
    """Folder for the run's files: config.json, metrics.jsonl, generator.safetensors, state.safetensors, samples/."""
    resume: Path | None = None
    """Folder of a run to continue, with its own options; the rates, the precision, and the steps may be given anew."""
    keep: Path | None = None
    """Photographs to leave alone, such as night skies, for the validation; if not given, DATA/keep where it exists."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    low_from_high: float = 0.0
    """Share of low-quality samples that are renderings of good photographs; 1 if you have only good ones."""
    epochs: int = 75
    """Epochs at the full learning rate; one epoch uses every photograph of the larger domain once."""
    decay_epochs: int = 75
    """Epochs after that, in which the learning rate falls linearly to 0."""
    steps: int | None = None
    """Total number of steps, used instead of the epochs and divided between the two phases in their proportion."""
    batch: int = 8
    """Photographs of each domain in one step, per device."""
    short_side: int = 600
    """Larger photographs are first reduced to this short side (px), so that a crop shows a scene and not a detail."""
    crop: int = 512
    """Side of the square random crop (px); at most the short side of the photograph."""
    smallest_crop: float = 1.0
    """Smallest side of a crop, as a share of --crop; the side is drawn between it and the whole."""
    size: int = 256
    """Side to which crops are resized (px); a multiple of 8."""
    init: str | None = None
    """Generator weights to start from: a file or the name of shipped weights."""
    tone: str | None = None
    """Generator file or shipped weights whose tone head, which is not trained, replaces that of --init."""
    learning_rate: float = 1e-4
    """Learning rate of the generator (Adam)."""
    discriminator_learning_rate: float = 4e-4
    """Learning rate of the discriminator (Adam)."""
    ema_decay: float = 0.999
    """Decay of the moving average of the generator's weights; the average is what is validated, saved and exported."""
    domain_style_share: float = 0.5
    """Share of samples normalized with the running mean of the high-quality style, as at inference."""
    pool: int = 50
    """Number of past enhanced images kept to train the discriminator on; 0 turns the pool off."""
    perceptual: Backbone = "vgg19"
    """Network that computes the features of the perceptual loss."""
    perceptual_weights: Path | None = None
    """Weights of that network (.safetensors or .pth, torchvision's names); downloaded from torchvision if not given."""
    precision: Precision = "32-true"
    """Arithmetic of the training: float32, bfloat16 autocast, or float16 autocast with loss scaling."""
    accelerator: str = "auto"
    """Where to train, in Lightning Fabric's words: auto, cpu, cuda or mps."""
    devices: int = 1
    """Number of GPUs or processes; several train together, each on its own batches."""
    num_nodes: int = 1
    """Number of machines; start the training with torchrun on each of them."""
    workers: int = 2
    """Number of processes that read photographs; 0 reads them in the training process."""
    cache: int = 256
    """Memory for decoded photographs in each reading process, in MiB."""
    patience: float = 30.0
    """Minutes without a step after which the run ends with a message instead of waiting."""
    seed: int = 0
    """Seed of all random choices: crops, flips, draws from the pool, initial weights."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    checkpoint_every: int = 200
    """Steps between checkpoints, each with a sample grid and a validation; a multiple of --log-every."""
    tensorboard: bool = False
    """Also write TensorBoard event files; needs the tensorboard package."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(
                    f"{option(name)} should be above 0 and finite but is {getattr(self, name)}; choose another"
                )
        for name in ("decay_epochs", "pool", "workers", "cache", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{option(name)} should be at least 0 but is {getattr(self, name)}; raise it")
        for name in ("low_from_high", "smallest_crop", "domain_style_share", "ema_decay"):
            _require_share(name, getattr(self, name))
        if self.steps is not None and self.steps < 1:
            raise InputError(f"--steps should be at least 1 but is {self.steps}; raise it, or leave it out")
        self._refuse_sizes()
        self._refuse_contradictions()

    def _refuse_sizes(self) -> None:
        if self.size % 8 or self.size < 64:
            nearest = max(64, round(self.size / 8) * 8)
            raise InputError(f"--size should be a multiple of 8 from 64 up but is {self.size}; use {nearest}")
        for name in ("crop", "short_side"):
            if getattr(self, name) < self.size:
                raise InputError(
                    f"{option(name)} should be at least --size ({self.size}) but is {getattr(self, name)}; "
                    "raise it, or lower --size"
                )

    def _refuse_contradictions(self) -> None:
        if self.resume is not None and self.resume != self.out:
            raise InputError(
                f"--out should be left out with --resume {self.resume}, which goes on there, but is {self.out}; "
                "leave it out"
            )
        if self.checkpoint_every % self.log_every:
            raise InputError(
                f"--checkpoint-every should be a multiple of --log-every ({self.log_every}) "
                f"but is {self.checkpoint_every}; change one of them"
            )
        if not any(dataclasses.asdict(self.loss).values()):
            raise InputError(
                "--loss.adversarial or another loss weight should be above 0 but all are 0; raise at least one"
            )
        if self.loss.supervised > 0 and self.low_from_high == 0:
            raise InputError(
                f"--loss.supervised should be 0 without renderings but is {self.loss.supervised}; "
                "set it to 0, or raise --low-from-high"
            )
        if self.model.width == 0:
            raise InputError("--model.width should be above 0 to train a generator but is 0; use 16 or 32")
        if self.tone is not None and not self.model.tone:
            raise InputError(
                f"--tone should be left out without --model.tone but is {self.tone}; leave it out, or add --model.tone"
            )
        if self.model.tone and self.tone is None and self.init is None:
            raise InputError("--tone should name a tone head with --model.tone but is not given; pass --tone nano")
        if self.loss.classification > 0 and not self.model.use_aac:
            raise InputError(
                f"--loss.classification should be 0 with --model.no-use-aac but is {self.loss.classification}; "
                "set it to 0, or leave the classifier on"
            )


def option(name: str) -> str:
    """The name of a field on the command line, such as --loss.identity."""
    return f"--{name.replace('_', '-')}"


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{option(name)} should be from 0 to 1 but is {value}; choose a share in this range")


def to_json_dict(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """The fields of a config as JSON values; paths become strings."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def options_by_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run of any version has written, by their full names, such as loss.identity."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        group = "" if name == "renderings" else f"{name}."  # version 0.2 wrote the renderings' options as a group
        found |= (
            {f"{group}{inner}": each for inner, each in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return found


def refuse_other_options(
    path: Path,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    mend: str = "give the options that it was started with, or another --out",
) -> None:
    """InputError if an option in `ours` differs from that of the run in `path`, which was started with `theirs`.

    An option of the network that an older run does not know had its default. The renderings of older runs are no longer
    made.
    """
    started = options_by_name({"model": dataclasses.asdict(ModelConfig())}) | options_by_name(theirs)
    if "darkest_stops" in started and started.get("low_from_high"):
        raise InputError(
            f"{path} should be of a run with today's renderings but is of one with those of version 0.2 or older; "
            "finish it with that version, or give another --out"
        )
    for name, value in options_by_name(ours).items():
        if started.get(name) != value:
            raise InputError(
                f"{path} should be of a run with {option(name)} {value} but is of one with {started.get(name)}; {mend}"
            )


def train_config_from_dict(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Read a TrainConfig from the options that a run of any version has written; InputError names `source`.

    An option that is unknown today is left out; `refuse_other_options` says whether the run depended on it.
    """
    known = {each.name for each in dataclasses.fields(TrainConfig)} - {"resume"}
    inner = values.get("renderings", {})  # a group of version 0.2
    kept = {name: value for name, value in {**inner, **values}.items() if name in known}
    try:
        return build(TrainConfig, kept, f"{source}: the options", mend="put back the file that the run wrote")
    except ArtifactError as error:
        raise InputError(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, Path) else value


def model_config_from_dict(values: object, source: str) -> ModelConfig:
    """Read a ModelConfig from parsed JSON, or its defaults; InputError names `source` and a field of another kind."""
    try:
        return build(ModelConfig, values, f"{source}: the model", mend="retrain or download it again")
    except ArtifactError as error:
        raise InputError(str(error)) from error
