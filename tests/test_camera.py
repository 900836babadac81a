"""The live picture of a camera: what is shown, keys, slow models, release; and really, in a window under Xvfb."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image, ImageGrab, features

import runtimes
from bncagan.cli import main
from runtimes.image import Pixels
from runtimes.video import camera, live
from runtimes.video.camera import Camera
from runtimes.video.live import save_png, show_live
from tests.clips import pictures, write_clip
from tests.processes import HEARD, start
from tests.tiny_models import NumpyRuntime, make_spec, write_gain

ROOT = Path(__file__).parents[1]
CURVE = make_spec(width=0)
ALIKE = 6  # mean difference in codes: OpenCV 4 takes BT.709 for BT.601


def scene(name: str, width: int = 96, height: int = 64) -> Pixels:
    """A photograph of scikit-image in another size."""
    return np.asarray(Image.fromarray(getattr(skimage.data, name)()).resize((width, height)))


def halving() -> NumpyRuntime:
    return NumpyRuntime(lambda images: images * np.float32(0.5), CURVE)


class Pictures:
    """A source that hands out what it was given, and ends."""

    def __init__(self, frames: Sequence[Pixels | None]) -> None:
        self.frames = list(frames)

    @property
    def ended(self) -> bool:
        return not self.frames

    def newest(self, wait: float) -> Pixels | None:
        return self.frames.pop(0) if self.frames else None


class Notes:
    """A screen that notes what it shows, and presses keys: one after each look at it."""

    def __init__(self, keys: str = "", closes_after: int = 1000) -> None:
        self.keys, self.closes_after = list(keys), closes_after
        self.shown: list[Pixels] = []
        self.titles: list[str] = []

    @property
    def closed(self) -> bool:
        return len(self.shown) >= self.closes_after

    def show(self, picture: Pixels, title: str) -> None:
        self.shown.append(picture.copy())
        self.titles.append(title)

    def key(self) -> str:
        return self.keys.pop(0).strip("-") if self.keys else ""


def watch(
    frames: Sequence[Pixels | None],
    runtime: runtimes.Runtime,
    keys: str = "",
    *,
    closes_after: int = 1000,
    **options: Any,
) -> tuple[Notes, list[Pixels]]:
    """Show frames at 25 a second; returns the screen and what was saved."""
    screen, saved, times = Notes(keys, closes_after), list[Pixels](), iter(range(10**6))
    options = {"clock": lambda: next(times) / 25, "save": saved.append, "stop": threading.Event()} | options
    show_live(Pictures(frames), screen, runtime, **options)
    return screen, saved


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture waits for its own change, however busy the machine is."""
    monkeypatch.setattr(live, "PATIENCE_S", 60.0)


# The loop


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("mirror", [False, True])
def test_each_picture_looks_as_enhanced_as_a_photograph(mirror: bool) -> None:
    coffee, night = scene("coffee"), scene("astronaut") // np.uint8(4)
    with runtimes.load("nano", threads=1) as nano:
        controls = {"strength": 0.8, "exposure": 0.3}
        screen, _ = watch([coffee, None, coffee, night, night], nano, mirror=mirror, **controls)
        for picture, shown in zip([coffee, coffee, night, night], screen.shown, strict=True):
            expected = nano.enhance(picture[:, ::-1] if mirror else picture, **controls)
            assert np.sqrt(np.mean((shown.astype(float) - expected) ** 2)) < 0.9
            assert np.abs(expected.astype(float) - picture).mean() > 3


@pytest.mark.usefixtures("patient")
def test_the_change_is_blended_over_time() -> None:
    gains = iter([0.5, 1.0])
    grey = np.full((64, 96, 3), 100, np.uint8)
    answers: dict[int, np.float32] = {}

    def answer(images: Any) -> Any:
        """One gain for all questions of a half second."""
        second = int(now[0] / 0.5)
        if second not in answers:
            answers[second] = np.float32(next(gains, 1.0))
        return images * answers[second]

    now = [0.0]

    def clock() -> float:
        now[0] += 0.04
        return now[0]

    screen, _ = watch([grey] * 24, NumpyRuntime(answer, CURVE), clock=clock)
    means = [shown.mean() for shown in screen.shown]
    assert means[:12] == pytest.approx([50] * 12, abs=1)
    step = (100 - 50) * (1 - np.exp(-0.04))
    assert 0 < means[14] - means[12] < 2 * step + 1
    assert means[-1] == pytest.approx(100 - 50 * np.exp(-0.04 * 11), abs=2.5)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("key", "b ")
def test_a_key_shows_the_picture_as_it_was_and_another_saves_what_is_shown(key: str) -> None:
    frames = [np.full((64, 96, 3), 100 + i, np.uint8) for i in range(6)]
    screen, saved = watch(frames, halving(), f"-{key}s{key}s-")
    expected = [50, 50.5, 102, 103, 52, 52.5]
    assert [shown.mean() for shown in screen.shown] == pytest.approx(expected, abs=1)
    assert [picture.mean() for picture in saved] == pytest.approx([102, 52], abs=1)
    assert ["before (" in title for title in screen.titles] == [False, False, True, True, False, False]


@pytest.mark.parametrize(("keys", "closes_after", "shown"), [("--q", 9, 3), ("-\x1b", 9, 2), ("", 4, 4), ("", 9, 6)])
def test_q_escape_a_closed_window_and_the_last_picture_end_it(keys: str, closes_after: int, shown: int) -> None:
    screen, _ = watch([scene("coffee")] * 6, halving(), keys, closes_after=closes_after)
    assert len(screen.shown) == shown


def test_the_title_tells_the_frames_per_second() -> None:
    screen, _ = watch([scene("coffee")] * 60, halving())
    assert "second" not in screen.titles[24]
    assert screen.titles[26].startswith("BNCAGAN: 25 frames a second, enhanced (b: before/after, s: save, q: quit)")


def test_a_slow_model_does_not_hold_up_the_picture() -> None:
    """The second prediction does not end before ten more pictures are shown."""
    shown_more, begun = threading.Event(), threading.Event()
    calls: list[float] = []

    class Screen(Notes):
        def show(self, picture: Pixels, title: str) -> None:
            super().show(picture, title)
            if begun.is_set():
                calls.append(picture.mean())
            if len(calls) == 10:
                shown_more.set()

    bright, dark = np.full((64, 96, 3), 200, np.uint8), np.full((64, 96, 3), 40, np.uint8)

    def answer(images: Any) -> Any:
        if images.mean() > 0.5:
            return images * np.float32(0.5)
        begun.set()
        assert shown_more.wait(30), "the pictures waited for the model"
        return images * np.float32(2)

    class Source(Pictures):
        def newest(self, wait: float) -> Pixels | None:
            if len(self.frames) == 1 and screen.shown[-1].mean() < 70 and time.monotonic() < until:
                return dark  # until the new change arrives
            return super().newest(wait)

    until = time.monotonic() + 30
    screen = Screen()
    runtime = NumpyRuntime(answer, make_spec())  # with a generator, whose maps are fitted to one answer
    show_live(Source([bright, *[dark] * 12, dark]), screen, runtime, save=lambda _: None, stop=threading.Event())
    assert screen.shown[0].mean() == pytest.approx(100, abs=1)
    assert max(calls[:10]) < 70  # the old change, on the new pictures
    assert screen.shown[-1].mean() == pytest.approx(80, abs=2)


def test_an_error_of_the_model_ends_it() -> None:
    with pytest.raises(runtimes.ArtifactError, match="finite"):
        watch([scene("coffee")] * 3, NumpyRuntime(lambda images: images * np.float32(np.nan), CURVE))
    with pytest.raises(runtimes.ArtifactError, match="max_side"):
        watch([scene("coffee")] * 3, halving(), max_side=4)


def test_no_saved_picture_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "strftime", lambda _: "camera-20260102-030405")
    frames = [np.full((16, 24, 3), i, np.uint8) for i in range(3)]
    paths = [save_png(frame, tmp_path) for frame in frames]
    assert [path.name for path in paths] == [f"camera-20260102-030405{more}.png" for more in ("", "-2", "-3")]
    for path, frame in zip(paths, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), frame)
    assert len(list(tmp_path.iterdir())) == 3


# The camera and the command, with a stand-in for OpenCV


class Capture:
    """A camera of OpenCV that delivers what it is given, BGR, and then nothing."""

    def __init__(self, frames: Sequence[Pixels], *, opens: bool = True) -> None:
        self.frames, self.opens, self.released = list(frames), opens, 0

    def isOpened(self) -> bool:  # noqa: N802
        return self.opens

    def read(self) -> tuple[bool, Pixels | None]:
        time.sleep(0.002)
        return (True, self.frames.pop(0)[..., ::-1]) if self.frames else (False, None)

    def get(self, _: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released += 1


Plug = Callable[[Capture, Notes], dict[str, Any]]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """`plug(capture, screen)`: a computer with that camera and that screen; returns what was asked for."""
    return partial(plugged, monkeypatch)


def plugged(monkeypatch: pytest.MonkeyPatch, capture: Capture, screen: Notes) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    def video_capture(source: int | str) -> Capture:
        asked["source"] = source
        return capture

    stand_in = SimpleNamespace(
        VideoCapture=video_capture,
        cvtColor=lambda picture, _: np.ascontiguousarray(picture[..., ::-1]),
        COLOR_BGR2RGB=4,
        COLOR_RGB2BGR=4,
        CAP_PROP_POS_MSEC=0,
        WINDOW_NORMAL=0,
        WINDOW_KEEPRATIO=0,
        WINDOW_GUI_NORMAL=16,
        WND_PROP_VISIBLE=4,
        error=RuntimeError,
        namedWindow=lambda *_: None,
        resizeWindow=lambda _, width, height: asked.update(size=(width, height)),
        setWindowTitle=lambda _, title: asked.update(title=title),
        imshow=lambda _, picture: screen.show(picture[..., ::-1], asked.get("title", "")),
        getWindowProperty=lambda *_: float(not screen.closed),
        waitKey=lambda _: ord(screen.key() or "\xff"),
        destroyAllWindows=lambda: asked.update(gone=True),
    )
    monkeypatch.setattr(camera, "opencv", lambda: stand_in)
    monkeypatch.setattr(camera, "_require_screen", lambda: None)
    return asked


def test_the_command_shows_saves_and_releases(
    plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    half = write_gain(tmp_path / "half.onnx", CURVE, 0.5)
    capture, screen = Capture([scene("coffee")] * 500), Notes("--S-Q")
    asked = plug(capture, screen)
    assert main(["enhance", str(half), "--camera", "0"]) == 0
    assert (asked["source"], asked["gone"], asked["size"], capture.released) == (0, True, (96, 64), 1)
    assert len(screen.shown) <= 5
    (saved,) = tmp_path.glob("*.png")
    assert capsys.readouterr().out == f"{saved.name}\n"
    assert np.abs(np.asarray(Image.open(saved)) - scene("coffee") / 2).max() <= 1


def test_a_picture_that_cannot_be_saved_is_said_and_the_next_ones_are_shown(
    plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live, "save_png", full)
    half = write_gain(tmp_path / "half.onnx", CURVE, 0.5)
    plug(Capture([scene("coffee")] * 500), Notes("s-q"))
    assert main(["enhance", str(half), "--camera", "0"]) == 0
    assert "could not be saved" in (error := capsys.readouterr().err)
    assert "No space left on device" in error


@pytest.mark.parametrize(
    ("name", "source"), [("2", 2), ("/dev/video9", "/dev/video9"), ("rtsp://host/live", "rtsp://host/live")]
)
def test_a_camera_is_a_number_a_path_or_an_address(plug: Plug, name: str, source: int | str) -> None:
    asked = plug(Capture([], opens=False), Notes())
    with pytest.raises(runtimes.InputError, match=f"camera {name} should open but does not; check"):
        Camera(name)
    assert asked["source"] == source


def test_only_the_newest_picture_is_kept(plug: Plug) -> None:
    capture = Capture([np.full((8, 8, 3), (i, 0, 0), np.uint8) for i in range(50)])
    plug(capture, Notes())
    source = Camera("0")
    while capture.frames:
        time.sleep(0.01)
    time.sleep(0.05)
    picture = source.newest(1)
    assert picture is not None
    assert picture[0, 0].tolist() == [49, 0, 0]  # RGB, too
    assert source.newest(0.01) is None
    assert not source.ended
    source.close()
    assert capture.released == 1


def test_a_camera_that_falls_silent_is_an_error_and_released(
    plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half = write_gain(tmp_path / "half.onnx", CURVE, 0.5)
    monkeypatch.setattr(camera, "SILENT_S", 0.2)
    for frames in ([], [scene("coffee")] * 5):
        capture = Capture(frames)
        plug(capture, Notes())
        assert main(["enhance", str(half), "--camera", "0"]) == 2
        error = capsys.readouterr().err
        assert "camera 0 should deliver pictures but has delivered none for" in error
        assert error.count("\n") == 1
        assert capture.released == 1


INTERRUPTED = "import sys; from tests.test_camera import interrupt; interrupt(sys.argv[1], int(sys.argv[2]))"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: int, code: int) -> None:
    half = write_gain(tmp_path / "half.onnx", CURVE, 0.5)
    process = start(HEARD.format(name="bncagan") + INTERRUPTED, half, int(number))
    assert process.communicate(timeout=120) == (f"{code} 1 True 1\n", "bncagan: stopped\n")


def interrupt(model: str, number: int) -> None:
    """In a process of its own: raise a signal while the first picture is shown, and print how that ends."""

    class Interrupting(Notes):
        def show(self, picture: Pixels, title: str) -> None:
            super().show(picture, title)
            signal.raise_signal(number)

    capture, screen = Capture([scene("coffee")] * 500), Interrupting()
    with pytest.MonkeyPatch.context() as patch:
        asked = plugged(patch, capture, screen)
        code = main(["enhance", model, "--camera", "0"])
    print(code, len(screen.shown), asked["gone"], capture.released)


@pytest.mark.parametrize("error", [KeyboardInterrupt, runtimes.InputError("no")])
def test_the_camera_is_released_whatever_happens(plug: Plug, tmp_path: Path, error: BaseException) -> None:
    class Breaking(Notes):
        def show(self, picture: Pixels, title: str) -> None:
            raise error

    half = write_gain(tmp_path / "half.onnx", CURVE, 0.5)
    capture = Capture([scene("coffee")] * 500)
    plug(capture, Breaking())
    assert main(["enhance", str(half), "--camera", "0"]) == (130 if error is KeyboardInterrupt else 2)
    assert capture.released == 1
    capture = Capture([scene("coffee")] * 500)
    plug(capture, Notes())
    assert main(["enhance", "--camera", "0", "--model", str(tmp_path / "nowhere.onnx")]) == 2
    assert capture.released == 1


def test_one_sentence_says_what_is_wrong(
    plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    require_screen, opencv = camera._require_screen, camera.opencv
    plug(Capture([], opens=False), Notes())
    for arguments, said in (
        (["--camera", "0"], "camera 0 should open but does not"),
        (["--camera", "0", "a.jpg"], "without photographs but a.jpg is given"),
        (["--camera", "0", "--out", "b"], "without --out"),
        (["--camera", "0", "--overwrite"], "without --overwrite"),
        (["--mirror", "a.jpg"], "--mirror should come with --camera"),
        (["--mirror", "a.mp4", "--out", "b.mp4"], "--mirror should come with --camera"),
    ):
        assert main(["enhance", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert said in error, (said, error)
        assert error.count("\n") == 1
    if sys.platform == "linux":
        monkeypatch.setattr(camera, "_require_screen", require_screen)
        monkeypatch.delenv("DISPLAY", raising=False)
        assert main(["enhance", "--camera", "0"]) == 2
        assert "shown in a window but cannot be (DISPLAY is not set); start it on" in capsys.readouterr().err
    monkeypatch.setattr(camera, "opencv", opencv)
    monkeypatch.setattr(camera, "installed", lambda _: False)
    assert main(["enhance", "--camera", "0"]) == 2
    assert "[camera]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# OpenCV itself


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of two seconds that stands still."""
    pytest.importorskip("cv2", reason="OpenCV is not installed: pip install -e '.[camera]'")
    write_clip(tmp_path / "still.mp4", [scene("coffee", 320, 200)] * 50, sound=False)
    return tmp_path / "still.mp4"


def test_a_video_file_plays_at_its_own_speed_and_ends(clip: Path) -> None:
    begun, source, seen = time.monotonic(), Camera(str(clip)), list[Pixels]()
    while not source.ended:
        picture = source.newest(0.1)
        if picture is not None:
            seen.append(picture)
    assert time.monotonic() - begun > 1.9
    assert 2 <= len(seen) <= 50
    assert np.abs(seen[-1].astype(float) - pictures(clip)[-1]).mean() < ALIKE
    source.close()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bncagan", "enhance", *arguments]


def environment(display: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
        "DISPLAY": display,
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="X11 of Linux")
def test_a_screen_that_refuses_is_one_sentence(clip: Path) -> None:
    ended = subprocess.run(
        command("--camera", str(clip)), env=environment(":9876"), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "cannot be (qt.qpa.xcb: could not connect to display :9876)" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def display() -> Iterator[str]:
    """A screen of 800 x 600 px in memory."""
    missing = [tool for tool in ("Xvfb", "xdotool") if shutil.which(tool) is None]
    if missing or not features.check("xcb"):
        pytest.skip(f"needs {' and '.join(missing) or 'Pillow with XCB'}")
    ready, write = os.pipe()
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(write)
        with os.fdopen(ready) as pipe:
            yield f":{pipe.readline().strip()}"
        server.terminate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the window of a process shows."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_real_window_shows_the_enhanced_picture_and_takes_keys(clip: Path, display: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "long.mp4", [scene("coffee", 320, 200)] * 750, sound=False)
    before = pictures(clip)[-1].astype(float)
    with runtimes.load("nano", threads=1) as nano:
        after = nano.enhance(pictures(clip)[-1]).astype(float)

    def xdotool(*words: str) -> str:
        return subprocess.run(
            ["xdotool", *words], env=environment(display), capture_output=True, text=True, check=False
        ).stdout

    def window() -> str:
        return next(iter(xdotool("search", "--name", "^BNCAGAN:").split()), "")

    def looks_like(picture: Any) -> bool:
        """Like it, and unlike the other one."""
        shot = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))[:200, :320]
        if window() and not shot.any():
            # On a busy machine Qt may miss that its window can be seen, where there is no window manager; a program of
            # imshow and waitKey alone does, too
            time.sleep(1)
            xdotool("windowunmap", window(), "sleep", "0.2", "windowmap", window())
        difference, *others = (np.abs(shot - each).mean() for each in (picture, before, after))
        return bool(difference < ALIKE and difference < max(others) / 2)

    def press(key: str) -> None:
        xdotool("key", "--window", window(), key)

    start = [*command("--camera", str(tmp_path / "long.mp4"))]
    options: Any = {"env": environment(display), "cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(start, **options) as process:
        wait_until(lambda: looks_like(after), process)
        press("b")
        wait_until(lambda: looks_like(before), process)
        press("q")
        assert process.wait(30) == 0
        assert process.communicate()[1] == ""
    with subprocess.Popen(start, **options) as process:
        wait_until(lambda: looks_like(after), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.communicate()[1] == "bncagan: stopped\n"
