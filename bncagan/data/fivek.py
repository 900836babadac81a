"""MIT-Adobe FiveK as pictures to train on: its DNG files developed, an expert's TIFF files reduced, both in sRGB.

The official archive holds raw_photos/HQa.../photos/a0001-jmac_DSC1459.dng and so on; the experts' TIFF files are
downloaded one by one. What others call the input is Lightroom's rendering of the DNG files (`LIGHTROOM`). LibRaw's
rendering here is as neutral, but not the same, so scores on it are not those of a published table.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from bncagan.data.folders import by_stem
from runtimes.errors import BackendMissingError, InputError, UserError
from runtimes.files import replacing
from runtimes.image import Pixels, reduced_size
from runtimes.installation import EXTRAS, install_hint, installed
from runtimes.photographs import read_rgb
from runtimes.photographs.foreign import NEUTRAL

INPUT_NAME, EXPERT_NAME = "input", "expert"  # folders of the result
SHORT_SIDE = 512  # px
LIGHTROOM = (
    "export them from Lightroom: open fivek.lrcat, choose the collections Inputs/InputAsShotZeroed and Experts/C, and "
    "export PNG, sRGB, 8 bit, short edge 512 px"
)


class Job(NamedTuple):
    """One photograph of the data set."""

    dng: Path
    """What the camera recorded."""
    expert: Path | None
    """What the expert made of it."""


def find_photographs_of(archive: Path, expert: Path | None) -> dict[str, Job]:
    """The DNG files in a folder and its sub-folders by name, each with the expert's picture if `expert` has one.

    InputError if there is no DNG file, if two have one name, or if the expert has none of the names.
    """
    if not archive.is_dir():
        unpack = f"; unpack it (tar -xf {archive}) and name the folder" if archive.is_file() else "; check the path"
        raise InputError(f"{archive} should be the folder of FiveK's archive but is no folder{unpack}")
    found: dict[str, Path] = {}
    for path in sorted(archive.rglob("*")):
        if path.suffix.lower() != ".dng" or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{path.stem} should be in {archive} once but is {found[path.stem]} and {path}; keep one")
        found[path.stem] = path
    if not found:
        raise InputError(
            f"{archive} should hold DNG files, also in sub-folders, but holds none; name the folder of the unpacked "
            "archive, or give pictures that are exported already to `bncagan data split`"
        )
    theirs = {} if expert is None else by_stem(expert)
    if expert is not None and not theirs.keys() & found.keys():
        raise InputError(
            f"{expert} should hold pictures named like the DNG files, such as {next(iter(found))}.tif, but holds none; "
            "name the folder of one expert's TIFF files"
        )
    return {stem: Job(path, theirs.get(stem)) for stem, path in found.items()}


def prepare(jobs: dict[str, Job], out: Path, short_side: int, workers: int) -> Iterator[str | None]:
    """Write OUT/input/NAME.png and OUT/expert/NAME.png for each photograph, of equal size; what is there stays.

    Yields, photograph by photograph, None or the message about a file that cannot be read.
    """
    require_rawpy()
    for name in (INPUT_NAME, EXPERT_NAME) if any(job.expert for job in jobs.values()) else (INPUT_NAME,):
        (out / name).mkdir(parents=True, exist_ok=True)

    def done(stem: str) -> str | None:
        try:
            _write(stem, jobs[stem], out, short_side)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(done, jobs)


def require_rawpy() -> None:
    """BackendMissingError, which also says how Lightroom does it, if rawpy is not installed."""
    if not installed("rawpy"):
        raise BackendMissingError(
            "rawpy, which develops DNG files, should be installed but is not; install it with: "
            f"{install_hint(EXTRAS['rawpy'])}, or {LIGHTROOM}"
        )


def _write(stem: str, job: Job, out: Path, short_side: int) -> None:
    theirs, ours = out / EXPERT_NAME / f"{stem}.png", out / INPUT_NAME / f"{stem}.png"
    size = None
    if job.expert is not None:
        if not theirs.exists():
            _save(Image.fromarray(read_rgb(job.expert, short_side)), theirs)
        with Image.open(theirs) as image:
            size = image.size
    if ours.exists():
        return
    picture = Image.fromarray(developed(job.dng, short_side))
    if size is None:
        size = reduced_size(picture.size, short_side)
    elif abs(picture.width / picture.height / (size[0] / size[1]) - 1) > 0.05:
        raise InputError(
            f"{job.dng} should have the proportion of {job.expert} but has {picture.width} x {picture.height} px; "
            "leave this photograph out"
        )
    # Cameras' files have a few pixels more at their edges than Adobe's pictures of them
    _save(ImageOps.fit(picture, size, Image.Resampling.LANCZOS), ours)


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        picture.save(temporary)


def developed(path: Path, short_side: int | None = None) -> Pixels:
    """Develop a camera's raw file neutrally, upright and in 8-bit sRGB: H x W x 3.

    White is what the camera says; nothing is brightened or recovered. If at least twice `short_side` px are there, each
    2 x 2 px of the sensor become one pixel, which is faster than to interpolate colours. InputError if the file
    cannot be read.
    """
    import rawpy  # noqa: PLC0415 (an extra)

    try:
        with rawpy.imread(str(path)) as raw:
            halved = short_side is not None and min(raw.sizes.height, raw.sizes.width) >= 2 * short_side
            pixels = raw.postprocess(half_size=halved, **NEUTRAL)
    except (rawpy.LibRawError, OSError, ValueError) as error:
        raise InputError(f"{path} should be a camera's raw file but cannot be read ({error}); replace it") from error
    return np.ascontiguousarray(pixels)
