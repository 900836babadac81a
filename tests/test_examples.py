"""Examples: a wrong name is refused instead of replaced."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from bncagan.network.checkpoint import shipped_names
from runtimes.errors import InputError

SCRIPT = Path(__file__).parent.parent / "examples" / "unfolded_onnx.py"


@pytest.mark.parametrize(
    ("checkpoint", "more"),
    [("bsae", []), (shipped_names()[0], ["--fresh"]), ("mine.safetensors", ["--fresh"])],
    ids=["mistyped", "shipped", "existing"],
)
def test_unfolded_onnx_replaces_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str, more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").write_bytes(b"trained")
    monkeypatch.setattr("sys.argv", [SCRIPT.name, "out.onnx", "--checkpoint", checkpoint, *more])
    with pytest.raises(InputError, match=f"^{checkpoint} should "):
        runpy.run_path(str(SCRIPT))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
    assert (tmp_path / "mine.safetensors").read_bytes() == b"trained"
