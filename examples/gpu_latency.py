"""Time the folded network in PyTorch on an NVIDIA GPU: python examples/gpu_latency.py CHECKPOINT...

For each checkpoint (a file, or the name of shipped weights) and precision: the median of a picture called eagerly, and
replayed as a CUDA graph, which leaves out the launching of kernels; and how far the pictures are from float32 on the
CPU. In half precision, only the convolutions are halved.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
import torch
from rich.table import Table
from torch import Tensor, nn

from bncagan.network.checkpoint import load_generator
from bncagan.network.folding import fold, to_half
from bncagan.network.inference import to_unit
from runtimes.console import terminal

CALLS = 60
SIDES = (512, 1024)


def milliseconds(call: Callable[[], object]) -> float:
    """The median time of a call on the GPU, by CUDA events."""
    times = []
    for number in range(10 + CALLS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        if number >= 10:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def replay(module: nn.Module, batch: Tensor) -> Callable[[], None]:
    """The module's work on a batch as a CUDA graph; returns what replays it."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            module(batch)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(batch)
    return graph.replay


def nearest(module: nn.Module, photographs: list[Tensor], wanted: list[Tensor]) -> float:
    """The lowest PSNR of the photographs to the wanted pictures, in dB."""
    errors = [
        (module(photo.cuda()).float().cpu() - picture).square().mean()
        for photo, picture in zip(photographs, wanted, strict=True)
    ]
    return -10 * float(np.log10(max(float(error) for error in errors)))


@torch.no_grad()
def main() -> None:
    """Print the table."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    photographs = [to_unit(getattr(skimage.data, name)()[:384, :448]) for name in ("astronaut", "coffee", "rocket")]
    heads = [f"{what}, {side} px, ms" for side in SIDES for what in ("eager", "graph")]
    table = Table("weights", "precision", *heads, "PSNR to CPU, dB", title=torch.cuda.get_device_name())
    for name in sys.argv[1:]:
        folded = fold(load_generator(name)[0])
        wanted = [folded(photo) for photo in photographs]
        for precision, module in (("fp32", folded), ("fp16", to_half(folded))):
            module = module.cuda()  # noqa: PLW2901 (the same module)
            times = []
            for side in SIDES:
                batch = torch.rand(1, 3, side, side, device="cuda")
                times += [milliseconds(partial(module, batch)), milliseconds(replay(module, batch))]
            psnr = nearest(module, photographs, wanted)
            table.add_row(Path(name).stem, precision, *(f"{each:.2f}" for each in times), f"{psnr:.1f}")
    terminal().print(table)


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("an NVIDIA GPU should be there but torch finds none")
    main()
