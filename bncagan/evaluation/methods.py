"""What is scored: networks on a device, and the pictures that another program made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bncagan.data.folders import Pair, by_stem
from bncagan.network.inference import enhance
from bncagan.network.model import Generator
from runtimes.apply.applying import applied
from runtimes.apply.fitting import fit_change
from runtimes.errors import InputError
from runtimes.image import Pixels, resize
from runtimes.photographs import read_rgb
from runtimes.shape_choice import scaled_size

MAX_SIDE = 1536  # px: longest side that a network is scored at

# Takes the pair and its input as the protocol prepares it, H x W x 3. Returns the enhanced picture of the same size;
# under the paper's protocol any size will do.
Method = Callable[[Pair, Pixels], Pixels]
DataSets = Mapping[str, Sequence[Pair]]


@dataclass(frozen=True)
class Outputs:
    """A method that reads another program's pictures."""

    found: Mapping[Path, Path]
    """The picture of each input."""

    def __call__(self, pair: Pair, _: Pixels) -> Pixels:
        return read_rgb(self.found[pair.low])


def outputs_of(folder: Path, sets: DataSets) -> Outputs:
    """A method that reads another program's pictures, which have the names of the inputs.

    The pictures of a data set are in `folder`/NAME, with the name of the data set, if that folder exists; otherwise in
    `folder`. InputError if a picture is missing, or if one picture would be used for two data sets.
    """
    found: dict[Path, Path] = {}
    for name, pairs in sets.items():
        inner = folder / name if (folder / name).is_dir() else folder
        pictures = by_stem(inner)
        missing = [pair.low.stem for pair in pairs if pair.low.stem not in pictures]
        if missing:
            raise InputError(
                f"{inner} should hold a picture for each of {len(pairs)} photographs of {name} but holds none named "
                f"{missing[0]}; add it"
            )
        taken = [pair.low.stem for pair in pairs if pictures[pair.low.stem] in found.values()]
        if taken:
            raise InputError(
                f"{inner} should hold pictures of one data set but {taken[0]} is a photograph of two; put the pictures "
                f"of each into a folder of its name: {', '.join(str(folder / each) for each in sets)}"
            )
        found |= {pair.low: pictures[pair.low.stem] for pair in pairs}
    return Outputs(found)


def device_named(name: str) -> torch.device:
    """The device that PyTorch calls by this name, such as cpu, cuda:0 or mps; InputError if there is none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device should be one that PyTorch can use, such as cpu, cuda:0 or mps, but is {name} ({reason}); "
            "choose another"
        ) from error
    return device


def network_method(
    generator: Generator, max_side: int = MAX_SIDE, mend: str = "use --device cpu, or a smaller --max-side"
) -> Method:
    """Enhance by a generator, on its device and in float32, as `enhance_any_size` does.

    InputError names a photograph for which the memory of the device is too small, and what to do then (`mend`).
    """

    def method(pair: Pair, low: Pixels) -> Pixels:
        try:
            # Without TF32, so that a GPU gives the CPU's scores
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                return enhance_any_size(generator, low, max_side)
        except torch.OutOfMemoryError as error:
            device = next(generator.parameters()).device
            raise InputError(f"{pair.low} should fit into the memory of {device} but does not; {mend}") from error

    return method


def enhance_any_size(generator: Generator, pixels: Pixels, max_side: int = MAX_SIDE) -> Pixels:
    """Enhance a photograph, H x W x 3, in bounded memory, as `Runtime.enhance` does.

    If a side is longer than `max_side` px, the generator enhances a reduced copy, and its change is carried over to the
    full size.
    """
    height, width, _ = pixels.shape
    scale = max_side / max(height, width)
    if scale >= 1:
        return enhance(generator, pixels)
    small = resize(pixels, *scaled_size(height, width, scale))
    return applied(pixels, fit_change(small, enhance(generator, small)))
