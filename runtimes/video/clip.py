"""The way of a video: decode, change each frame on several threads, encode, and copy all the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from runtimes.base import Runtime
from runtimes.controls import Controls
from runtimes.cores import cores
from runtimes.errors import InputError
from runtimes.files import replacing
from runtimes.image import Pixels
from runtimes.video.following import Follower
from runtimes.video.predicting import predict
from runtimes.video.reading import Video, opened, to_rgb
from runtimes.video.writing import ENCODERS, Writer, writing

AHEAD = 2  # frames per thread that are decoded before the first of them is encoded
WHOLE = 0.9  # share of the frames, which may be an estimate, from which a video is taken to be whole
Done = Callable[[int, int], None]  # is called with the frames that are done and their number


def enhance_video(
    source: str | Path,
    target: str | Path,
    runtime: Runtime,
    *,
    strength: float = 1.0,
    exposure: float = 0.0,
    overwrite: bool = False,
    done: Done = lambda _done, _frames: None,
) -> tuple[str, ...]:
    """Write a video with every frame enhanced, and with the sound, timing, rotation and tags of the source.

    The model sees a frame every half second and the first ones of each scene. Its change is blended over time and
    applied to every frame, so that brightness does not flicker. `target` appears whole or not at all.

    overwrite: replace `target` if it exists.
    done: is called after each frame with the number of frames done and of all frames, which may be an estimate.

    Returns what could not be kept, each as a clause such as "its colours were rounded to 8 bits".

    Example:
        with runtimes.load("nano") as runtime:
            enhance_video("clip.mp4", "better.mp4", runtime)

    Errors: InputError when the source cannot be read or is HDR, or when the target cannot be written or exists.
    ArtifactError when a control is out of range. BackendMissingError without PyAV.
    """
    source, target, controls = Path(source), Path(target), Controls(strength, exposure)
    if target.suffix.lower() not in ENCODERS:
        raise InputError(
            f"{target} should end in {', '.join(ENCODERS)} but ends in {target.suffix or 'nothing'}; rename it"
        )
    follower = Follower(lambda frame: predict(runtime, frame, controls))
    try:
        with opened(source) as video, replacing(target, overwrite=overwrite) as temporary:
            return _rewritten(video, target, temporary, follower, done)
    except FileExistsError as error:
        raise InputError(f"{target} should not exist yet but does; choose another name, or overwrite it") from error


def _rewritten(video: Video, target: Path, temporary: Path, follower: Follower[Any], done: Done) -> tuple[str, ...]:
    """Write all packets of a video, its frames changed."""
    count, threads = 0, cores()
    with writing(target), closing(Writer(temporary, video)) as writer, ThreadPoolExecutor(threads) as crew:
        changing: deque[Future[Any]] = deque()

        def write_first() -> None:
            nonlocal count
            writer.write(changing.popleft().result())
            count += 1
            done(count, max(count, video.frames))

        def changed(frame: Any, pixels: Pixels, change: Any) -> Any:
            return writer.prepared(frame, change.applied(pixels))

        for packet in video.packets():
            if packet.stream.index != video.stream.index:
                writer.copy(packet)
                continue
            for frame in video.decoded(packet):
                pixels = to_rgb(frame)
                change = follower.change(pixels, float(frame.pts * frame.time_base))
                changing.append(crew.submit(changed, frame, pixels, change))
                if len(changing) > AHEAD * threads:
                    write_first()
        while changing:
            write_first()
        writer.finish()
        if count < WHOLE * video.frames:
            writer.notes.append(f"it ends early, after {count} of {video.frames} frames")
    return tuple(writer.notes)
