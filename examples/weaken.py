"""Scale the change that a generator makes behind its tone head: python examples/weaken.py IN OUT FACTOR."""

import sys
from pathlib import Path

import torch

from bncagan.config import model_config_from_dict
from bncagan.network.checkpoint import load_generator, save_generator
from bncagan.network.model import Tail

source, target, factor = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
generator, description = load_generator(source)
tail = generator.decoder.tail
assert isinstance(tail, Tail)
with torch.no_grad():  # a tanh follows, which is nearly linear for small changes
    for weights in tail.conv2.parameters():
        weights.mul_(factor)
config = model_config_from_dict(description["model"], source)
save_generator(target, generator, config, description["training"] | {"weakened": factor})
