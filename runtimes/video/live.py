"""The live picture of a camera: each picture changed and shown, and the keys of its window."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from runtimes.apply.applying import applied
from runtimes.base import Runtime
from runtimes.controls import Controls
from runtimes.files import replacing
from runtimes.image import Pixels, encode_png
from runtimes.video.following import Follower
from runtimes.video.predicting import SIDE, FrameChange, predict

PATIENCE_S = 0.02  # for which a picture waits for its own change before it receives the one before
WAIT_S = 0.05  # for a new picture, between two looks at the keyboard
COUNTED_S = 1.0  # over which frames per second are counted


class Source(Protocol):
    """Where the pictures come from."""

    @property
    def ended(self) -> bool:
        """Whether no picture will come any more."""

    def newest(self, wait: float) -> Pixels | None:
        """Return the newest picture, uint8 H x W x 3, or None if none is new within `wait` s."""


class Screen(Protocol):
    """Where they are shown."""

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""

    def show(self, picture: Pixels, title: str) -> None:
        """Show a picture, uint8 H x W x 3."""

    def key(self) -> str:
        """Return the key that was pressed, in lower case, or an empty string."""


def show_live(
    source: Source,
    screen: Screen,
    runtime: Runtime,
    *,
    save: Callable[[Pixels], None],
    stop: threading.Event,
    strength: float = 1.0,
    exposure: float = 0.0,
    max_side: int = SIDE,
    mirror: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the pictures of a source, enhanced, until q or Esc is pressed, the window is closed, or the source ends.

    The key b, or space, shows them as they were, and enhanced again; s calls `save` with what is shown. The change is
    that of a video: predicted every half second and after a cut, and blended over time.

    stop: ends it, too, when it is set.
    max_side: longest side that the model sees, px.
    mirror: show the pictures as a mirror does.
    clock: the time in s.

    Errors: those of the source and the screen; ArtifactError as `Runtime.change`, and when a control is out of range.
    """
    controls = Controls(strength, exposure)
    before, shown, rate = False, None, Rate()
    with Following(lambda picture: predict(runtime, picture, controls, max_side=max_side)) as following:
        while not (screen.closed or stop.is_set()):
            picture = source.newest(WAIT_S)
            if picture is not None:
                if mirror:
                    picture = np.ascontiguousarray(picture[:, ::-1])
                now = clock()
                change = following.change(picture, now)
                shown = picture if before else applied(picture, change.change, controls)
                screen.show(shown, _title(before, rate.count(now)))
            elif source.ended:
                return
            match screen.key():
                case "q" | "\x1b":  # Escape
                    return
                case "b" | " ":
                    before = not before
                case "s" if shown is not None:
                    save(shown)


def _title(before: bool, rate: int | None) -> str:
    frames = "" if rate is None else f"{rate} frames a second, "
    return f"BNCAGAN: {frames}{'before' if before else 'enhanced'} (b: before/after, s: save, q: quit)"


class Rate:
    """Counts frames per second."""

    def __init__(self) -> None:
        self._since, self._frames = 0.0, 0
        self._rate: int | None = None

    def count(self, now: float) -> int | None:
        """Count a frame at `now` in s and return the frames per second, renewed each second; None at first."""
        if self._frames == 0:
            self._since = now
        elif now - self._since >= COUNTED_S:
            self._rate = round(self._frames / (now - self._since))
            self._since, self._frames = now, 0
        self._frames += 1
        return self._rate


class Following:
    """Follows the newest picture on a thread of its own, so that a slow model does not hold up the others."""

    def __init__(self, predicted: Callable[[Pixels], FrameChange]) -> None:
        self._follower = Follower(predicted)
        self._thread = ThreadPoolExecutor(1)
        self._work: Future[FrameChange] | None = None
        self._change: FrameChange | None = None

    def change(self, picture: Pixels, now: float) -> FrameChange:
        """Return the change of a picture that is shown at `now` in s; that of an earlier one where it takes long.

        The first picture waits for its change.
        """
        self._take()
        if self._work is None:
            self._work = self._thread.submit(self._follower.change, picture, now)
            wait([self._work], None if self._change is None else PATIENCE_S)
            self._take()
        assert self._change is not None
        return self._change

    def _take(self) -> None:
        if self._work is not None and self._work.done():
            self._change, self._work = self._work.result(), None

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)


def save_png(picture: Pixels, folder: Path) -> Path:
    """Write a picture as a PNG file named after the time, and return its path; no file is replaced."""
    data, stem = encode_png(picture), time.strftime("camera-%Y%m%d-%H%M%S")
    for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = folder / f"{stem}{ending}.png"
        try:
            with replacing(path, overwrite=False) as temporary:
                temporary.write_bytes(data)
        except FileExistsError:
            continue
        break
    return path
