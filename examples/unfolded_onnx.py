"""Write the trained network without folding to an ONNX file, to measure what folding gains:

python examples/unfolded_onnx.py unfolded.onnx --checkpoint base --shape 512x512
bncagan benchmark ... --peer unfolded.onnx
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
import tyro

from bncagan.network.checkpoint import load_generator
from bncagan.network.folding import fold
from export.artifact import describe
from export.eager import UnitRange
from export.to_onnx import convert
from runtimes import ShapeSet
from runtimes.command import run_command
from runtimes.files import replacing
from runtimes.spec import parse_size


@dataclass
class Unfolded:
    """Write the network without folding to an ONNX file of one fixed shape."""

    out: tyro.conf.Positional[Path]
    """File to write."""
    checkpoint: str
    """Generator file, or the name of shipped weights."""
    shape: str = "512x512"
    """HEIGHTxWIDTH, multiples of 8."""

    def run(self) -> int:
        """Write the file."""
        generator, _ = load_generator(self.checkpoint)
        shapes = ShapeSet.of((1, *parse_size(self.shape)))
        spec = describe(fold(generator), precision="fp32", shapes=shapes, io="float32", tools=())
        with replacing(self.out) as temporary:
            onnx.save(convert(UnitRange(generator), spec), temporary)
        return 0


sys.exit(run_command("unfolded_onnx", Unfolded))
