"""The on-the-spot check: how far an artifact's pictures are from PyTorch's on this machine, in this run."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.report import Check
from runtimes import ArtifactError
from runtimes.image import Pixels, decode_png
from runtimes.schema import Version

# Least PSNR in dB and largest difference in codes by precision: those of the parity check at export. bfloat16, which
# that check never promised, is held to what it asks of fp16.
LIMITS: dict[str, tuple[float, float]] = {
    "fp32": (60.0, 1),
    "fp16": (50.0, math.inf),
    "bf16": (50.0, math.inf),
    "int8": (38.0, math.inf),
    "palette8": (38.0, math.inf),
    "palette6": (38.0, math.inf),
}


class Drawn(NamedTuple):
    """A picture that an artifact drew, whether its numbers were finite, and what PyTorch draws."""

    name: str
    produced: Pixels
    finite: bool
    expected: Pixels


class Pair(NamedTuple):
    """A picture and PyTorch's answer to it."""

    name: str
    image: Pixels
    expected: Pixels


def judge(drawn: Iterable[Drawn], *, precision: str, ran: str, reference: str) -> Check:
    """The worst of the pictures, and what breaks the limits of the precision, or of bf16 where that ran."""
    least, most = min(LIMITS[precision], LIMITS.get(ran, LIMITS[precision]))
    failures = []
    decibels = []
    largest = count = 0
    for name, produced, finite, expected in drawn:
        psnr, difference = distance(produced, expected)
        count += 1
        largest = max(largest, difference)
        if psnr is not None:
            decibels.append(psnr)
        if not finite:
            failures.append(f"{name}: the output holds NaN or infinity")
        elif (psnr is not None and psnr < least) or difference > most:
            failures.append(f"{name}: PSNR {psnr:.2f} dB, largest difference {difference} of 255")
    return Check(
        reference=reference,
        pictures=count,
        psnr_min=min(decibels, default=None),
        max_code=largest,
        failures=tuple(failures),
    )


def distance(produced: Pixels, expected: Pixels) -> tuple[float | None, int]:
    """PSNR in dB at peak 255, None for identical pictures, and the largest difference in codes."""
    difference = produced.astype(np.int32) - expected.astype(np.int32)
    mse = float(np.mean(difference.astype(np.float64) ** 2))
    return (10 * math.log10(255**2 / mse) if mse > 0 else None), int(np.abs(difference).max())


def golden_pairs(artifact: Path, format_version: Version) -> Iterator[Pair]:
    """The pictures that lie beside an artifact as `<artifact>.golden.npz`; none where there is no such file.

    Of version 1.0, whose networks changed a picture of one colour, those are left out: rounded codes that are the same
    everywhere say nothing about an error below one code.

    Errors: ArtifactError when the file is damaged.
    """
    path = artifact.with_name(f"{artifact.name}.golden.npz")
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for index, name in enumerate(map(str, arrays["names"])):
                image, expected = (decode_png(arrays[f"{kind}_{index}"].tobytes()) for kind in ("image", "expected"))
                if format_version > (1, 0) or (image != image[0, 0]).any():
                    yield Pair(name, image, expected)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} should hold golden pictures but does not ({error}); export again") from error
