"""The layers of the project, checked on the source and in a process where the backends cannot be imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("bncagan", "export", "runtimes", "benchmarks")
# What each layer may import of the others; bncagan.cli may import everything.
ALLOWED = {"runtimes": set(), "bncagan": {"runtimes"}, "export": {"bncagan", "runtimes"}, "benchmarks": {"runtimes"}}
BACKENDS = {
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "coremltools",
    "ai_edge_litert",
    "tensorrt",
    "safetensors",
    "skimage",
}
TORCH_FREE = {
    "export/__init__.py",
    "export/engine_layers.py",
    "export/parity.py",
    "export/publishing.py",
    "export/sealing.py",
    "export/self_test.py",
    "export/to_tensorrt.py",
}


def sources(layer: str) -> list[Path]:
    return sorted(p for p in (ROOT / layer).rglob("*.py") if p.relative_to(ROOT).parts[:2] != ("bncagan", "cli"))


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    """First parts of the modules that a file imports, or names in a string that can be imported."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= named(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {arg.value.split(".")[0] for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def named(text: str) -> set[str]:
    """The layer that a string names in a way that can be imported: "layer.module", or "module:attribute"."""
    module, colon, attribute = text.partition(":")
    names = module.split(".")
    if names[0] not in LAYERS or not all(name.isidentifier() for name in names):
        return set()
    place = ROOT.joinpath(*names)
    is_module = len(names) > 1 and (place.is_dir() or place.with_suffix(".py").is_file())
    return {names[0]} if is_module or (colon and attribute.isidentifier()) else set()


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if (ROOT / layer).exists()])
def test_layers_import_only_what_they_may(layer: str) -> None:
    for path in sources(layer):
        others = imported(path) & set(LAYERS) - {layer}
        assert others <= ALLOWED[layer], f"{path.relative_to(ROOT)} imports {others - ALLOWED[layer]}"


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from bncagan.network.model import Generator\n    import torch.nn\n")
    assert imported(planted) == {"bncagan", "torch"}
    assert imported(planted, top_level_only=True) == set()
    for string in ("export.to_onnx:to_onnx", "export.eager", "export:load"):
        planted.write_text(f"OPENER = dict(a={string!r})\n")
        assert imported(planted) == {"export"}
    planted.write_text("importlib.import_module('bncagan')\n")
    assert imported(planted) == {"bncagan"}
    planted.write_text("print('bncagan export onnx: export it again', 'bncagan: ', '.engine', 'bncagan')\n")
    assert imported(planted) == set()


def test_runtimes_import_no_backend_at_the_top() -> None:
    for path in sources("runtimes"):
        assert not imported(path, top_level_only=True) & BACKENDS, path
        if path.name != "pt.py":
            assert "torch" not in imported(path), path


@pytest.mark.parametrize("name", sorted(TORCH_FREE))
def test_verification_needs_no_torch(name: str) -> None:
    assert not imported(ROOT / name) & BACKENDS


BLOCKED = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BACKENDS!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Block())
"""


def test_everything_an_edge_device_needs_imports_without_backends() -> None:
    code = BLOCKED + "import runtimes, export.parity, bncagan\nfrom bncagan.cli import main\nsys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout


def test_no_file_is_named_after_a_package_it_wraps() -> None:
    names = {path.stem for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert not names & (BACKENDS | {"onnx", "numpy", "PIL"})


def test_files_are_short_and_have_no_catch_all_names() -> None:
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path
            assert path.stem not in {"utils", "common", "misc", "helpers"}, path


def test_the_layout_page_names_every_module_once() -> None:
    page = (ROOT / "docs" / "layout.md").read_text()
    named = re.findall(r"^\| `([\w/]+\.py)` \|", page, flags=re.MULTILINE)
    modules = {str(path.relative_to(ROOT)) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert sorted(named) == sorted(name for name in modules if not name.endswith(("__init__.py", "__main__.py")))
