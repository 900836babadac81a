"""Make files.tar.xz: PYTHONPATH=. python tests/written_by_0.1/make.py, at the commit that README.md names.

It is kept to show how the files came about; later versions need not be able to run it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
from bncagan.checkpoint import save_generator
from bncagan.model import Generator
from PIL import Image

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.training import Trainer
from tests.conftest import randomise
from tests.fake_tensorrt import Board, make_cudart, make_tensorrt
from tests.folders import picture
from tests.tiny_models import make_spec, write_gain

HERE = Path(__file__).resolve().parent
WORK = Path("/tmp/written_by_0.1")  # an ablation notes where its photographs are
GRID = 2**-4  # of the weights, in their standard deviation: few different values compress well
QUIETLY = 0.01  # scale of the convolutions before a normalization: flat pictures stay flat, on every CPU
ARTIFACTS = (
    ("onnx", "fp32.onnx", "--shape", "32x24"),
    ("onnx", "fp16.onnx", "--precision", "fp16", "--shape", "32x24"),
    ("onnx", "int8.onnx", "--precision", "int8", "--shape", "32x24"),
    ("onnx", "bytes.onnx", "--io", "uint8", "--shape", "32x24", "--batch", "2"),
    ("onnx", "range.onnx", "--range", "1x16x16", "1x32x24", "2x48x48"),
    ("openvino", "fp32.xml", "--shape", "32x24"),
    ("openvino", "fp16.xml", "--precision", "fp16", "--range", "1x16x16", "1x32x24", "2x48x48"),
    ("openvino", "int8.xml", "--precision", "int8", "--shape", "32x24"),
    ("coreml", "fp16.mlpackage", "--shape", "32x24"),
    ("coreml", "palette.mlpackage", "--precision", "palette8", "--shape", "32x24"),
    ("coreml", "two.mlpackage", "--io", "uint8", "--shape", "32x24", "16x16"),
    ("pt2", "fp32.pt2", "--shape", "32x24"),
)
TRAINING = (
    *("--model.width", "4", "--loss.perceptual", "0", "--batch", "1", "--size", "64", "--crop", "64", "--pool", "1"),
    *("--workers", "0", "--log-every", "1", "--checkpoint-every", "1", "--accelerator", "cpu"),
    *("--precision", "bf16-mixed", "--learning-rate", "1e-10", "--discriminator-learning-rate", "1e-10"),
    *("--init", "tiny.safetensors", "--data", "data"),
)  # fmt: skip


def run(*arguments: str, code: int = 0) -> None:
    """One command of bncagan."""
    with patch.object(sys, "argv", ["bncagan", *arguments]):  # which a latency report notes
        found = main()
    if found != code:
        raise SystemExit(f"bncagan {' '.join(arguments)} should exit with {code} but did with {found}")


@torch.no_grad()
def make_checkpoint() -> None:
    """Seeded random weights on a grid, as exact in halves and as calm on flat pictures as artifacts need."""
    generator = Generator(ModelConfig(width=4))
    randomise(generator)
    for name, tensor in generator.state_dict().items():
        if name.endswith("weight") and tensor.dim() > 1:
            scale = tensor.std() * GRID
            tensor.copy_((tensor / scale).round() * 2.0 ** torch.log2(scale).round())
    before_norms = [generator.bnr.block.conv1, generator.bnr.block.conv2]
    before_norms += [generator.decoder.stage1.merge, generator.decoder.stage2.merge]
    for conv in before_norms:
        conv.weight.mul_(2.0 ** round(np.log2(QUIETLY)))
        conv.bias.mul_(QUIETLY)
    generator.decoder.tail.get_submodule("conv2").weight.mul_(0.25)
    save_generator(Path("tiny.safetensors"), generator, ModelConfig(width=4), {"steps": 0})


def make_pictures() -> None:
    """A photograph to check on, and a data set to train, validate and test on.

    Those to train on are of one colour each, so that the optimizers' moments compress well.
    """
    for number, (folder, names, dim) in enumerate(
        [
            ("photos", "p", 1),
            ("data/train/low", "ab", 3),
            ("data/train/high", "cd", 1),
            ("data/val/low", "e", 3),
            ("data/val/label", "e", 1),
            ("data/test/low", "fg", 2),
            ("data/test/label", "fg", 1),
        ]
    ):
        Path(folder).mkdir(parents=True)
        for name in names:
            seed = ord(name) if "/" in folder else number
            drawn = picture(seed, 64, 64) // dim
            if "train" in folder:
                drawn[:] = drawn[0, 0]
            Image.fromarray(drawn).save(Path(folder, f"{name}.png"))


def export() -> None:
    """Every artifact, and of a TensorRT engine what lies beside it; the stand-in of the tests builds that."""
    Path("artifacts").mkdir()
    for form, name, *options in ARTIFACTS:
        out = f"artifacts/{name}"
        run("export", form, "--checkpoint", "tiny.safetensors", "--photos", "photos", "--out", out, *options)
    board = Board()
    modules = {name: ModuleType(name) for name in ("cuda", "cuda.bindings")}
    modules |= {"tensorrt": make_tensorrt(board), "cuda.bindings.runtime": make_cudart(board)}
    with patch.dict(sys.modules, modules):
        run("export", "tensorrt", "--onnx", "artifacts/fp16.onnx", "--out", "artifacts/fp16.engine")
    for name in ("fp16.engine", "fp16.engine.golden.npz"):
        Path("artifacts", name).unlink()


def train() -> None:
    """A run that was interrupted after the first of its two steps."""
    honest = Trainer._checkpoint

    def checkpoint(self: Trainer, monitor: object) -> None:
        honest(self, monitor)
        raise KeyboardInterrupt

    with patch.object(Trainer, "_checkpoint", checkpoint):
        try:
            run("train", "--out", "run", "--steps", "2", *TRAINING)
        except KeyboardInterrupt:
            shutil.rmtree("run/samples")


def ablate() -> None:
    """An ablation of two rows; of the second, only what is in ablation.json is kept.

    After its one step the full model is where the interrupted run is, which saves space.
    """
    run("ablate", "--out", "ablation", "--only", "without-cla", "--seeds", "0", "--steps", "1", *TRAINING)
    shutil.rmtree("ablation/without-cla-seed0")
    shutil.rmtree("ablation/full-seed0/samples")
    for name in ("ablation.png", "full-seed0/best.safetensors"):
        Path("ablation", name).unlink()


def report() -> None:
    """What evaluate, stress and benchmark write, pictures aside."""
    methods = ("--checkpoint", "tiny.safetensors", "--artifact", "artifacts/range.onnx")
    run("evaluate", *methods, "--data", "data/test", "--groups", "f*", "--out", "evaluation")
    run("stress", "--checkpoint", "tiny.safetensors", "--photos", "data/test/label", "--out", "stress", code=1)
    for name in ("evaluation/examples.jpg", "stress/stress.png"):
        Path(name).unlink()
    write_gain(Path("peer.onnx"), make_spec(), metadata=None)
    names = ("fp32.onnx", "int8.onnx", "fp16.xml", "fp32.pt2", "fp16.mlpackage")
    artifacts = [f"artifacts/{name}" for name in names]
    options = ("--pytorch", "tiny.safetensors", "--peer", "peer.onnx", "--shape", "32x24", "--threads", "1")
    run("benchmark", *artifacts, *options, "--runs", "3", "--warmup", "0", "--out", "latency.json", code=1)
    Path("peer.onnx").unlink()


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same file of nobody."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    torch.set_num_threads(1)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    os.chdir(WORK)
    for step in (make_checkpoint, make_pictures, export, train, ablate, report):
        step()
    with tarfile.open(HERE / "files.tar.xz", "w:xz", preset=9) as archive:
        archive.add(".", filter=without_owner)
