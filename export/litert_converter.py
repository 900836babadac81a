"""Converts a PyTorch exported program to LiteRT: a script for the environment that `make litert` makes.

It is run there as a file and imports nothing of this project:

    PYTHON export/litert_converter.py PROGRAM.pt2 MODEL.tflite INPUT[,INPUT] OUTPUT[,OUTPUT]

Its last line on standard output is a JSON object of the versions it used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "litert-torch")


def convert(program: Path, model: Path, inputs: list[str], outputs: list[str]) -> None:
    """Convert the program; its inputs and outputs get these names."""
    torch, litert = importlib.import_module("torch"), importlib.import_module("litert_torch")
    exported = torch.export.load(program)
    module = exported.module()

    class Named(torch.nn.Module):  # type: ignore[misc,name-defined]
        """The program with named outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def train(self, mode: bool = True) -> Any:  # a program has no other mode
            return self

        def forward(self, **given: Any) -> dict[str, Any]:
            returned = self.module(*(given[name] for name in inputs))
            return dict(zip(outputs, returned if isinstance(returned, tuple) else [returned], strict=True))

    samples = [node.meta["val"] for node in exported.graph.nodes if node.name in exported.graph_signature.user_inputs]
    given = {
        name: torch.zeros(tuple(sample.shape), dtype=sample.dtype) for name, sample in zip(inputs, samples, strict=True)
    }
    litert.convert(Named(), sample_kwargs=given).export(str(model))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4].split(","))
    print(json.dumps({name: importlib.metadata.version(name) for name in LIBRARIES}))
