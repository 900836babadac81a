"""The ONNX files that the package carries, made from the shipped weights: python -m export.packaged."""

from __future__ import annotations

import sys
from pathlib import Path

from bncagan.network.checkpoint import load_generator, weights_sha256
from bncagan.network.folding import fold
from export.artifact import OBLONG
from export.publishing import Artifact
from export.to_onnx import to_onnx
from runtimes import ShapeSet, load
from runtimes.errors import ArtifactError
from runtimes.packaged import MODELS

PACKAGED = ("nano", "small")  # `base` has 10 MB
SHAPES = ShapeSet.between((1, 16, 16), (1, *OBLONG), (8, 4096, 4096))  # golden pictures of 16 x 16 and `OBLONG` alone


def remake(folder: Path = MODELS) -> list[Artifact]:
    """Export every packaged model into a folder, with its golden pictures; ParityError if one fails its check."""
    folder.mkdir(exist_ok=True)
    return [
        to_onnx(fold(load_generator(name)[0]), folder / f"{name}.onnx", precision="fp32", shapes=SHAPES, output="both")
        for name in PACKAGED
    ]


def stale(name: str, folder: Path = MODELS) -> bool:
    """Whether a packaged model is missing, cannot be opened, or is of other weights than the shipped ones."""
    try:
        with load(folder / f"{name}.onnx") as runtime:
            packaged = runtime.spec.weights_sha256
    except ArtifactError:
        return True
    return packaged != weights_sha256(fold(load_generator(name)[0]).state_dict())


if __name__ == "__main__":
    for artifact in remake():
        sys.stdout.write(f"{artifact.path}\n")
