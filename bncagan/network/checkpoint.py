"""Weights on disk: safetensors files with a JSON description in the header.

There are two kinds. A generator file holds what is exported: the averaged generator, its config, and how it was
trained. A state file holds a training run at one step: both networks, the average, both optimizers and the image pool.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bncagan.config import ModelConfig, model_config_from_dict, to_json_dict
from bncagan.network.layers import UNKNOWN_LICENCE
from bncagan.network.model import Generator
from runtimes.errors import InputError, failing
from runtimes.files import replacing

GENERATOR_FORMAT = "bncagan-generator-1"
STATE_FORMAT = "bncagan-state-1"
MEND = {
    GENERATOR_FORMAT: "pass the generator.safetensors of a run, or the name of shipped weights",
    STATE_FORMAT: "put back the state.safetensors that the run wrote",
}
SHIPPED = Path(__file__).parents[1] / "weights"


def write_atomically(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a safetensors file with `description` in its header; InputError, and the old file stays, if it cannot."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"description": json.dumps(description, sort_keys=True)})
        except SafetensorError as error:  # a full disk, a folder that may not be written to
            raise InputError(
                f"{path} should be written but cannot be ({error}); check the folder, its permissions and its disk"
            ) from error
        temporary.chmod(0o644)  # safetensors makes files that only their owner may read


def read(path: Path, expected_format: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description in a file; InputError if it is missing, damaged or of another kind."""
    with (
        _opened(path, expected_format) as (file, description),
        failing(path, "be a safetensors file", "replace it", but="cannot be read", kind=InputError),
    ):
        return {name: file.get_tensor(name).clone() for name in file.keys()}, description  # noqa: SIM118 (no dict)


def read_description(path: Path, expected_format: str) -> dict[str, Any]:
    """The description in a file, without its tensors; InputError as of `read`."""
    with _opened(path, expected_format) as (_, description):
        return description


@contextlib.contextmanager
def _opened(path: Path, expected_format: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path} should be a checkpoint (.safetensors) but does not exist; check the path")
    with contextlib.ExitStack() as stack:
        with failing(path, "be a safetensors file", "replace it", but="cannot be read", kind=InputError):
            file = stack.enter_context(safe_open(path, "pt"))
            description = json.loads((file.metadata() or {}).get("description", "{}"))
            came = description.get("format", "another safetensors file")
        if came != expected_format:
            raise InputError(f"{path} should be a {expected_format} file but is {came}; {MEND[expected_format]}")
        yield file, description


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, shapes and float32 values, in alphabetical order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def shipped_names() -> list[str]:
    """The names of the shipped weights, which `--checkpoint` takes as well as paths."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def save_generator(path: Path, generator: Generator, config: ModelConfig, training: Mapping[str, Any]) -> None:
    """Write a generator file; `training` (JSON values) says how the weights were made, such as steps and scores."""
    description = {"format": GENERATOR_FORMAT, "model": to_json_dict(config), "training": dict(training)}
    write_atomically(path, generator.state_dict(), description)


def load_generator(checkpoint: str | Path) -> tuple[Generator, dict[str, Any]]:
    """Load a generator, in eval mode, and the description in its file.

    `checkpoint` is a path or the name of shipped weights. InputError if the file is missing or of another kind, or if
    its weights are not finite or do not fit the network that it describes.

        generator, description = load_generator("small")
        print(description["model"]["width"], description["training"])
        picture = enhance(generator, pixels)  # bncagan.network.inference; uint8, H x W x 3
    """
    path = SHIPPED / f"{checkpoint}.safetensors" if str(checkpoint) in shipped_names() else Path(checkpoint)
    if not path.exists():
        names = ", ".join(shipped_names()) or "none"
        raise InputError(
            f"{path} should be a generator file or the name of shipped weights ({names}) but is neither; check the name"
        )
    tensors, description = read(path, GENERATOR_FORMAT)
    config = model_config_from_dict(description.get("model"), str(path))
    with failing(path, "describe a network", "replace it", kind=InputError), torch.device("meta"):
        shapes = Generator(config).state_dict()  # without memory, which a large width would exhaust
    require_weights(shapes, tensors, str(path))
    generator = Generator(config)
    load_strictly(generator, tensors, str(path))
    generator.licence = licence_of(path)
    return generator.eval().requires_grad_(False), description


def licence_of(checkpoint: Path) -> str:
    """The licence of weights: `license` in the front matter of the card, NAME.md beside NAME.safetensors.

    Weights trained here have no card until somebody writes one, since their licence depends on the photographs.
    """
    card = checkpoint.with_suffix(".md")
    parts = card.read_text(encoding="utf-8").split("---\n") if card.is_file() else []
    front = parts[1].splitlines() if len(parts) > 2 and not parts[0] else []
    told = [line.partition(":")[2].strip() for line in front if line.startswith("license:")]
    return told[0] if told else UNKNOWN_LICENCE


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module; InputError as of `require_weights`."""
    require_weights(module.state_dict(), tensors, source)
    module.load_state_dict(dict(tensors))


def require_weights(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """InputError names a tensor that is missing, unknown, of another shape or type, or not finite."""
    for name in sorted(set(wanted) ^ set(tensors)):
        problem = "is missing" if name in wanted else "is unknown"
        raise InputError(
            f"{source} should hold the weights of this network but {name} {problem}; use the file made for it"
        )
    for name, tensor in tensors.items():
        expected = wanted[name]
        if (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
            raise InputError(
                f"{source} should hold {name} as {expected.dtype} of shape {tuple(expected.shape)} "
                f"but holds {tensor.dtype} of shape {tuple(tensor.shape)}; use the file made for this network"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{source} should hold finite weights but {name} is not finite; use an earlier checkpoint")


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each named `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, without this prefix."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts as tensors named `<parameter index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, values in state.items() for name, tensor in values.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the optimizer's state to what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
