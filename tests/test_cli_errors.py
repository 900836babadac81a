"""What a user can do wrong on the command line: one sentence, the exit code of the table, and never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from bncagan.cli import main
from bncagan.config import ModelConfig
from bncagan.network.checkpoint import save_generator
from bncagan.network.model import Generator
from runtimes import METADATA_KEY
from runtimes.golden import Case, Golden, golden_path
from runtimes.usage import usage_error
from tests.benchmark_fakes import make_report
from tests.folders import make_data, picture
from tests.tiny_models import make_spec, write_gain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are right, and files that are wrong in one way each."""
    made = tmp_path_factory.mktemp("errors")
    make_data(made / "data")
    (made / "empty").mkdir()
    (made / "text.txt").write_text("hello")
    Image.fromarray(picture(0)).save(made / "photo.png")
    Image.fromarray(picture(0, 4, 4)).save(made / "tiny.png")
    (made / "broken.png").write_bytes((made / "photo.png").read_bytes()[:300])
    (made / "photo.jpg").write_bytes(b"")
    write_gain(made / "m.onnx", make_spec())
    write_gain(made / "bare.onnx", make_spec(), metadata=None)
    write_gain(made / "odd.onnx", make_spec(), metadata="{")
    write_gain(made / "unsealed.onnx", make_spec(), metadata=make_spec().to_json())
    write_gain(made / "nan.onnx", make_spec(), float("nan"))
    shutil.copy(made / "m.onnx", made / "no-golden.onnx")
    (made / "cut.onnx").write_bytes((made / "m.onnx").read_bytes()[:200])
    (made / "m.xml").write_text("<net")
    (made / "m.pt2").write_bytes(b"PK")
    (made / "m.engine").write_bytes(b"plan")
    (made / "m.mlpackage").mkdir()
    (made / "old.onnx.rejected").write_bytes(b"")
    image = np.zeros((16, 16, 3), np.uint8)
    Golden((Case("black", image, image),)).save(golden_path(made / "m.onnx"))
    Golden((Case("white", image + 255, image),)).save(golden_path(made / "unsealed.onnx"))
    (made / "cut.onnx.golden.npz").write_bytes(b"PK")
    save_generator(made / "g.safetensors", Generator(ModelConfig(width=4)), ModelConfig(width=4), {})
    save_generator(made / "other.safetensors", Generator(ModelConfig(width=4)), ModelConfig(width=8), {})
    (made / "cut.safetensors").write_bytes((made / "g.safetensors").read_bytes()[:-9])
    make_report().save(made / "r.json")
    (made / "old.json").write_text("{}")
    edited = onnx.load(made / "m.onnx")
    fields = json.loads(edited.metadata_props[0].value) | {"precision": "int8"}
    onnx.helper.set_model_props(edited, {METADATA_KEY: json.dumps(fields)})
    onnx.save(edited, made / "edited.onnx")
    return made


# A command in the folder above, and a part of its sentence. The exit code is 2 unless the line says otherwise.
CASES = """
enhance --out out | holds none
enhance nowhere.png --out out | nowhere.png should be a photograph or a folder
enhance empty --out out | should hold photographs
enhance photo.png | should go either into a folder
enhance photo.png --out out --in-place | should go either into a folder
enhance photo.png --out text.txt | text.txt should be a folder
enhance photo.png --out out --model nowhere | should be a packaged model
enhance photo.png --out out --model nowhere.onnx | does not exist
enhance photo.png --out out --model text.txt | should be an artifact
enhance photo.png --out out --model cut.onnx | should be an ONNX model but does not load
enhance photo.png --out out --model bare.onnx | should have a bncagan spec
enhance photo.png --out out --model odd.onnx | does not parse
enhance photo.png --out out --model edited.onnx | should be as it was sealed
enhance photo.png --out out --model m.xml | m.bin does not exist
enhance photo.png --out out --model m.pt2 | should be an exported program
enhance photo.png --out out --model old.onnx.rejected | was refused by its parity check
enhance m.onnx photo.png --out out --model m.onnx | given once
enhance m.onnx photo.png --out out --quality 101 | from 1 to 100
enhance m.onnx photo.png --out out --strength 2 | strength
enhance m.onnx photo.png --out out --exposure -9 | exposure
enhance m.onnx photo.png --out out --max-side 8 | max_side
enhance m.onnx photo.png --out out --max-megapixels 0 | above 0
enhance m.onnx photo.png --out out --workers 0 | workers should be a number from 1
enhance m.onnx photo.png --out out --threads 0 | threads should be a whole number from 1
enhance m.onnx photo.png --out out --format xyz | --format should be one of
enhance m.onnx photo.png --out out --suffix a/b | --suffix should be a part
enhance m.onnx photo.png --out out --skip-existing --overwrite | contradict
enhance m.onnx photo.png --out out --no-backup | contradict
enhance m.onnx photo.png --out out --provider Nowhere | providers of this onnxruntime
enhance m.onnx photo.png --out out --compute-units ALL | no other options
enhance m.onnx photo.png --out out --html look.txt | should end in .html
enhance m.onnx photo.png --out out --before-after sheet.xyz | sheet.xyz
enhance m.onnx photo.png --out out --report photo.png | should be a file of its own
enhance m.onnx photo.png --out . | should be no photograph that is to be enhanced
enhance m.onnx photo.png --cube a.cube | cube
enhance photo.png --cube a.txt | .cube
verify nowhere.onnx | does not exist
verify no-golden.onnx | should hold the golden pictures
verify m.onnx | lacks blue, checker | 1
verify m.onnx --json | lacks blue, checker | 1
verify unsealed.onnx | is not sealed | 1
verify unsealed.onnx --unsealed | parity check | 1
verify m.onnx --threads 0 | threads
verify m.onnx --arithmetic f32 | no other options
verify m.onnx --write-self-test nowhere/test | existing folder
verify m.onnx --write-self-test data | new or empty folder
verify m.mlpackage | Manifest.json
verify m.engine | tensorrt
selftest nowhere.onnx | does not exist
selftest cut.onnx | does not load
fold --shape 512 | HEIGHTxWIDTH
fold --shape 20x20 --json | multiples of 8
fold --checkpoint nowhere | neither
fold --checkpoint text.txt | should be a safetensors file
fold --checkpoint cut.safetensors | cannot be read
fold --checkpoint other.safetensors --json | use the file made for
export onnx --out a.txt | end in .onnx
export onnx --out nowhere/a.onnx | existing folder
export onnx --out a.onnx --precision int3 | but is 'int3'
export onnx --out a.onnx --shape 20x20 | multiples of 8
export onnx --out a.onnx --dynamic --shape 64x64 | keep one
export onnx --out a.onnx --range 1x64x64 1x32x32 1x16x16 | ascending order
export onnx --out a.onnx --calibration data | --precision int8
export openvino --out a.xml --shape 16x16 32x32 | one fixed shape
export coreml --out a.mlpackage --target iOS3 | iOS3
export pt2 --out a.pt2 --checkpoint nowhere | neither
export all --out text.txt | text.txt
export sensitivity --shape x | HEIGHTxWIDTH
evaluate --data data/val --out out | at least one
evaluate --data nowhere --out out --checkpoint g.safetensors --json | nowhere
evaluate --data data/val --out out --artifact cut.onnx | does not load
evaluate --data empty --out out --checkpoint g.safetensors | empty
rate photo.png --nima nowhere | nowhere
rate photo.png --nima text.txt --json | text.txt
stress --out out --checkpoint g.safetensors --artifact m.onnx | one enhancer but has both
stress --out out --artifact cut.onnx --json | does not load
train --data nowhere --out run | nowhere
train --data data --out run --steps 0 | steps
train --data data --out run --model.width 3 | multiple of 4
train --resume empty | empty
average --out a.safetensors g.safetensors nowhere | nowhere
data check nowhere | nowhere
data split --raw nowhere --expert data --out out | nowhere
compare r.json | two reports or more
compare r.json old.json | old.json
compare r.json nowhere.json | nowhere.json
compare r.json r.json --fail-if p51 | p51
compare r.json r.json --out a.xyz | a.xyz
benchmark nowhere.onnx --shape 32x32 --runs 1 | nowhere.onnx
benchmark m.onnx --shape 20x20 --runs 1 | multiples of 8
benchmark m.onnx --shape 32x32 --runs 0 | runs
look nowhere --out out.safetensors | nowhere
enhance photo.png --out out --strenght 1 | did you mean --strength?
export coreml --out a.mlpackage --dynmaic | did you mean --dynamic?
train --resume run --stpes 9 | run should name the folder of a run
fold --repotr --json | did you mean --report?
enhance --foo | --foo should be an option of this command but is none; see --help
fold extra | should have no more arguments but has extra
verify | verify should be given PATH but is not
train --data data | train should be given --out PATH but is not
train --daat data --out run | should be given --data PATH but is given --daat data, which it does not know
enhance photo.png --out out --workers two | --workers should be a whole number but is 'two'
enhance photo.png --out out --strength high | --strength should be a number but is 'high'
enhance photo.png --out out --strength | --strength should be followed by a value but is not
export onnx --out a.onnx --io bits | --io should be one of float32, uint8 but is 'bits'
evaluate --data a --out b --protocol c | --protocol should be one of both, paper, native but is 'c'
export onxn | all, sensitivity but is none of them; did you mean onnx?
export | the command export should be followed by one of onnx, openvino
nonsense | nonsense should be one of train, look
"""


def cases() -> list[object]:
    made = []
    for line in CASES.strip().splitlines():
        arguments, part, *code = (part.strip() for part in line.split(" | "))
        made.append(pytest.param(arguments, part, int(code[0]) if code else 2, id=arguments))
    return made


def test_there_are_sixty() -> None:
    assert len(cases()) >= 60


@pytest.mark.parametrize(("arguments", "part", "code"), cases())
def test_an_error_is_one_sentence_and_its_code(
    folder: Path,
    arguments: str,
    part: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(shlex.split(arguments)) == code
    out, said = capsys.readouterr()
    assert "Traceback" not in said
    assert said.startswith("bncagan: "), said
    assert said.count("\n") == 1, said
    assert part in said
    if code == 2:
        assert not out
        assert [path for path in sorted(folder.rglob("*")) if path not in before and path.is_file()] == []


def test_no_command_and_long_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """tyro prints a long word on several lines."""
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("bncagan: the command should be followed by one of train, look, ")
    assert main(["verify", "m.onnx", "long/" * 40]) == 2
    assert f"but has {'long/' * 40}; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"FORCE_COLOR": "1", "COLUMNS": "40"}])
def test_the_sentence_is_the_same_on_every_terminal(environment: dict[str, str]) -> None:
    """tyro draws its box in other characters, in colour, or narrow."""
    words = ["enhance", "a.png", "--out", "out", "--wokers", "3", "--qualty", "7"]
    command = [sys.executable, "-m", "bncagan", *words]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    sentence = "--wokers should be an option of this command but is none; did you mean --workers?"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"bncagan: {sentence}\n")


def test_what_tyro_says_otherwise_is_kept() -> None:
    box = "\n".join(
        ["╭─ New ─────╮", "│ Something │", "│   else.   │", "│ ───────── │", "│ Run help  │", "╰───────────╯"]
    )
    assert usage_error(box, []) == "the arguments should fit the command but do not (Something else.); see --help"
    assert "do not (Error: none); see" in usage_error("Error: none\n", [])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["broken.png"], 2), (["photo.png", "broken.png"], 1), (["tiny.png"], 2), (["photo.jpg", "photo.png"], 1)],
)
def test_photographs_that_fail_are_named_each_on_its_line(
    folder: Path,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert main(["enhance", "m.onnx", *arguments, "--out", str(tmp_path / "out")]) == status
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("bncagan: ") for line in said)
    assert said[-1].endswith("1 failed")


def test_an_artifact_that_answers_nan_is_named_with_the_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["enhance", "nan.onnx", "photo.png", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()[0]
    assert "nan.onnx should return finite numbers on CPUExecutionProvider" in said
    assert "is nan at (0, 0, 0, 0)" in said
