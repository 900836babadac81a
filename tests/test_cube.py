"""The change of a photograph as a colour cube, read and applied by code of its own here."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import RegularGridInterpolator

import runtimes
from bncagan.cli import main
from runtimes.apply.probing import border
from runtimes.controls import Controls, adjust
from runtimes.cube import grid, measure
from runtimes.image import Pixels, to_uint8
from tests.tiny_models import NumpyRuntime, make_spec, write_gain

Codes = NDArray[np.float64]


def coffee(divisor: int = 1) -> Pixels:
    """A photograph of 600 x 400 px."""
    codes: Pixels = skimage.data.coffee() // np.uint8(divisor)
    return codes


def read_cube(path: Path) -> Callable[[Codes], Codes]:
    """A .cube file as a function of colours in [0, 1], interpolated by SciPy."""
    lines = path.read_text().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("LUT_3D_SIZE"))
    rows = [line for line in lines if line and not line[0].isalpha()]
    table = np.array([[float(word) for word in row.split()] for row in rows]).reshape(size, size, size, 3)
    axis = np.linspace(0, 1, size)
    by_blue_green_red = RegularGridInterpolator((axis, axis, axis), table)
    return lambda colours: np.asarray(by_blue_green_red(colours[..., ::-1]))


def psnr(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize(("divisor", "least"), [(1, 55), (2, 49)])
def test_the_file_gives_what_nano_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], divisor: int, least: float
) -> None:
    photo, cube = tmp_path / "p.png", tmp_path / "p.cube"
    Image.fromarray(coffee(divisor)).save(photo)
    assert main(["enhance", str(photo), "--cube", str(cube), "--threads", "1"]) == 0
    with runtimes.load("nano", threads=1) as nano:
        expected = nano.enhance(coffee(divisor))
    reached = psnr(np.rint(255 * read_cube(cube)(coffee(divisor) / 255)), expected)
    assert reached > least
    said = capsys.readouterr()
    assert said.out == f"{cube}\n"
    assert float(said.err.split("error of ")[1].split()[0]) == pytest.approx(reached, abs=0.3)
    assert psnr(coffee(divisor), expected) < 30  # nano does change it


def test_the_controls_are_in_the_cube() -> None:
    with runtimes.load("nano", threads=1) as nano:
        cube, *pair = measured = measure(nano, coffee(), Controls(0.6, 0.5), max_side=600)
        expected = nano.enhance(coffee(), max_side=600, strength=0.6, exposure=0.5)
    assert psnr(cube.applied(coffee()), expected) > 55
    assert psnr(cube.applied(coffee()), expected) == pytest.approx(measured.psnr(), abs=0.01)
    np.testing.assert_array_equal(pair, [coffee(), expected])


def test_nano_does_not_look_at_the_border() -> None:
    x = (coffee()[:384, :576] / 255).astype(np.float32)
    unseen = border(384, 576)
    other = x.copy()
    other[unseen] = np.random.default_rng(0).random((np.count_nonzero(unseen), 3), np.float32)
    with runtimes.load("nano", threads=1) as nano:
        answers = [nano.infer(np.ascontiguousarray(each.transpose(2, 0, 1)[None]))[0] for each in (x, other)]
    assert np.abs(answers[0] - answers[1])[:, ~unseen].max() < 1e-5
    assert np.count_nonzero(unseen) == 384 * 576 - (384 - 16) * (576 - 24)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_small_artifact_is_asked_several_times(batch: int) -> None:
    spec = make_spec(runtimes.ShapeSet.of((batch, 96, 160)), width=0)
    network = NumpyRuntime(lambda images: (images**0.5 * 0.9).astype(np.float32), spec)
    measured = measure(network, coffee(), Controls(0.5, -1))
    expected = adjust(grid(), grid() ** np.float32(0.5) * np.float32(0.9), Controls(0.5, -1))
    np.testing.assert_allclose(measured.cube.table, expected, atol=1e-5)
    assert len(network.seen) == 1 + -(-(33**3) // np.count_nonzero(border(96, 160)))
    assert (measured.psnr() or 0) > 45


def test_a_photograph_of_hardly_any_contrast_is_changed_as_little() -> None:
    black = np.zeros((96, 96, 3), np.uint8)
    black[40:60] = 2
    with runtimes.load("nano", threads=1) as nano:
        cube = measure(nano, black, Controls()).cube
        assert np.abs(cube.applied(black) - nano.enhance(black).astype(int)).max() <= 1
        assert measure(nano, coffee(), Controls()).cube.applied(black).max() > 4  # the change that it must not receive


def test_byte_artifacts_have_cubes_too(tmp_path: Path) -> None:
    path = write_gain(tmp_path / "half.onnx", make_spec(io="uint8", width=0), 0.5)
    with runtimes.load(path) as half:
        cube = measure(half, coffee()[:240, :320], Controls()).cube
    np.testing.assert_allclose(cube.table, to_uint8(to_uint8(grid()) / 510) / 255, atol=1e-6)


def test_what_cannot_be_a_cube_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(coffee()[:64, :64]).save("p.png")
    Image.fromarray(coffee()[:40, :40]).save("tiny.png")
    Path("old.cube").write_text("old")
    for arguments, said in (
        (["p.png", "--cube", "c.cube", "--model", "small"], "equal colours alike"),
        (["p.png", "--cube", "c.lut"], "should end in .cube"),
        (["p.png", "p.png", "--cube", "c.cube"], "one photograph"),
        (["tiny.png", "--cube", "c.cube"], "at least 48 px"),
        (["p.png", "--cube", "old.cube"], "should not exist yet"),
        (["p.png", "--cube", "c.cube", "--out", "d"], "without --out"),
        (["nowhere.png", "--cube", "c.cube"], "should be a file"),
    ):
        assert main(["enhance", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["old.cube", "p.png", "tiny.png"]
    assert main(["enhance", "p.png", "--cube", "old.cube", "--overwrite"]) == 0
    assert Path("old.cube").read_text() != "old"


def test_ffmpeg_reads_the_file(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[video]'")
    with runtimes.load("nano", threads=1) as nano:
        measured = measure(nano, coffee(), Controls(), max_side=600)
    measured.cube.write(tmp_path / "p.cube", "p")
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(width=600, height=400, format="rgb24", time_base=Fraction(1, 25)),
        graph.add("lut3d", f"file={tmp_path / 'p.cube'}:interp=trilinear"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    frame = av.VideoFrame.from_ndarray(coffee(), format="rgb24")
    frame.pts = 0
    graph.push(frame)
    assert psnr(graph.pull().to_ndarray(), measured.answer) > 49  # it truncates, which costs half a code
