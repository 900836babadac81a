"""The code of apps/swift and apps/android on this machine: built, tested, and its self-test on recorded answers."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.pages import ROOT

SWIFT, KOTLIN = ROOT / ".swift", ROOT / ".kotlin"  # folders made by `make swift` and `make kotlin`
SWIFT_TOOL = ".build/debug/bncagan-selftest"
NATIVE = shutil.which("swift") is not None

Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # N x 3 x H x W in [0, 1]


@dataclasses.dataclass(frozen=True)
class Language:
    """How the code in one language is tested."""

    missing: str | None
    """Why it cannot run here; None if it can."""
    test: tuple[str, ...]
    """The command that runs its own tests."""
    tests_passed: str
    """What that prints if all pass."""
    build: tuple[str, ...]
    """The command that builds what `judge` runs."""
    judge: Callable[[Path, Path], tuple[str, ...]]
    """The command that prints the verdict of a self-test folder on recorded answers."""
    temporary: Path
    """Where both folders must lie."""


def _swift(*words: str) -> tuple[str, ...]:
    if NATIVE:
        return "sh", "-c", f'cd {ROOT}/apps/swift && exec "$@"', "sh", *words
    return "sh", f"{ROOT}/apps/swift/linux.sh", "run", str(SWIFT), *words


def _swift_missing() -> str | None:
    if NATIVE:
        return None
    if not (SWIFT / "usr" / "libexec" / "swift" / "bin" / "swift").exists():
        return "there is neither swift on PATH nor Debian's in .swift: make swift"
    return None if os.geteuid() == 0 else "Swift in a folder needs root, for chroot"


def _kotlin(verb: str, *words: str) -> tuple[str, ...]:
    return "sh", f"{ROOT}/apps/android/core/linux.sh", verb, str(KOTLIN), *words


LANGUAGES = {
    "swift": Language(
        missing=_swift_missing(),
        test=_swift("swift", "test"),
        tests_passed="with 0 failures",
        build=_swift("swift", "build", "--product", "bncagan-selftest"),
        # Within the folder of Debian, /tmp is another
        judge=lambda a, b: _swift(
            SWIFT_TOOL, f"/tmp/{a.parent.name}/{a.name}", "--answers", f"/tmp/{b.parent.name}/{b.name}"
        ),
        temporary=Path("/tmp") if NATIVE else SWIFT / "tmp",
    ),
    "kotlin": Language(
        missing=None if (KOTLIN / "compiler.jar").exists() else "there is no Kotlin in .kotlin: make kotlin",
        test=_kotlin("test"),
        tests_passed="0 tests failed",
        build=_kotlin("build"),
        judge=lambda a, b: _kotlin("judge", str(a), str(b)),
        temporary=Path(tempfile.gettempdir()),
    ),
}


def run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


@functools.cache
def build(command: tuple[str, ...]) -> None:
    """Build once in a process."""
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr


def self_test(language: Language, folder: Path, infer: Infer) -> dict[str, Any]:
    """The verdict of a language on an artifact of float32 pictures; skips the test where the language cannot run."""
    if language.missing is not None:
        pytest.skip(language.missing)
    build(language.build)
    with tempfile.TemporaryDirectory(dir=language.temporary) as place:
        copy, answers = Path(place) / "self-test", Path(place) / "answers"
        shutil.copytree(folder, copy)
        record(folder, infer, answers)
        done = run(language.judge(copy, answers))
    assert done.returncode in {0, 1}, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert verdict["passed"] == (done.returncode == 0)
    return verdict


def record(folder: Path, infer: Infer, answers: Path) -> None:
    """Write the answers to every batch of a self-test folder: 0.f32, 1.f32, ..."""
    answers.mkdir()
    index = json.loads((folder / "selftest.json").read_text())
    for number, batch in enumerate(index["batches"]):
        pictures = np.stack([_picture(folder, index["cases"][member]) for member in batch])
        (answers / f"{number}.f32").write_bytes(infer(pictures).astype("<f4").tobytes())


def _picture(folder: Path, case: dict[str, Any]) -> NDArray[np.float32]:
    codes = np.frombuffer((folder / case["input"]["rgb"]).read_bytes(), np.uint8)
    picture = codes.reshape(case["height"], case["width"], 3).transpose(2, 0, 1)
    return np.divide(picture, np.float32(255), dtype=np.float32)
