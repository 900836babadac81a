"""Every implementation of the self-test, as a function from folder and model to verdict.

A new one is a row of IMPLEMENTATIONS; it skips, with the reason, where what it needs is missing.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from bncagan.cli import main
from tests.cpp import built
from tests.other_languages import LANGUAGES, Infer, self_test
from tests.pages import ROOT
from tests.plain_self_test import plain_self_test

JAVASCRIPT = ROOT / "apps" / "web" / "build" / "selftest.js"  # made by `npm run build:selftest`

SelfTest = Callable[[Path, Path], dict[str, Any]]  # self-test folder, .onnx file with golden pictures beside it


def run_command(_: Path, model: Path) -> dict[str, Any]:
    """`bncagan selftest`, whose exit code says the same as its verdict."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main(["selftest", str(model), "--threads", "1", "--unsealed"])
    verdict: dict[str, Any] = json.loads(said.getvalue())
    assert code == (0 if verdict["passed"] else 1)
    return verdict


def inference(model: Path) -> Infer:
    """The network of an .onnx file, run by ONNX Runtime."""
    session = onnxruntime.InferenceSession(model)

    def infer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = session.run(["enhanced"], {"image": batch})[0]
        return answer

    return infer


def run_plainly(folder: Path, model: Path) -> dict[str, Any]:
    """docs/self-test.md in the plainest Python."""
    return plain_self_test(folder, inference(model))


def run_program(*command: str | Path) -> dict[str, Any]:
    """A program that prints the verdict, and whose exit code says the same."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in {0, 1}, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if verdict["passed"] else 1)
    return verdict


def run_cpp(folder: Path, model: Path) -> dict[str, Any]:
    """The C++ program."""
    return run_program(built(), "selftest", model, folder, "--threads", "1")


def run_javascript(folder: Path, model: Path) -> dict[str, Any]:
    """The self-test of the browser page, run by Node.js in WebAssembly."""
    if shutil.which("node") is None or not JAVASCRIPT.is_file():
        pytest.skip("needs Node.js and apps/web/build, which `make test-web` makes")
    return run_program("node", JAVASCRIPT, model, folder)


def run_recorded(name: str, folder: Path, model: Path) -> dict[str, Any]:
    """The code for iPhone or Android, which judges answers that ONNX Runtime gave."""
    return self_test(LANGUAGES[name], folder, inference(model))


IMPLEMENTATIONS = [
    pytest.param(run_command, id="bncagan selftest"),
    pytest.param(run_plainly, id="plain Python"),
    pytest.param(run_cpp, id="C++", marks=pytest.mark.slow),
    pytest.param(run_javascript, id="JavaScript", marks=pytest.mark.slow),
    pytest.param(functools.partial(run_recorded, "swift"), id="Swift", marks=pytest.mark.slow),
    pytest.param(functools.partial(run_recorded, "kotlin"), id="Kotlin", marks=pytest.mark.slow),
]
OTHER_KERNELS = {run_javascript}  # than this machine's ONNX Runtime, so that single codes differ
