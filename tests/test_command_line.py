"""The command lines as processes: how they end when they are stopped or nobody reads on, and what --help shows."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import runtimes.console
from bncagan.cli import main
from bncagan.cli.options import summary_line
from export.parity import THRESHOLDS
from runtimes.command import run_command
from runtimes.console import tracked
from runtimes.errors import InputError
from runtimes.image import encode_png
from runtimes.spec import parse_shape, parse_size
from runtimes.verdict import Verdict
from tests.benchmark_fakes import make_report
from tests.folders import picture
from tests.processes import BNCAGAN, HEARD, start
from tests.tiny_models import make_spec, write_gain

ROOT = Path(__file__).parent.parent
STOPPED, CLOSED = 130, 141
SCRIPT = "import runpy; runpy.run_path({name!r}, run_name='__main__')"
LATENCY, COMPARE = ((HEARD + SCRIPT).format(name=name) for name in ("benchmarks/latency.py", "benchmarks/compare.py"))


def stop(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Ctrl-C, or another signal; what the process says last."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    return said


def read_nothing(program: str, *arguments: object) -> None:
    """Close the pipe before anything is read out of it: the process ends quietly, as others do."""
    with start(program, *arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == CLOSED


def write_photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(picture(i, 512, 512)).save(folder / f"{i:04d}.png")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_enhance_with_whole_files_and_a_summary(tmp_path: Path, number: int) -> None:
    artifact = write_gain(tmp_path / "m.onnx", make_spec())
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    command = ["enhance", artifact, write_photographs(tmp_path / "in", 60), "--out", out, "--skip-existing"]
    process = start(BNCAGAN, *command, "--report", report)
    assert process.stdout is not None
    process.stdout.readline()  # the name of the first result
    said = stop(process, number)
    written = list(out.iterdir())
    assert 0 < len(written) < 60
    left = f"{60 - len(written)} skipped (the run was stopped first: {60 - len(written)})"
    assert said == f"bncagan: {len(written)} done, {left}, 0 failed\nbncagan: stopped\n"
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["file"] for line in lines] == sorted(map(str, (tmp_path / "in").iterdir()))
    assert sum(line["status"] == "done" for line in lines) == len(written)
    with start(BNCAGAN, *command, "--report", report) as process:
        assert process.wait(60) == 0
    assert len(list(out.iterdir())) == 60
    for path in out.iterdir():
        assert not path.name.startswith(".")
        with Image.open(path) as image:
            image.load()


def test_a_closed_pipe_ends_enhance_quietly_with_whole_files(tmp_path: Path) -> None:
    artifact, out = write_gain(tmp_path / "m.onnx", make_spec()), tmp_path / "out"
    arguments = ["--out", out, "--report", tmp_path / "report.jsonl"]
    read_nothing(BNCAGAN, "enhance", artifact, write_photographs(tmp_path / "in", 9), *arguments)
    assert 1 <= (tmp_path / "report.jsonl").read_text().count('"done"') <= len(list(out.iterdir()))
    for path in out.iterdir():
        with Image.open(path) as image:
            image.load()


def test_ctrl_c_ends_a_measurement_with_one_line(tmp_path: Path) -> None:
    artifact = write_gain(tmp_path / "m.onnx", make_spec())
    process = start(LATENCY, artifact, "--shape", "32x48", "--runs", 100000, "--out", tmp_path / "r.json")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("the system does not list the children of a process")
    deadline = time.monotonic() + 60
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(pid) for pid in children.read_text().split()]
    assert workers
    time.sleep(0.5)
    assert stop(process) == "latency: stopped\n"
    deadline = time.monotonic() + 30  # a worker that was just starting ends with its input
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [["doctor"], ["doctor", "--json"], ["fold", "--checkpoint", "small", "--shape", "64x64"], ["train", "--help"]],
)
def test_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    read_nothing(BNCAGAN, *arguments)


def test_a_closed_pipe_is_quiet_in_a_script(tmp_path: Path) -> None:
    make_report().save(tmp_path / "r.json")
    read_nothing(COMPARE, tmp_path / "r.json", tmp_path / "r.json")


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_debug_does_not_bring_the_tracebacks_back(error: type[BaseException]) -> None:
    process = start(
        "import sys\nfrom dataclasses import dataclass\nfrom runtimes.command import Flag, run_command\n"
        "@dataclass\nclass C:\n    debug: Flag = False\n    def run(self) -> int:\n"
        f"        raise {error.__name__}\n"
        "sys.exit(run_command('c', C))",
        "--debug",
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == (STOPPED if error is KeyboardInterrupt else CLOSED)
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_library_that_turns_the_stop_into_an_error_of_its_own(number: int) -> None:
    process = start(
        "import os, sys\nfrom dataclasses import dataclass\nfrom runtimes.command import run_command\n"
        "@dataclass\nclass C:\n    def run(self) -> int:\n"
        f"        try:\n            os.kill(os.getpid(), {number:d}); print('not stopped')\n"
        "        except BaseException:\n            failed = True\n"
        "        raise AttributeError('half imported')\n"
        "sys.exit(run_command('c', C))",
    )
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed, said) == (128 + number, "", "c: stopped\n")


@dataclasses.dataclass
class Failing:
    """A command whose output fails."""

    number: int

    def run(self) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk should have room for the output"), (errno.EIO, "the output should be usable but is not")],
)
def test_output_that_cannot_be_written_is_one_sentence(
    number: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("c", Failing, ["--number", str(number)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"c: {said}")
    assert os.strerror(number) in line


COMMANDS = [
    *("train", "average", "ablate", "evaluate", "rate", "stress", "data", "data fivek", "data split", "data check"),
    *(
        "fold",
        "export",
        "export onnx",
        "export openvino",
        "export coreml",
        "export tensorrt",
        "export pt2",
        "export all",
    ),
    *("export sensitivity", "verify", "selftest", "enhance", "benchmark", "compare", "doctor"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_an_option_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: bncagan" in shown
    assert "{None}" not in shown
    assert "None|" not in shown


@pytest.mark.parametrize("precision", THRESHOLDS)
def test_the_line_of_a_verdict_says_which_limits_applied(precision: str) -> None:
    line = summary_line(Verdict.not_run(precision))
    limits = THRESHOLDS[precision]
    assert "\n" not in line
    assert f"at least {limits.psnr:g} dB" in line
    assert f"bias at most {limits.bias:g}" in line


def test_results_are_named_whatever_the_encoding_of_the_output(tmp_path: Path) -> None:
    """A character that it lacks as an escape, a byte of a name that is no text as it is."""
    folder, artifact = tmp_path / "photos", write_gain(tmp_path / "m.onnx", make_spec())
    folder.mkdir()
    for name in (os.fsencode("\u00e9.png"), b"\xff.png"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(encode_png(picture(0, 32, 32)))
    command = [sys.executable, "-m", "bncagan", "enhance", str(artifact), str(folder), "--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert {line.rpartition(b"/")[2] for line in done.stdout.splitlines()} == {b"\\xe9.png", b"\xff.png"}


@pytest.mark.parametrize("name", ["c.avif", "c.heic", "c"])
def test_a_format_that_cannot_be_read_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = write_gain(tmp_path / "m.onnx", make_spec())
    (tmp_path / name).write_bytes(b"\0\0\0\x1cftypavif")
    assert main(["enhance", str(artifact), str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bncagan: {tmp_path / name} should ")
    assert "rename" not in said
    assert not list((tmp_path / "out").iterdir())


def test_a_log_hears_of_long_work_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 20))  # seconds: the start, then one reading for each item
    monkeypatch.setattr(runtimes.console.time, "monotonic", lambda: next(clock))
    assert list(tracked("abcdef", "layers")) == list("abcdef")
    lines = ["layers 0/6, 20 s", "layers 2/6, 60 s", "layers 4/6, 100 s"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_log_hears_nothing_of_short_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked("ab", "layers")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_instead(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it: a terminal
    assert list(tracked("ab", "layers")) == ["a", "b"]
    assert "\x1b[" in capsys.readouterr().err


def test_the_unfolded_network_of_a_mistyped_name_is_refused(tmp_path: Path) -> None:
    program = HEARD.format(name="u") + "import runpy; runpy.run_path('examples/unfolded_onnx.py', run_name='__main__')"
    with start(program, tmp_path / "u.onnx", "--checkpoint", tmp_path / "bse.safetensors") as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said.count("\n") == 1
    assert "bse.safetensors" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "512", "512x", "axb", "-8x8", "512x512x3", "20x32", "8x32", "0x16"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_size(text)


def test_sizes_and_shapes_are_read() -> None:
    assert parse_size("512x768") == (512, 768)
    assert parse_size("7x5", multiple=1, least=1) == (7, 5)
    assert parse_shape("2x16x24") == (2, 16, 24)
    for text in ("0x16x16", "x16x16", "1x16", "1x16x15"):
        with pytest.raises(InputError):
            parse_shape(text)
