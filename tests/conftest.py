"""Fixtures that several files use: networks in which no parameter or statistic has its fresh value."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import export.to_onnx
import export.to_openvino
from bncagan.config import ModelConfig
from bncagan.network.model import Generator
from tests.conversions import converting_once

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the photographs are that some tests train or evaluate on."""
    parser.addoption("--photographs", type=Path, default=PHOTOGRAPHS, help="folder with train, val and test pairs")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """On networks this small threads only wait for each other: 34 s against 4 s for test_model.py on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A job in a script's background ignores Ctrl-C, and so would the programs that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def graphs_are_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of equal networks and specs; a test that wants the exporter itself imports `convert` by name."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "graphs"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        convert = converting_once(export.to_onnx.convert, folder)
        for module in (export.to_onnx, export.to_openvino):
            patch.setattr(module, "convert", convert)
        yield


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> None:
    """Draw every parameter and buffer, at a scale that keeps the activations near 1; rho is uniform in [0, 1].

    Fresh values (rho 0 or 1/2, gamma 1, beta and biases 0, style 1 and 0) hide a missing term.
    """
    rng = torch.Generator().manual_seed(seed)
    learned = module.state_dict().keys()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name not in learned:  # a constant of the architecture
            continue
        if name.endswith("rho"):
            tensor.copy_(torch.rand(tensor.shape, generator=rng))
            continue
        drawn = torch.randn(tensor.shape, generator=rng)
        if ".members." in name and (".mlp.4." in name or ".direct." in name):
            drawn = 0.2 * drawn  # a moderate tone curve, so that few pixels are clamped
        if not tensor.is_floating_point():
            tensor.copy_(torch.randint(1, 1000, tensor.shape, generator=rng))
        elif name.endswith("gamma"):
            tensor.copy_(1 + 0.3 * drawn)
        elif name == "style_mean":
            tensor.copy_(torch.stack([1 + 0.3 * drawn[0], 0.3 * drawn[1]]))
        elif name.endswith("deviation"):  # the network divides by it
            tensor.copy_(torch.exp(0.3 * drawn))
        elif name.endswith("weight"):
            tensor.copy_(drawn / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.3 * drawn)


@torch.no_grad()
def like_a_trained_one() -> Generator:
    """A random network whose last convolution is as small as a trained one, so that half weights are as exact."""
    made = Generator(ModelConfig(width=8))
    randomise(made)
    made.decoder.tail.get_submodule("conv2").weight.mul_(0.2)
    return made.eval()


@pytest.fixture
def random_generator() -> Callable[..., Generator]:
    """`random_generator(width=8, **switches)`: a generator in eval mode with everything in it randomised.

    `width=0, tone=True` is a tone head alone.
    """

    def make(width: int = 8, *, seed: int = 0, **switches: bool) -> Generator:
        generator = Generator(ModelConfig(width=width, **switches))
        randomise(generator, seed)
        return generator.eval()

    return make


@pytest.fixture
def random_double_generator(random_generator: Callable[..., Generator]) -> Callable[..., Generator]:
    """The same in float64."""
    return lambda width=8, **options: random_generator(width, **options).double()


@pytest.fixture
def photographs_root(request: pytest.FixtureRequest) -> Path:
    """The folder of real photographs given by --photographs, with train, val and test in it."""
    folder: Path = request.config.getoption("--photographs")
    if not folder.is_dir():
        pytest.skip(f"there are no photographs in {folder}; name a folder with --photographs")
    return folder
