"""A wheel of the project as it runs, from a clone or from an installation; no build tool is needed."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from runtimes.errors import InputError
from runtimes.installation import PROJECT

PACKAGES = ("bncagan", "benchmarks", "export", "runtimes")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same files make the same wheel
WHEEL = "Wheel-Version: 1.0\nGenerator: bncagan\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Write the wheel into a folder and return its path.

    Errors: InputError if the project was copied without being installed, so that its metadata are missing.
    """
    # https://packaging.python.org/en/latest/specifications/binary-distribution-format
    try:
        installed = distribution("bncagan")
    except PackageNotFoundError:
        raise InputError(
            'bncagan should be installed to make a bundle but is not; install it with: pip install -e ".[train,onnx]"'
        ) from None
    stem = f"bncagan-{installed.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    record = f"{stem}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in (*_packages(), *_metadata(installed, f"{stem}.dist-info")):
            wheel.writestr(_entry(name), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}\n")
        wheel.writestr(_entry(record), "".join([*lines, f"{record},,\n"]))
    return path


def _packages() -> Iterator[tuple[str, bytes]]:
    """Name and contents of every file of the packages."""
    for package in PACKAGES:
        for file in sorted((PROJECT / package).rglob("*")):
            name = file.relative_to(PROJECT).as_posix()
            if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith("."):
                yield name, file.read_bytes()


def _metadata(installed: Distribution, folder: str) -> Iterator[tuple[str, bytes]]:
    """Name and contents of what pip needs to know; an .egg-info has other names for the same."""
    yield f"{folder}/METADATA", (installed.read_text("METADATA") or installed.read_text("PKG-INFO") or "").encode()
    yield f"{folder}/WHEEL", WHEEL.encode()
    yield f"{folder}/entry_points.txt", (installed.read_text("entry_points.txt") or "").encode()
    licence = installed.read_text("licenses/LICENSE")
    if licence is None and (PROJECT / "LICENSE").is_file():
        licence = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    if licence is not None:
        yield f"{folder}/licenses/LICENSE", licence.encode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
