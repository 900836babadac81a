"""`python -m tests.faked_bncagan ARGUMENTS`: the command bncagan on a machine whose TensorRT is the stand-in."""

from __future__ import annotations

import sys
from types import ModuleType

from bncagan.cli import main
from tests.fake_tensorrt import Board, make_cudart, make_tensorrt


def play(board: Board) -> None:
    """Put the stand-in where TensorRT and cuda-python would be."""
    sys.modules["tensorrt"] = make_tensorrt(board)
    for name in ("cuda", "cuda.bindings"):
        sys.modules[name] = ModuleType(name)
    sys.modules["cuda.bindings.runtime"] = make_cudart(board)


if __name__ == "__main__":
    play(Board())
    sys.exit(main())
