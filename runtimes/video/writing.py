"""The file of the result: the changed frames, and every other stream as it was."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtimes.errors import NO_ROOM, InputError
from runtimes.image import Pixels
from runtimes.video.reading import FULL_RANGE, Video, exactly, matrix_of, range_of

H264 = ("libx264", "h264_videotoolbox", "h264_nvenc", "libopenh264")
VP9 = ("libvpx-vp9",)
# Without the search for blocks of 8 x 8 and finer motion, x264 takes 0.6 of the time for files a fifth larger
OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "17", "x264-params": "partitions=i4x4,i8x8:subme=1:me=dia"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "crf": "24", "b": "0"},
}
ENCODERS = {".mp4": H264, ".m4v": H264, ".mov": H264, ".mkv": H264, ".webm": VP9}
FORMATS = {"yuv420p", "yuv422p", "yuv444p"}  # 8 bits; what else comes is written as the first


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors on a result into one sentence; a full disk stays an OSError."""
    import av  # noqa: PLC0415

    try:
        yield
    except av.error.FFmpegError as error:
        if error.errno in NO_ROOM:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise InputError(
            f"{path} should be able to hold the video but FFmpeg cannot write it so ({error.strerror or error}); "
            "choose another suffix, such as .mkv, which holds most"
        ) from error


class Writer:
    """Writes frames and the packets of other streams. Use it in `writing`.

    Errors: InputError when an encoder is missing, or when the container cannot hold the sound.
    """

    def __init__(self, path: Path, video: Video) -> None:
        import av  # noqa: PLC0415

        self._container = av.open(str(path), "w")
        self._video = video
        self.notes: list[str] = []
        self._container.metadata.update(video.container.metadata)
        self._container.set_chapters(video.container.chapters())
        self._stream = self._frame_stream(path.suffix.lower())
        self._copies = {
            stream.index: copy
            for stream in video.container.streams
            if stream.index != video.stream.index and (copy := self._copy_of(stream)) is not None
        }

    def prepared(self, frame: Any, pixels: Pixels) -> Any:
        """Turn changed pixels, uint8 H x W x 3, into what `write` encodes in the place of a frame of the video.

        It is computed on the thread that calls. The pixels must stay as they are until it returns.
        """
        import av  # noqa: PLC0415

        changed = av.VideoFrame.from_numpy_buffer(pixels, format="rgb24").reformat(
            format=self._stream.pix_fmt,
            src_color_range=FULL_RANGE,
            dst_colorspace=matrix_of(frame),
            dst_color_range=range_of(frame),
            interpolation=exactly(),
            threads=1,
        )
        changed.colorspace, changed.color_range = frame.colorspace, range_of(frame)
        changed.color_primaries, changed.color_trc = frame.color_primaries, frame.color_trc
        changed.pts, changed.time_base, changed.duration = frame.pts, frame.time_base, frame.duration
        return changed

    def write(self, prepared: Any) -> None:
        """Encode the next frame."""
        self._container.mux(self._stream.encode(prepared))

    def copy(self, packet: Any) -> None:
        """Write a packet of another stream as it is; one of a stream that is left out is passed over."""
        stream = self._copies.get(packet.stream.index)
        if stream is not None and packet.dts is not None:
            packet.stream = stream
            self._container.mux(packet)

    def finish(self) -> None:
        """Encode what is left and complete the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._container.close()

    def _frame_stream(self, suffix: str) -> Any:
        """The stream of the changed frames, with the rate, rotation, pixel shape and colour tags of the first frame."""
        source, first = self._video.stream, self._video.first
        name = _encoder(suffix)
        stream = self._container.add_stream(name, rate=source.average_rate or 25, options=OPTIONS.get(name, {}))
        stream.width, stream.height = first.width, first.height
        own = first.format.name.replace("yuvj", "yuv")
        stream.pix_fmt = own if own in FORMATS else "yuv420p"
        if max(component.bits for component in first.format.components) > 8:
            self.notes.append("its colours were rounded to 8 bits")
        if first.interlaced_frame:
            self.notes.append("its interlaced pictures were written as whole ones")
        context = stream.codec_context
        context.time_base = source.time_base
        context.thread_count = 0
        if source.sample_aspect_ratio:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        context.colorspace, context.color_range = first.colorspace, range_of(first)
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        stream.metadata.update(source.metadata)
        stream.disposition = source.disposition
        matrix = first.side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            stream.set_display_matrix(struct.unpack("=9i", bytes(matrix)[:36]))
        return stream

    def _copy_of(self, source: Any) -> Any:
        """A stream that takes the packets of another one unchanged; None, with a note, where that is impossible."""
        try:
            stream = self._container.add_stream_from_template(source)
        except (ValueError, AttributeError, TypeError) as error:
            if source.type == "audio":
                codec = source.codec_context.name if source.codec_context is not None else "of an unknown codec"
                raise InputError(
                    f"the result of {self._video.path} should be able to hold its sound ({codec}) "
                    "but its suffix is of a format that cannot; choose that of the source, or .mkv"
                ) from error
            self.notes.append(f"its stream {source.index} ({source.type}) was left out")
            return None
        stream.metadata.update(source.metadata)
        stream.disposition = source.disposition
        return stream


def _encoder(suffix: str) -> str:
    import av  # noqa: PLC0415

    wanted = ENCODERS[suffix]
    found = next((name for name in wanted if name in av.codecs_available and _writes(name)), None)
    if found is None:
        raise InputError(
            f"FFmpeg should have one of the encoders {', '.join(wanted)} for {suffix} but has none; "
            "install PyAV from its wheel: pip install --force-reinstall av"
        )
    return found


def _writes(name: str) -> bool:
    import av  # noqa: PLC0415

    try:
        return bool(av.Codec(name, "w").is_encoder)
    except ValueError:
        return False
