"""A video file, opened and judged: its stream of frames, or one sentence why it cannot be enhanced."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from runtimes.errors import BackendMissingError, InputError
from runtimes.image import Pixels
from runtimes.installation import EXTRAS, install_hint, installed

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv")
PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
DOLBY_VISION = {"dvh1", "dvhe", "dva1", "dvav", "dav1"}  # codec tags
FULL_RANGE = 2
# Matrices of H.273 by the numbers that swscale gives them: 709, FCC, 601 (two numbers), 240M, 2020
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
HD_HEIGHT = 720  # px: from here on a video that does not tell is taken for BT.709, below for BT.601


@dataclasses.dataclass
class Video:
    """An open video file."""

    path: Path
    container: Any
    stream: Any
    """The stream whose frames are enhanced."""
    first: Any
    """Its first frame."""
    _latest: int | None = None
    """The time of the latest frame, in the stream's unit."""

    @property
    def frames(self) -> int:
        """The number of frames, or an estimate where the file does not tell; at least 1."""
        length = self.container.duration  # microseconds
        rate = self.stream.average_rate or Fraction(25)
        return max(1, self.stream.frames or round(float(rate) * (length or 0) / 1e6))

    def packets(self) -> Iterator[Any]:
        """All packets of the file, in its order.

        Errors: InputError for damaged data.
        """
        with reading(self.path):
            yield from self.container.demux()

    def decoded(self, packet: Any) -> list[Any]:
        """The frames that a packet completes, each later than the one before, which AVI alone does not ensure.

        Errors: InputError for damaged data.
        """
        with reading(self.path):
            frames = list(packet.decode())
        for frame in frames:
            time = frame.pts if frame.pts is not None else frame.dts or 0
            frame.pts = time if self._latest is None else max(time, self._latest + 1)
            self._latest = frame.pts
        return frames


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Video]:
    """Open a video.

    Errors: BackendMissingError without PyAV. InputError when the file is no video, is damaged, has a codec that is not
    here, or is HDR.
    """
    if not installed("av"):
        raise BackendMissingError(
            f"{path} is a video, which needs PyAV, but PyAV is not installed; "
            f"install it with: {install_hint(EXTRAS['av'])}"
        )
    first = _first_frame(path)
    with _container(path) as container:
        stream = container.streams.best("video")
        stream.thread_type = "AUTO"
        yield Video(path, container, stream, first)


@contextlib.contextmanager
def _container(path: Path) -> Iterator[Any]:
    import av  # noqa: PLC0415

    with reading(path):
        container = av.open(str(path), metadata_errors="replace")  # a title may be in any encoding
    with container:
        yield container


def _first_frame(path: Path) -> Any:
    """Decode the first frame, which tells whether the video can be enhanced, and its rotation and colour tags."""
    with _container(path) as container:
        stream = container.streams.best("video")
        if stream is None:
            raise InputError(f"{path} should be a video but holds no pictures; choose another file")
        if stream.codec_context is None:
            raise InputError(f"{path} should have a codec that PyAV decodes but has another one; convert it first")
        tag = stream.codec_context.codec_tag
        with reading(path):
            frame = next(iter(container.decode(stream)), None)
    if frame is None:
        raise InputError(f"{path} should be a video but holds no frames; choose another file")
    kind = {PQ: "PQ", HLG: "HLG"}.get(int(frame.color_trc))
    marks = [data.type.name for data in frame.side_data]
    if tag.lower() in DOLBY_VISION or any(mark.startswith("DOVI") for mark in marks):
        kind = "Dolby Vision"
    if kind is not None:
        raise InputError(
            f"{path} should be a video of standard dynamic range but is {kind}, whose brightness would be lost; "
            "convert it to 8 bits and BT.709 first"
        )
    return frame


def matrix_of(frame: Any) -> int:
    """The matrix between the frame's Y'CbCr and RGB, as swscale numbers it."""
    return MATRICES.get(int(frame.colorspace), 1 if frame.height >= HD_HEIGHT else 5)


def range_of(frame: Any) -> int:
    """The range of the frame's codes: 1 limited, 2 full."""
    return FULL_RANGE if int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj") else 1


def exactly() -> int:
    """The way of swscale to convert colours without loss; its usual way makes a frame darker by one code."""
    from av.video.reformatter import Interpolation  # noqa: PLC0415

    return int(
        Interpolation.BILINEAR
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.FULL_CHR_H_INT
    )


def to_rgb(frame: Any) -> Pixels:
    """Return the frame as uint8 H x W x 3, as it is stored, without its rotation."""
    rgb: Pixels = frame.reformat(
        format="rgb24",
        src_colorspace=matrix_of(frame),
        src_color_range=range_of(frame),
        dst_color_range=FULL_RANGE,
        interpolation=exactly(),
        threads=1,
    ).to_ndarray()
    return np.ascontiguousarray(rgb)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors on a source into one sentence."""
    import av  # noqa: PLC0415

    try:
        yield
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} should be a video that FFmpeg can read but is not ({error.strerror or error}); "
            "play it to see whether it is whole, or convert it first"
        ) from error
