"""Small videos with sound, written and read by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from runtimes.image import Pixels

av = pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[video]'")

TICK = Fraction(1, 12800)
BT709, LIMITED = 1, 1


class Facts(NamedTuple):
    """What a video holds besides the looks of its frames."""

    times: list[Fraction]
    rotations: set[int]
    tags: tuple[int, ...]
    title: str | None
    sound: list[tuple[Fraction, bytes]]


def write_clip(
    path: Path,
    frames: Sequence[Pixels],
    *,
    rotation: int = 0,
    transfer: int = BT709,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: bool = True,
    matrix: int = BT709,
    color_range: int = LIMITED,
) -> None:
    """A video of uneven frame times, and sound of the same length (AAC; Opus in WebM)."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Title"
        video = container.add_stream(codec, rate=25, options={"crf": "6", "bf": "2"})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        context = video.codec_context
        context.time_base = TICK
        context.colorspace, context.color_range = matrix, color_range
        context.color_primaries, context.color_trc = BT709, transfer
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000) if sound else None
        pts = 0
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=5 if matrix == 6 else matrix, dst_color_range=color_range
            )
            frame.pts, frame.time_base = pts, TICK
            pts += 512 if i % 5 else 700
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for i in range(48000 * pts // 12800 // 960 if audio else 0):
            tone = np.sin(np.arange(960) * 0.05 + i).astype(np.float32)[None] / 5
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 48000, 960 * i
            container.mux(audio.encode(samples))
        if audio:
            container.mux(audio.encode())


def facts(path: Path) -> Facts:
    """Read a video."""
    with av.open(str(path)) as container:
        frames = [(frame.pts * frame.time_base, frame.rotation) for frame in container.decode(video=0)]
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_trc, context.color_primaries, context.color_range)
    with av.open(str(path)) as container:
        packets: list[Any] = [
            packet for audio in container.streams.audio for packet in container.demux(audio) if packet.dts is not None
        ]
        sound = [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]
        title = container.metadata.get("title") or container.metadata.get("TITLE")
    return Facts([time for time, _ in frames], {turn for _, turn in frames}, tags, title, sound)


def pictures(path: Path) -> NDArray[np.uint8]:
    """The frames as they are stored, N x H x W x 3."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def lumas(path: Path) -> NDArray[np.float64]:
    """The mean code of luma of each frame."""
    with av.open(str(path)) as container:
        means = []
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            codes = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            means.append(codes[: frame.height, : frame.width].mean())
    return np.array(means)
