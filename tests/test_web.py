"""The browser page: its server, its formulas against Python's, and its models. Its self-test: tests/self_tests.py."""

from __future__ import annotations

import http.client
import json
import re
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from bncagan.cli import main
from bncagan.cli.serve import HEADERS, page_server
from bncagan.config import ModelConfig
from bncagan.network.folding import fold
from bncagan.network.model import Generator
from export.to_onnx import to_onnx
from runtimes import ShapeSet
from tests.conftest import randomise
from tests.folders import picture

WEB = Path(__file__).parents[1] / "apps" / "web"
SHAPES = ShapeSet.between((1, 16, 16), (1, 32, 48), (2, 64, 64))
BUFFERS = 8  # of a shader: what WebGPU guarantees


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Path, http.client.HTTPConnection]]:
    """A folder with a page, and a connection to its server."""
    (tmp_path / "index.html").write_text("<!doctype html>plain")
    (tmp_path / "index.html.br").write_bytes(b"packed")
    (tmp_path / "run.wasm").write_bytes(b"wasm")
    with page_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        yield tmp_path, connection
        connection.close()
        server.shutdown()


def test_the_server_sends_compressed_files_and_isolates_the_page(
    page: tuple[Path, http.client.HTTPConnection],
) -> None:
    _, connection = page
    for takes, path, body, kind in (
        ("gzip, br", "/index.html", b"packed", "text/html"),
        ("gzip", "/index.html", b"<!doctype html>plain", "text/html"),
        ("br", "/run.wasm", b"wasm", "application/wasm"),
    ):
        connection.request("GET", path, headers={"Accept-Encoding": takes})
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Content-Type"]) == (200, body, kind)
        assert (answer.headers["Content-Encoding"] == "br") == (body == b"packed")
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    connection.request("GET", "/../pyproject.toml")
    assert connection.getresponse().status == 404


def test_a_page_that_was_not_built_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--folder", str(tmp_path)]) == 2
    assert "run `make web`" in capsys.readouterr().err


def test_a_port_in_use_is_one_sentence(
    page: tuple[Path, http.client.HTTPConnection], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, connection = page
    assert main(["serve", "--folder", str(folder), "--port", str(connection.port)]) == 2
    assert "choose another by --port" in capsys.readouterr().err


def test_the_numbers_of_the_unit_tests_are_those_of_the_formulas() -> None:
    made = runpy.run_path(str(WEB / "tests" / "oracle.py"))["numbers"]()
    stored = json.loads((WEB / "tests" / "oracle.json").read_text())
    assert made.keys() == stored.keys()
    for name in ("photograph", "changed", "toned", "large", "settings"):
        assert stored[name] == json.loads(json.dumps(made[name])), f"{name}: run apps/web/tests/oracle.py"
    for ours, theirs in zip(made["adjusted"], stored["adjusted"], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-6)


def test_the_lock_file_names_no_registry() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (WEB / "package-lock.json").read_text()))
    assert hosts <= {"registry.npmjs.org", "opencollective.com", "github.com", "tidelift.com"}


def test_no_node_of_a_model_with_maps_has_more_ends_than_webgpu_has_buffers(tmp_path: Path) -> None:
    generator = Generator(ModelConfig(width=8, tone=True))
    randomise(generator, 0)
    photos = {"smooth": picture(0)}
    path = tmp_path / "m.onnx"
    to_onnx(fold(generator.eval()), path, precision="fp32", shapes=SHAPES, output="both", photos=photos)
    for node in onnx.load(path).graph.node:
        if node.op_type in {"Concat", "Split"}:
            assert len(node.input) + len(node.output) <= BUFFERS + (node.op_type == "Split"), node.name
