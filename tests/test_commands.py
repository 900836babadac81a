"""The commands of the pages: parsed by the real parsers, the cheap ones run; their Python is run, too."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import re
import runpy
import shutil
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tomllib
import tyro
from PIL import Image

import runtimes.command
from benchmarks.compare import Compare, parse_condition
from benchmarks.latency import Benchmark
from bncagan.cli import main, parse
from bncagan.config import TrainConfig
from bncagan.network.checkpoint import shipped_names
from export.bundles.for_jetson import TEMPLATES
from runtimes.formats import BY_SUFFIX
from runtimes.packaged import locate
from runtimes.video.reading import VIDEO_SUFFIXES
from tests.folders import picture, write_pictures
from tests.pages import PAGES, ROOT, Block, ShellCommand, blocks, code_spans, commands
from tests.tiny_models import make_spec, write_gain

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
RESULTS = ROOT / "benchmarks" / "results"
# Other people's tools: what they take is theirs to say.
TOOLS = {"export", "scp", "grep", ".", "python3"}
AS_ROOT = {"apt-get", "nvpmodel", "jetson_clocks", "systemctl", "sysctl"}


def some_run(folder: Path) -> TrainConfig:
    """The options of a run that a page continues."""
    return TrainConfig(Path("DATA"), folder, resume=folder)


def check_bncagan(words: Sequence[str]) -> None:
    """The real parser takes the command, and its values are some that the command takes."""
    with unittest.mock.patch("bncagan.training.folder.options_of", some_run):
        command: Any = parse(list(words))
    command = getattr(command, "format", command)
    form = getattr(command, "form", None)
    if form is not None:
        form.require(precision=command.precision, io=command.io, shapes=command.shapes())
        assert command.out.suffix == form.suffix
    check_measuring(command)
    given = getattr(command, "checkpoint", None) or ()
    for name in (given,) if isinstance(given, str) else given:
        assert name in shipped_names() or name.endswith(".safetensors"), f"there are no weights named {name}"


def check_measuring(command: Any) -> None:
    """What `benchmark` and `compare` find out only when they run."""
    if isinstance(command, Benchmark):
        command.plan()
    for text in command.fail_if if isinstance(command, Compare) else ():
        parse_condition(text)


def check_python(words: Sequence[str]) -> None:
    """`python -m bncagan`, the scripts of benchmarks/ and examples/, and `python -c`."""
    first, *rest = words
    if first == "-m":
        assert rest[0] == "bncagan"
        check_bncagan(rest[1:])
    elif first == "-c":
        compile(rest[0], "python -c", "exec")
    elif first.startswith("benchmarks/"):
        check_measuring(tyro.cli({"latency.py": Benchmark, "compare.py": Compare}[Path(first).name], args=rest))
    else:
        check_example(ROOT / first, rest)


class ParsedError(Exception):
    """The example has parsed its arguments."""


def stop(*_: object, **__: object) -> NoReturn:
    raise ParsedError


def check_example(script: Path, words: Sequence[str]) -> None:
    """An example parses the arguments; it is stopped before it does its work."""
    assert script.parent.name == "examples"
    if not re.search(r"tyro\.cli\(|run_command\(", script.read_text()):
        return  # it takes names alone
    real = tyro.cli

    def parse_and_stop(*given: Callable[..., Any]) -> NoReturn:
        called = given[-1]
        real(called if isinstance(called, type) else functools.wraps(called)(stop), args=list(words))
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tyro, "cli", parse_and_stop)
        patch.setattr(runtimes.command, "run_command", parse_and_stop)
        with pytest.raises(ParsedError):
            runpy.run_path(str(script))


def check_make(words: Sequence[str]) -> None:
    """Targets and variables are in the Makefile."""
    for word in words:
        name, equals, _ = word.partition("=")
        assert re.search(rf"^{name} \?=" if equals else rf"^{name}:", MAKEFILE, re.MULTILINE), f"no {word} in Makefile"


def check_pip(words: Sequence[str]) -> None:
    """Constraints are files, extras are declared, and what else is installed is pinned."""
    assert words[0] == "install"
    rest = iter([word for word in words[1:] if word not in {"--require-hashes", "--no-deps"}])
    for word in rest:
        value = next(rest) if word in {"-c", "-e", "-r"} else word
        if word == "-e":
            named = value.removeprefix(".").removeprefix("[").removesuffix("]")
            assert set(named.split(",") if named else ()) <= EXTRAS.keys(), f"no extra {value}"
        elif word == "-c":
            assert (ROOT / value).is_file(), f"no file {value}"
        elif word == "-r":
            assert value in {written.words[-2] for written in commands() if written.words[0] == "pip-compile"}
        else:
            assert value in {*(ROOT / "constraints.txt").read_text().split(), "pip-tools"}


def check_pip_compile(words: Sequence[str]) -> None:
    """The constraints and the extra exist; the last two words are the file it writes and the one it reads."""
    given = dict(zip(words[1:-3:2], words[2:-3:2], strict=True))
    assert words[0] == "--generate-hashes"
    assert given.keys() == {"--constraint", "--extra"}
    assert (ROOT / given["--constraint"]).is_file()
    assert given["--extra"] in EXTRAS
    assert words[-3] == "--output-file"
    assert (ROOT / words[-1]).is_file()


def check_torchrun(words: Sequence[str]) -> None:
    """What torchrun starts."""
    check_python(words[words.index("-m") :])


def check_root(words: Sequence[str]) -> None:
    """A tool of the system."""
    assert words[0] in AS_ROOT, f"{words[0]} is not among the tools that a page may call for"


def check_cmake(words: Sequence[str]) -> None:
    """Sources are in the repository; what is built was configured, by the same page."""
    assert words[0] in {"-S", "--build"}
    if words[0] == "-S":
        assert (ROOT / words[1] / "CMakeLists.txt").is_file(), f"no CMakeLists.txt in {words[1]}"
    else:
        assert any(command.words[:2] == ("cmake", "-S") and words[1] in command.words for command in commands())


def check_cpp(words: Sequence[str]) -> None:
    """The C++ program has the command and the options."""
    usage = (ROOT / "apps" / "cpp" / "source" / "main.cpp").read_text()
    names = re.findall(rf"^//   bncagan-cpp {words[0]} ([A-Z ]+)", usage, re.MULTILINE)
    options = [word for word in words[1:] if word.startswith("--")]
    assert names, f"there is no bncagan-cpp {words[0]}"
    assert len(words) == 1 + len(names[0].split()) + 2 * len(options)
    assert all(f'word != "{option}"' in usage for option in options)


def check_script(name: str) -> Callable[[Sequence[str]], None]:
    """A script of the Jetson bundle, whose first lines say what it takes; the options are those of `benchmark`."""

    def check_words(words: Sequence[str]) -> None:
        usage = (TEMPLATES / name).read_text()
        if words:
            assert f"./{name} [fp16|int8]" in usage
            assert words[0] in {"fp16", "int8"}
        if words[1:]:
            check_bncagan(["benchmark", "small.onnx", *words[1:]])

    return check_words


def check_verb(words: Sequence[str]) -> None:
    """A script of the project, with one of the verbs that it knows."""
    script, verb, *_ = words
    assert f"\n{verb})" in (ROOT / script).read_text(), f"{script} has no {verb}"


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "bncagan": check_bncagan,
    "python": check_python,
    "make": check_make,
    "pip": check_pip,
    "pip-compile": check_pip_compile,
    "sh": check_verb,
    "torchrun": check_torchrun,
    "sudo": check_root,
    "cmake": check_cmake,
    "build/cpp/bncagan-cpp": check_cpp,
    **{f"./{path.name}": check_script(path.name) for path in TEMPLATES.glob("*.sh")},
}


def check(command: ShellCommand) -> None:
    """Fail, naming page and line, unless the command is one that works as it stands."""
    tool, *rest = command.words
    if tool in TOOLS:
        return
    assert tool in CHECKS, f"{command}: {tool} is not among the tools that a page may call for"
    try:
        CHECKS[tool](rest)
    except (SystemExit, AssertionError, runtimes.errors.UserError, KeyError) as error:
        pytest.fail(f"{command}: {error!r}")


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    for page, text in PAGES.items():
        fences = len(re.findall(r"^ *```", text, re.MULTILINE))
        assert fences == 2 * sum(
            block.page == page for kind in ("sh", "python", "swift", "kotlin", "cpp") for block in blocks(kind)
        ), page


@pytest.mark.parametrize("command", commands(), ids=str)
def test_the_command_exists(command: ShellCommand) -> None:
    check(command)


@pytest.mark.parametrize(
    "line",
    [
        "bncagan export onnx --out m.onnx --presicion fp16",
        "bncagan export onnx --out m.onnx --precision fp61",
        "bncagan export onnx --out m.onnx --checkpoint smal",
        "bncagan export onnx --out m.xml",
        "bncagan compare a.json b.json --fail-if p5>1",
        "python benchmarks/latency.py small.onnx --shapes 8x8",
        "python examples/unfolded_onnx.py m.onnx --width 3",
        "make demos",
        "pip install -e .[onx]",
        "pip install -c constraint.txt",
        "pip install --require-hashes -r lock.txt",
        "pip-compile --generate-hashes --constraint constraint.txt --extra onnx --output-file a.txt pyproject.toml",
        "sudo reboot",
        "cmake -S apps/c",
        "cmake --build build/c",
        "build/cpp/bncagan-cpp enhance m.onnx in.png",
        "build/cpp/bncagan-cpp enhance m.onnx in.png out.png --sharpness 1",
        "./build.sh fp32",
        "./bench.sh fp16 --run 3",
        "bncagan bundle jetson --out b --jetpack 5",
        "sh apps/swift/linux.sh build .swift",
        "curl x",
    ],
)
def test_a_wrong_command_is_caught(line: str) -> None:
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        check(ShellCommand("page", 1, tuple(line.split())))


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the pages' commands find in theirs; the network is a gain."""
    monkeypatch.chdir(tmp_path)
    write_gain(tmp_path / "small.onnx", make_spec(), 1.1)
    Image.fromarray(picture(0)).save("photo.jpg")
    write_pictures(tmp_path / "holiday", ["beach.png"])
    write_pictures(tmp_path / "photos", ["town.png"])
    shutil.copytree(RESULTS, tmp_path / "benchmarks" / "results")
    for command in commands():
        for name in command.words if "compare" in str(command) else ():
            if name.endswith(".json"):
                shutil.copy(RESULTS / "small-256.json", tmp_path / name)
    return tmp_path


def cheap() -> Iterator[ShellCommand]:
    """The commands that are run, too."""
    for command in commands():
        match command.words:
            case ("bncagan", "doctor" | "fold" | "compare", *_):
                yield command
            case ("bncagan", "enhance", first, *_) if Path(first).suffix not in {*BY_SUFFIX, *VIDEO_SUFFIXES}:
                if first != "--camera":
                    yield command


@pytest.mark.parametrize("command", list(cheap()), ids=str)
def test_the_command_runs(command: ShellCommand, sandbox: Path) -> None:
    smaller = ["--shape", "64x64"] if command.words[1] == "fold" else []
    assert main([*command.words[1:], *smaller]) == 0
    for word in command.words:
        if word.endswith((".html", "before-after.png", "sheet.jpg")):
            assert (sandbox / word).stat().st_size > 0


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: f"{block.page}:{block.line}")
def test_the_python_runs(block: Block, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = runtimes.load

    def load(path: str, **options: Any) -> runtimes.Runtime:
        """The gain, whatever the file; options that its runtime does not have are a TypeError."""
        inspect.signature(BY_SUFFIX[locate(path).suffix].wrapper()).bind(Path(path), **options)
        return real(sandbox / "small.onnx")

    monkeypatch.setattr(runtimes, "load", load)
    names: dict[str, Any] = {}
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), names)
    if "enhanced" in names:
        expected = np.clip(runtimes.open_photograph("photo.jpg").seen * 1.1, 0, 255)
        assert np.abs(names["enhanced"] - expected).max() <= 1


def helps(words: Sequence[str] = ()) -> Iterator[str]:
    """The help of a command and of every command below it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        parse([*words, "--help"])
    yield said.getvalue()
    for name in re.findall(r"• ([\w-]+)", said.getvalue()):
        yield from helps([*words, name])


def test_the_prose_names_options_and_commands_that_exist() -> None:
    texts = list(helps())
    options = set(re.findall(r"--[a-z][a-z0-9.-]*", " ".join(texts)))
    assert {"--io", "--photos", "--loss.supervised"} <= options
    names = set(re.findall(r"• ([\w-]+)", texts[0]))
    for page, text in PAGES.items():
        for first, *rest in (span.split() for span in code_spans(text)):
            if first == "bncagan" and rest:
                assert rest[0] in names, f"{page}: there is no bncagan {rest[0]}"
            if first == "bncagan" or first.startswith("--"):
                unknown = {word.partition("=")[0] for word in (first, *rest) if word.startswith("--")} - options
                assert not unknown, f"{page}: there is no option {', '.join(unknown)}"
