"""Videos: what is kept, what may not flicker, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image

import runtimes
import runtimes.video.clip
import runtimes.video.reading
from bncagan.cli import main
from runtimes.apply.change import IDENTITY, SHARE, Change
from runtimes.controls import Controls
from runtimes.image import Pixels
from runtimes.video.following import Follower
from runtimes.video.predicting import FrameChange, predict
from tests.clips import facts, lumas, pictures, write_clip
from tests.tiny_models import NumpyRuntime, make_spec, write_gain

CURVE = make_spec(width=0)


def scene(
    name: str, number: int, *, width: int = 96, height: int = 64, noise: float = 0.0, seed: int = 0
) -> list[Pixels]:
    """A still photograph of scikit-image as frames with noise of a standard deviation in codes."""
    rng = np.random.default_rng(seed)
    still = np.asarray(Image.fromarray(getattr(skimage.data, name)()).resize((width, height)))
    return [(still + rng.normal(0, noise, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(number)]


def halving() -> NumpyRuntime:
    return NumpyRuntime(lambda images: images * np.float32(0.5), CURVE)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_all_but_the_looks_is_kept(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    turned = 90 if suffix in {".mp4", ".mov"} else 0
    write_clip(source, scene("coffee", 30), rotation=turned, codec="libvpx-vp9" if suffix == ".webm" else "libx264")
    counts: list[tuple[int, int]] = []
    notes = runtimes.enhance_video(source, target, halving(), done=lambda *count: counts.append(count))
    assert notes == ()
    before, after = facts(source), facts(target)
    assert before == after
    assert len(after.times) == 30
    assert len(after.sound) > 40
    assert (after.rotations, after.title) == ({turned}, "Title")
    assert [done for done, _ in counts] == list(range(1, 31))
    assert abs(counts[-1][1] - 30) <= 3  # Matroska does not tell, and the times are uneven
    # Half of every code, by RGB of the frames; 4:2:0 and the encoder blur colours
    difference = pictures(target).astype(float) - pictures(source) / 2
    assert np.abs(difference.mean(axis=(1, 2, 3))).max() < 1.5
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(("matrix", "color_range"), [(1, 1), (6, 1), (1, 2)])
def test_strength_0_gives_back_the_codes(tmp_path: Path, matrix: int, color_range: int) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(source, scene("astronaut", 8), matrix=matrix, color_range=color_range)
    runtimes.enhance_video(source, target, halving(), strength=0)
    assert np.abs(lumas(target) - lumas(source)).max() < 0.2
    assert facts(target).tags == facts(source).tags
    runtimes.enhance_video(source, target, halving(), exposure=1, overwrite=True)
    assert (lumas(target) - lumas(source)).max() < -10  # half of the codes is more than a stop darker


def test_brightness_does_not_flicker_and_a_cut_is_followed_at_once(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    dark = [frame // np.uint8(4) for frame in scene("astronaut", 30, width=192, height=128, noise=8)]
    write_clip(source, [*scene("coffee", 30, width=192, height=128, noise=8), *dark])
    with runtimes.load("nano", threads=1) as nano:
        runtimes.enhance_video(source, target, nano)
        expected = [nano.enhance(frame).mean() for frame in pictures(source)]
    means = lumas(target)
    assert np.ptp(means[:30]) < 0.5
    assert np.ptp(means[32:]) < 0.5
    assert means[31] == pytest.approx(means[32:].mean(), abs=0.5)
    brightness = pictures(target).mean(axis=(1, 2, 3))
    assert np.abs(brightness - expected)[[0, 29, 31, 59]].max() < 1.5


@pytest.mark.parametrize("divisor", [1, 6])
@pytest.mark.parametrize("controls", [Controls(), Controls(0.6), Controls(1.3, 0.5)])
def test_a_tone_head_is_measured_within_rounding(divisor: int, controls: Controls) -> None:
    frame = skimage.data.coffee() // np.uint8(divisor)
    with runtimes.load("nano", threads=1) as nano:
        change = predict(nano, frame, controls)
        expected = nano.enhance(frame, strength=controls.strength, exposure=controls.exposure)
    difference = change.applied(frame).astype(float) - expected
    assert abs(difference.mean()) < 0.25
    assert np.sqrt(np.mean(difference**2)) < (0.6 if controls == Controls() else 0.9)  # 52.6 dB, 49 dB
    assert np.abs(expected.astype(float) - frame).mean() > 5
    tone = IDENTITY.copy()
    tone[SHARE] = 1
    identity = FrameChange(Change(tone), Controls())
    np.testing.assert_array_equal(identity.applied(frame), frame)
    halfway = dataclasses.replace(change, controls=Controls()).towards(identity, 0.5).applied(frame).mean()
    ends = dataclasses.replace(change, controls=Controls()).applied(frame).mean(), frame.mean()
    assert halfway == pytest.approx(np.mean(ends), abs=0.12 * abs(ends[1] - ends[0]))


def test_a_fade_from_black_starts_black() -> None:
    black = np.zeros((96, 96, 3), np.uint8)
    black[40:60] = 2
    with runtimes.load("nano", threads=1) as nano:
        assert np.abs(predict(nano, black, Controls()).applied(black) - nano.enhance(black).astype(int)).max() <= 1


def test_a_nervous_model_is_calmed() -> None:
    gains = iter([0.8, 1.2] * 100)
    asked: list[float] = []

    class Gain:
        def __init__(self, gain: float) -> None:
            self.gain = gain

        def applied(self, image: Pixels) -> Pixels:
            return image

        def towards(self, other: Gain, share: float) -> Gain:
            return Gain(self.gain + share * (other.gain - self.gain))

    def predict(_: Pixels) -> Gain:
        asked.append(next(gains))
        return Gain(asked[-1])

    follower: Follower[Any] = Follower(predict)
    frames = scene("coffee", 100, noise=8)
    followed = [follower.change(frame, i / 25).gain for i, frame in enumerate(frames)]
    assert len(asked) == 8
    assert np.abs(np.diff(followed)).max() < 0.4 / 25 + 1e-3  # of a jump of 0.4, at most 1/25 in 1/25 s
    # First-order lag towards the prediction that is valid, from one frame to the next
    for i in range(1, 100):
        target = asked[0] if i < 13 else asked[min(i // 13, 7)]
        assert followed[i] == pytest.approx(target + (followed[i - 1] - target) * np.exp(-1 / 25))


def test_motion_is_no_cut_and_a_dark_cut_is_one() -> None:
    frames = scene("coffee", 1, width=400, height=300)
    pan = [np.roll(frames[0], 5 * i, axis=1) for i in range(20)]
    dark = [frame // np.uint8(12) for frame in scene("astronaut", 3, width=400, height=300)]
    black = [np.full_like(dark[0], 6)] * 3
    asked: list[int] = []

    class Same:
        def applied(self, image: Pixels) -> Pixels:
            return image

        def towards(self, _other: Same, _share: float) -> Same:
            return self

    def predict(_: Pixels) -> Same:
        asked.append(number)
        return Same()

    follower: Follower[Any] = Follower(predict)
    for number, frame in enumerate([*pan, *dark, *black]):
        follower.change(frame, number / 100)
    assert asked == [0, 20, 21, 23, 24]


def test_a_network_with_a_generator_changes_places_in_their_own_way(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(source, scene("coffee", 6, width=160, height=96))
    ramp = np.linspace(0.4, 0.9, 160, dtype=np.float32)
    network = NumpyRuntime(lambda images: images * ramp[: images.shape[3]])
    runtimes.enhance_video(source, target, network)
    expected = pictures(source) * ramp[:, None]
    assert np.abs(pictures(target) - expected).mean() < 3


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], transfer: int, name: str
) -> None:
    write_clip(tmp_path / "hdr.mp4", scene("coffee", 2), transfer=transfer, pix_fmt="yuv420p10le")
    assert main(["enhance", str(tmp_path / "hdr.mp4"), "--out", str(tmp_path / "b.mp4")]) == 2
    assert f"is {name}, whose brightness would be lost" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["hdr.mp4"]


def test_dolby_vision_is_refused_by_its_tag(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", scene("coffee", 2))
    data = (tmp_path / "a.mp4").read_bytes()
    assert b"avc1" in data
    (tmp_path / "dv.mp4").write_bytes(data.replace(b"avc1", b"dvav"))
    with pytest.raises(runtimes.InputError, match="is Dolby Vision"):
        runtimes.enhance_video(tmp_path / "dv.mp4", tmp_path / "b.mp4", halving())


def test_ten_bits_are_rounded_and_said(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", scene("coffee", 3), pix_fmt="yuv420p10le")
    notes = runtimes.enhance_video(tmp_path / "a.mp4", tmp_path / "b.mp4", halving())
    assert notes == ("its colours were rounded to 8 bits",)


def test_a_video_that_ends_early_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv", scene("coffee", 40, noise=8))
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    assert runtimes.enhance_video(tmp_path / "a.mkv", tmp_path / "b.mkv", halving()) == ()
    (note,) = runtimes.enhance_video(tmp_path / "cut.mkv", tmp_path / "c.mkv", halving())
    assert note.startswith("it ends early, after ")


def test_one_sentence_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("a.mp4"), scene("coffee", 20))
    Path("text.mp4").write_text("no video")
    whole = Path("a.mp4").read_bytes()
    Path("other.mp4").write_bytes(whole.replace(b"avc1", b"xxxx"))
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_clip(Path("odd.webm"), [frame[:63, :95] for frame in scene("coffee", 3)], codec="libvpx-vp9", sound=False)
    Path("old.mp4").write_text("old")
    before = sorted(path.name for path in Path().iterdir())
    for arguments, said in (
        (["text.mp4", "--out", "b.mp4"], "should be a video that FFmpeg can read"),
        (["cut.mp4", "--out", "b.mp4"], "should be a video that FFmpeg can read"),
        (["odd.webm", "--out", "b.mp4"], "b.mp4 should be able to hold"),
        (["a.mp4", "--out", "b.webm"], "hold its sound (aac)"),
        (["other.mp4", "--out", "b.mp4"], "should have a codec that PyAV decodes"),
        (["a.mp4"], "--out is missing"),
        (["a.mp4", "--out", "old.mp4"], "should not exist yet"),
        (["a.mp4", "--out", "a.mp4", "--overwrite"], "is one of this run's"),
        (["a.mp4", "old.mp4", "--out", "b.mp4"], "a folder for 2 videos"),
        (["a.mp4", "--out", "b.mp4", "--html", "x.html"], "without --html"),
        (["a.mp4", "photo.jpg", "--out", "b"], "in two runs"),
        (["nowhere.mp4", "--out", "b"], "should be a file"),
    ):
        assert main(["enhance", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert said in error, (said, error)
        assert error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before
    assert Path("old.mp4").read_text() == "old"


def test_missing_libraries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "a.mp4", scene("coffee", 2))
    monkeypatch.setattr("runtimes.video.writing.H264", ("none",))
    monkeypatch.setitem(runtimes.video.clip.ENCODERS, ".mp4", ("libx264none",))
    with pytest.raises(runtimes.InputError, match="one of the encoders libx264none"):
        runtimes.enhance_video(tmp_path / "a.mp4", tmp_path / "b.mp4", halving())
    monkeypatch.setattr(runtimes.video.reading, "installed", lambda _: False)
    assert main(["enhance", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "b.mp4")]) == 2
    assert "[video]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_command_takes_several_videos_and_names_them_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    half = write_gain(tmp_path / "half.onnx", make_spec(width=0), 0.5)
    write_clip(Path("a.mp4"), scene("coffee", 3))
    Path("lib").mkdir()
    write_clip(Path("lib/b.avi"), scene("coffee", 3), sound=False)
    assert main(["enhance", str(half), "a.mp4", "lib/b.avi", "--out", "better"]) == 0
    assert capsys.readouterr().out == "better/a.mp4\nbetter/b.avi.mp4\n"
    assert len(facts(Path("better/b.avi.mp4")).times) == 3
    Image.fromarray(scene("coffee", 1)[0]).save("lib/photo.png")
    assert main(["enhance", str(half), "lib", "--out", "photos"]) == 0
    assert "1 done, 1 skipped (a video, which has to be named itself: 1)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_halfway_leaves_no_file_under_the_final_name(tmp_path: Path, number: int) -> None:
    write_clip(tmp_path / "a.mp4", scene("coffee", 2) * 400, sound=False)
    command = [sys.executable, "-m", "bncagan", "enhance", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "b.mp4")]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]])}
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not any(p.name.startswith(".bncagan-") and p.stat().st_size for p in tmp_path.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "b.mp4").exists()
    if number != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
