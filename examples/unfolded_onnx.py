"""Write the trained network without folding to an ONNX file, to measure what folding gains:

    python examples/unfolded_onnx.py unfolded.onnx --checkpoint base --shape 512x512
    bncagan benchmark ... --peer unfolded.onnx

With --fresh the checkpoint file is made first, with random weights of width 32: latency does not depend on them.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import tyro

from bncagan.cli.options import parse_size
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import load_generator, save_generator, shipped_names
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.artifact import describe
from export.eager import UnitRange
from export.to_onnx import convert
from runtimes import ShapeSet
from runtimes.errors import InputError


@dataclass
class Unfolded:
    """Write the network without folding to an ONNX file of one fixed shape."""

    out: tyro.conf.Positional[Path]
    """File to write."""
    checkpoint: str
    """Generator file, or name of shipped weights."""
    shape: str = "512x512"
    """HEIGHTxWIDTH."""
    fresh: bool = False
    """First write a new generator file with random weights under the name --checkpoint."""

    def run(self) -> None:
        """Write the checkpoint if it is to be fresh, and the ONNX file."""
        if self.fresh:
            if self.checkpoint in shipped_names() or Path(self.checkpoint).exists():
                raise InputError(f"{self.checkpoint} should be a new file for --fresh but exists; choose another name")
            torch.manual_seed(0)
            config = ModelConfig(width=32)
            save_generator(Path(self.checkpoint), Generator(config), config, {})
        generator, _ = load_generator(self.checkpoint)
        shapes = ShapeSet.of((1, *parse_size(self.shape)))
        spec = describe(fold(generator), precision="fp32", shapes=shapes, io="float32", tools=())
        onnx.save(convert(UnitRange(generator), spec), self.out)


tyro.cli(Unfolded).run()
