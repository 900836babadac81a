"""doctor --deep: a right machine passes, and a wrong BLAS or a broken backend is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import bncagan.cli.doctor_deep
from bncagan.cli import main
from runtimes.ort import OnnxRuntime


@pytest.fixture(autouse=True)
def nano_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bncagan.cli.doctor_deep, "packaged_names", lambda: ["nano"])


def wrong(capsys: pytest.CaptureFixture[str], code: int) -> list[str]:
    """What is found wrong."""
    assert main(["doctor", "--deep", "--json"]) == code
    found = json.loads(capsys.readouterr().out)["deep"]
    names = [one["what"] for one in found]
    assert names == [
        *(f"matrix product, {library}" for library in ("NumPy", "PyTorch", "PyTorch, convolution")),
        *(f"nano in {library}" for library in ("ONNX Runtime, CPUExecutionProvider", "OpenVINO", "PyTorch")),
    ]
    return [one["what"] for one in found if not one["passed"]]


def test_this_machine_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong(capsys, 0) == []


def test_a_wrong_sum_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest = torch.Tensor.__matmul__

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        made = honest(a, b)
        made[7, 7] += 1
        return made

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert "matrix product, PyTorch" in wrong(capsys, 1)


def test_a_broken_delegate_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest = OnnxRuntime._run

    def darker(self: OnnxRuntime, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return honest(self, inputs) * np.float32(0.99)

    monkeypatch.setattr(OnnxRuntime, "_run", darker)
    assert wrong(capsys, 1) == ["nano in ONNX Runtime, CPUExecutionProvider"]


def test_it_says_so_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(OnnxRuntime, "_run", lambda self, inputs: 1 / 0)
    assert main(["doctor", "--deep"]) == 1
    said = capsys.readouterr().out
    assert "right: matrix product, NumPy: exact" in said
    assert "WRONG: nano in ONNX Runtime, CPUExecutionProvider: " in said
    assert "division by zero" in said
