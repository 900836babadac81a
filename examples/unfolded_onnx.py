"""Write the network as it is trained, not folded, to an ONNX file, to be measured as a peer of the folded one:

    python examples/unfolded_onnx.py unfolded.onnx --checkpoint base.safetensors --shape 512x512
    bncagan benchmark ... --peer unfolded.onnx

The checkpoint is a file or the name of shipped weights. A file that is not there is made first, of width 32 with fresh
weights: latency does not depend on them.
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


@dataclass
class Unfolded:
    """Write the network as trained to an ONNX file of one fixed shape."""

    out: tyro.conf.Positional[Path]
    checkpoint: str
    shape: str = "512x512"

    def run(self) -> None:
        """Make the checkpoint if need be, and the file."""
        if self.checkpoint not in shipped_names() and not Path(self.checkpoint).exists():
            print(f"{self.checkpoint}: made, with fresh weights of width 32")
            torch.manual_seed(0)
            config = ModelConfig(width=32)
            save_generator(Path(self.checkpoint), Generator(config), config, {})
        generator, _ = load_generator(self.checkpoint)
        shapes = ShapeSet.of((1, *parse_size(self.shape)))
        spec = describe(fold(generator), precision="fp32", shapes=shapes, io="float32", tools=())
        onnx.save(convert(UnitRange(generator), spec), self.out)


tyro.cli(Unfolded).run()
