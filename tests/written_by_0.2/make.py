"""Make files.tar.xz: PYTHONPATH=. python tests/written_by_0.2/make.py, at the commit that README.md names.

It is kept to show how the files came about; later versions need not be able to run it.
"""

from __future__ import annotations

import lzma
import os
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor

from bncagan.cli import main
from bncagan.config import ModelConfig, TrainConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from bncagan.training.loop import Trainer
from tests.conftest import randomise
from tests.fake_tensorrt import Board, make_cudart, make_tensorrt
from tests.folders import picture

HERE = Path(__file__).resolve().parent
WORK = Path("/tmp/written_by_0.2")
MODEL = ModelConfig(width=4, tone=True, detail=True, untoned=True)
ARTIFACTS = (
    ("onnx", "fp32.onnx", "--shape", "32x24"),
    ("onnx", "fp16.onnx", "--precision", "fp16", "--shape", "32x24", "--io", "uint8", "--controls"),
    ("onnx", "int8.onnx", "--precision", "int8", "--shape", "32x24"),
    ("onnx", "range.onnx", "--range", "1x16x16", "1x32x24", "2x48x48", "--output", "both"),
    ("openvino", "fp32.xml", "--shape", "32x24"),
    ("openvino", "int8.xml", "--precision", "int8", "--shape", "32x24"),
    ("coreml", "fp16.mlpackage", "--shape", "32x24"),
    ("pt2", "fp32.pt2", "--shape", "32x24"),
    ("litert", "fp32.tflite", "--shape", "32x24"),
)
TRAINING = (
    *("--model.width", "4", "--model.tone", "--model.detail", "--model.untoned", "--loss.perceptual", "0"),
    *("--batch", "1", "--size", "64", "--crop", "64", "--pool", "1", "--workers", "0", "--accelerator", "cpu"),
    *("--log-every", "1", "--checkpoint-every", "1", "--precision", "bf16-mixed"),
    *("--learning-rate", "1e-10", "--discriminator-learning-rate", "1e-10"),
    *("--init", "tiny.safetensors", "--data", "data"),
)  # fmt: skip


def run(*arguments: str, code: int = 0) -> None:
    """One command of bncagan."""
    with patch.object(sys, "argv", ["bncagan", *arguments]):  # which a latency report notes
        found = main()
    if found != code:
        raise SystemExit(f"bncagan {' '.join(arguments)} should exit with {code} but did with {found}")


@torch.no_grad()
def put_on_grid(state: dict[str, Tensor], least: float) -> None:
    """Leave three different values in every matrix, because that compresses well.

    least: what is smaller, in standard deviations, becomes 0.
    """
    for name, tensor in state.items():
        if tensor.dim() > 1 and tensor.numel() > 8 and not name.endswith("style_mean"):
            scale = 2.0 ** torch.log2(tensor.std()).round()
            tensor.copy_((tensor.abs() > least * tensor.std()) * tensor.sign() * scale)


@torch.no_grad()
def flatten(optimizer: torch.optim.Optimizer) -> None:
    """Give the moments of each tensor one size, which compresses well, too."""
    for state in optimizer.state.values():
        state["exp_avg"].copy_(state["exp_avg"].sign() * state["exp_avg"].abs().mean())
        state["exp_avg_sq"].fill_(state["exp_avg_sq"].mean())


def make_checkpoint() -> None:
    """Seeded random weights."""
    generator = Generator(MODEL)
    randomise(generator)
    put_on_grid(generator.state_dict(), 1.5)
    save_generator(Path("tiny.safetensors"), generator, MODEL, {"steps": 0})


def make_pictures() -> None:
    """A photograph to check on, and a data set to train, validate and test on."""
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
            Image.fromarray(picture(seed, 64, 64) // dim // 16 * 16).save(Path(folder, f"{name}.png"))


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
        run("export", "tensorrt", "--onnx", "artifacts/fp32.onnx", "--out", "artifacts/fp32.engine")
    for name in ("fp32.engine", "fp32.engine.golden.npz"):
        Path("artifacts", name).unlink()


def train() -> None:
    """A run that was interrupted after the first of its two steps."""
    honest_init, honest = Trainer.__init__, Trainer._checkpoint

    def init(self: Trainer, config: TrainConfig) -> None:
        honest_init(self, config)
        put_on_grid(self.discriminator.state_dict(), 0.8)

    def checkpoint(self: Trainer) -> None:
        for optimizer in (self.optimizer_g, self.optimizer_d):
            flatten(optimizer)
        for network in (self.generator, self.average, self.discriminator):
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_((tensor * 2**20).round() / 2**20)  # without the step, which is smaller
        honest(self)
        raise KeyboardInterrupt

    with patch.object(Trainer, "_checkpoint", checkpoint), patch.object(Trainer, "__init__", init):
        run("train", "--out", "run", "--steps", "2", *TRAINING, code=130)
    shutil.rmtree("run/samples")


def report() -> None:
    """What evaluate and benchmark write, pictures aside, and a self-test folder."""
    methods = ("--checkpoint", "tiny.safetensors", "--artifact", "artifacts/range.onnx")
    run("evaluate", *methods, "--data", "data/test", "--groups", "f*", "--out", "evaluation")
    Path("evaluation/examples.jpg").unlink()
    artifacts = [f"artifacts/{name}" for name in ("fp32.onnx", "fp32.xml", "fp32.pt2", "fp32.tflite")]
    options = ("--pytorch", "tiny.safetensors", "--shape", "32x24", "--threads", "1")
    run("benchmark", *artifacts, *options, "--runs", "3", "--warmup", "0", "--out", "latency.json")
    run("verify", "artifacts/fp32.onnx", "--write-self-test", "self-test")


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
    for step in (make_checkpoint, make_pictures, export, train, report):
        step()
    with tarfile.open(HERE / "files.tar.xz", "w:xz", preset=9 | lzma.PRESET_EXTREME) as archive:
        archive.add(".", filter=without_owner)
