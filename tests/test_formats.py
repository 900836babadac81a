"""The registry of formats, and other lists of formats, which must agree with it."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import tomllib

from benchmarks.tables import markdown_table
from bncagan.cli import main, parse
from bncagan.cli.doctor import LIBRARIES
from export.exporters import EXPORTERS
from runtimes import ArtifactError, BackendMissingError, Runtime, ShapeSet, load
from runtimes.backends import import_backend
from runtimes.formats import BY_SUFFIX, FORMATS, Format
from runtimes.formats import EXTRAS as EXTRA_OF
from runtimes.installation import install_hint
from runtimes.likeness import THRESHOLDS
from runtimes.verdict import PRECISIONS

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
every_format = pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)


def exporter(form: Format) -> inspect.Signature:
    module, _, name = EXPORTERS[form.name].function.partition(":")
    return inspect.signature(getattr(importlib.import_module(module), name))


def readme_table() -> str:
    """The README's table of formats."""
    head = ("format", "command", "file", "precisions", "shapes", "made on", "runs on", "checked here")
    lines = []
    for form in FORMATS.values():
        shapes = ["one"] + ["several"] * form.several + ["a range"] * form.ranges
        lines.append(
            (
                form.title,
                f"`export {form.name}`",
                f"`{form.suffix}`",
                ", ".join(form.precisions),
                ", ".join(shapes),
                EXPORTERS[form.name].made_on,
                form.runs_on,
                form.checked,
            )
        )
    return markdown_table(head, lines, others="---")


@every_format
def test_the_named_code_exists(form: Format) -> None:
    assert issubclass(form.wrapper(), Runtime)
    parameters = exporter(form).parameters
    assert list(parameters)[:2] == ["model", "path"]
    assert {"precision", "shapes", "io", "controls", "photos"} <= parameters.keys()
    assert ("calibration" in parameters) == ("int8" in form.precisions)
    assert "Errors:" in (form.wrapper().__doc__ or "")


@every_format
def test_its_words_are_in_the_vocabulary(form: Format) -> None:
    assert set(form.precisions) <= set(PRECISIONS)
    assert set(form.precisions) <= THRESHOLDS.keys()
    assert form.checked.startswith(("measured", "predicted", "not run"))
    assert form.extra in EXTRAS
    assert {EXTRA_OF[library] for library in (form.library, *form.also, *EXPORTERS[form.name].needs)} <= EXTRAS.keys()
    assert BY_SUFFIX[form.suffix] is form
    assert any(name == form.library for name, _, _ in LIBRARIES)


def test_the_readme_lists_them() -> None:
    assert readme_table() in (ROOT / "README.md").read_text(), f"the README should hold:\n{readme_table()}"


def test_every_format_is_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["export", "--help"])
    listed = re.findall(r"• (\w+)", capsys.readouterr().out)
    assert set(listed) == {*FORMATS, "all", "sensitivity"}


@every_format
def test_the_subcommand_offers_its_precisions(form: Format) -> None:
    options = parse(["export", form.name, "--out", f"m{form.suffix}"]).format
    assert options.form is form
    assert options.precision == form.precisions[0]


@every_format
def test_a_missing_library_is_one_sentence(form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, form.library, None)  # makes the import fail
    file = tmp_path / f"m{form.suffix}"
    file.write_bytes(b"")
    here = form.platform in {None, sys.platform}  # on other systems `load` refuses the format first
    for action in [lambda: import_backend(form.suffix)] + [lambda: load(file)] * here:
        with pytest.raises(BackendMissingError) as caught:
            action()
        assert install_hint(form.extra) in str(caught.value)
        assert "\n" not in str(caught.value)


@every_format
def test_a_truncated_or_foreign_file_is_one_sentence(form: Format, tmp_path: Path) -> None:
    if form.missing() is not None:
        pytest.skip(f"{form.title} cannot run here: {form.missing()}")
    for content in (b"", b"PK\x03\x04", b"<?xml"):
        file = tmp_path / f"m{form.suffix}"
        file.write_bytes(content)
        with pytest.raises(ArtifactError) as caught:
            load(file)
        assert "\n" not in str(caught.value)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several, free = ShapeSet.of((1, 16, 16), (1, 32, 32)), ShapeSet.between((1, 16, 16), (1, 16, 16), (1, 32, 32))
    for form in FORMATS.values():
        with pytest.raises(ArtifactError, match="precision"):
            form.require(precision="int4", io="float32", shapes=free)
        if not form.several:
            with pytest.raises(ArtifactError, match="one fixed shape"):
                form.require(precision=form.precisions[0], io="float32", shapes=several)
        if not form.ranges:
            with pytest.raises(ArtifactError, match="fixed shapes"):
                form.require(precision=form.precisions[0], io="float32", shapes=free)
    for given in (
        ["onnx", "--out", f"{tmp_path}/m.onnx", "--dynamic", "--shape", "64x64"],
        ["onnx", "--out", f"{tmp_path}/m.onnx", "--dynamic", "--range", "1x16x16", "1x32x32", "1x64x64"],
        ["onnx", "--out", f"{tmp_path}/m.onnx", "--range", "1x16x16", "64", "1x64x64"],
        ["onnx", "--out", f"{tmp_path}/m.onnx", "--calibration", f"{tmp_path}"],
        ["onnx", "--out", f"{tmp_path}/m.onnx", "--shape", "64x64", "32x32"],
        ["coreml", "--out", f"{tmp_path}/m.mlpackage", "--dynamic"],
        ["pt2", "--out", f"{tmp_path}/m.pt2", "--precision", "int8"],
        ["tensorrt", "--out", f"{tmp_path}/m.engine", "--onnx", "m.onnx", "--shape", "64x64", "--io", "uint8"],
        ["all", "--out", f"{tmp_path}/all", "--formats", "tflite"],
    ):
        assert main(["export", *given]) == 2, given
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert not said.out
        assert not list(tmp_path.iterdir())
