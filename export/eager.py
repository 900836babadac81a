"""The network in PyTorch behind the interface of an artifact, so that artifacts can be compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bncagan.network.checkpoint import SHIPPED, load_generator, shipped_names
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.artifact import describe
from runtimes import ArtifactError, Runtime, ShapeSet
from runtimes.backends import require_threads
from runtimes.verdict import require_one_of

FORMS = ("unfolded", "folded")
ANY_SHAPE = ShapeSet.between((1, 16, 16), (1, 512, 512), (64, 4096, 4096))


class UnitRange(nn.Module):
    """The generator as trained, with pictures in [0, 1] at both ends instead of [-1, 1]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor) -> Tensor:
        enhanced: Tensor = (self.generator(2 * image - 1) + 1) / 2
        return enhanced


class EagerRuntime(Runtime):
    """A generator executed by PyTorch; takes and returns float32, N x 3 x H x W in [0, 1].

    checkpoint: generator file, or name of shipped weights.
    form: "unfolded" for the network as trained, or "folded".
    compile: use `torch.compile`; each shape is compiled when its first batch comes.
    threads: CPU threads of the whole process; None leaves the number as it is.
    device: a device of torch, such as "cpu" or "cuda:0".

    Errors: InputError for a checkpoint that cannot be read; ArtifactError for an unknown form or device, or fewer than
    1 thread.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        form: str = "folded",
        compile: bool = False,  # noqa: A002 # torch's own name for it
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        require_one_of(form, FORMS, "the form")
        if threads is not None:
            torch.set_num_threads(require_threads(threads))
        generator, _ = load_generator(checkpoint)
        folded = fold(generator)
        module = (folded if form == "folded" else UnitRange(generator)).eval()
        self.path = SHIPPED / f"{checkpoint}.safetensors" if checkpoint in shipped_names() else Path(checkpoint)
        self.name = f"torch {torch.__version__}"
        self.spec = describe(folded, precision="fp32", shapes=ANY_SHAPE, io="float32", tools=("torch",))
        try:
            self._device = torch.device(device)
            module = module.to(self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ArtifactError(
                f"{checkpoint} should run on a device of torch but {device!r} is none here ({reason}); choose 'cpu'"
            ) from error
        self.device = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else str(self._device)
        self._module: Any = torch.compile(module, dynamic=False) if compile else module

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.inference_mode():
            result: Tensor = self._module(torch.tensor(inputs[self.spec.input_name], device=self._device))
        array: NDArray[Any] = result.cpu().numpy()
        return array

    def close(self) -> None:
        """Release the weights."""
        super().close()
        self._module = None
