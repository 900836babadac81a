"""No command uses the network, but for the weights of the perceptual loss, by https and checked by their hash."""

from __future__ import annotations

import io
import sys
import urllib.request
import urllib.response
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from PIL import Image

import bncagan.training.perceptual
from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from runtimes.errors import InputError
from tests.benchmark_fakes import make_report
from tests.folders import make_data, picture
from tests.processes import start
from tests.tiny_models import make_spec, write_gain

EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}


class Watch:
    """Refuses what Python code does with the network while it is on, and keeps it."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in EVENTS:
            self.seen.append(f"{event} {arguments}")
            raise OSError("the network is blocked")


WATCH = Watch()
sys.addaudithook(WATCH.hear)  # for good, because a hook cannot be removed


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Watch]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    WATCH.seen.clear()
    WATCH.on = True
    yield WATCH
    WATCH.on = False


def test_the_main_commands_use_no_network(
    tmp_path: Path, offline: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    Image.fromarray(picture(0)).save("photo.png")
    write_gain(tmp_path / "m.onnx", make_spec())
    save_generator(tmp_path / "g.safetensors", Generator(ModelConfig(width=4)), ModelConfig(width=4), {})
    make_report().save(tmp_path / "r.json")
    small = "--model.width 4 --batch 2 --size 64 --crop 64 --loss.perceptual 0 --accelerator cpu --steps 1 --workers 0"
    for command in (
        "doctor",
        "doctor --json",
        "enhance photo.png --out out --model nano",
        "enhance m.onnx photo.png --out out2",
        "verify nano",
        "selftest nano",
        "fold --checkpoint g.safetensors --shape 32x32",
        "export onnx --checkpoint nano --shape 32x32 --out n.onnx",
        "benchmark m.onnx --shape 32x32 --runs 1 --warmup 0 --out b.json",
        "compare r.json r.json",
        "data check data",
        f"train --data data --out run {small}",
        "average --out a.safetensors g.safetensors g.safetensors",
        "evaluate --data data/val --out scores --checkpoint g.safetensors --protocol native",
    ):
        code = main(command.split())
        assert code == 0, (command, capsys.readouterr().err)
    assert offline.seen == []


def test_the_one_download_is_of_the_perceptual_weights(offline: Watch) -> None:
    with pytest.raises(InputError, match="should be downloaded but cannot be"):
        bncagan.training.perceptual.load_perceptual("squeezenet1_0", None)
    assert offline.seen
    assert all("download.pytorch.org" in one for one in offline.seen)


def test_what_is_downloaded_is_checked_by_its_hash(offline: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    def served(request: urllib.request.Request) -> urllib.response.addinfourl:
        return urllib.response.addinfourl(io.BytesIO(bytes(99)), Message(), request.full_url)

    monkeypatch.setattr("torch.hub.urlopen", served)
    with pytest.raises(InputError, match="invalid hash value"):
        bncagan.training.perceptual.load_perceptual("squeezenet1_0", None)


def test_the_watch_sees_a_connection(offline: Watch) -> None:
    import socket

    with pytest.raises(OSError, match="the network is blocked"), socket.socket() as one:
        one.connect(("127.0.0.1", 9))
    assert offline.seen[0].startswith("socket.connect")


def test_onnx_runtime_neither_sends_nor_keeps_what_runs(tmp_path: Path) -> None:
    """Its uploader is native code, which the hook above does not hear; it keeps a database in the user's cache."""
    code = "import runtimes, numpy as np; runtimes.load('nano').enhance(np.zeros((16, 16, 3), np.uint8))"
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    process = start(code, **home, ORT_DISABLE_TELEMETRY=None)
    assert process.communicate(timeout=120) == ("", "")
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name] == []
