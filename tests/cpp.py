"""The C++ program of apps/cpp, built once in a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent.parent / "apps" / "cpp"


@functools.cache
def built() -> Path:
    """The path of the program; skips the test where cmake or a compiler is missing."""
    folder = Path(tempfile.mkdtemp(prefix="bncagan-cpp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return configured(SOURCES, folder) / "bncagan-cpp"


def configured(sources: Path, folder: Path) -> Path:
    """Build a project of CMake into a folder, without a warning, and return the folder."""
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    for command in (
        ["cmake", "-S", sources, "-B", folder, f"-DPython3_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", folder],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    return folder
