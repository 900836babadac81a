"""Train the weights `nano` on the photographs that a list names: train_nano.py FOLDER OUT.safetensors [SEED]."""

import sys
from pathlib import Path

from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from bncagan.training.tone import SHORT_SIDE, fit_tone
from runtimes.photographs import read_rgb

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
names = (Path(__file__).parent / "free_photographs.txt").read_text(encoding="utf-8").splitlines()
head = fit_tone([read_rgb(folder / name, SHORT_SIDE) for name in names], seed=seed)
config = ModelConfig(width=0, tone=True)
generator = Generator(config)
generator.tone = head
save_generator(out, generator, config, {"photographs": len(names), "seed": seed})
