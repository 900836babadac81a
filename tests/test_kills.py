"""300 mixed files in nested folders, 12 of them broken; the run is ended at random 20 times and started again."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from runtimes.files import PARTIAL
from runtimes.photographs import SUFFIXES, read_rgb
from tests.folders import picture
from tests.processes import start_python
from tests.test_interrupted import unfinished
from tests.tiny_models import make_spec, write_gain

FILES, BROKEN = 300, 12
SIGNALS = [*[signal.SIGKILL] * 14, *[signal.SIGTERM] * 3, *[signal.SIGINT] * 3]
SIDE = 320  # px, so that writing takes a while

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hard,
    pytest.mark.skipif(sys.platform == "win32", reason="killed processes leave unfinished files on Windows"),
]


def png16(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)


def tiff(path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    Image.fromarray(pixels).save(path, exif=exif)


def plain(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def kinds() -> Iterator[tuple[str, Callable[[Path, np.ndarray], None]]]:
    yield from [(".jpg", plain), (".JPG", plain), (".png", png16), (".tif", tiff), (".webp", plain)]
    if features.check("avif"):
        yield ".avif", plain
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        yield ".heic", plain
    except ImportError:
        pass


def write_library(folder: Path) -> set[str]:
    """Write the library; returns the names of the broken files."""
    every = [(suffix, write) for suffix, write in kinds() if suffix.lower() in SUFFIXES]
    rng, broken = random.Random(0), set()
    for number in range(FILES):
        suffix, write = every[number % len(every)]
        below = Path(*["abc"[number // 3**level % 3] for level in range(number % 4)])
        path = folder / below / f"{number:03d} \u00fc{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, picture(number, SIDE, SIDE + number))
        if number % (FILES // BROKEN) == 7:
            data = path.read_bytes()
            path.write_bytes(data[: rng.choice([0, 20, len(data) // 3])])
            broken.add(str(path))
    return broken


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_killed_at_random_and_started_again(tmp_path: Path) -> None:
    library, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.jsonl"
    broken = write_library(library)
    originals = digests(library)
    assert len(originals) == FILES
    assert len(broken) == BROKEN
    artifact = write_gain(tmp_path / "half.onnx", make_spec(), 0.5)
    arguments = ["--model", artifact, library, "--out", out, "--recursive", "--skip-existing", "--report", report]
    rng = random.Random(1)
    signals = rng.sample(SIGNALS, len(SIGNALS))
    kills = writing = 0
    finished: dict[str, str] = {}
    for number in range(len(signals) + 1):
        before, left = len(finished), unfinished(out)
        with start_python("-m", "bncagan", "enhance", *arguments) as process:
            if number < len(signals):
                assert process.stdout is not None
                for _ in range(rng.randint(0, FILES // len(signals))):
                    process.stdout.readline()
                time.sleep(rng.uniform(0, 0.1))
                while number % 2 and process.poll() is None and not set(unfinished(out)) - set(left):
                    time.sleep(0.001)  # until it writes
                process.send_signal(signals[number])
            _, said = process.communicate(timeout=300)
        killed = process.returncode == -signal.SIGKILL
        kills, writing = kills + killed, writing + (killed and bool(set(unfinished(out)) - set(left)))
        now = {name: digest for name, digest in digests(out).items() if PARTIAL not in name} if out.exists() else {}
        assert finished.items() <= now.items(), "a finished result was written again or lost"
        finished = now
        for name in now:
            read_rgb(name)  # nothing is half-written
        assert number == len(signals) or len(finished) >= before
    print(f"enhance: {kills} kills, {writing} of them while it wrote")
    assert kills >= 12
    assert writing >= 5
    assert process.returncode == 1
    assert digests(library) == originals
    assert len(digests(out)) == len(finished) == FILES - BROKEN  # and no unfinished file is left
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["file"] for line in lines if line["status"] == "failed"] == sorted(broken, key=_order)
    assert sum(name in said for name in broken) == BROKEN
    assert len(lines) == len({line["file"] for line in lines}) == FILES
    results = {line["output"] for line in lines if line["output"] is not None}
    assert results == finished.keys()
    for line in lines[:: FILES // 20]:
        if line["status"] != "failed":
            difference = read_rgb(line["output"]).astype(int).mean() - read_rgb(line["file"]).mean() / 2
            assert abs(difference) < 2, line


def _order(path: str) -> list[tuple[bool, str]]:
    """Files of a folder come before its sub-folders."""
    parts = Path(path).parts
    return [(index < len(parts) - 1, part) for index, part in enumerate(parts)]
